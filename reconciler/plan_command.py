"""`moored plan`: what a deployment would do to the Engine, without doing it.

For a folder with Compose files (a checkout, or any project): the project is loaded as a
deployment of that folder would load it, the Engine is looked at, and the plan is printed,
as text or JSON. Nothing is written anywhere. The exit status is that of `diff`: 0 when
nothing is to be done, 1 when something is, 2 for an error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

NOTHING, SOMETHING, ERROR = 0, 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moored plan", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("directory", nargs="?", default=".", help="folder with the Compose files (default: this one)")
    parser.add_argument("-f", "--file", action="append", default=[], help="Compose file; may be given again")
    parser.add_argument("-p", "--project-name", default=None)
    parser.add_argument("--env-file", action="append", default=[])
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--context", default="default", help="Docker context")
    parser.add_argument("--keep-orphans", action="store_true", help="leave containers of unknown services alone")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser


def plan_command(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    import anyio

    from reconciler.compose import ComposeError
    from reconciler.engine.errors import EngineError
    from reconciler.planner import PlanError

    try:
        return anyio.run(_plan, options)
    except (ComposeError, EngineError, PlanError) as error:
        print(error, file=sys.stderr)
        return ERROR


async def _plan(options: argparse.Namespace) -> int:
    from reconciler.compose import DiskReader, LoadRequest, load_project
    from reconciler.deployments.content import RepositoryFiles, content_digests
    from reconciler.engine.client import open_engine
    from reconciler.engine.endpoint import resolve_endpoint
    from reconciler.engine.snapshot import observe_project
    from reconciler.planner import DesiredStack, Policy, as_json, describe, plan
    from state.model import StackKey
    from state.observed import ObservedContext

    directory = str(Path(options.directory).resolve())
    project = load_project(
        LoadRequest(
            working_dir=directory if not options.file else None,
            files=tuple(options.file),
            environment=dict(os.environ),
            project_name=options.project_name,
            env_files=tuple(options.env_file),
            profiles=tuple(options.profile),
            cwd=directory,
        ),
        DiskReader(None),
    )
    # Without Git there are no object ids, so nothing is said about changed content of mounted files.
    files = RepositoryFiles(
        root=directory,
        objects={},
        read=lambda path: Path(path).read_bytes(),
        exists=os.path.exists,
        resolve=os.path.realpath,
    )
    _, warnings = content_digests(project, files, key=b"")
    desired = DesiredStack(
        key=StackKey(options.context, project.name),
        project=project,
        policy=Policy(remove_orphans=not options.keep_orphans),
    )
    observed = ObservedContext(options.context)
    async with open_engine(resolve_endpoint(options.context, os.environ), options.context) as engine:
        seen = await observe_project(engine, observed, desired)
    found = plan(desired, seen)
    if options.format == "json":
        print(json.dumps(as_json(found), indent=2))
    else:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(describe(found))
    return NOTHING if found.empty else SOMETHING
