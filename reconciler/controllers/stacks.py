"""The stack reconcilers: what should run, runs.

A key `(context, name)` enters the queue when its desired state changed, when one of its
containers did, when a person asked, when the Engine came back, and at every resync. The
worker then does always the same: read what is desired (store) and what is seen (cache),
plan, and when the plan is not empty look at the Engine afresh, carry the plan out and
look again, until nothing is left to do. Then the stack's health decides its conditions.

The first look costs no Engine call, whoever asks: the observer hears of everything that happens.
A stack that is as it should be, and ready, ends there.

`deploy` is for those who want to know how it ends: it enqueues the key and waits for the
first reconcile that began afterwards to succeed or fail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from anyio.abc import TaskGroup

from reconciler.controllers.conditions import find, is_true, same, with_condition, without
from reconciler.controllers.contexts import Contexts, DockerContext, UnknownContext
from reconciler.controllers.counting import StackCounts
from reconciler.controllers.fights import FightWatch
from reconciler.controllers.queue import WorkQueue
from reconciler.controllers.record import RunRecorder, finished, new_run, utcnow
from reconciler.controllers.supervise import supervise, unexpected
from reconciler.controllers.verdicts import (
    FIGHTING,
    being_replaced,
    judge,
    keep_fighting,
    only_asks,
    optional_only,
    removal_of,
    summary,
    superseded,
    with_grace,
)
from reconciler.deployments.desired import desired_of, force_requested
from reconciler.engine.errors import EngineError, EngineUnreachable, first_error
from reconciler.engine.execute import ExecutionResult, Silent
from reconciler.engine.snapshot import cached_project, observe_project
from reconciler.engine.waiting import settled
from reconciler.log import get_logger
from reconciler.planner import (
    DesiredStack,
    Plan,
    PlanError,
    Readiness,
    ReadyState,
    plan,
    plan_down,
    readiness,
)
from state.errors import StateError
from state.events import EventHub
from state.metrics import Metrics
from state.model import (
    Condition,
    ConditionType,
    RunStatus,
    Stack,
    StackKey,
    StackOutcome,
    Trigger,
)
from state.observed import ObservedProject
from state.store import Store
from state.watch import Topic

_log = get_logger()

MAX_ROUNDS = 8
"""Plans of one reconcile: images, then containers, then what an interrupted earlier attempt
left; more means that acting does not bring us nearer."""

NAME_TAKEN = "NameTaken"
"""Reason of what is blocked by a container of the same name outside the stack."""
NAME_PATIENCE = 15.0
"""Seconds until a name that is held counts as held for good."""
PING_DEADLINE = 10.0
WAIT_DELAY = 15.0
"""Seconds after which a stack that waits for its Engine is looked at without being told."""
REPLACING_DELAY = 1.0
"""Seconds between two looks while somebody else recreates a container."""
HEALTH_DELAY = 60.0
"""Seconds after which a stack whose health failed is looked at without an event."""
PROGRESS_DELAY = 15.0
"""Seconds after which a stack whose health is still developing is looked at without an event."""


@dataclass
class _Request:
    """Somebody waits for the outcome of a reconcile."""

    job_id: str
    explicit: bool
    trigger: str
    stop_timeout: float | None = None
    done: anyio.Event = field(default_factory=anyio.Event)
    outcome: StackOutcome | None = None


class _Wait(Exception):
    """The reconcile cannot go on now; something else will wake the key."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Connecting(Exception):
    """The Engine was not asked yet: soon after a start, that says nothing about a stack."""


class _Later(Exception):
    """It is not time yet to act; nothing is wrong that was not said before."""

    def __init__(self, delay: float, message: str) -> None:
        super().__init__(message)
        self.delay = delay


class _Interrupted(Exception):
    """Waiting for health gave way to somebody who has something to do with the stack, or something
    else is wanted of it than when the work began. It is taken up again at once."""


