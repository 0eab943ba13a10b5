"""What the parts of a rollout share: the actions laid so far and what each of them gives free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.planner.decisions import Decision
from reconciler.planner.draft import Draft
from reconciler.planner.labels import ACTIVE, remove, stop
from reconciler.planner.model import ActionKind, Blocked
from reconciler.planner.scene import Scene
from state.model import Reason
from state.observed import ObservedContainer


@dataclass(slots=True)
class Rollout:
    """What is known of the actions laid so far."""

    draft: Draft
    scene: Scene
    networks: dict[str, str] = field(default_factory=dict)
    """Real network name -> the action that makes it."""
    volumes: dict[str, str] = field(default_factory=dict)
    made: dict[str, list[str]] = field(default_factory=dict)
    """Service -> actions that make its containers (creations and replacements)."""
    started: dict[str, list[str]] = field(default_factory=dict)
    """Service -> actions after which its containers run."""
    stops: dict[str, ObservedContainer] = field(default_factory=dict)
    frees_name: dict[str, str] = field(default_factory=dict)
    """Container name -> the action after which nobody holds it any more."""
    frees: dict[str, str] = field(default_factory=dict)
    """Container id -> the action after which it no longer runs."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Service -> why those who require it cannot be started."""

    def stop(self, container: ObservedContainer, reasons: Iterable[Reason], *, pre_stop: bool = False) -> str:
        action_id = stop(self.draft, container, reasons, pre_stop=pre_stop)
        self.stops[action_id] = container
        self.frees.setdefault(container.id, action_id)
        return action_id

    def remove(self, container: ObservedContainer, reasons: list[Reason], *, pre_stop: bool = False) -> str:
        """Stop (if it runs) and remove a container."""
        needs = []
        if container.state in ACTIVE:
            needs.append(self.stop(container, reasons, pre_stop=pre_stop))
        action_id = remove(self.draft, container, reasons, needs=needs)
        self.frees_name[container.name] = action_id
        return action_id


def name_taken(rollout: Rollout, service: str, final: str) -> bool:
    foreign = rollout.scene.observed.foreign_names.get(final)
    if foreign is None:
        foreign = next(
            (
                container.id
                for container in rollout.scene.observed.containers
                if container.name == final and _keeps_name(rollout, container)
            ),
            None,
        )
    if foreign is None:
        return False
    why = f"the name {final} is held by container {foreign[:12]}, which is none of this service's"
    rollout.draft.blocked.append(Blocked(final, Reason("NameTaken", why)))
    rollout.unavailable[service] = why
    return True


def _keeps_name(rollout: Rollout, container: ObservedContainer) -> bool:
    """Whether a container of the project still has its name after this plan."""
    if container.name in rollout.frees_name:
        return False
    for service in rollout.scene.services.values():
        for decision in service.keep:
            if decision.container.id == container.id:
                return decision.final_name == container.name
    return True


def disconnects(rollout: Rollout, decision: Decision, network: str) -> list[str]:
    action_id = f"{ActionKind.DISCONNECT_NETWORK}:{decision.container.name}:{network}"
    return [action_id] if action_id in rollout.draft else []
