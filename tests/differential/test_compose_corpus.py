"""Every project of the corpus, if it is there: output, refusals, hashes, warnings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from reconciler.compose import ComposeError, DiskReader, LoadRequest, Project, load_project, service_hash, to_json

CORPUS = Path(os.environ.get("MOORED_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
FOLDERS = [
    *(folder for folder in sorted(CORPUS.glob("awesome/*")) if folder.is_dir()),
    *(folder for folder in sorted(CORPUS.glob("cases/*")) if folder.is_dir()),
]


def load(folder: Path) -> Project:
    case: dict[str, Any] = {"files": [], "env": {}, "profiles": [], "env_files": [], "project": "case"}
    if (written := folder / "case.json").exists():
        case |= json.loads(written.read_text("utf-8"))
    run_in = os.path.normpath(folder / (case.get("workdir") or "."))
    request = LoadRequest(
        files=tuple(case["files"]),
        environment={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PWD": run_in, **case["env"]},
        project_name=case["project"],
        env_files=tuple(case["env_files"]),
        profiles=tuple(case["profiles"]),
        cwd=run_in,
    )
    return load_project(request, DiskReader())


def expected(folder: Path, *names: str) -> list[str]:
    return [
        (folder / name).read_text("utf-8").replace("$DIR", str(folder)) for name in names if (folder / name).exists()
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_corpus_project_loads_as_in_compose(folder: Path) -> None:
    refusals = expected(folder, "expected.v5.err", "expected.err")
    answers = [json.loads(text) for text in expected(folder, "expected.v5.json", "expected.json")]
    try:
        project = load(folder)
    except ComposeError as error:
        assert refusals, str(error)
        return
    assert json.loads(to_json(project)) in answers
    for text in expected(folder, "expected.warn"):
        messages = {warning.message for warning in project.warnings}
        assert set(text.splitlines()) <= messages
    for text in expected(folder, "expected.hash"):
        for line in text.splitlines():
            name, hashed = line.split()
            if "label_file" not in project.services[name]:  # `config --hash` leaves it out, the label has it
                assert service_hash(project, name, form="2") == hashed
