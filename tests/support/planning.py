"""Desired stacks and observed projects for tests of the planner."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.compose import LoadRequest, MemoryReader, Project, load_project
from reconciler.engine.records import container_record, network_record, volume_record
from reconciler.planner.graph import joined_containers
from reconciler.planner.model import DesiredStack, Policy
from state.model import DEFAULT_CONTEXT, StackKey
from state.observed import EngineFacts, ObservedContainer, ObservedImage, ObservedProject
from tests.support.engine_cases import PROJECT, EngineCase, image_facts

OLD_ENGINE = EngineFacts(version="20.10.24", api_version="1.41")
NEW_ENGINE = EngineFacts(version="28.5.0", api_version="1.51", cgroup_version="2")


def project(text: str, name: str = "shop", files: Mapping[str, str] | None = None, **environment: str) -> Project:
    """The project of a Compose file written in a test."""
    contents = {"/srv/shop/compose.yaml": textwrap.dedent(text).encode()}
    contents.update({f"/srv/shop/{path}": content.encode() for path, content in (files or {}).items()})
    request = LoadRequest(
        working_dir="/srv/shop",
        files=("/srv/shop/compose.yaml",),
        environment=environment,
        project_name=name,
        cwd="/srv/shop",
    )
    return load_project(request, MemoryReader(contents))


def stack(text: str, name: str = "shop", files: Mapping[str, str] | None = None, **fields: Any) -> DesiredStack:
    """A desired stack of a Compose file written in a test."""
    return DesiredStack(StackKey(DEFAULT_CONTEXT, name), project(text, name, files), **fields)


def with_policy(desired: DesiredStack, **changes: Any) -> DesiredStack:
    return replace(desired, policy=replace(desired.policy, **changes))


def image(reference: str, image_id: str = "", **config: Any) -> ObservedImage:
    """A local image."""
    return ObservedImage(
        id=image_id or f"sha256:{reference.encode().hex():0<64}"[:71],
        tags=(reference,),
        digests=(),
        platform="linux/amd64",
        config=config,
    )


def case_stack(case: EngineCase) -> DesiredStack:
    """The desired stack of a catalogue case, loaded as if it lay where it was recorded."""
    place = str(case.working_dir)
    contents = {
        f"{place}/{path.relative_to(case.folder)}": path.read_bytes()
        for path in case.folder.rglob("*")
        if path.is_file() and path.name != "expected.json"
    }
    request = LoadRequest(cwd=place, project_name=PROJECT)
    loaded = load_project(request, MemoryReader(contents))
    profiles = {path.name: path.read_text() for path in case.folder.glob("*.json") if path.name != "expected.json"}
    return DesiredStack(StackKey(DEFAULT_CONTEXT, PROJECT), loaded, policy=Policy(), seccomp_profiles=profiles)


def case_images() -> dict[str, ObservedImage | None]:
    """The images of the catalogue, as the Engine had them."""
    return {
        reference: ObservedImage(
            id=facts["Id"],
            tags=(reference,),
            digests=(),
            platform="linux/amd64",
            labels=facts["Config"].get("Labels") or {},
            config=facts["Config"],
        )
        for reference, facts in image_facts().items()
    }


def case_observed(case: EngineCase, *, state: str = "running", relabel: str | None = None) -> ObservedProject:
    """What was observed of a catalogue case after the real Compose made it.

    `relabel` writes another config hash into all containers, as an unknown tool would.
    """
    containers: list[ObservedContainer] = []
    for recorded in case.expected["containers"]:
        status = {"Status": state, "Running": state == "running", "StartedAt": "2026-08-22T12:00:00Z"}
        container = container_record({**recorded, "State": status, "Created": "2026-08-22T11:59:00Z"})
        if relabel is not None:
            container = replace(container, labels={**container.labels, "com.docker.compose.config-hash": relabel})
        containers.append(container)
    joined = joined_containers(case_stack(case).project)
    return ObservedProject(
        engine=OLD_ENGINE,
        containers=tuple(sorted(containers, key=lambda container: container.name)),
        networks=tuple(network_record(network) for network in case.expected["networks"]),
        volumes=tuple(volume_record(volume) for volume in case.expected["volumes"]),
        images=case_images(),
        named={container.name: container for container in containers if container.name in joined},
    )
