"""What is remembered of a stack's containers, so that a crash forgets nothing that no look brings back.

The Engine does not tell that a container ended because we stopped it, nor whether the
`post_start` commands of one that runs were carried out, nor what a container that is gone has
used. All that is written down before a plan is carried out; what came of it, afterwards. Whatever
was not carried out to its end stays noted for the plan that follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.engine.execute import ExecutionResult, Progress
from reconciler.planner import Action, ActionKind, Plan
from reconciler.planner.lifecycle import POST_START, STOPPED, TO_REMOVE, run_of
from state.model import JsonObject, Stack
from state.observed import ObservedContainer, ObservedProject
from state.store import Store

_OPEN = (POST_START, TO_REMOVE)


def noted_before(known: JsonObject, plan: Plan, seen: ObservedProject) -> JsonObject:
    """What is known with what a plan is about to do: stops, starts with `post_start` commands, and
    removals that follow those of containers."""
    noted = {key: dict(values) for key, values in known.items()}
    for action in plan.actions:
        stopped = (action.params.get("acknowledge") or {}).get(STOPPED)
        if stopped:
            noted.setdefault(str(action.params["container"]), {})[STOPPED] = stopped
        if has_commands(action):
            noted.setdefault(POST_START, {})[action.target] = _run_before(action, seen)
        if action.kind in (ActionKind.REMOVE_IMAGE, ActionKind.REMOVE_VOLUME) and action.params.get("optional"):
            noted.setdefault(TO_REMOVE, {})[action.id] = str(action.params.get("reference") or "")
    return noted


def noted_after(
    known: Mapping[str, Mapping[str, str]], result: ExecutionResult, open_: JsonObject | None = None
) -> JsonObject:
    """What is known after a plan was carried out; `known` is what was before. Of one that gave way
    to something else, what may still be due stays: `open_`."""
    noted = {key: dict(values) for key, values in known.items()}
    for container, told in result.acknowledged.items():
        noted.setdefault(container, {}).update(told)
    after = {
        container: values
        for container, values in forget_open(noted).items()
        if container in result.present or not result.present
    }
    due = {key: values for key, values in (open_ or {}).items() if key in _OPEN} if result.interrupted else {}
    return {**after, **due}


def forget_open(known: JsonObject) -> JsonObject:
    """What is known without what may still be due: nothing is left to do."""
    return {key: values for key, values in known.items() if key not in _OPEN}


def has_commands(action: Action) -> bool:
    """Whether `post_start` commands belong to an action."""
    kinds = (ActionKind.START_CONTAINER, ActionKind.RESTART_CONTAINER)
    return action.kind in kinds and bool(action.params.get("post_start"))


def _run_before(action: Action, seen: ObservedProject) -> str:
    """The run (of a container) after which the commands are due; empty: they are due already."""
    found = next((c for c in seen.containers if _is_about(action, c)), None)
    if found is None or (
        action.kind is ActionKind.START_CONTAINER and action.params.get("container") and found.state == "running"
    ):
        return ""
    return run_of(found)


def _is_about(action: Action, container: ObservedContainer) -> bool:
    given = action.params.get("container")
    return container.id == given if given else container.name == action.target


@dataclass
class NotingProgress:
    """A `Progress` that crosses out `post_start` commands as soon as they were carried out."""

    inner: Progress
    store: Store
    stack: Stack
    """Keeps up with what is noted."""

    async def started(self, action: Action) -> None:
        await self.inner.started(action)

    async def finished(self, action: Action, error: str | None) -> None:
        if error is None and has_commands(action):
            noted = dict(self.stack.acknowledged)
            due = {name: run for name, run in noted.pop(POST_START, {}).items() if name != action.target}
            if due:
                noted[POST_START] = due
            self.stack = replace(self.stack, acknowledged=noted)
            await self.store.update_stack(self.stack.key, acknowledged=noted)
        await self.inner.finished(action, error)

    async def log(self, action: Action, line: str) -> None:
        await self.inner.log(action, line)
