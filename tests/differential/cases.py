"""Small Compose projects as text files, and what the real Compose makes of them.

A case is one file in `compose_cases/`: a head (`about:`, `env: NAME=VALUE`, `args:`, `dir:`,
`link: NEW -> TARGET`), then the files of the project, each after a line `== NAME`. A last line
`== (no newline)` takes the newline before it away. `expected.json` beside them holds the golden
answers, by case: `config`, the object that `config --format json` printed, with the case's folder
written as `$DIR`; or `refused`, the last line of the refusal. Where Docker Compose 5.5 answers
otherwise than 2.40.3, its answer stands under `newer`.

    python -m tests.differential.regenerate

writes the golden answers anew.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.compose import ComposeError, DiskReader, LoadRequest, Project, load_project, to_json

FOLDER = Path(__file__).with_name("compose_cases")
GOLDEN = FOLDER / "expected.json"
HOME = "/nonexistent/home"


@dataclass(slots=True)
class Case:
    name: str
    about: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=lambda: ["-p", "case", "-f", "compose.yaml"])
    folder: str = "."
    links: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def lay_out(self, root: Path) -> Path:
        """Write the project below `root`; the result is where to run."""
        for name, text in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
        for name, target in self.links.items():
            (root / name).symlink_to(target)
        run_in = root / self.folder
        run_in.mkdir(parents=True, exist_ok=True)
        return run_in

    def variables(self, run_in: Path) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "HOME": HOME, "PWD": str(run_in), **self.environment}

    def request(self, run_in: Path) -> LoadRequest:
        given: dict[str, list[str]] = {"-f": [], "--env-file": [], "--profile": [], "-p": [], "--project-directory": []}
        words = iter(self.arguments)
        for word in words:
            given[word].append(next(words))
        return LoadRequest(
            working_dir=next(iter(given["--project-directory"]), None),
            files=tuple(given["-f"]),
            environment=self.variables(run_in),
            project_name=next(iter(given["-p"]), None),
            env_files=tuple(given["--env-file"]),
            profiles=tuple(given["--profile"]),
            cwd=str(run_in),
        )

    def load(self, run_in: Path) -> Project:
        return load_project(self.request(run_in), DiskReader())


def read_case(path: Path) -> Case:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    head, *parts = ("\n" + text).split("\n== ")
    case = Case(path.stem)
    for line in head.strip().splitlines():
        key, _, value = line.partition(": ")
        match key:
            case "about":
                case.about = value
            case "env":
                name, _, content = value.partition("=")
                case.environment[name] = content
            case "args":
                case.arguments = shlex.split(value)
            case "dir":
                case.folder = value
            case "link":
                new, _, target = value.partition(" -> ")
                case.links[new] = target
            case _:
                raise ValueError(f"{path}: unknown key {key!r} in the head")
    last = ""
    for position, part in enumerate(parts):
        name, _, content = part.partition("\n")
        if name == "(no newline)":
            case.files[last] = case.files[last].removesuffix("\n")
            continue
        is_last = position == len(parts) - 1
        case.files[name] = content if is_last else content + "\n"
        last = name
    return case


def all_cases() -> list[Case]:
    return [read_case(path) for path in sorted(FOLDER.glob("*.txt"))]


def golden() -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    return answers


def ours(case: Case, root: Path) -> dict[str, Any]:
    """Our answer in the form of a golden one."""
    run_in = case.lay_out(root)
    try:
        printed = to_json(case.load(run_in))
    except ComposeError as error:
        return {"refused": str(error).replace(str(root), "$DIR")}
    return {"config": json.loads(printed.replace(str(root), "$DIR"))}


def agrees(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Equal output, or an equal refusal; of two versions' answers either will do."""
    for version in (expected, expected.get("newer")):
        if version is None:
            continue
        if "config" in answer and answer["config"] == version.get("config"):
            return True
        if "refused" in answer and "refused" in version:
            return True
    return False
