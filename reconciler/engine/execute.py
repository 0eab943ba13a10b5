"""Carrying a plan out.

Every action of a plan is a task; it begins the moment all actions it needs have ended
well. One failure stops what needs it, and nothing else: independent branches of the
stack are finished, so that a broken sidecar does not leave a half-deployed database. An
`optional` action may fail without consequences.

Each action is safe to repeat, and each leaves something that the next plan understands
if we are killed in the middle; nothing is rolled back but a replacement whose successor
does not start (`containers.py`).

What only waits for containers gives way to whoever has something to do with the stack: the
rest of its branch is cancelled, and the next plan has it again if it is still wanted.

The executor decides nothing: what to do, in which order and why is in the plan.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import anyio

from reconciler.engine import containers, handover, hooks, networks, waiting
from reconciler.engine.build import build_image
from reconciler.engine.client import Engine
from reconciler.engine.errors import (
    ActionFailed,
    DeadlineExceeded,
    EngineError,
    EngineUnreachable,
    WaitInterrupted,
    first_error,
)
from reconciler.engine.images import pull_if_changed, pull_image, remove_image
from reconciler.engine.work import Log, Work
from reconciler.planner.builds import build_request
from reconciler.planner.model import Action, ActionKind, DesiredStack, Plan, PlanError
from reconciler.planner.readiness import Readiness
from state.model import StackKey
from state.observed import ObservedContext

if TYPE_CHECKING:
    from reconciler.engine.observe import Observer

SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
AT_ONCE = 24
"""Actions that talk to one Engine at the same time; waits do not count."""
LEAST_STARTS = 6


def starts_at_once(cpus: int) -> int:
    """How many containers an Engine of so many processors (0: unknown) is asked to start at the same
    time. Starting is mostly its computing: more of them end no earlier, and keep the processors
    from whoever else needs them, ourselves included."""
    return min(max(3 * cpus, LEAST_STARTS), AT_ONCE)


class Progress(Protocol):
    """Who wants to know how a plan gets on."""

    async def started(self, action: Action) -> None: ...

    async def finished(self, action: Action, error: str | None) -> None: ...

    async def log(self, action: Action, line: str) -> None: ...


class Silent:
    """A `Progress` for those who only want the result."""

    async def started(self, action: Action) -> None:
        return

    async def finished(self, action: Action, error: str | None) -> None:
        return

    async def log(self, action: Action, line: str) -> None:
        return


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """How one action ended."""

    action: Action
    status: str
    """`succeeded`, `failed`, or `cancelled` because something it needs failed or was interrupted."""
    error: str = ""
    code: str = ""
    """CamelCase cause of a failure."""


@dataclass(frozen=True)
class ExecutionResult:
    """How a plan ended."""

    outcomes: tuple[ActionOutcome, ...] = ()
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    """Whether a wait gave way to somebody who has something to do with the stack."""
    present: frozenset[str] = frozenset()
    """Ids of the project's containers afterwards."""

    @property
    def failures(self) -> tuple[ActionOutcome, ...]:
        """What failed and was not optional."""
        return tuple(o for o in self.outcomes if o.status == FAILED and not o.action.params.get("optional"))

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def code(self) -> str:
        """CamelCase cause of the first failure, empty if none."""
        return self.failures[0].code if self.failures else ""

    @property
    def message(self) -> str:
        """All failures, one after another, each with its cause."""
        return "\n".join(outcome.error for outcome in self.failures)

    @property
    def acknowledged(self) -> dict[str, dict[str, str]]:
        """Container id -> content key -> digest of which it was told, to be kept durably."""
        found: dict[str, dict[str, str]] = {}
        for outcome in self.outcomes:
            told = outcome.action.params.get("acknowledge")
            container = outcome.action.params.get("container")
            if outcome.status == SUCCEEDED and told and container:
                found.setdefault(str(container), {}).update(told)
        return found


Handler: TypeAlias = Callable[[Work, Action, Log], Awaitable[None]]


