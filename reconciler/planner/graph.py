"""Who depends on whom: a project's services, their names, numbers and order.

Dependencies come with Compose's implied ones (links, shared namespaces, `volumes_from`)
already written into `depends_on` by the loader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.compose.model import Model, Project
from reconciler.planner.model import DesiredStack

STARTED = "service_started"
HEALTHY = "service_healthy"
COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Dependency:
    """An edge: a service needs `service` to satisfy `condition`."""

    service: str
    condition: str = STARTED
    restart: bool = False
    required: bool = True


def dependencies(service: Model) -> tuple[Dependency, ...]:
    """What a service needs, sorted by name."""
    entries: Mapping[str, Model] = service.get("depends_on") or {}
    return tuple(
        Dependency(
            service=name,
            condition=entry.get("condition") or STARTED,
            restart=bool(entry.get("restart")),
            required=entry.get("required", True) is not False,
        )
        for name, entry in sorted(entries.items())
    )


def dependency_order(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Names so that each comes after what it needs; ties, and what a cycle leaves, by name."""
    waiting = {name: {need for need in needs if need in edges and need != name} for name, needs in edges.items()}
    order: list[str] = []
    while waiting:
        ready = sorted(name for name, needs in waiting.items() if not needs) or sorted(waiting)[:1]
        for name in ready:
            del waiting[name]
        order.extend(ready)
        for needs in waiting.values():
            needs.difference_update(ready)
    return order


def service_order(project: Project) -> list[str]:
    """The enabled services, dependencies first, and those whose containers others join by name."""
    owners = {container_name(project, name, 1): name for name in project.services}
    return dependency_order(
        {
            name: [
                *(need.service for need in dependencies(service)),
                *(owners.get(joined, "") for joined in joined_by(service)),
            ]
            for name, service in project.services.items()
        }
    )


def is_awaited_job(project: Project, name: str) -> bool:
    """Whether some service waits for this one to complete."""
    return any(
        need.service == name and need.condition == COMPLETED
        for service in project.services.values()
        for need in dependencies(service)
    )


def lends_namespace(project: Project, name: str) -> bool:
    """Whether some service joins a namespace of this one, and so needs it to run."""
    joined = f"service:{name}"
    return any(
        joined in (service.get("network_mode"), service.get("ipc"), service.get("pid"))
        for service in project.services.values()
    )


def image_reference(project: Project, name: str) -> str:
    """The image of a service as written, else the name under which it is built."""
    return project.services[name].get("image") or f"{project.name}-{name}"


def wanted_replicas(desired: DesiredStack, name: str) -> int:
    """How many containers a service shall have: override, else `scale`, else `deploy.replicas`, else 1."""
    service = desired.project.services[name]
    override = desired.overrides.replicas.get(name)
    if override is not None:
        return override
    scale = service.get("scale")
    if scale is None:
        scale = (service.get("deploy") or {}).get("replicas")
    return 1 if scale is None else int(scale)


def container_name(project: Project, name: str, number: int) -> str:
    """The final name of a service's container."""
    return project.services[name].get("container_name") or f"{project.name}-{name}-{number}"


def referenced_services(service: Model) -> dict[str, str]:
    """Services whose container ids become part of this one -> the attribute that says so."""
    found: dict[str, str] = {}
    for entry in service.get("volumes_from") or ():
        if not entry.startswith("container:"):
            found.setdefault(entry.partition(":")[0], "volumes_from")
    for attribute in ("pid", "ipc", "network_mode"):
        value = service.get(attribute) or ""
        if value.startswith("service:"):
            found[value.removeprefix("service:")] = attribute
    return found


def named_container(mode: str | None) -> str:
    """The container that a `container:NAME` namespace names; empty: none."""
    return (mode or "").removeprefix("container:") if (mode or "").startswith("container:") else ""


def joined_containers(project: Project) -> frozenset[str]:
    """The containers that services join by name."""
    return frozenset(name for service in project.services.values() for name in joined_by(service))


def joined_by(service: Model) -> list[str]:
    """The containers whose namespaces a service joins by name."""
    return [name for attribute in ("network_mode", "ipc", "pid") if (name := named_container(service.get(attribute)))]


def linked_services(service: Model) -> list[tuple[str, str]]:
    """The (service, alias) pairs of `links`; an absent alias is empty."""
    pairs = []
    for entry in service.get("links") or ():
        linked, _, alias = entry.partition(":")
        pairs.append((linked, alias))
    return pairs


def service_networks(service: Model) -> list[tuple[str, Model | None]]:
    """The networks of a service, the primary first: by priority, then by key."""
    networks: Mapping[str, Model | None] = service.get("networks") or {}
    if service.get("network_mode"):
        return []
    return sorted(networks.items(), key=lambda item: (-int((item[1] or {}).get("priority") or 0), item[0]))
