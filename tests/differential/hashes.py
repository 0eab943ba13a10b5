"""Config hashes that the real Compose wrote as labels, to hold ours against.

`python -m tests.differential.hashes` deploys every case of `compose_cases/` that can be deployed
here (`docker compose up --no-start`, images replaced by one that is there), reads the labels of
the containers, networks and volumes it made, removes them, and writes `hashes.json`. Paths are
part of some hashes, so all cases lie below one fixed folder, which need not exist later: tests
load them from memory.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from reconciler.compose import LoadRequest, MemoryReader, Project, load_project
from tests.differential.cases import FOLDER, HOME, Case, all_cases, golden
from tests.support.compose_oracle import Compose, ComposeFailed

GOLDEN = FOLDER / "hashes.json"
ROOT = "/var/lib/moored-hash-cases"
IMAGE = "moored/busybox:1"
_LABEL = "com.docker.compose."


def deployable(case: Case) -> bool:
    """Whether it makes sense to try: accepted, plain, with an image to replace."""
    answer = golden()[case.name]
    config = answer.get("config")
    if config is None or case.links or case.arguments[:4] != ["-p", "case", "-f", "compose.yaml"] or case.folder != ".":
        return False
    services = config["services"].values()
    return bool(services) and all(service.get("image") == "x" and "build" not in service for service in services)


def prepared(case: Case) -> dict[str, str]:
    """The files with an image that exists."""
    return {name: re.sub(r"(\bimage: )x\b(?![$:-])", rf"\g<1>{IMAGE}", text) for name, text in case.files.items()}


def load(case: Case, project: str = "case") -> Project:
    """The project as it lies in the fixed folder, from memory."""
    folder = f"{ROOT}/{case.name}"
    files = {f"{folder}/{name}": text for name, text in prepared(case).items()}
    given = case.request(Path(folder))
    request = LoadRequest(
        files=given.files,
        environment={"PATH": "/usr/bin:/bin", "HOME": HOME, "PWD": folder, **case.environment},
        project_name=project,
        env_files=given.env_files,
        profiles=given.profiles,
        cwd=folder,
    )
    return load_project(request, MemoryReader(files))


def _docker(*arguments: str) -> list[dict[str, Any]]:
    text = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout
    found: list[dict[str, Any]] = json.loads(text) if text.strip() else []
    return found


def _ids(kind: str, project: str) -> list[str]:
    listing = ["ps", "--all", "--no-trunc"] if kind == "container" else [kind, "ls"]
    done = subprocess.run(
        ["docker", *listing, "--quiet", "--filter", f"label={_LABEL}project={project}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def deploy(case: Case, folder: Path, project: str) -> dict[str, Any]:
    """Labels by service, network and volume; nothing of the project is left behind."""
    shutil.rmtree(folder, ignore_errors=True)
    case.files, original = prepared(case), case.files
    case.lay_out(folder)
    case.files = original
    arguments = [f"--project-name={project}", *case.arguments[2:]]
    environment = {"HOME": HOME, **case.environment}
    compose = Compose()
    try:
        compose.run(
            *arguments, "up", "--no-start", "--pull=never", "--no-build", cwd=folder, env=environment, seconds=60
        )
        labels: dict[str, Any] = {"services": {}, "networks": {}, "volumes": {}, "containers": {}}
        for container in _docker("inspect", *_ids("container", project)):
            written = container["Config"]["Labels"]
            labels["services"][written[_LABEL + "service"]] = written[_LABEL + "config-hash"]
            labels["containers"][written[_LABEL + "service"]] = container["Id"]
        for kind in ("network", "volume"):
            if ids := _ids(kind, project):
                for resource in _docker(kind, "inspect", *ids):
                    written = resource["Labels"]
                    labels[kind + "s"][written[_LABEL + kind]] = written[_LABEL + "config-hash"]
        return labels
    finally:
        compose.run(
            *arguments, "down", "--volumes", "--timeout=0", cwd=folder, env=environment, check=False, seconds=60
        )
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    found: dict[str, Any] = {}
    for case in all_cases():
        if not deployable(case):
            continue
        project = f"moored-hash-{secrets.token_hex(4)}"
        try:
            labels = deploy(case, Path(ROOT) / case.name, project)
        except (ComposeFailed, subprocess.SubprocessError) as error:
            print(f"{case.name}: {error}", file=sys.stderr)
            continue
        labels["project"] = project
        found[case.name] = labels
    shutil.rmtree(ROOT, ignore_errors=True)
    GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"{len(found)} projects")


if __name__ == "__main__":
    main()
