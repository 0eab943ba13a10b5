"""Whose turn it is: one sync of a repository works while at most one waits.

Who asks while one works joins the waiting one and shares its outcome. A sync whose stacks have
been waiting for their containers for a while lets the next one begin, if there is something new to
see: a revision that mends what is broken must not wait until the broken one has been given up.
Whoever asks for what is being waited for already waits on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from reconciler.controllers.queue import WorkQueue
from reconciler.controllers.rendering import SyncRequest

PATIENCE = 5.0
"""Seconds after which a sync whose stacks only wait lets the next one begin."""
LOOKS = 5
"""How often within that time it is looked whether they do."""


class Turns:
    """Hands requests out, one repository at a time."""

    def __init__(
        self,
        work: Callable[[SyncRequest], Awaitable[None]],
        moved: Callable[[SyncRequest], Awaitable[bool]],
        *,
        patience: float = PATIENCE,
    ) -> None:
        """`work` serves a request; `moved` tells whether it would find another revision than the last."""
        self._work = work
        self._moved = moved
        self._patience = patience
        self._queue: WorkQueue[str] = WorkQueue(base_delay=5.0)
        self._pending: dict[str, dict[str, SyncRequest]] = {}
        """Repository -> source id -> what waits."""
        self._deploying: dict[str, int] = {}
        """Source id -> how many syncs of it wait for stacks."""

    def __len__(self) -> int:
        return len(self._queue)

    async def run(self, tasks: TaskGroup) -> None:
        """Serve for ever."""
        while True:
            repository = await self._queue.get()
            tasks.start_soon(self._serve, repository, name=f"sync {repository}")

    async def drain(self) -> None:
        """Hand out nothing more and return when those at work have ended or only wait."""
        await self._queue.drain()

    def ask(self, wanted: SyncRequest) -> None:
        """Have a source looked at; joins a request that still waits."""
        repository = wanted.source.repository
        waiting = self._pending.setdefault(repository, {})
        if wanted.source.id in waiting:
            waiting[wanted.source.id].join(wanted)
        else:
            waiting[wanted.source.id] = wanted
        self._queue.add(repository, now=wanted.explicit)

    def retry(self, request: SyncRequest) -> float:
        """Serve a request again after a while; returns the delay in seconds."""
        self._put_back(request)
        return self._queue.retry(request.source.repository)

    @asynccontextmanager
    async def waiting_for_stacks(self, request: SyncRequest, only_waits: Callable[[], bool]) -> AsyncIterator[None]:
        """Inside the block stacks are deployed; `only_waits` tells whether nothing is done for any of
        them. After a while of that the next sync of the repository may begin."""
        source_id, repository = request.source.id, request.source.repository

        async def give_way() -> None:
            quiet = 0
            while quiet < LOOKS:
                await anyio.sleep(self._patience / LOOKS)
                quiet = quiet + 1 if only_waits() else 0
            request.gives_way.set()

        self._deploying[source_id] = self._deploying.get(source_id, 0) + 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give_way)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._deploying[source_id] -= 1
            if not self._deploying[source_id]:
                del self._deploying[source_id]
                if self._pending.get(repository):
                    self._queue.add(repository, now=True)

    async def _serve(self, repository: str) -> None:
        pending = self._pending.pop(repository, {})
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._queue.done(repository)

        try:
            requests = [request for request in pending.values() if await self._has_its_turn(request)]
            async with anyio.create_task_group() as tasks:
                for request in requests:
                    request.gives_way = anyio.Event()
                    tasks.start_soon(self._to_its_end, request)
                for request in requests:
                    await request.gives_way.wait()
                if repository not in self._pending:
                    self._queue.forget(repository)
                release()
        finally:
            release()

    async def _to_its_end(self, request: SyncRequest) -> None:
        try:
            await self._work(request)
        finally:
            request.gives_way.set()

    async def _has_its_turn(self, request: SyncRequest) -> bool:
        """Whether a request is to be served now. Else it waits for the sync that deploys what it would."""
        source_id = request.source.id
        if source_id not in self._deploying or await self._moved(request) or source_id not in self._deploying:
            return True
        self._put_back(request)
        return False

    def _put_back(self, request: SyncRequest) -> None:
        waiting = self._pending.setdefault(request.source.repository, {})
        later = waiting.get(request.source.id)
        if later is not None:
            request.join(later)
        waiting[request.source.id] = request
