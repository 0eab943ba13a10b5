"""What is said of a stack, and small readings of its plan and configuration. Pure.

The conditions of a stack on which nothing is left to do follow from what a person set
over the API, from what the plan left out because nobody allowed it, and from the health
of what runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.controllers.conditions import find, with_condition, without
from reconciler.deployments.desired import LABEL_MANAGER
from reconciler.planner import ActionKind, Plan, Readiness, ReadyState
from state.model import Condition, ConditionType, JsonObject, Stack
from state.observed import ObservedProject

FIGHTING = "Fighting"
LABEL_REPLACE = "com.docker.compose.replace"
REPLACED_WITHIN = timedelta(seconds=60)
"""An older successor was left behind by a Compose that was broken off: it is cleared away."""
_SUCCESSOR = re.compile(r"[0-9a-f]{12}_")


def removal_of(config: JsonObject) -> tuple[bool, bool]:
    """Whether volumes and images go with a stack that its source takes away."""
    destroy = config.get("destroy") or {}
    if destroy.get("enabled"):
        return bool(destroy.get("remove_volumes", True)), bool(destroy.get("remove_images", True))
    discovery = config.get("auto_discovery") or {}
    return bool(discovery.get("remove_volumes", False)), bool(discovery.get("remove_images", True))


def optional_only(plan_: Plan, tried: Collection[str]) -> bool:
    """Whether a plan holds nothing but what may fail and was tried already: an image, volume or
    network that somebody else uses stays, and that is no reason to go round again."""
    return all(action.params.get("optional") and action.id in tried for action in plan_.actions)


def superseded(stack: Stack, current: Stack | None) -> bool:
    """Whether something else is wanted of a stack by now than what `stack` says."""
    return (
        current is None
        or current.generation != stack.generation
        or current.deleting != stack.deleting
        or current.pending_recreate != stack.pending_recreate
    )


def being_replaced(seen: ObservedProject, now: datetime) -> bool:
    """Whether somebody is recreating a container with Compose at this very moment.

    Compose makes the successor beside the container, under a name with a prefix, and renames it
    at the end. Whoever repairs the project meanwhile takes the successor away from under it.
    """
    return any(
        LABEL_REPLACE in container.labels
        and LABEL_MANAGER not in container.labels
        and _SUCCESSOR.match(container.name) is not None
        and container.created_at is not None
        and now - container.created_at < REPLACED_WITHIN
        for container in seen.containers
    )


def with_grace(plan_: Plan, grace: float | None) -> Plan:
    """A plan whose stops use the grace time that the caller asked for."""
    if grace is None:
        return plan_
    stops = (ActionKind.STOP_CONTAINER, ActionKind.RESTART_CONTAINER)
    return replace(
        plan_,
        actions=tuple(
            replace(action, params={**action.params, "timeout": grace}) if action.kind in stops else action
            for action in plan_.actions
        ),
    )


def judge(
    stack: Stack, ready: Readiness | None, blocked: Plan | None, *, fought_over: bool = False
) -> tuple[Condition, ...]:
    """The conditions of a stack on which nothing is left to do. One that is still fought over
    stays degraded, however well it looks at the moment."""
    conditions = _judge(stack, ready, blocked)
    return keep_fighting(stack.conditions, conditions) if fought_over else conditions


def keep_fighting(before: Sequence[Condition], conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """`conditions`, but degraded for the fight if that was said before: what the other side
    makes of the stack in the meantime is not the news."""
    degraded = find(before, ConditionType.DEGRADED)
    if degraded is None or not degraded.status or degraded.reason != FIGHTING:
        return conditions
    return with_condition(conditions, ConditionType.DEGRADED, True, FIGHTING, degraded.message, now=degraded.since)


def _judge(stack: Stack, ready: Readiness | None, blocked: Plan | None) -> tuple[Condition, ...]:
    conditions = without(stack.conditions, ConditionType.RECONCILING, ConditionType.BLOCKED)
    overrides = stack.overrides
    if overrides.removed is not None:
        conditions = with_condition(conditions, ConditionType.SUSPENDED, True, "Removed", "removed over the API")
    elif overrides.stopped:
        conditions = with_condition(conditions, ConditionType.SUSPENDED, True, "Stopped", "stopped over the API")
    else:
        conditions = without(conditions, ConditionType.SUSPENDED)
    if blocked is not None and blocked.blocked:
        message = "; ".join(f"{item.target}: {item.reason}" for item in blocked.blocked)
        conditions = with_condition(conditions, ConditionType.BLOCKED, True, blocked.blocked[0].reason.code, message)
    if ready is None:
        return with_condition(
            without(conditions, ConditionType.DEGRADED), ConditionType.READY, False, "Removed", "not deployed"
        )
    if ready.state is ReadyState.READY:
        return with_condition(
            without(conditions, ConditionType.DEGRADED), ConditionType.READY, True, ready.code, ready.message
        )
    conditions = with_condition(conditions, ConditionType.READY, False, ready.code, ready.message)
    if ready.state is ReadyState.FAILED:
        return with_condition(conditions, ConditionType.DEGRADED, True, ready.code, ready.message)
    return conditions


def summary(plan_: Plan, most: int = 6) -> str:
    """The reasons of a plan in one line."""
    texts: list[str] = []
    for action in plan_.actions:
        for reason in action.reasons:
            text = str(reason)
            if text and text not in texts:
                texts.append(text)
    rest = len(texts) - most
    return "; ".join(texts[:most]) + (f"; and {rest} more" if rest > 0 else "")


def only_asks(plan_: Plan) -> bool:
    """Whether a plan does nothing but ask registries if images that are here moved there."""
    return all(action.kind is ActionKind.PULL_IMAGE and action.params.get("if_changed") for action in plan_.actions)
