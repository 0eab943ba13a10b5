"""What an action has at hand while it is carried out.

One `Work` serves one execution of one plan. It knows which containers this execution has
made, so that later actions find by name what did not exist when the plan was written, and
which old containers are parked until their successor has started.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import anyio

from reconciler.engine.client import Engine
from reconciler.engine.errors import ActionFailed, NotFound, WaitInterrupted, first_error
from reconciler.planner.model import Action, DesiredStack, Plan
from state.observed import EngineFacts, ObservedContext

if TYPE_CHECKING:
    from reconciler.engine.observe import Observer

Log: TypeAlias = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Parked:
    """A replaced container that is kept until its successor has started (or serves)."""

    id: str
    name: str
    was_running: bool
    successor: str
    serves: bool = False
    """It still runs under its own name: its successor is started first."""


@dataclass
class Work:
    """One execution of one plan."""

    engine: Engine
    observed: ObservedContext
    facts: EngineFacts
    plan: Plan
    desired: DesiredStack | None
    environ: Mapping[str, str]
    observer: Observer | None
    range_lock: anyio.Lock
    """Held while a container starts that draws its port from a published range."""
    starts: anyio.CapacityLimiter
    """Held while the Engine starts a container."""
    interrupt: anyio.Event
    """Set when somebody has something to do with the stack: what only waits then ends."""
    created: dict[str, str] = field(default_factory=dict)
    """Final name -> id of each container this execution made."""
    parked: dict[str, Parked] = field(default_factory=dict)
    """By final name."""
    stopped: set[str] = field(default_factory=set)
    """Containers that ran until this execution stopped them."""
    warnings: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> DesiredStack:
        """The desired stack; plans that create something are never executed without."""
        if self.desired is None:
            raise ActionFailed(f"{self.plan.key}: this action needs the desired stack, and none was given")
        return self.desired

    @contextmanager
    def acting(self, *container_ids: str) -> Iterator[None]:
        """What happens to these containers is not somebody else's hand."""
        with self.observer.acting(*container_ids) if self.observer is not None else nullcontext():
            yield

    async def unless_interrupted(self, wait: Awaitable[None]) -> None:
        """Wait, or raise `WaitInterrupted` as soon as somebody has something to do with the stack."""
        ended = False

        async def give_way(scope: anyio.CancelScope) -> None:
            await self.interrupt.wait()
            scope.cancel()

        with first_error():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give_way, tasks.cancel_scope)
                await wait
                ended = True
                tasks.cancel_scope.cancel()
        if not ended:
            raise WaitInterrupted(f"{self.plan.key}: something else is to be done first")

    async def container_id(self, action: Action) -> str:
        """The container an action is about."""
        given = action.params.get("container")
        return str(given) if given else await self.id_of(action.target)

    async def id_of(self, name: str) -> str:
        """The id of the container of that name: made by us, seen, or asked for."""
        if name in self.created:
            return self.created[name]
        for container in self.observed.project(self.plan.key.name):
            if container.name == name:
                return container.id
        try:
            answer = await self.engine.call("container.inspect", "GET", f"containers/{name}/json")
        except NotFound as error:
            raise ActionFailed(f"container {name} does not exist (any more)") from error
        return str(answer["Id"])

    async def reference_ids(self, action: Action) -> dict[str, str]:
        """`references` of an action with names turned into ids."""
        return {service: await self.id_of(name) for service, name in (action.params.get("references") or {}).items()}

    def starts_later(self, name: str) -> bool:
        """Whether this plan starts the container of that name."""
        return any(action.kind == "start-container" and action.target == name for action in self.plan.actions)
