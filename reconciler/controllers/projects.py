"""What a person asks of a project over the API: start, stop, restart, remove.

On a stack that Moored manages, start, stop and remove are changes of the desired state
(an override), and the stack reconciler does the rest; so they survive a crash by
themselves. Restart is one action on what runs: which containers it has already
restarted is noted durably, so that a crash neither loses it nor restarts them twice. On
a project of somebody else the call acts once on what exists.

Commands for one project are carried out one after the other, in the order they came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
from anyio.abc import TaskGroup

from reconciler.controllers.contexts import DockerContext, UnknownContext
from reconciler.controllers.record import RunRecorder, finished, utcnow
from reconciler.controllers.stacks import StackController
from reconciler.controllers.supervise import unexpected
from reconciler.engine.errors import EngineError, EngineUnreachable
from reconciler.engine.snapshot import observe_project
from reconciler.engine.waiting import PROOF
from reconciler.log import get_logger
from reconciler.planner import Action, Plan, PlanError, plan_down, plan_restart, plan_start, plan_stop
from reconciler.planner.labels import is_replica, is_up
from state.errors import StateError
from state.events import EventHub
from state.model import (
    DEFAULT_CONTEXT,
    Intent,
    IntentKind,
    JsonObject,
    Overrides,
    Removal,
    Run,
    RunStatus,
    Stack,
    StackKey,
    StackOutcome,
    Trigger,
)
from state.observed import ObservedProject
from state.store import Store

_log = get_logger()

RETRY_DELAY = 2.0
"""Seconds between attempts while the Engine or the store cannot be reached."""
LONGEST = 1e8
"""Seconds that stand for "no limit" where more were asked for than an Engine can count."""
OWN_TIME = 1.0
"""Seconds of a start that are our own: a caller that gives the application one second means the application."""

_GRACE = (IntentKind.PROJECT_STOP, IntentKind.PROJECT_REMOVE)
"""Commands whose `timeout` is what a container gets to stop."""


class _Refused(Exception):
    """The command cannot be carried out; the caller is told why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Command:
    intent: Intent
    run: Run
    key: StackKey
    payload: JsonObject
    progress: dict[str, Any]
    """What was done already: kept here while this process retries, and in the store over a crash."""

    @property
    def timeout(self) -> float:
        return min(float(self.payload.get("timeout", 30)), LONGEST)

    @property
    def unhealthy(self) -> _Refused:
        """What a start ends with whose time is over."""
        return _Refused("Timeout", f"application not healthy after {self.timeout:g}s")