class _Failed(Exception):
    """The reconcile failed; it is tried again later."""

    def __init__(self, reason: str, message: str, *, delay: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.delay = delay


class StackController:
    """Reconciles stacks. `run` keeps it going; the other methods are for its neighbours."""

    def __init__(
        self,
        *,
        store: Store,
        contexts: Contexts,
        hub: EventHub,
        resync: float,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._contexts = contexts
        self._hub = hub
        self._resync = resync
        self._metrics = metrics
        self._counts = StackCounts(metrics)
        self._queue: WorkQueue[StackKey] = WorkQueue()
        self._requests: dict[StackKey, list[_Request]] = {}
        self._locks: dict[StackKey, anyio.Lock] = {}
        self._known: set[StackKey] = set()
        self._fights = FightWatch()
        self._told: set[str] = set()
        """Warnings about registries that were given already."""
        self._interrupts: dict[StackKey, anyio.Event] = {}
        """Stacks whose health is awaited right now."""
        self._wanted: dict[StackKey, int] = {}
        """How many wait to hold a stack still."""
        self._stopping = False

    # --- for the neighbours -------------------------------------------------------------
    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Reconcile for ever."""
        watch = self._store.watch
        with watch.listen(("observed",), self._on_observed), watch.listen(("connection",), self._on_connection):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._dispatch, tasks)
                tasks.start_soon(supervise, "resync of stacks", self._resync_all)
                task_status.started()

    def wake(self, key: StackKey, *, now: bool = False) -> None:
        """Look at a stack; `now` also when it is backing off."""
        self._known.add(key)
        self._queue.add(key, now=now)

    async def deploy(
        self,
        key: StackKey,
        *,
        job_id: str,
        trigger: str,
        explicit: bool = True,
        stop_timeout: float | None = None,
    ) -> StackOutcome:
        """Reconcile a stack now and return how that ended. `explicit`: a person or a new
        revision asked, so what failed by itself is tried again too. `stop_timeout`: seconds of
        grace for the containers that are stopped, instead of their own."""
        request = _Request(job_id=job_id, explicit=explicit, trigger=trigger, stop_timeout=stop_timeout)
        self._requests.setdefault(key, []).append(request)
        self.wake(key, now=True)
        self._interrupt(key)
        try:
            await request.done.wait()
        finally:
            waiting = self._requests.get(key)
            if waiting is not None and request in waiting:
                waiting.remove(request)
        assert request.outcome is not None
        return request.outcome

    async def look(self, key: StackKey) -> ObservedProject:
        """What the Engine has under a name, managed or not. Raises `EngineError` or `UnknownContext`."""
        context = await self._contexts.get(key.context)
        return await observe_project(context.engine, context.observed, key.name)

    @asynccontextmanager
    async def exclusive(self, key: StackKey) -> AsyncIterator[DockerContext]:
        """Hold a stack still while something else acts on its containers."""
        self._wanted[key] = self._wanted.get(key, 0) + 1
        self._interrupt(key)
        try:
            async with self._locks.setdefault(key, anyio.Lock()):
                context = await self._contexts.get(key.context)
                yield context
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key]

    async def drain(self) -> None:
        """Take up nothing new and return when what is being carried out has ended; who waits
        for the health of a stack is left to the next start."""
        self._stopping = True
        for key in list(self._interrupts):
            self._interrupt(key)
        await self._queue.drain()

    # --- the loops ------------------------------------------------------------------------
    def _on_observed(self, topic: Topic) -> None:
        key = StackKey(str(topic[1]), str(topic[2]))
        if key in self._known:
            self._queue.add(key)

    def _on_connection(self, topic: Topic) -> None:
        for key in self._known:
            if key.context == topic[1]:
                self._queue.add(key, now=True)

    async def _resync_all(self) -> None:
        while True:
            for stack in await self._store.list_stacks(desired=False):
                self.wake(stack.key)
            await anyio.sleep(self._resync)

    async def _dispatch(self, tasks: TaskGroup) -> None:
        while True:
            key = await self._queue.get()
            tasks.start_soon(self._handle, key, name=f"stack {key}")

    async def _handle(self, key: StackKey) -> None:
        requests = self._requests.pop(key, [])
        started = anyio.current_time()
        result = "error"
        try:
            async with self._locks.setdefault(key, anyio.Lock()):
                outcome = await self._reconcile(key, requests)
            self._queue.forget(key)
            result = "progressing" if outcome is None else outcome.status.value
            if outcome is None:
                self._queue.add_after(key, PROGRESS_DELAY)
            self._answer(requests, outcome or StackOutcome(stack=key.name, context=key.context))
        except _Wait as wait:
            result = "waiting"
            self._requests.setdefault(key, [])[:0] = requests
            # What it waits for rings; should that get lost, time does.
            self._queue.add_after(key, WAIT_DELAY)
            await self._note_waiting(key, wait)
        except _Connecting:
            result = "waiting"
            self._requests.setdefault(key, [])[:0] = requests
            self._queue.add_after(key, WAIT_DELAY)
        except _Interrupted:
            result = "interrupted"
            self._requests.setdefault(key, [])[:0] = requests
            self._queue.add(key)
        except _Later as later:
            result = "waiting"
            self._queue.add_after(key, later.delay)
            self._answer(
                requests,
                StackOutcome(stack=key.name, context=key.context, status=RunStatus.FAILED, message=str(later)),
            )
        except _Failed as failure:
            result = "failed"
            message = str(failure)
            delay = failure.delay
            if delay is None:
                delay = self._queue.retry(key)
            else:
                self._queue.add_after(key, delay)
            # A fight was said when it began.
            say = _log.debug if self._fights.calm_in(key, anyio.current_time()) else _log.warning
            say(
                "stack is not as desired, trying again",
                stack=key.name,
                context=key.context,
                reason=failure.reason,
                error=message,
                retry_in=round(delay, 1),
            )
            self._answer(
                requests,
                StackOutcome(stack=key.name, context=key.context, status=RunStatus.FAILED, message=message),
            )
        except StateError as error:
            self._requests.setdefault(key, [])[:0] = requests
            delay = self._queue.retry(key)
            _log.error("the store cannot be used", stack=key.name, error=str(error), retry_in=round(delay, 1))
        except Exception as error:  # the edge of a stack: a fault of ours must not take the others along
            delay = self._queue.retry(key)
            message = unexpected(f"stack {key}", error)
            self._answer(
                requests,
                StackOutcome(stack=key.name, context=key.context, status=RunStatus.FAILED, message=message),
            )
        finally:
            self._queue.done(key)
            self._metrics.queue_depth.labels("stacks").set(len(self._queue))
            self._metrics.reconcile_seconds.labels(str(key)).observe(anyio.current_time() - started)
            self._metrics.reconcile_results.labels(str(key), result).inc()

    def _answer(self, requests: Sequence[_Request], outcome: StackOutcome) -> None:
        for request in requests:
            request.outcome = outcome
            request.done.set()

    async def _note_waiting(self, key: StackKey, wait: _Wait) -> None:
        try:
            stack = await self._store.get_stack(key)
            if stack is not None:
                await self._set_conditions(
                    stack, with_condition(stack.conditions, ConditionType.READY, False, wait.reason, str(wait))
                )
        except StateError as error:
            _log.error("the store cannot be used", stack=key.name, error=str(error))

    # --- the life of a stack, from top to bottom --------------------------------------------
    async def _reconcile(self, key: StackKey, requests: Sequence[_Request]) -> StackOutcome | None:
        """Bring one stack to where it should be. None: its health is still developing."""
        stack = await self._store.get_stack(key)
        if stack is None:
            self._known.discard(key)
            self._queue.drop(key)
            self._fights.forget(key)
            self._counts.gone(key)
            return StackOutcome(stack=key.name, context=key.context, message="not managed")

        try:
            context = await self._contexts.get(key.context)
        except UnknownContext as error:
            raise await self._fail(stack, "UnknownContext", str(error)) from error
        if not context.observed.connected:
            if not context.observed.error:
                raise _Connecting
            raise _Wait("ContextUnreachable", f"Docker context {key.context}: {context.observed.error}")

        explicit = any(request.explicit for request in requests)
        desired = desired_of(stack, fresh=explicit or stack.observed_generation < stack.generation)
        going = stack.deleting or stack.overrides.removed is not None

        # Something else is wanted than last time: the answer would hardly be "nothing".
        moved = bool(requests) and stack.observed_generation < stack.generation
        seen = None if moved or force_requested(stack) else cached_project(context.observed, desired)
        if seen is not None and (not requests or settled(context.observed, desired, seen)):
            glance = self._next_plan(stack, desired, seen, going)
            if glance.empty:
                return await self._conclude(stack, desired, seen, going, blocked=glance)

        try:
            return await self._converge(stack, desired, context, requests, going)
        except EngineUnreachable as error:
            raise _Wait("ContextUnreachable", f"Docker context {key.context}: {error}") from error
        except PlanError as error:
            raise await self._fail(stack, "Unsupported", str(error)) from error
        except EngineError as error:
            raise await self._fail(stack, "EngineRefused", str(error)) from error

    def _next_plan(self, stack: Stack, desired: DesiredStack, seen: ObservedProject, going: bool) -> Plan:
        if not going:
            return plan(desired, seen)
        removal = stack.overrides.removed
        volumes, images = (removal.volumes, removal.images) if removal else removal_of(stack.config)
        if not stack.deleting and stack.observed_generation == stack.generation:
            # Volumes and images went once, when the removal was asked for.
            volumes, images = False, False
        return plan_down(
            stack.key,
            seen,
            project=desired.project,
            volumes=volumes,
            images=True if images else "local",
            timeout=None,
        )

    async def _converge(
        self,
        stack: Stack,
        desired: DesiredStack,
        context: DockerContext,
        requests: Sequence[_Request],
        going: bool,
    ) -> StackOutcome | None:
        recorder: RunRecorder | None = None
        own_run = None
        acted = False
        # What had been reached is no more, though nobody asked for anything. A further attempt at
        # what failed is no drift.
        reached = stack.observed_generation == stack.generation and not is_true(
            stack.conditions, ConditionType.DEGRADED
        )
        drift = reached and not requests and not going
        started = anyio.current_time()
        tried: set[str] = set()
        plan_: Plan | None = None
        try:
            for round_ in range(MAX_ROUNDS):
                seen = await observe_project(context.engine, context.observed, desired)
                if not requests and being_replaced(seen, utcnow()):
                    raise _Later(REPLACING_DELAY, "somebody is recreating a container with Compose")
                plan_ = with_grace(self._next_plan(stack, desired, seen, going), _grace(requests))
                if plan_.empty or optional_only(plan_, tried):
                    break
                tried |= {action.id for action in plan_.actions}
                if only_asks(plan_):
                    result = await self._ask_registries(context, desired, plan_)
                    stack, desired = await self._after_execution(stack, desired, plan_, result)
                    if result.outcomes:
                        recorder, own_run = (recorder, own_run) if recorder else await self._begin(stack, requests)
                        await recorder.replay(plan_, result)
                    if not result.ok:
                        raise await self._fail(stack, result.code or "ActionFailed", result.message)
                    continue
                stack = await self._fight(stack, plan_, asked=bool(requests) and not round_)
                if recorder is None:
                    recorder, own_run = await self._begin(stack, requests)
                await recorder.plan(plan_)
                if not acted:
                    _log.info(
                        "deploying stack",
                        **self._fields(stack, recorder.job_id, recorder.fields),
                        reason=summary(plan_),
                        actions=len(plan_.actions),
                    )
                    await self._set_conditions(
                        stack,
                        with_condition(stack.conditions, ConditionType.RECONCILING, True, "Acting", summary(plan_)),
                    )
                acted = True
                async with self._counts.slot(context.slots, stack.repository):
                    result = await context.executor.execute(plan_, desired, recorder)
                await recorder.flush()
                stack, desired = await self._after_execution(stack, desired, plan_, result)
                if not result.ok:
                    # What does not even succeed is no fight, however often it is tried.
                    self._fights.forget(stack.key)
                    await _still_there(context)
                    raise await self._fail(stack, result.code or "ActionFailed", result.message)
            else:
                assert plan_ is not None
                raise await self._fail(
                    stack, "NotConverging", f"after {MAX_ROUNDS} rounds there is still to do: {summary(plan_)}"
                )
            if not going and (acted or requests or stack.observed_generation < stack.generation):
                stuck = [item for item in plan_.blocked if item.reason.code == NAME_TAKEN]
                if stuck:
                    await self._until_free(context, desired, {item.target for item in stuck})
                ready = readiness(desired, seen, now=utcnow()) if stuck else await self._health(context, desired)
                if ready.state is ReadyState.FAILED or (stuck and ready.state is not ReadyState.READY):
                    await _still_there(context)
                    code, causes = ready.code, [ready.message]
                    if stuck:
                        # What does not exist and cannot be made does not become healthy with time.
                        code, causes = NAME_TAKEN, [f"{item.target}: {item.reason}" for item in stuck]
                    # Nothing is left to do, so there is nothing to back off from: events go on
                    # to tell how it is.
                    raise await self._fail(stack, code, "; ".join(causes), delay=HEALTH_DELAY)
            if acted:
                seen = await observe_project(context.engine, context.observed, desired)
                self._counts.deployed(stack, anyio.current_time() - started, drift=drift)
            outcome = await self._conclude(stack, desired, seen, going, blocked=plan_)
            if own_run is not None and recorder is not None:
                await self._end(recorder, own_run, RunStatus.SUCCEEDED, "stack is as desired")
            return outcome
        except _Interrupted:
            if own_run is not None and recorder is not None:
                await self._end(recorder, own_run, RunStatus.SUCCEEDED, "carried out; the stack is looked at again")
            raise
        except (EngineError, PlanError, _Failed, _Later) as error:
            if not isinstance(error, _Later):
                self._counts.failed(stack, drift=drift)
            if own_run is not None and recorder is not None:
                await self._end(recorder, own_run, RunStatus.FAILED, str(error))
            raise

    async def _ask_registries(self, context: DockerContext, desired: DesiredStack, plan_: Plan) -> ExecutionResult:
        """Ask registries whether tags moved. Without outcomes if none did: then nothing happened,
        and nothing is worth a record."""
        writes = context.engine.writes
        async with context.slots:
            result = await context.executor.execute(plan_, desired, Silent())
        for warning in result.warnings:
            log = _log.debug if warning in self._told else _log.warning
            log("the registry could not be asked", stack=desired.key.name, warning=warning)
            self._told.add(warning)
        return result if context.engine.writes != writes or not result.ok else ExecutionResult()

    async def _health(self, context: DockerContext, desired: DesiredStack) -> Readiness:
        """Wait until the stack is ready or has failed. Raises `_Interrupted` when somebody wants
        the stack meanwhile: health may take minutes, and nobody shall wait for it to press stop;
        also when somebody removed a container: then there is something to do again."""
        interrupt = self._interrupts[desired.key] = anyio.Event()
        found: Readiness | None = None

        async def wait(scope: anyio.CancelScope) -> None:
            nonlocal found
            found = await context.executor.wait_ready(desired, desired.policy.timeout)
            scope.cancel()

        try:
            with first_error():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait, tasks.cancel_scope)
                    if not self._stopping and not self._wanted.get(desired.key):
                        await interrupt.wait()
                    tasks.cancel_scope.cancel()
        finally:
            del self._interrupts[desired.key]
        if found is None or found.state is ReadyState.PROGRESSING:
            raise _Interrupted
        return found

    async def _until_free(self, context: DockerContext, desired: DesiredStack, names: set[str]) -> None:
        """Give whoever holds a name a moment to go: it may be a container that is being removed.
        Raises `_Interrupted` when it went, or somebody wants the stack."""
        with anyio.move_on_after(min(desired.policy.timeout, NAME_PATIENCE)):
            while not self._stopping and not self._wanted.get(desired.key):
                if names.isdisjoint(container.name for container in context.observed.containers.values()):
                    break
                await anyio.sleep(0.2)
            raise _Interrupted

    def _interrupt(self, key: StackKey) -> None:
        interrupt = self._interrupts.get(key)
        if interrupt is not None:
            interrupt.set()

    async def _after_execution(
        self, stack: Stack, desired: DesiredStack, plan_: Plan, result: ExecutionResult
    ) -> tuple[Stack, DesiredStack]:
        """What is wanted once, was done once: switch the one-time wishes off. And remember
        which containers were told of changed content instead of being recreated."""
        policy = replace(desired.policy, check_registry=False, force_image_pull=False)
        changes: dict[str, Any] = {}
        if not plan_.partial:
            policy = replace(policy, force_recreate=False, retry_failed=False)
            if stack.pending_recreate:
                changes["pending_recreate"] = ""
        acknowledged = {
            container: dict(digests)
            for container, digests in desired.acknowledged_content.items()
            if container in result.present or not result.present
        }
        for container, told in result.acknowledged.items():
            acknowledged.setdefault(container, {}).update(told)
        if acknowledged != desired.acknowledged_content:
            changes["acknowledged"] = acknowledged
        current = await self._store.get_stack(stack.key)
        changed = superseded(stack, current)
        if changed:
            changes.pop("pending_recreate", None)
        if changes:
            await self._store.update_stack(stack.key, **changes)
        if changed:
            raise _Interrupted
        return replace(stack, **changes), replace(desired, policy=policy, acknowledged_content=acknowledged)

    async def _begin(self, stack: Stack, requests: Sequence[_Request]) -> tuple[RunRecorder, Any]:
        """The recorder of the run that asked, or of a run of our own that heals."""
        fields: Mapping[str, Any] = {"repository": stack.repository, "revision": stack.revision}
        own = None
        if requests:
            job_id = requests[0].job_id
            fields = {**fields, "trigger": requests[0].trigger}
        else:
            own = new_run(Trigger.RECONCILE, repository=stack.repository, revision=stack.revision)
            await self._store.put_run(own)
            job_id = own.job_id
            fields = {**fields, "trigger": Trigger.RECONCILE.value}
        recorder = RunRecorder(
            store=self._store,
            hub=self._hub,
            job_id=job_id,
            stack=stack.key.name,
            context=stack.key.context,
            fields=fields,
        )
        return recorder, own

    async def _end(self, recorder: RunRecorder, run: Any, status: RunStatus, message: str) -> None:
        await recorder.flush()
        outcome = StackOutcome(stack=recorder.stack, context=recorder.context, status=status, message=message)
        await self._store.finish(finished(run, status, message, stacks=(outcome,)))
        self._hub.publish(recorder.job_id, "status", {"status": status.value, "message": message})

    async def _conclude(
        self,
        stack: Stack,
        desired: DesiredStack,
        seen: ObservedProject,
        going: bool,
        *,
        blocked: Plan | None = None,
    ) -> StackOutcome | None:
        """Nothing is left to do: say how the stack is."""
        self._counts.left(stack.key, blocked)
        if stack.deleting:
            if superseded(stack, await self._store.get_stack(stack.key)):
                raise _Interrupted
            await self._store.delete_stack(stack.key)
            self._counts.gone(stack.key)
            self._known.discard(stack.key)
            _log.info("stack removed", **self._fields(stack))
            return StackOutcome(stack=stack.key.name, context=stack.key.context, message="removed")
        ready = None if going else readiness(desired, seen, now=utcnow())
        calm_in = self._fights.calm_in(stack.key, anyio.current_time())
        if calm_in:
            self._queue.add_after(stack.key, calm_in + 0.1)
        conditions = judge(stack, ready, blocked, fought_over=calm_in > 0)
        await self._set_conditions(
            stack,
            conditions,
            observed_generation=stack.generation,
            ready_revision=stack.revision if ready is not None and ready.state is ReadyState.READY else None,
        )
        outcome = StackOutcome(stack=stack.key.name, context=stack.key.context, generation=stack.generation)
        if ready is None or ready.state is ReadyState.READY:
            return outcome
        if ready.state is ReadyState.FAILED:
            return replace(outcome, status=RunStatus.FAILED, message=ready.message)
        return None

    async def _fail(self, stack: Stack, reason: str, message: str, *, delay: float | None = None) -> _Failed:
        """Write the conditions of a failure and return the exception to raise."""
        current = await self._store.get_stack(stack.key) or stack
        conditions = with_condition(current.conditions, ConditionType.READY, False, reason, message)
        conditions = with_condition(conditions, ConditionType.DEGRADED, True, reason, message)
        conditions = without(conditions, ConditionType.RECONCILING)
        if self._fights.calm_in(stack.key, anyio.current_time()):
            conditions = keep_fighting(current.conditions, conditions)
        await self._set_conditions(current, conditions, observed_generation=stack.generation)
        return _Failed(reason, message, delay=delay)

    async def _fight(self, stack: Stack, plan_: Plan, *, asked: bool) -> Stack:
        """Notice a fight; returns the stack with what is said of it. Raises `_Later` while it is not
        yet time for the next round."""
        now = anyio.current_time()
        round_ = self._fights.round(stack.key, stack.generation, plan_, now, asked=asked)
        if round_.fight:
            current = await self._store.get_stack(stack.key) or stack
            degraded = find(current.conditions, ConditionType.DEGRADED)
            if degraded is None or not degraded.status or degraded.reason != FIGHTING:
                message = f"the same repair {round_.number} times in a row: {summary(plan_)}"
                await self._set_conditions(
                    current, with_condition(current.conditions, ConditionType.DEGRADED, True, FIGHTING, message)
                )
                current = await self._store.get_stack(stack.key) or current
                stack = replace(stack, conditions=current.conditions)
                _log.warning("stack is fought over", **self._fields(stack), reason=message)
        if round_.wait:
            message = f"fought over, the next repair comes in {round_.wait:.0f} s: {summary(plan_)}"
            raise _Later(round_.wait, message)
        return stack

    async def _set_conditions(self, stack: Stack, conditions: Sequence[Condition], **fields: Any) -> None:
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

    def _fields(self, stack: Stack, job_id: str = "", more: Mapping[str, Any] | None = None) -> dict[str, Any]:
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


def _grace(requests: Sequence[_Request]) -> float | None:
    """The grace time that a caller asked for."""
    return next((request.stop_timeout for request in requests if request.stop_timeout is not None), None)


async def _still_there(context: DockerContext) -> None:
    """Raises `EngineUnreachable` when a failure is the Engine's going away: one that shuts down
    refuses what it is asked and ends the containers, and neither is the stack's fault."""
    if not context.observed.connected:
        raise EngineUnreachable(context.observed.error or "connection lost")
    await context.engine.ping(PING_DEADLINE)
