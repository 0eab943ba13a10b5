"""The Docker contexts this agent works on, each a bulkhead of its own.

A context is opened when the first stack asks for it: a connection, a cache fed by an
observer loop, an executor. One that cannot be reached keeps its last picture, says since
when it is stale, and delays nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio
from anyio.abc import TaskGroup

from reconciler.controllers.supervise import supervise
from reconciler.engine.client import Engine
from reconciler.engine.endpoint import EngineEndpoint
from reconciler.engine.errors import UnsupportedEndpoint
from reconciler.engine.execute import Executor
from reconciler.engine.observe import Observer
from reconciler.log import get_logger
from state.model import StackKey
from state.observed import ObservedContext
from state.watch import Watch

_log = get_logger()


@dataclass(frozen=True)
class DockerContext:
    """One open context."""

    name: str
    engine: Engine
    observed: ObservedContext
    observer: Observer
    executor: Executor
    slots: anyio.CapacityLimiter
    """How many stacks are worked on at the same time."""


class UnknownContext(Exception):
    """No Docker context of that name is configured on this host."""


class Contexts:
    """Opens contexts on demand and keeps their loops running."""

    def __init__(
        self,
        *,
        resolve: Callable[[str], EngineEndpoint],
        open_context: Callable[[str, EngineEndpoint, ObservedContext], Any],
        watch: Watch,
        slots: int,
    ) -> None:
        self._resolve = resolve
        self._open_context = open_context
        self._watch = watch
        self._slots = slots
        self._open: dict[str, DockerContext] = {}
        self._opening: dict[str, anyio.Lock] = {}
        self._tasks: TaskGroup | None = None
        self.observed: dict[str, ObservedContext] = {}
        """The pictures by name, for the API; grows as contexts are opened."""

    def busy(self, key: StackKey) -> bool:
        """Whether anything is being done for a stack, other than waiting for its containers."""
        context = self._open.get(key.context)
        return context is not None and context.executor.busy(key)

    async def run(self, first: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Keep the loops of all contexts; `first` is opened at once."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            await self.get(first)
            task_status.started()
            await anyio.sleep_forever()

    async def get(self, name: str) -> DockerContext:
        """The context of that name, opened if it is not yet. Raises `UnknownContext`."""
        context = self._open.get(name)
        if context is not None:
            return context
        if self._tasks is None:
            raise RuntimeError("contexts are not running")
        try:
            endpoint = self._resolve(name)
        except UnsupportedEndpoint as error:
            raise UnknownContext(str(error)) from error
        async with self._opening.setdefault(name, anyio.Lock()):
            context = self._open.get(name)
            if context is None:
                observed = self.observed.setdefault(name, ObservedContext(name, self._watch))
                context = await self._tasks.start(self._serve, name, endpoint, observed)
        return context

    async def _serve(
        self,
        name: str,
        endpoint: EngineEndpoint,
        observed: ObservedContext,
        *,
        task_status: anyio.abc.TaskStatus[DockerContext],
    ) -> None:
        async with self._open_context(name, endpoint, observed) as (engine, observer, executor):
            context = DockerContext(
                name=name,
                engine=engine,
                observed=observed,
                observer=observer,
                executor=executor,
                slots=anyio.CapacityLimiter(self._slots),
            )
            self._open[name] = context
            task_status.started(context)

            async def observe() -> None:
                try:
                    await observer.run()
                finally:
                    # What nobody feeds must not pass for the truth.
                    observed.lost("the observer ended", datetime.now(UTC))

            try:
                await supervise(f"observer of {name}", observe)
            finally:
                del self._open[name]