class ProjectController:
    """Carries out project intents."""

    def __init__(self, *, store: Store, stacks: StackController, hub: EventHub) -> None:
        self._store = store
        self._stacks = stacks
        self._hub = hub
        self._queues: dict[StackKey, list[_Command]] = {}
        self._tasks: TaskGroup | None = None
        self._acting = 0
        self._idle = anyio.Event()
        self._draining = False

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve for ever."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            await anyio.sleep_forever()

    def accept(self, intent: Intent, run: Run) -> None:
        """Take up an intent; commands of one project follow each other."""
        key = StackKey(str(intent.payload.get("context") or DEFAULT_CONTEXT), str(intent.payload["name"]))
        command = _Command(intent, run, key, intent.payload, dict(intent.progress))
        if key in self._queues:
            self._queues[key].append(command)
            return
        self._queues[key] = [command]
        if self._tasks is None:
            raise RuntimeError("project controller is not running")
        self._tasks.start_soon(self._work, key, name=f"project {key}")

    async def drain(self) -> None:
        """Begin no further command; return when the restarts and removals under way have ended."""
        self._draining = True
        while self._acting:
            await self._idle.wait()

    async def _work(self, key: StackKey) -> None:
        queue = self._queues[key]
        while queue:
            if self._draining:
                await anyio.sleep_forever()
            await self._carry_out(queue[0])
            queue.pop(0)
        del self._queues[key]

    async def _carry_out(self, command: _Command) -> None:
        """One command, until it has an outcome; an Engine or store that is away is waited for."""
        run = replace(command.run, status=RunStatus.RUNNING, started_at=utcnow(), updated_at=utcnow())
        said = ""
        while True:
            try:
                await self._store.put_run(run)
                message = await self._act(command)
                await self._finish(finished(run, RunStatus.SUCCEEDED, message))
                return
            except _Refused as refusal:
                await self._finish(
                    finished(
                        run,
                        RunStatus.FAILED,
                        str(refusal),
                        error=str(refusal),
                        content=str(refusal),
                        code=refusal.code,
                    )
                )
                return
            except (EngineUnreachable, StateError) as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("command waits", job_id=run.job_id, stack=command.key.name, error=said)
                await anyio.sleep(RETRY_DELAY)
            except Exception as error:  # the edge of a command: a fault of ours must not take the others along
                message = unexpected(f"command {run.job_id}", error)
                ended = finished(run, RunStatus.FAILED, message, error=message, content=message, code="Internal")
                await self._finish(ended)
                return

    async def _finish(self, run: Run) -> None:
        run = replace(run, stacks=tuple(replace(stack, status=run.status, message=run.message) for stack in run.stacks))
        while True:
            try:
                await self._store.finish(run)
                break
            except StateError as error:
                _log.error("the store cannot be used", job_id=run.job_id, error=str(error))
                await anyio.sleep(RETRY_DELAY)
        self._hub.publish(run.job_id, "status", {"status": run.status.value, "message": run.message})

    async def _act(self, command: _Command) -> str:
        key, name = command.key, command.key.name
        stack = await self._store.get_stack(key)
        kind = command.intent.kind
        if kind is IntentKind.OVERRIDE_CLEAR:
            if stack is None:
                raise _Refused("NotManaged", f"project is not managed: {name}")
            await self._override(command, stack, Overrides())
            return f"override cleared: {name}"
        if kind is IntentKind.PROJECT_RESTART:
            await self._restart(command, stack)
            return f"project restarted: {name}"
        if stack is None:
            await self._act_once(command)
        elif kind is IntentKind.PROJECT_STOP:
            await self._override(command, stack, replace(stack.overrides, stopped=True))
        elif kind is IntentKind.PROJECT_START:
            await self._override(command, stack, replace(stack.overrides, stopped=False, removed=None))
        elif kind is IntentKind.PROJECT_REMOVE:
            removal = Removal(
                stack.desired_hash,
                volumes=bool(command.payload.get("volumes", True)),
                images=bool(command.payload.get("images", True)),
            )
            await self._override(command, stack, replace(stack.overrides, removed=removal))
        done = {
            IntentKind.PROJECT_START: "started",
            IntentKind.PROJECT_STOP: "stopped",
            IntentKind.PROJECT_REMOVE: "removed",
        }[kind]
        return f"project {done}: {name}"

    async def _override(self, command: _Command, stack: Stack, overrides: Overrides) -> None:
        """Write an override and see the stack follow it."""
        await self._store.set_overrides(stack.key, overrides)
        starting = command.intent.kind is IntentKind.PROJECT_START
        outcome: StackOutcome | None = None
        async with anyio.create_task_group() as tasks:
            if starting and command.timeout > 0:
                tasks.start_soon(self._time_out, stack.key, command.timeout, tasks.cancel_scope)
            outcome = await self._stacks.deploy(
                stack.key,
                job_id=command.run.job_id,
                trigger=Trigger.API.value,
                explicit=True,
                stop_timeout=command.timeout if command.intent.kind in _GRACE else None,
            )
            tasks.cancel_scope.cancel()
        if outcome is None:
            raise command.unhealthy
        if outcome.status is RunStatus.FAILED:
            raise _Refused("ActionFailed", outcome.message)

    async def _time_out(self, key: StackKey, seconds: float, waiting: anyio.CancelScope) -> None:
        """End the wait for a start. The time is for the application: while the Engine is away, it is the
        Engine that is waited for, and what looks well when the time is over is about to be found so."""
        await anyio.sleep(seconds)
        while not waiting.cancel_called:
            await anyio.sleep(OWN_TIME)
            if not self._stacks.well(key):
                waiting.cancel()

    async def _restart(self, command: _Command, stack: Stack | None) -> None:
        """Restart what runs, once each; a stopped stack is started (the override ends). One that was
        removed stays away: only a start, a poll asked for or a change of its own brings it back.

        Since when each container runs is noted before the first of them is touched. When the
        command is taken up again, those that run since another moment had their restart, or are
        new: they are left alone.
        """
        if stack is not None and stack.overrides.stopped and stack.overrides.removed is None:
            await self._override(command, stack, replace(stack.overrides, stopped=False))
            return
        before: dict[str, str] | None = command.progress.get("before")

        async def decide(seen: ObservedProject) -> Plan:
            nonlocal before
            plan_ = plan_restart(command.key, seen, timeout=command.timeout)
            if before is None:
                before = {container.id: str(container.started_at) for container in seen.containers}
                command.progress["before"] = before
                await self._store.note_progress(command.intent.id, command.progress)
                return plan_
            fresh = frozenset(c.id for c in seen.containers if before.get(c.id) != str(c.started_at))
            return _without(plan_, fresh)

        await self._execute(command, decide)
        if stack is not None:
            self._stacks.wake(stack.key, now=True)

    async def _act_once(self, command: _Command) -> None:
        """Act on a project that nobody here manages."""
        key, timeout = command.key, command.timeout
        kind = command.intent.kind

        async def decide(seen: ObservedProject) -> Plan:
            if kind is IntentKind.PROJECT_START:
                return plan_start(key, seen, timeout=max(0.0, timeout))
            if kind is IntentKind.PROJECT_STOP:
                return plan_stop(key, seen, timeout=timeout)
            images: bool | str = True if command.payload.get("images", True) else "local"
            volumes = bool(command.payload.get("volumes", True))
            return plan_down(key, seen, project=None, volumes=volumes, images=images, timeout=timeout)

        began = anyio.current_time()
        context = await self._execute(command, decide)
        if kind is IntentKind.PROJECT_START:
            left = None if timeout <= 0 else max(0.0, began + timeout + OWN_TIME - anyio.current_time())
            await self._ready(command, context, left)

    async def _ready(self, command: _Command, context: DockerContext, seconds: float | None) -> None:
        """Wait until all containers of a project run and are healthy, or have done their work."""
        name = command.key.name
        topics = (("observed", context.name, name), ("connection", context.name))
        with context.observed.watch.subscribe(*topics) as changed:
            with anyio.move_on_after(seconds):
                await anyio.sleep(PROOF.total_seconds())
                try:
                    while not _all_ready(await observe_project(context.engine, context.observed, name)):
                        await changed.wait()
                except EngineUnreachable:
                    raise
                except EngineError as error:
                    raise _Refused("EngineRefused", str(error)) from error
                return
        raise command.unhealthy

    async def _execute(self, command: _Command, decide: Callable[[ObservedProject], Awaitable[Plan]]) -> DockerContext:
        try:
            async with self._stacks.exclusive(command.key) as context:
                seen = await observe_project(context.engine, context.observed, command.key.name)
                plan_ = await decide(seen)
                if plan_.empty:
                    return context
                recorder = RunRecorder(
                    store=self._store,
                    hub=self._hub,
                    job_id=command.run.job_id,
                    stack=command.key.name,
                    context=command.key.context,
                    fields={"trigger": "api"},
                )
                await recorder.plan(plan_)
                self._acting += 1
                try:
                    result = await context.executor.execute(plan_, None, recorder)
                    await recorder.flush()
                finally:
                    self._acting -= 1
                    if not self._acting:
                        self._idle.set()
                        self._idle = anyio.Event()
        except UnknownContext as error:
            raise _Refused("UnknownContext", str(error)) from error
        except PlanError as error:
            raise _Refused("Unsupported", str(error)) from error
        except EngineUnreachable:
            raise
        except EngineError as error:
            raise _Refused("EngineRefused", str(error)) from error
        if not result.ok:
            raise _Refused(result.code or "ActionFailed", result.message)
        return context


def _all_ready(seen: ObservedProject) -> bool:
    """Whether nothing is left to wait for; raises `_Refused` when waiting is of no use."""
    ready = True
    for container in seen.containers:
        if not is_replica(container) or container.state in ("dead", "removing"):
            continue
        if container.state == "exited":
            if container.exit_code:
                raise _Refused("Exited", f"container {container.name} exited ({container.exit_code})")
            continue
        if container.state == "running" and container.health == "unhealthy":
            raise _Refused("Unhealthy", f"container {container.name} is unhealthy")
        ready = ready and is_up(container)
    return ready


def _without(plan_: Plan, containers: frozenset[str]) -> Plan:
    """A plan without the actions on containers that are done already."""
    gone = {action.id for action in plan_.actions if str(action.params.get("container", "")) in containers}
    kept: Sequence[Action] = [
        replace(action, needs=action.needs - gone) for action in plan_.actions if action.id not in gone
    ]
    return replace(plan_, actions=tuple(kept))
