"""A small world for tests that tell a story: a stack deployed on a model Engine, then something happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.planner import after_partial, describe, plan
from reconciler.planner.model import Action, DesiredStack, Plan
from state.observed import EngineFacts, ObservedImage
from tests.support.model_engine import ModelEngine
from tests.support.planning import OLD_ENGINE, image, stack

IMAGES = {"app:1": image("app:1"), "app:2": image("app:2")}


@dataclass
class World:
    """An Engine and what was deployed on it last."""

    engine: ModelEngine
    desired: DesiredStack = field(init=False)

    def wants(self, text: str, **fields: Any) -> World:
        self.desired = stack(text, **fields)
        return self

    def changes(self, **fields: Any) -> World:
        self.desired = replace(self.desired, **fields)
        return self

    def policy(self, **changes: Any) -> World:
        self.desired = replace(self.desired, policy=replace(self.desired.policy, **changes))
        return self

    def plan(self) -> Plan:
        desired = replace(self.desired, acknowledged_content=self.engine.acknowledged)
        return plan(desired, self.engine.observe(desired))

    def deploys(self) -> World:
        """Carry the plan out; then there must be nothing left."""
        now = self.plan()
        if now.partial:
            assert self.engine.apply(now, self.desired), describe(now)
            desired = after_partial(self.desired)
            now = plan(desired, self.engine.observe(desired))
        assert self.engine.apply(now, self.desired), describe(now)
        left = self.plan()
        assert left.empty, describe(left)
        return self


def world(
    text: str,
    *,
    behaviour: Mapping[str, str] | None = None,
    images: Mapping[str, ObservedImage] | None = None,
    facts: EngineFacts = OLD_ENGINE,
    **fields: Any,
) -> World:
    """A world in which this stack is wanted and nothing is deployed yet."""
    engine = ModelEngine(facts, images=dict(IMAGES if images is None else images), behaviour=behaviour or {})
    return World(engine).wants(text, **fields)


def kinds(found: Plan) -> list[str]:
    """`kind target` of each action, in the plan's order."""
    return [f"{action.kind} {action.target}" for action in found.actions]


def action(found: Plan, kind: str, target: str = "") -> Action:
    """The one action of a kind (on a target)."""
    fitting = [each for each in found.actions if each.kind == kind and target in ("", each.target)]
    assert len(fitting) == 1, describe(found)
    return fitting[0]


def needs(found: Plan, action_id: str) -> set[str]:
    """All actions that must have ended before this one, directly or through others."""
    by_id = {each.id: each for each in found.actions}
    seen: set[str] = set()
    waiting = [action_id]
    while waiting:
        for need in by_id[waiting.pop()].needs:
            if need not in seen:
                seen.add(need)
                waiting.append(need)
    return seen


def reasons(found: Plan, kind: str = "", target: str = "") -> str:
    """The reasons of the actions of a kind, as text."""
    return "\n".join(
        str(reason)
        for each in found.actions
        if kind in ("", each.kind) and target in ("", each.target)
        for reason in each.reasons
    )
