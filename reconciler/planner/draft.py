"""A plan while it is being written: actions by id, edges added later, never a cycle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.planner.graph import dependency_order
from reconciler.planner.model import Action, ActionKind, Blocked, Plan
from state.model import Reason, StackKey


@dataclass(slots=True)
class _Step:
    kind: ActionKind
    target: str
    service: str
    reasons: list[Reason]
    needs: set[str]
    params: dict[str, Any]


@dataclass(slots=True)
class Draft:
    """Collects actions; the same action asked for twice is one action with both reasons."""

    key: StackKey
    blocked: list[Blocked] = field(default_factory=list)
    drift: list[Blocked] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _steps: dict[str, _Step] = field(default_factory=dict)

    def add(
        self,
        kind: ActionKind,
        target: str,
        *,
        service: str = "",
        reasons: Iterable[Reason] = (),
        needs: Iterable[str] = (),
        params: Mapping[str, Any] | None = None,
        suffix: str = "",
    ) -> str:
        """Add an action (or reasons, needs and params to it) and return its id."""
        action_id = f"{kind}:{target}{f':{suffix}' if suffix else ''}"
        step = self._steps.get(action_id)
        if step is None:
            self._steps[action_id] = _Step(kind, target, service, list(reasons), set(needs), dict(params or {}))
            return action_id
        step.reasons.extend(reason for reason in reasons if reason not in step.reasons)
        step.needs.update(needs)
        step.params.update(params or {})
        return action_id

    def acknowledge(self, action_id: str, told: Mapping[str, str]) -> None:
        """What is to be remembered of the action's container once it ended well."""
        step = self._steps[action_id]
        step.params["acknowledge"] = {**step.params.get("acknowledge", {}), **told}

    def __contains__(self, action_id: str) -> bool:
        return action_id in self._steps

    @property
    def ids(self) -> list[str]:
        return list(self._steps)

    def of_kind(self, kind: ActionKind) -> list[str]:
        """The ids of the actions of a kind."""
        return [action_id for action_id, step in self._steps.items() if step.kind is kind]

    def reaches(self, start: str, goal: str) -> bool:
        """Whether `start` needs `goal`, directly or through others."""
        seen, stack = set(), [start]
        while stack:
            current = stack.pop()
            if current == goal:
                return True
            if current not in seen:
                seen.add(current)
                stack.extend(self._steps[current].needs & self._steps.keys())
        return False

    def after(self, action_id: str, need: str) -> bool:
        """Let an action wait for another, unless that other waits for it: then say False."""
        if action_id == need or need not in self._steps:
            return True
        if self.reaches(need, action_id):
            return False
        self._steps[action_id].needs.add(need)
        return True

    def finish(self, *, partial: bool = False) -> Plan:
        """The plan, its actions in an order in which each comes after its needs."""
        order = dependency_order({action_id: step.needs for action_id, step in self._steps.items()})
        actions = tuple(
            Action(
                id=action_id,
                kind=step.kind,
                target=step.target,
                service=step.service,
                reasons=tuple(step.reasons),
                needs=frozenset(step.needs & self._steps.keys()),
                params=step.params,
            )
            for action_id in order
            for step in (self._steps[action_id],)
        )
        return Plan(
            key=self.key,
            actions=actions,
            blocked=tuple(self.blocked),
            warnings=tuple(dict.fromkeys(self.warnings)),
            drift=tuple(self.drift),
            partial=partial,
        )
