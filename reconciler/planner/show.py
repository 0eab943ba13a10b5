"""A plan as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.planner.model import Action, ActionKind, Blocked, Plan
from reconciler.planner.specs import Json
from state.model import Reason

_WORDS = {
    ActionKind.PULL_IMAGE: "pull image",
    ActionKind.BUILD_IMAGE: "build image",
    ActionKind.CREATE_NETWORK: "create network",
    ActionKind.REMOVE_NETWORK: "remove network",
    ActionKind.CREATE_VOLUME: "create volume",
    ActionKind.REMOVE_VOLUME: "remove volume, with its data:",
    ActionKind.CREATE_CONTAINER: "create container",
    ActionKind.REPLACE_CONTAINER: "replace container",
    ActionKind.HAND_OVER: "hand over to the successor of container",
    ActionKind.UPDATE_CONTAINER: "update container",
    ActionKind.RENAME_CONTAINER: "rename container to",
    ActionKind.CONNECT_NETWORK: "connect container",
    ActionKind.DISCONNECT_NETWORK: "disconnect container",
    ActionKind.START_CONTAINER: "start container",
    ActionKind.STOP_CONTAINER: "stop container",
    ActionKind.RESTART_CONTAINER: "restart container",
    ActionKind.UNPAUSE_CONTAINER: "unpause container",
    ActionKind.SIGNAL_CONTAINER: "signal container",
    ActionKind.REMOVE_CONTAINER: "remove container",
    ActionKind.REMOVE_IMAGE: "remove image",
    ActionKind.RUN_HOOK: "run hook before",
    ActionKind.WAIT_SERVICE: "wait for service",
}


def action_text(action: Action) -> str:
    """One action in words, without its reasons."""
    words = f"{_WORDS[action.kind]} {action.target}"
    if action.kind in (ActionKind.CONNECT_NETWORK, ActionKind.DISCONNECT_NETWORK):
        joint = "to" if action.kind is ActionKind.CONNECT_NETWORK else "from"
        return f"{words} {joint} network {action.params['network']}"
    if action.kind is ActionKind.WAIT_SERVICE:
        return f"{words}: {action.params['condition']}"
    if action.kind is ActionKind.SIGNAL_CONTAINER:
        return f"{words} with {action.params['signal']}"
    return words


def _reasons(reasons: Iterable[Reason]) -> list[str]:
    lines = []
    for reason in reasons:
        if reason.message:
            lines.append(f"    {reason.message}")
        lines.extend(f"    {change}" for change in reason.changes)
    return lines or ["    (no reason given)"]


def describe(plan: Plan) -> str:
    """The plan as `moored plan` prints it."""
    lines = [f"stack {plan.key}: {_count(plan)}"]
    for action in plan.actions:
        lines.append(f"  {action_text(action)}")
        lines.extend(_reasons(action.reasons))
    if plan.partial:
        lines.append("  (what follows depends on these images)")
    for title, items in (("blocked", plan.blocked), ("drift left as it is", plan.drift)):
        for item in items:
            lines.append(f"  {title}: {item.target}")
            lines.extend(_reasons((item.reason,)))
    lines.extend(f"  warning: {warning}" for warning in plan.warnings)
    return "\n".join(lines)


def _count(plan: Plan) -> str:
    if plan.empty:
        return "nothing to do"
    return f"{len(plan.actions)} action{'' if len(plan.actions) == 1 else 's'}"


def _reason_json(reason: Reason) -> Json:
    return {
        "code": reason.code,
        "message": reason.message,
        "changes": [{"field": change.field, "old": change.old, "new": change.new} for change in reason.changes],
    }


def _blocked_json(item: Blocked) -> Json:
    return {"target": item.target, "reason": _reason_json(item.reason)}


def as_json(plan: Plan) -> Json:
    """The plan as JSON values."""
    return {
        "context": plan.key.context,
        "stack": plan.key.name,
        "empty": plan.empty,
        "partial": plan.partial,
        "actions": [
            {
                "id": action.id,
                "kind": str(action.kind),
                "target": action.target,
                "service": action.service,
                "description": action_text(action),
                "reasons": [_reason_json(reason) for reason in action.reasons],
                "needs": sorted(action.needs),
                "params": dict(action.params),
            }
            for action in plan.actions
        ],
        "blocked": [_blocked_json(item) for item in plan.blocked],
        "drift": [_blocked_json(item) for item in plan.drift],
        "warnings": list(plan.warnings),
    }
