"""Waiting for the outcome of a run, boundedly.

A caller that waits holds a slot; when all are taken the next one is refused before anything
is written, for an answer "accepted" to a pipeline that asked for the outcome would be a
lie. When the server stops, waiters are answered at once: what they asked for is durable
and goes on after the restart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from api.errors import ApiError
from state.model import Run
from state.store import Store


class Waits:
    """The slots for waiting callers."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._closing = anyio.Event()

    @property
    def taken(self) -> int:
        return self._taken

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot; raises `ApiError` (503) when there is none."""
        if self._taken >= self._limit:
            raise ApiError(
                503,
                "too many waiting requests",
                f"{self._taken} requests are waiting for outcomes already; nothing was done",
                headers={"Retry-After": "5"},
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    def close(self) -> None:
        """Let all waiters go."""
        self._closing.set()

    @asynccontextmanager
    async def until_closed(self) -> AsyncIterator[None]:
        """Leave the body early when the server stops."""
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await self._closing.wait()
                group.cancel_scope.cancel()

            group.start_soon(watch)
            yield
            group.cancel_scope.cancel()

    async def run(self, store: Store, job_id: str, seconds: float) -> Run | None:
        """The run once it has finished; None when `seconds` pass, or the server stops, before."""
        async with self.until_closed():
            run = await store.wait_run(job_id, max(0.0, seconds))
            if run is not None and run.status.finished:
                return run
        return None
