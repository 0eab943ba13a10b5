"""`moored config`: what Moored makes of Compose files, printed as `docker compose config` prints it.

Needs no Engine and no configuration of Moored. Reads the files in the current folder, the
process environment, and nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .confighash import service_hash
from .errors import ComposeError, Problem, nearest
from .loader import load_project
from .model import Project
from .reader import DiskReader
from .render import render, to_json, to_yaml
from .request import LoadRequest


def config_command(argv: list[str]) -> int:
    """Run the command; the result is the exit status."""
    options = _parser().parse_args(argv)
    request = LoadRequest(
        working_dir=options.project_directory,
        files=tuple(options.file),
        environment=dict(os.environ),
        project_name=options.project_name,
        env_files=tuple(options.env_file),
        profiles=tuple(options.profile),
        cwd=_current_folder(),
        interpolate=not options.no_interpolate,
        stdin=sys.stdin.buffer.read() if "-" in options.file else b"",
    )
    try:
        project = load_project(request, DiskReader())
        text = _printed(project, options)
    except ComposeError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    for warning in project.warnings:
        where = f"{warning.file}:{warning.line}: " if warning.line else ""
        path = f"{warning.path}: " if warning.path else ""
        print(f"warning: {where}{path}{warning.message}", file=sys.stderr)
    if text and not options.quiet:
        print(text.rstrip("\n").encode("utf-8", "replace").decode())
    return 0


def _current_folder() -> str:
    """As the shell calls it, where that is the same folder: a symbolic link in it gives the project its name."""
    called = os.environ.get("PWD", "")
    try:
        return called if called.startswith("/") and Path(called).samefile(".") else str(Path.cwd())
    except OSError:
        return str(Path.cwd())


def _printed(project: Project, options: argparse.Namespace) -> str:
    if options.hash is not None:
        names = list(project.services) if options.hash == "*" else options.hash.split(",")
        for name in names:
            if name not in project.services:
                problem = Problem(f"no such service: {name}", found=name, hint=nearest(name, project.services))
                raise ComposeError(problem)
        return "\n".join(f"{name} {service_hash(project, name, form=options.hash_form)}" for name in sorted(names))
    if options.services:
        return "\n".join(sorted(project.services))
    if options.volumes:
        return "\n".join(render(project).get("volumes", ()))
    if options.images:
        return "\n".join(sorted(_images(project)))
    if options.profiles:
        known = {**project.services, **project.disabled_services}.values()
        return "\n".join(sorted({profile for service in known for profile in service.get("profiles") or ()}))
    if options.format == "json":
        return to_json(project)
    return to_yaml(project)


def _images(project: Project) -> set[str]:
    images = {service.get("image") or f"{project.name}-{name}" for name, service in project.services.items()}
    for service in project.services.values():
        images.update(hook["image"] for hook in service.get("pre_start") or () if hook.get("image"))
        images.update(v["source"] for v in service.get("volumes") or () if v.get("type") == "image" and "source" in v)
    return images


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moored config", description="Load Compose files and print them in canonical form.", allow_abbrev=False
    )
    add = parser.add_argument
    add("-f", "--file", action="append", default=[], help="a Compose file (may be repeated; `-` is standard input)")
    add("--env-file", action="append", default=[], help="a file of variables instead of `.env` (may be repeated)")
    add("-p", "--project-name", help="name of the project")
    add("--profile", action="append", default=[], help="a profile to enable (may be repeated)")
    add("--project-directory", help="folder that relative paths start at (default: that of the first file)")
    add("--format", choices=("yaml", "json"), default="yaml")
    add("--hash", metavar="SERVICE", help="print config hashes, of all services with '*'")
    add("--hash-form", choices=("5", "2"), default="5", help="as Docker Compose 5 or 2 computes them")
    add("--services", action="store_true", help="print names of services only")
    add("--volumes", action="store_true", help="print names of volumes only")
    add("--images", action="store_true", help="print image names only")
    add("--profiles", action="store_true", help="print names of profiles only")
    add("--no-interpolate", action="store_true", help="leave variables as they are")
    add("-q", "--quiet", action="store_true", help="only check, print nothing")
    return parser
