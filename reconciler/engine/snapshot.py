"""What the planner compares a desired stack with: one project, as it is.

Two ways to the same value. `cached_project` reads what the observer keeps and asks
nobody: that is the way of the many looks that end in "nothing to do". `observe_project`
asks the Engine, with everything at once: before acting, after acting, and where no
observer runs; its answers refresh the cache too. While an observer listens, a container whose
entry in the list agrees with its record, and of which no event has spoken since, is not
inspected again: an Engine that is starting many containers is slow to answer about them.

Networks and volumes count as the project's by label or because it uses their name;
containers outside the project count where they hold a name it wants, or are named in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import anyio
import structlog

from reconciler.engine.client import Engine, filters, segment
from reconciler.engine.errors import NotFound, Refused, first_error
from reconciler.engine.records import (
    agrees,
    container_record,
    container_summary,
    image_record,
    network_record,
    volume_record,
)
from reconciler.planner.graph import joined_containers
from reconciler.planner.images import image_references as references_of
from reconciler.planner.model import DesiredStack
from state.observed import (
    LABEL_PROJECT,
    EngineFacts,
    ObservedContainer,
    ObservedContext,
    ObservedImage,
    ObservedNetwork,
    ObservedProject,
    ObservedVolume,
)

_log = structlog.get_logger("observer")


def image_references(desired: DesiredStack) -> set[str]:
    """Every image reference whose local image the plan depends on."""
    return set(references_of(desired.project))


def cached_project(observed: ObservedContext, desired: DesiredStack | str) -> ObservedProject | None:
    """The project from the cache alone; None if the cache is stale, was never filled, or lacks
    an image the project refers to (`observe_project` then learns it)."""
    if observed.engine is None or not observed.connected:
        return None
    name = desired if isinstance(desired, str) else desired.key.name
    images: dict[str, ObservedImage | None] = {}
    if not isinstance(desired, str):
        for reference in image_references(desired):
            if reference not in observed.images:
                return None
            images[reference] = observed.images[reference]
    for container in observed.project(name):
        # Known or not: only taking a project down asks for it.
        if container.image in observed.images:
            images[container.image] = observed.images[container.image]
    wanted = _names(desired)
    return _project(
        observed.engine,
        desired,
        observed.project(name),
        [network for network in observed.networks.values() if _concerns(network.labels, network.name, name, wanted[0])],
        [volume for volume in observed.volumes.values() if _concerns(volume.labels, volume.name, name, wanted[1])],
        images,
        observed.containers.values(),
    )


async def current_project(engine: Engine, observed: ObservedContext, desired: DesiredStack | str) -> ObservedProject:
    """The cheapest true answer: the cache, with only the images asked for that it lacks."""
    if observed.connected and not isinstance(desired, str):
        await resolve_images(engine, observed, image_references(desired))
    return cached_project(observed, desired) or await observe_project(engine, observed, desired)


async def resolve_images(
    engine: Engine, observed: ObservedContext, references: Iterable[str], *, again: bool = False
) -> dict[str, ObservedImage | None]:
    """What each reference resolves to locally, from the cache where it knows (unless `again`)."""
    found: dict[str, ObservedImage | None] = {}

    async def resolve(reference: str) -> None:
        found[reference] = observed.images[reference] = await inspect_image(engine, reference)

    with first_error():
        async with anyio.create_task_group() as tasks:
            for reference in references:
                if reference in observed.images and not again:
                    found[reference] = observed.images[reference]
                else:
                    tasks.start_soon(resolve, reference)
    return found


async def inspect_image(engine: Engine, reference: str) -> ObservedImage | None:
    """A local image by reference or id, or None."""
    try:
        return image_record(await engine.call("image.inspect", "GET", f"images/{segment(reference)}/json"))
    except NotFound:
        return None


async def refresh_container(engine: Engine, observed: ObservedContext, container_id: str) -> ObservedContainer | None:
    """Ask about one container and write the answer into the cache; None when it is gone."""
    asked_at = time.monotonic()
    observed.outdated.discard(container_id)
    try:
        answer = await engine.call("container.inspect", "GET", f"containers/{container_id}/json")
    except NotFound:
        observed.drop_container(container_id, asked_at)
        return None
    except Refused as error:
        # One broken container must not blind us for all others; its last record stays.
        _log.warning("container cannot be inspected", context=observed.name, container=container_id, error=str(error))
        return observed.containers.get(container_id)
    # The answer may know of a start that no event has told yet.
    running = bool((answer.get("State") or {}).get("Running"))
    record = container_record(answer, stopped_by_hand=not running and answer["Id"] in observed.stopped_by_hand)
    observed.put_container(record, asked_at)
    return record


async def known_container(engine: Engine, observed: ObservedContext, container_id: str) -> ObservedContainer | None:
    """One container from the cache if an observer listens and nothing has happened to it, else asked
    about; None when it is gone."""
    known = observed.containers.get(container_id)
    if known is not None and observed.connected and container_id not in observed.outdated:
        return known
    return await refresh_container(engine, observed, container_id)


async def observe_project(engine: Engine, observed: ObservedContext, desired: DesiredStack | str) -> ObservedProject:
    """The project, asked of the Engine now."""
    name = desired if isinstance(desired, str) else desired.key.name
    references = set() if isinstance(desired, str) else image_references(desired)
    network_names, volume_names = _names(desired)
    facts = engine.known or await engine.facts()
    containers: dict[str, ObservedContainer] = {}
    networks: dict[str, ObservedNetwork] = {}
    volumes: dict[str, ObservedVolume] = {}
    images: dict[str, ObservedImage | None] = {}
    others: list[ObservedContainer] = []

    async def look_at(container_id: str) -> None:
        record = await refresh_container(engine, observed, container_id)
        if record is not None:
            containers[record.id] = record

    async def list_containers() -> None:
        asked_at = time.monotonic()
        label = f"{LABEL_PROJECT}={name}"
        params: dict[str, Any] = {"all": True, "filters": filters(label=label)}
        entries = await engine.call("container.list", "GET", "containers/json", params=params)
        async with anyio.create_task_group() as inspects:
            for entry in entries:
                known = observed.containers.get(entry["Id"])
                if (
                    known is not None
                    and observed.connected
                    and known.id not in observed.outdated
                    and agrees(known, entry)
                ):
                    containers[known.id] = known
                else:
                    inspects.start_soon(look_at, entry["Id"])
        listed = {entry["Id"] for entry in entries}
        for known in observed.project(name):
            if known.id not in listed:
                observed.drop_container(known.id, asked_at)

    async def list_networks(**chosen: str | list[str]) -> None:
        params = {"filters": filters(**chosen)}
        for answer in await engine.call("network.list", "GET", "networks", params=params):
            record = network_record(answer)
            observed.put_network(record)
            if _concerns(record.labels, record.name, name, network_names):
                networks[record.id] = record

    async def list_volumes(**chosen: str | list[str]) -> None:
        params = {"filters": filters(**chosen)}
        answer = await engine.call("volume.list", "GET", "volumes", params=params)
        for entry in answer.get("Volumes") or ():
            record = volume_record(entry)
            observed.put_volume(record)
            if _concerns(record.labels, record.name, name, volume_names):
                volumes[record.name] = record

    async def list_others() -> None:
        if observed.connected:
            others.extend(observed.containers.values())
            return
        patterns = [f"^/?{pattern}$" for pattern in _sought_patterns(desired)]
        for chosen in ({"name": patterns}, {"network": sorted(network_names)}):
            if any(chosen.values()):
                params: dict[str, Any] = {"all": True, "filters": filters(**chosen)}
                entries = await engine.call("container.list", "GET", "containers/json", params=params)
                others.extend(container_summary(entry) for entry in entries)

    async def learn_images() -> None:
        images.update(await resolve_images(engine, observed, references, again=True))

    with first_error():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(list_containers)
            tasks.start_soon(list_others)
            tasks.start_soon(learn_images)
            tasks.start_soon(lambda: list_networks(label=f"{LABEL_PROJECT}={name}"))
            tasks.start_soon(lambda: list_volumes(label=f"{LABEL_PROJECT}={name}"))
            if network_names:
                tasks.start_soon(lambda: list_networks(name=sorted(network_names)))
            if volume_names:
                tasks.start_soon(lambda: list_volumes(name=sorted(volume_names)))
    with first_error():
        images.update(await resolve_images(engine, observed, {c.image for c in containers.values() if c.image}))
    return _project(facts, desired, containers.values(), networks.values(), volumes.values(), images, others)


def _project(
    facts: EngineFacts,
    desired: DesiredStack | str,
    containers: Iterable[ObservedContainer],
    networks: Iterable[ObservedNetwork],
    volumes: Iterable[ObservedVolume],
    images: Mapping[str, ObservedImage | None],
    others: Iterable[ObservedContainer],
) -> ObservedProject:
    name = desired if isinstance(desired, str) else desired.key.name
    pattern = re.compile("|".join(_name_patterns(desired)) or r"(?!)")
    networks = sorted(networks, key=lambda network: (network.name, network.id))
    containers, others = tuple(containers), tuple(others)
    strangers = {other.id: other for other in others if other.project != name}.values()
    joined = frozenset() if isinstance(desired, str) else joined_containers(desired.project)
    return ObservedProject(
        engine=facts,
        containers=tuple(sorted(containers, key=lambda container: container.name)),
        networks=tuple(networks),
        volumes=tuple(sorted(volumes, key=lambda volume: volume.name)),
        images=images,
        foreign_names={other.name: other.id for other in strangers if pattern.fullmatch(other.name)},
        network_users={
            network.id: users
            for network in networks
            if (users := tuple(sorted(other.name for other in strangers if _uses(other, network.name))))
        },
        named={other.name: other for other in (*strangers, *containers) if other.name in joined},
    )


def _uses(container: ObservedContainer, network: str) -> bool:
    return network in container.networks and container.state in ("running", "paused", "restarting")


def _names(desired: DesiredStack | str) -> tuple[frozenset[str], frozenset[str]]:
    """The real names of the networks and volumes that a project uses."""
    if isinstance(desired, str):
        return frozenset(), frozenset()
    project = desired.project
    return (
        frozenset(str(network.get("name") or f"{project.name}_{key}") for key, network in project.networks.items()),
        frozenset(str(volume.get("name") or f"{project.name}_{key}") for key, volume in project.volumes.items()),
    )


def _name_patterns(desired: DesiredStack | str) -> list[str]:
    """Regular expressions for the container names that a project wants."""
    if isinstance(desired, str):
        return []
    project = desired.project
    patterns = [
        re.escape(service["container_name"]) for service in project.services.values() if service.get("container_name")
    ]
    services = "|".join(
        re.escape(key) for key, service in project.services.items() if not service.get("container_name")
    )
    if services:
        patterns.append(f"{re.escape(project.name)}-({services})-[0-9]+")
    return patterns


def _sought_patterns(desired: DesiredStack | str) -> list[str]:
    """Regular expressions for all container names that are looked for outside the project."""
    joined = frozenset() if isinstance(desired, str) else joined_containers(desired.project)
    return [*_name_patterns(desired), *map(re.escape, sorted(joined))]


def _concerns(labels: Mapping[str, str], name: str, project: str, names: frozenset[str]) -> bool:
    return labels.get(LABEL_PROJECT) == project or name in names
