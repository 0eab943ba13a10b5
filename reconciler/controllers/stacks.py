"""The stack controller: which stack is looked at when, and who is told how it ended.

A key `(context, name)` enters the queue when its desired state changed, when one of its
containers did, when a person asked, when the Engine came back, and at every resync. What
a look does is in `reconcile.py`.

`deploy` is for those who want to know how it ends: it enqueues the key and waits for the
first reconcile that began afterwards to succeed or fail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from reconciler.controllers.contexts import Contexts, DockerContext
from reconciler.controllers.counting import StackCounts
from reconciler.controllers.endings import Connecting, Failed, Interrupted, Later, Wait
from reconciler.controllers.fights import FightWatch
from reconciler.controllers.interrupts import Interrupts
from reconciler.controllers.queue import WorkQueue
from reconciler.controllers.reconcile import Request, StackReconciler
from reconciler.controllers.supervise import supervise, unexpected
from reconciler.engine.snapshot import observe_project
from reconciler.log import get_logger
from reconciler.planner.labels import is_replica, is_up
from state.errors import StateError
from state.events import EventHub
from state.metrics import Metrics
from state.model import RunStatus, StackKey, StackOutcome
from state.observed import ObservedProject
from state.store import Store
from state.watch import Topic

_log = get_logger()

WAIT_DELAY = 15.0
"""Seconds after which a stack that waits for its Engine is looked at without being told."""
PROGRESS_DELAY = 15.0
"""Seconds after which a stack whose health is still developing is looked at without an event."""


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
        self._resync = resync
        self._metrics = metrics
        self._queue: WorkQueue[StackKey] = WorkQueue()
        self._requests: dict[StackKey, list[Request]] = {}
        self._locks: dict[StackKey, anyio.Lock] = {}
        self._known: set[StackKey] = set()
        self._fights = FightWatch()
        self._interrupts = Interrupts(asked=lambda key: bool(self._requests.get(key)))
        self._reconciler = StackReconciler(
            store=store,
            contexts=contexts,
            hub=hub,
            counts=StackCounts(metrics),
            fights=self._fights,
            interrupts=self._interrupts,
            look_again=self._queue.add_after,
            gone=self._known.discard,
        )

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
        request = Request(job_id=job_id, explicit=explicit, trigger=trigger, stop_timeout=stop_timeout)
        self._requests.setdefault(key, []).append(request)
        self.wake(key, now=True)
        self._interrupts.ring(key)
        try:
            await request.done.wait()
        finally:
            waiting = self._requests.get(key)
            if waiting is not None and request in waiting:
                waiting.remove(request)
        assert request.outcome is not None
        return request.outcome

    def only_waits(self, key: StackKey) -> bool:
        """Whether nothing is being done for a stack right now: it waits for its containers, for its
        Engine, or for its turn, and would give way."""
        lock = self._locks.get(key)
        if lock is None or not lock.locked():
            return True
        return self._interrupts.heard(key) and not self._contexts.busy(key)

    def well(self, key: StackKey) -> bool:
        """Whether nothing speaks against a stack's containers being up, by what is known without asking;
        so too while their Engine is not heard."""
        observed = self._contexts.observed.get(key.context)
        if observed is None or not observed.connected:
            return True
        containers = [container for container in observed.project(key.name) if is_replica(container)]
        return bool(containers) and all(
            is_up(container) or (container.state == "exited" and not container.exit_code) for container in containers
        )

    async def look(self, key: StackKey) -> ObservedProject:
        """What the Engine has under a name, managed or not. Raises `EngineError` or `UnknownContext`."""
        context = await self._contexts.get(key.context)
        return await observe_project(context.engine, context.observed, key.name)

    @asynccontextmanager
    async def exclusive(self, key: StackKey) -> AsyncIterator[DockerContext]:
        """Hold a stack still while something else acts on its containers."""
        with self._interrupts.wanted(key):
            async with self._locks.setdefault(key, anyio.Lock()):
                yield await self._contexts.get(key.context)

    async def drain(self) -> None:
        """Take up nothing new and return when what is being carried out has ended; who waits
        for the health of a stack is left to the next start."""
        self._interrupts.stop()
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
                outcome = await self._reconciler.reconcile(key, requests)
            self._queue.forget(key)
            result = "progressing" if outcome is None else outcome.status.value
            if outcome is None:
                self._queue.add_after(key, PROGRESS_DELAY)
            self._answer(requests, outcome or StackOutcome(stack=key.name, context=key.context))
        except Wait as wait:
            result = "waiting"
            self._requests.setdefault(key, [])[:0] = requests
            # What it waits for rings; should that get lost, time does.
            self._queue.add_after(key, WAIT_DELAY)
            await self._note_waiting(key, wait)
        except Connecting:
            result = "waiting"
            self._requests.setdefault(key, [])[:0] = requests
            self._queue.add_after(key, WAIT_DELAY)
        except Interrupted:
            result = "interrupted"
            self._requests.setdefault(key, [])[:0] = requests
            self._queue.add(key)
        except Later as later:
            result = "waiting"
            self._queue.add_after(key, later.delay)
            self._answer(
                requests,
                StackOutcome(stack=key.name, context=key.context, status=RunStatus.FAILED, message=str(later)),
            )
        except Failed as failure:
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

    def _answer(self, requests: Sequence[Request], outcome: StackOutcome) -> None:
        for request in requests:
            request.outcome = outcome
            request.done.set()

    async def _note_waiting(self, key: StackKey, wait: Wait) -> None:
        try:
            await self._reconciler.note_waiting(key, wait)
        except StateError as error:
            _log.error("the store cannot be used", stack=key.name, error=str(error))
