"""The containers of each service, sorted into what they are: replicas, leftovers, orphans.

An interrupted replacement leaves two containers of one number, or one with a temporary
name. They are told apart here, so that the rest of planning sees clean groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.planner.containers import LABEL_HOOK
from reconciler.planner.labels import is_ours
from reconciler.planner.model import DesiredStack
from reconciler.planner.naming import is_parked, predecessor_of
from state.observed import ObservedContainer, ObservedProject


@dataclass(slots=True)
class Groups:
    """All of a project's containers, each in exactly one place (or left alone)."""

    replicas: dict[str, list[ObservedContainer]] = field(default_factory=dict)
    """Enabled service -> its containers, by number."""
    strays: dict[str, list[ObservedContainer]] = field(default_factory=dict)
    """Service -> successors never finished, whose predecessor still exists."""
    interrupted: set[str] = field(default_factory=set)
    """Ids of those predecessors, and of those that gave their name away already: whatever they
    look like, they were meant to run."""
    dead: list[ObservedContainer] = field(default_factory=list)
    leaving: list[ObservedContainer] = field(default_factory=list)
    """Being removed by the Engine right now."""
    hooks: dict[str, list[ObservedContainer]] = field(default_factory=dict)
    """Service -> `pre_start` containers left behind."""
    orphans: list[ObservedContainer] = field(default_factory=list)
    others: list[ObservedContainer] = field(default_factory=list)
    """Of the project, but none of our business: one-offs at work, services of other profiles."""


def sort_containers(desired: DesiredStack, observed: ObservedProject) -> Groups:
    """Put every container in its place."""
    groups = Groups()
    project = desired.project
    ids = {container.id[:12]: container for container in observed.containers}
    for container in observed.containers:
        service = container.service
        if not is_ours(container):
            continue
        if container.state == "removing":
            groups.leaving.append(container)
        elif LABEL_HOOK in container.labels:
            if service in project.services:
                groups.hooks.setdefault(service, []).append(container)
            else:
                groups.orphans.append(container)
        elif container.oneoff:
            (groups.orphans if container.state in ("exited", "dead") else groups.others).append(container)
        elif service in project.disabled_services:
            groups.others.append(container)
        elif service not in project.services:
            groups.orphans.append(container)
        elif container.state == "dead":
            groups.dead.append(container)
        else:
            _place_replica(groups, container, ids)
    for members in groups.replicas.values():
        members.sort(key=lambda container: (container.number, container.name))
    return groups


def _place_replica(groups: Groups, container: ObservedContainer, ids: dict[str, ObservedContainer]) -> None:
    predecessor = ids.get(predecessor_of(container))
    unfinished = (
        predecessor is not None
        and predecessor.service == container.service
        and predecessor.state not in ("dead", "removing")
    )
    if unfinished and predecessor is not None:
        groups.strays.setdefault(container.service, []).append(container)
        groups.interrupted.add(predecessor.id)
    else:
        if is_parked(container):
            groups.interrupted.add(container.id)
        groups.replicas.setdefault(container.service, []).append(container)
