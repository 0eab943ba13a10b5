"""One look at a stack, from what is desired and seen to what is said of it.

Always the same: read what is desired (store) and what is seen (cache), plan, and when the plan
is not empty look at the Engine afresh, carry the plan out and look again, until nothing is left
to do. Then the stack's health decides its conditions.

The first look costs no Engine call, whoever asks: the observer hears of everything that happens.
A stack that is as it should be, and ready, ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from reconciler.controllers.conditions import is_true, with_condition
from reconciler.controllers.contexts import Contexts, DockerContext, UnknownContext
from reconciler.controllers.counting import StackCounts
from reconciler.controllers.endings import Connecting, Failed, Interrupted, Later, Wait
from reconciler.controllers.fights import FightWatch
from reconciler.controllers.interrupts import Interrupts
from reconciler.controllers.notes import NotingProgress, forget_open, noted_after, noted_before
from reconciler.controllers.record import RunRecorder, finished, new_run, utcnow
from reconciler.controllers.status import StackStatus, log_fields
from reconciler.controllers.verdicts import (
    being_replaced,
    judge,
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
from reconciler.planner import DesiredStack, Plan, PlanError, Readiness, ReadyState, plan, plan_down, readiness
from reconciler.planner.lifecycle import TO_REMOVE
from state.events import EventHub
from state.model import ConditionType, RunStatus, Stack, StackKey, StackOutcome, Trigger
from state.observed import ObservedProject
from state.store import Store

_log = get_logger()

MAX_ROUNDS = 8
"""Plans of one reconcile: images, then containers, then what an interrupted earlier attempt
left; more means that acting does not bring us nearer."""

NAME_TAKEN = "NameTaken"
"""Reason of what is blocked by a container of the same name outside the stack."""
NAME_PATIENCE = 15.0
"""Seconds until a name that is held counts as held for good."""
PING_DEADLINE = 10.0
REPLACING_DELAY = 1.0
"""Seconds between two looks while somebody else recreates a container."""
HEALTH_DELAY = 60.0
"""Seconds after which a stack whose health failed is looked at without an event."""


@dataclass(eq=False)
class Request:
    """Somebody waits for the outcome of a reconcile."""

    job_id: str
    explicit: bool
    trigger: str
    stop_timeout: float | None = None
    done: anyio.Event = field(default_factory=anyio.Event)
    outcome: StackOutcome | None = None


class StackReconciler:
    """Brings one stack at a time to where it should be."""

    def __init__(
        self,
        *,
        store: Store,
        contexts: Contexts,
        hub: EventHub,
        counts: StackCounts,
        fights: FightWatch,
        interrupts: Interrupts,
        look_again: Callable[[StackKey, float], None],
        gone: Callable[[StackKey], None],
    ) -> None:
        """`look_again(key, seconds)` has a stack looked at later; `gone(key)`: it is none any more."""
        self._store = store
        self._contexts = contexts
        self._hub = hub
        self._counts = counts
        self._fights = fights
        self._interrupts = interrupts
        self._look_again = look_again
        self._gone = gone
        self._status = StackStatus(store, hub, counts, fights)
        self._told: set[str] = set()
        """Warnings about registries that were given already."""

    async def reconcile(self, key: StackKey, requests: Sequence[Request]) -> StackOutcome | None:
        """Bring one stack to where it should be. None: its health is still developing. Raises one of
        the `endings` when it does not come so far."""
        stack = await self._store.get_stack(key)
        if stack is None:
            self._fights.forget(key)
            self._counts.gone(key)
            self._gone(key)
            return StackOutcome(stack=key.name, context=key.context, message="not managed")

        try:
            context = await self._contexts.get(key.context)
        except UnknownContext as error:
            raise await self._status.fail(stack, "UnknownContext", str(error)) from error
        if not context.observed.connected:
            if not context.observed.error:
                raise Connecting
            raise Wait("ContextUnreachable", f"Docker context {key.context}: {context.observed.error}")

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
            raise Wait("ContextUnreachable", f"Docker context {key.context}: {error}") from error
        except PlanError as error:
            raise await self._status.fail(stack, "Unsupported", str(error)) from error
        except EngineError as error:
            raise await self._status.fail(stack, "EngineRefused", str(error)) from error

    async def note_waiting(self, key: StackKey, wait: Wait) -> None:
        """Say what a stack waits for."""
        stack = await self._store.get_stack(key)
        if stack is not None:
            await self._status.set_conditions(
                stack, with_condition(stack.conditions, ConditionType.READY, False, wait.reason, str(wait))
            )

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
            owed=desired.acknowledged_content.get(TO_REMOVE, {}),
        )

    async def _converge(
        self,
        stack: Stack,
        desired: DesiredStack,
        context: DockerContext,
        requests: Sequence[Request],
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
                    raise Later(REPLACING_DELAY, "somebody is recreating a container with Compose")
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
                        raise await self._status.fail(stack, result.code or "ActionFailed", result.message)
                    continue
                stack = await self._status.fight(stack, plan_, asked=bool(requests) and not round_)
                if recorder is None:
                    recorder, own_run = await self._begin(stack, requests)
                await recorder.plan(plan_)
                if not acted:
                    _log.info(
                        "deploying stack",
                        **log_fields(stack, recorder.job_id, recorder.fields),
                        reason=summary(plan_),
                        actions=len(plan_.actions),
                    )
                    await self._status.set_conditions(
                        stack,
                        with_condition(stack.conditions, ConditionType.RECONCILING, True, "Acting", summary(plan_)),
                    )
                acted = True
                async with self._counts.slot(context.slots, stack.repository):
                    noting = NotingProgress(recorder, self._store, await self._note(stack, plan_, seen))
                    with self._interrupts.listening(stack.key) as bell:
                        result = await context.executor.execute(plan_, desired, noting, interrupt=bell)
                await recorder.flush()
                stack = noting.stack
                stack, desired = await self._after_execution(stack, desired, plan_, result)
                if not result.ok:
                    # What does not even succeed is no fight, however often it is tried.
                    self._fights.forget(stack.key)
                    await _still_there(context)
                    raise await self._status.fail(stack, result.code or "ActionFailed", result.message)
                if result.interrupted:
                    raise Interrupted
            else:
                assert plan_ is not None
                raise await self._status.fail(
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
                    raise await self._status.fail(stack, code, "; ".join(causes), delay=HEALTH_DELAY)
            if acted:
                seen = await observe_project(context.engine, context.observed, desired)
                self._counts.deployed(stack, anyio.current_time() - started, drift=drift)
            outcome = await self._conclude(stack, desired, seen, going, blocked=plan_)
            if own_run is not None and recorder is not None:
                await self._end(recorder, own_run, RunStatus.SUCCEEDED, "stack is as desired")
            return outcome
        except Interrupted:
            if own_run is not None and recorder is not None:
                await self._end(recorder, own_run, RunStatus.SUCCEEDED, "carried out; the stack is looked at again")
            raise
        except (EngineError, PlanError, Failed, Later) as error:
            if not isinstance(error, Later):
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
        """Wait until the stack is ready or has failed. Raises `Interrupted` when somebody wants
        the stack meanwhile: health may take minutes, and nobody shall wait for it to press stop;
        also when somebody removed a container: then there is something to do again."""
        found: Readiness | None = None

        async def wait(scope: anyio.CancelScope) -> None:
            nonlocal found
            found = await context.executor.wait_ready(desired, desired.policy.timeout)
            scope.cancel()

        with first_error():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, tasks.cancel_scope)
                await self._interrupts.rung(desired.key)
                tasks.cancel_scope.cancel()
        if found is None or found.state is ReadyState.PROGRESSING:
            raise Interrupted
        return found

    async def _until_free(self, context: DockerContext, desired: DesiredStack, names: set[str]) -> None:
        """Give whoever holds a name a moment to go: it may be a container that is being removed.
        Raises `Interrupted` when it went, or somebody wants the stack."""
        observed = context.observed

        async def interrupted(scope: anyio.CancelScope) -> None:
            await self._interrupts.rung(desired.key)
            scope.cancel()

        with (
            anyio.move_on_after(min(desired.policy.timeout, NAME_PATIENCE)),
            observed.watch.subscribe(("observed", observed.name)) as changed,
        ):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(interrupted, tasks.cancel_scope)
                while not names.isdisjoint(container.name for container in observed.containers.values()):
                    await changed.wait()
                tasks.cancel_scope.cancel()
            raise Interrupted

    async def _note(self, stack: Stack, plan_: Plan, seen: ObservedProject) -> Stack:
        """Write down what a crash in the middle of a plan would make us forget."""
        noted = noted_before(stack.acknowledged, plan_, seen)
        if noted == stack.acknowledged:
            return stack
        await self._store.update_stack(stack.key, acknowledged=noted)
        return replace(stack, acknowledged=noted)

    async def _after_execution(
        self, stack: Stack, desired: DesiredStack, plan_: Plan, result: ExecutionResult
    ) -> tuple[Stack, DesiredStack]:
        """What is wanted once, was done once: switch the one-time wishes off. And remember
        which containers were told of changed content instead of being recreated."""
        policy = replace(desired.policy, check_registry=False, force_image_pull=False)
        changes: dict[str, Any] = {}
        if not plan_.partial and not result.interrupted:
            policy = replace(policy, force_recreate=False, retry_failed=False)
            if stack.pending_recreate:
                changes["pending_recreate"] = ""
        acknowledged = noted_after(desired.acknowledged_content, result, stack.acknowledged)
        if acknowledged != stack.acknowledged:
            changes["acknowledged"] = acknowledged
        current = await self._store.get_stack(stack.key)
        changed = superseded(stack, current)
        if changed:
            changes.pop("pending_recreate", None)
        if changes:
            await self._store.update_stack(stack.key, **changes)
        if changed:
            raise Interrupted
        return replace(stack, **changes), replace(desired, policy=policy, acknowledged_content=acknowledged)

    async def _begin(self, stack: Stack, requests: Sequence[Request]) -> tuple[RunRecorder, Any]:
        """The recorder of the run that asked, or of a run of our own that heals."""
        fields: Mapping[str, Any] = {"repository": stack.repository, "revision": stack.revision}
        own = None
        if requests:
            # Who asked last is whose wish is carried out; others may have waited since before.
            job_id = requests[-1].job_id
            fields = {**fields, "trigger": requests[-1].trigger}
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
                raise Interrupted
            await self._store.delete_stack(stack.key)
            self._counts.gone(stack.key)
            self._gone(stack.key)
            _log.info("stack removed", **log_fields(stack))
            return StackOutcome(stack=stack.key.name, context=stack.key.context, message="removed")
        ready = None if going else readiness(desired, seen, now=utcnow())
        calm_in = self._fights.calm_in(stack.key, anyio.current_time())
        if calm_in:
            self._look_again(stack.key, calm_in + 0.1)
        conditions = judge(stack, ready, blocked, fought_over=calm_in > 0)
        known = forget_open(stack.acknowledged)
        await self._status.set_conditions(
            stack,
            conditions,
            **({"acknowledged": known} if known != stack.acknowledged else {}),
            observed_generation=stack.generation,
            ready_revision=stack.revision if ready is not None and ready.state is ReadyState.READY else None,
        )
        outcome = StackOutcome(stack=stack.key.name, context=stack.key.context, generation=stack.generation)
        if ready is None or ready.state is ReadyState.READY:
            return outcome
        if ready.state is ReadyState.FAILED:
            return replace(outcome, status=RunStatus.FAILED, message=ready.message)
        return None


def _grace(requests: Sequence[Request]) -> float | None:
    """The grace time that a caller asked for."""
    return next((request.stop_timeout for request in requests if request.stop_timeout is not None), None)


async def _still_there(context: DockerContext) -> None:
    """Raises `EngineUnreachable` when a failure is the Engine's going away: one that shuts down
    refuses what it is asked and ends the containers, and neither is the stack's fault."""
    if not context.observed.connected:
        raise EngineUnreachable(context.observed.error or "connection lost")
    await context.engine.ping(PING_DEADLINE)
