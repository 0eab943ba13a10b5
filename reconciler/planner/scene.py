"""Everything that was judged, before it becomes actions: what `rollout.py` lays its edges over."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.planner.decisions import Decision, Surroundings
from reconciler.planner.graph import container_name
from reconciler.planner.groups import Groups
from reconciler.planner.model import DesiredStack
from reconciler.planner.resources import NetworkState, VolumeState
from state.observed import ObservedContainer, ObservedProject


@dataclass(slots=True)
class ServicePlan:
    """What is to become of one service: the input of `rollout.py`."""

    name: str
    wanted: int
    keep: list[Decision] = field(default_factory=list)
    """Containers that stay, some of them replaced."""
    surplus: list[ObservedContainer] = field(default_factory=list)
    doubles: list[ObservedContainer] = field(default_factory=list)
    """Second ones of a number that a better one has."""
    create: list[int] = field(default_factory=list)
    """Numbers of containers to make."""
    doomed: list[ObservedContainer] = field(default_factory=list)
    """To be removed and made again because a volume of theirs is."""

    @property
    def leaving(self) -> list[ObservedContainer]:
        """All that are to be removed."""
        return [*self.doubles, *self.surplus, *self.doomed]

    def names(self, desired: DesiredStack) -> list[tuple[str, int]]:
        """(name, number) of its containers after the plan."""
        found = [(decision.final_name, decision.container.number) for decision in self.keep]
        found.extend((container_name(desired.project, self.name, number), number) for number in self.create)
        return sorted(found)


@dataclass(slots=True)
class Scene:
    """Everything the edges are laid over."""

    desired: DesiredStack
    observed: ObservedProject
    groups: Groups
    networks: list[NetworkState]
    volumes: list[VolumeState]
    remade_networks: dict[str, NetworkState]
    remade_volumes: dict[str, VolumeState]
    services: dict[str, ServicePlan]
    around: Surroundings
