"""What is said of a stack: its conditions, generations and fights, written where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio

from reconciler.controllers.conditions import find, same, with_condition, without
from reconciler.controllers.counting import StackCounts
from reconciler.controllers.endings import Failed, Later
from reconciler.controllers.fights import FightWatch
from reconciler.controllers.verdicts import FIGHTING, keep_fighting, summary
from reconciler.log import get_logger
from reconciler.planner import Plan
from state.events import EventHub
from state.model import Condition, ConditionType, Stack
from state.store import Store

_log = get_logger()


class StackStatus:
    """Writes the status of stacks."""

    def __init__(self, store: Store, hub: EventHub, counts: StackCounts, fights: FightWatch) -> None:
        self._store = store
        self._hub = hub
        self._counts = counts
        self._fights = fights

    async def set_conditions(self, stack: Stack, conditions: Sequence[Condition], **fields: Any) -> None:
        """Write conditions and fields, but only what differs."""
        self._counts.ready(stack.key, conditions)
        if fields.get("observed_generation") == stack.observed_generation:
            fields.pop("observed_generation")
        if fields.get("ready_revision") in (None, stack.ready_revision):
            fields.pop("ready_revision", None)
        if not fields and same(stack.conditions, conditions):
            return
        current = await self._store.get_stack(stack.key)
        if current is not None and not same(current.conditions, conditions):
            fields["conditions"] = conditions
            for condition in conditions:
                self._hub.publish(
                    str(stack.key),
                    "condition",
                    {"type": condition.type.value, "status": condition.status, "reason": condition.reason},
                )
        if fields:
            await self._store.update_stack(stack.key, **fields)

    async def fail(self, stack: Stack, reason: str, message: str, *, delay: float | None = None) -> Failed:
        """Write the conditions of a failure and return the exception to raise."""
        current = await self._store.get_stack(stack.key) or stack
        conditions = with_condition(current.conditions, ConditionType.READY, False, reason, message)
        conditions = with_condition(conditions, ConditionType.DEGRADED, True, reason, message)
        conditions = without(conditions, ConditionType.RECONCILING)
        if self._fights.calm_in(stack.key, anyio.current_time()):
            conditions = keep_fighting(current.conditions, conditions)
        await self.set_conditions(current, conditions, observed_generation=stack.generation)
        return Failed(reason, message, delay=delay)

    async def fight(self, stack: Stack, plan_: Plan, *, asked: bool) -> Stack:
        """Notice a fight; returns the stack with what is said of it. Raises `Later` while it is not
        yet time for the next round."""
        now = anyio.current_time()
        round_ = self._fights.round(stack.key, stack.generation, plan_, now, asked=asked)
        if round_.fight:
            current = await self._store.get_stack(stack.key) or stack
            degraded = find(current.conditions, ConditionType.DEGRADED)
            if degraded is None or not degraded.status or degraded.reason != FIGHTING:
                message = f"the same repair {round_.number} times in a row: {summary(plan_)}"
                await self.set_conditions(
                    current, with_condition(current.conditions, ConditionType.DEGRADED, True, FIGHTING, message)
                )
                current = await self._store.get_stack(stack.key) or current
                stack = replace(stack, conditions=current.conditions)
                _log.warning("stack is fought over", **log_fields(stack), reason=message)
        if round_.wait:
            message = f"fought over, the next repair comes in {round_.wait:.0f} s: {summary(plan_)}"
            raise Later(round_.wait, message)
        return stack


def log_fields(stack: Stack, job_id: str = "", more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What every log line about a stack carries."""
    fields: dict[str, Any] = {
        "stack": stack.key.name,
        "context": stack.key.context,
        "repository": stack.repository,
        "revision": stack.revision,
    }
    if job_id:
        fields["job_id"] = job_id
    fields.update(more or {})
    return fields
