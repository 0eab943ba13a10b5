"""Our config hash against the labels that the real Compose writes when it deploys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.compose import (
    ComposeError,
    LoadRequest,
    MemoryReader,
    Project,
    load_project,
    network_hash,
    render,
    service_hash,
    volume_hash,
)
from tests.differential.cases import all_cases, golden
from tests.differential.hashes import GOLDEN, IMAGE, ROOT, deploy, load
from tests.support.names import unique_name

LABELS: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
CASES = {case.name: case for case in all_cases()}
EXPECTED = golden()
SAMPLE = (
    "deploy-everything",
    "health-list",
    "network-mode-service",
    "networks-labels-list",
    "volumes-long-read-only-text",
    "volumes-short-unknown-option",
)


def loads_alike(name: str) -> bool:
    """Whether Compose 2.40.3, which wrote the labels, makes the same of the file as we do."""
    folder = f"{ROOT}/{name}"
    try:
        project = load(CASES[name])
    except ComposeError:
        return False
    text = json.dumps(render(project, form="2")["services"]).replace(folder, "$DIR").replace(IMAGE, "x")
    services: dict[str, Any] = json.loads(text)
    return bool(services == EXPECTED[name]["config"]["services"])


COMPARABLE = [name for name in LABELS if loads_alike(name)]


def ours(project: Project, labels: dict[str, Any], form: Any) -> dict[str, Any]:
    containers = labels["containers"]
    return {
        "services": {
            name: service_hash(project, name, form=form, references=containers) for name in labels["services"]
        },
        "networks": {name: network_hash(project.networks[name], form) for name in labels["networks"]},
        "volumes": {name: volume_hash(project.volumes[name], form) for name in labels["volumes"]},
    }


def test_the_golden_labels_are_many() -> None:
    assert len(COMPARABLE) >= 200
    assert len(LABELS) - len(COMPARABLE) < 20


@pytest.mark.parametrize("name", COMPARABLE)
def test_a_hash_equals_the_label_of_compose(name: str) -> None:
    labels = LABELS[name]
    project = load(CASES[name], labels["project"])
    assert ours(project, labels, "2") == {key: labels[key] for key in ("services", "networks", "volumes")}


def test_only_bind_mounts_and_ipam_options_hash_otherwise_in_compose_5() -> None:
    for name in COMPARABLE:
        labels = LABELS[name]
        project = load(CASES[name], labels["project"])
        differing = {
            service
            for service in labels["services"]
            if service_hash(project, service, form="5") != service_hash(project, service, form="2")
        }
        with_binds = {
            service
            for service, model in project.services.items()
            if any("bind" in volume for volume in model.get("volumes") or ())
        }
        assert differing <= with_binds


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", "d5457d0b2799957b606d2ac4ed52d85a1e75799490e56229948300b9a59e8953"),
        ('    volumes: ["/s:/s"]\n', "cba5fa6628e34f4ab1cfdf848356549be656976bdf7f56f43647e91830dd663e"),
        ("    pre_start: [{command: a}]\n", "02e2842dc87747c9c39af23d7d0ab3485834c737b4bf0c1a9f26aeb36a6a8920"),
    ],
)
def test_known_hashes_of_compose_5(body: str, expected: str) -> None:
    request = LoadRequest(files=("/p/compose.yaml",), project_name="case")
    project = load_project(request, MemoryReader({"/p/compose.yaml": f"services:\n  a:\n    image: x\n{body}"}))
    assert service_hash(project, "a") == expected


@pytest.mark.parametrize("name", SAMPLE)
def test_a_live_deployment_carries_the_hash(name: str) -> None:
    """A sample; `python -m tests.differential.hashes` deploys all."""
    project_name = unique_name("hash")
    labels = deploy(CASES[name], Path(ROOT) / name, project_name)
    project = load(CASES[name], project_name)
    assert ours(project, labels, "2") == {key: labels[key] for key in ("services", "networks", "volumes")}