class Executor:
    """Carries plans out on one Engine."""

    def __init__(
        self,
        engine: Engine,
        observed: ObservedContext,
        observer: Observer | None = None,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = engine
        self.observed = observed
        self.observer = observer
        self._environ = os.environ if environ is None else environ
        self._range_lock = anyio.Lock()
        self._starts = anyio.CapacityLimiter(LEAST_STARTS)
        self._slots = anyio.CapacityLimiter(AT_ONCE)
        self._restarts_before: dict[StackKey, dict[str, int]] = {}
        self._busy: Counter[StackKey] = Counter()

    def busy(self, key: StackKey) -> bool:
        """Whether anything is being done for a stack, other than waiting for its containers."""
        return self._busy[key] > 0

    async def execute(
        self,
        plan: Plan,
        desired: DesiredStack | None,
        progress: Progress,
        *,
        interrupt: anyio.Event | None = None,
    ) -> ExecutionResult:
        """Carry `plan` out; what only waits for containers ends when `interrupt` is set. Raises
        `EngineUnreachable` when the Engine went away meanwhile."""
        facts = self.observed.engine or self.engine.known or await self.engine.facts()
        self._starts.total_tokens = starts_at_once(facts.cpus)
        work = Work(
            engine=self.engine,
            observed=self.observed,
            facts=facts,
            plan=plan,
            desired=desired,
            environ=self._environ,
            observer=self.observer,
            range_lock=self._range_lock,
            starts=self._starts,
            interrupt=interrupt or anyio.Event(),
        )
        self._restarts_before[plan.key] = {
            container.id: container.restart_count for container in self.observed.project(plan.key.name)
        }
        graph = _Graph(plan)
        lost: list[EngineUnreachable] = []
        deploying = self.observer.deploying(plan.key.name) if self.observer is not None else nullcontext()
        with deploying, first_error():
            async with anyio.create_task_group() as tasks:
                for action in plan.actions:
                    tasks.start_soon(self._run, work, graph, action, progress, lost, name=action.id)
        if lost:
            raise lost[0]
        return ExecutionResult(
            outcomes=tuple(graph.outcomes[action.id] for action in plan.actions),
            warnings=tuple(work.warnings),
            interrupted=graph.interrupted,
            present=frozenset(container.id for container in self.observed.project(plan.key.name)),
        )

    async def wait_ready(self, desired: DesiredStack, timeout: float) -> Readiness:
        """Wait until the stack is ready or has failed, at most `timeout` seconds."""
        before = self._restarts_before.get(desired.key)
        return await waiting.wait_ready(self.engine, self.observed, desired, timeout, before)

    async def _run(
        self,
        work: Work,
        graph: _Graph,
        action: Action,
        progress: Progress,
        lost: list[EngineUnreachable],
    ) -> None:
        if not await graph.needs_met(action):
            await self._give_up(work, action)
            graph.end(ActionOutcome(action, CANCELLED, "something it needs failed"))
            return
        await progress.started(action)

        async def log(line: str) -> None:
            await progress.log(action, line)

        handler = _HANDLERS[action.kind]
        outcome = ActionOutcome(action, SUCCEEDED)
        try:
            if action.kind in _GIVE_WAY:
                await handler(work, action, log)
            else:
                with self._at_work(work.plan.key):
                    async with nullcontext() if action.kind in _LONG else self._slots:
                        await handler(work, action, log)
        except WaitInterrupted:
            graph.interrupted = True
            await self._give_up(work, action)
            graph.end(ActionOutcome(action, CANCELLED, "something else is to be done first"))
            return
        except (EngineError, PlanError, OSError) as error:
            if isinstance(error, EngineUnreachable) and not isinstance(error, DeadlineExceeded):
                lost.append(error)
            outcome = ActionOutcome(action, FAILED, str(error), type(error).__name__)
            if action.params.get("optional"):
                work.warnings.append(str(error))
            await self._give_up(work, action)
        await progress.finished(action, outcome.error or None)
        graph.end(outcome)

    @contextmanager
    def _at_work(self, key: StackKey) -> Iterator[None]:
        self._busy[key] += 1
        try:
            yield
        finally:
            self._busy[key] -= 1
            if not self._busy[key]:
                del self._busy[key]

    async def _give_up(self, work: Work, action: Action) -> None:
        """A successor that is not started after all makes room for its predecessor."""
        if action.kind in (ActionKind.START_CONTAINER, ActionKind.HAND_OVER):
            parked = work.parked.pop(action.target, None)
            if parked is not None:
                await containers.put_back(work, parked)


class _Graph:
    """Which actions ended how, and a bell for each."""

    def __init__(self, plan: Plan) -> None:
        self._ended = {action.id: anyio.Event() for action in plan.actions}
        self.outcomes: dict[str, ActionOutcome] = {}
        self.interrupted = False
        for action in plan.actions:
            unknown = action.needs - self._ended.keys()
            if unknown:
                raise ActionFailed(
                    f"plan of {plan.key}: {action.id} needs {', '.join(sorted(unknown))}, which is not in it"
                )

    async def needs_met(self, action: Action) -> bool:
        """Wait for all that an action needs; whether all of it ended well (or was optional)."""
        met = True
        for need in sorted(action.needs):
            await self._ended[need].wait()
            outcome = self.outcomes[need]
            if outcome.status != SUCCEEDED and not outcome.action.params.get("optional"):
                met = False
        return met

    def end(self, outcome: ActionOutcome) -> None:
        self.outcomes[outcome.action.id] = outcome
        self._ended[outcome.action.id].set()


async def _pull(work: Work, action: Action, log: Log) -> None:
    platform = str(action.params.get("platform") or "")
    if action.params.get("if_changed"):
        warning = await pull_if_changed(
            work.engine, work.observed, action.target, environ=work.environ, log=log, platform=platform
        )
        if warning:
            work.warnings.append(warning)
            await log(warning)
        return
    await pull_image(work.engine, work.observed, action.target, environ=work.environ, log=log, platform=platform)


async def _build(work: Work, action: Action, log: Log) -> None:
    request = build_request(work.wanted, action.service)
    await build_image(work.engine, work.observed, request, environ=work.environ, log=log)


async def _remove_image(work: Work, action: Action, log: Log) -> None:
    left = await remove_image(work.engine, work.observed, action.target)
    if left:
        await log(left)


_HANDLERS: Mapping[ActionKind, Handler] = {
    ActionKind.PULL_IMAGE: _pull,
    ActionKind.BUILD_IMAGE: _build,
    ActionKind.REMOVE_IMAGE: _remove_image,
    ActionKind.CREATE_NETWORK: networks.create_network,
    ActionKind.REMOVE_NETWORK: networks.remove_network,
    ActionKind.CREATE_VOLUME: networks.create_volume,
    ActionKind.REMOVE_VOLUME: networks.remove_volume,
    ActionKind.CONNECT_NETWORK: networks.connect_network,
    ActionKind.DISCONNECT_NETWORK: networks.disconnect_network,
    ActionKind.CREATE_CONTAINER: containers.create_container,
    ActionKind.REPLACE_CONTAINER: containers.replace_container,
    ActionKind.HAND_OVER: handover.hand_over,
    ActionKind.UPDATE_CONTAINER: containers.update_container,
    ActionKind.RENAME_CONTAINER: containers.rename_container,
    ActionKind.START_CONTAINER: containers.start_container,
    ActionKind.STOP_CONTAINER: containers.stop_container,
    ActionKind.RESTART_CONTAINER: containers.restart_container,
    ActionKind.UNPAUSE_CONTAINER: containers.unpause_container,
    ActionKind.SIGNAL_CONTAINER: containers.signal_container,
    ActionKind.REMOVE_CONTAINER: containers.remove_container,
    ActionKind.RUN_HOOK: hooks.run_hook,
    ActionKind.WAIT_SERVICE: waiting.wait_service,
}

_GIVE_WAY = (ActionKind.WAIT_SERVICE, ActionKind.HAND_OVER)
"""What mostly waits for containers, and gives way."""
_LONG = (ActionKind.RUN_HOOK, ActionKind.PULL_IMAGE, ActionKind.BUILD_IMAGE)
