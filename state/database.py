"""How the store talks to a database: one transaction at a time, all of it or nothing.

A piece of work is a plain function of a connection. `Database.write` runs it in a
transaction; `Database.read` runs it without one, each statement for itself, which spares
half of the round trips (so a reader of two tables takes them in the order in which a newer
second half does no harm). How it is run is the driver's affair: SQLite's blocks, so all of a
transaction goes to a worker thread in one trip; PostgreSQL's statements are awaited one by one.

What the two guarantee to every caller:

- Work that has begun is carried to its end even if the calling task is cancelled
  (it is shielded, with a deadline of its own): there is no moment at which a cancellation
  leaves the caller in doubt for longer than the work takes, and no connection is
  thrown away for it. Waiting for the turn to write is not shielded.
- Whatever keeps the database from answering (disk full, locked by another process, server
  gone) comes out as `StoreUnavailable` after a rollback. The next call starts afresh, so the
  store recovers by itself.
- A pooled connection that turns out to be dead (the server was restarted meanwhile) costs
  one retry, not an error, as long as the commit was not sent yet.

SQLite has one writer: `turn` is a lock. PostgreSQL writes side by side: rows are locked by
the statements themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import anyio
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from state.errors import StoreUnavailable
from state.metrics import metrics

if TYPE_CHECKING:
    from prometheus_client import Histogram

T = TypeVar("T")
Work: TypeAlias = Callable[[Connection], T]

TRANSACTION_DEADLINE = 20.0
"""Seconds a transaction may take before its connection is given up."""


class Engines(Protocol):
    """The connections to one database and how work is run on them."""

    @property
    def dialect(self) -> str: ...

    @property
    def name(self) -> str:
        """For error messages; without credentials."""

    @property
    def turn(self) -> AbstractAsyncContextManager[object]:
        """Entered before writing: a lock where there may be one writer only."""

    async def read(self, work: Work[T]) -> T:
        """Run without a transaction."""

    async def write(self, work: Work[T], committing: Callable[[], None]) -> T:
        """Run in a transaction; `committing` is called right before it is committed."""

    async def close(self) -> None: ...


@dataclass
class _Progress:
    committing: bool = False

    def commit(self) -> None:
        self.committing = True


class Database:
    """Reads and writes one database in transactions."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self.dialect = engines.dialect
        self.last_write = float("-inf")
        """`time.monotonic()` of the last successful commit, unless a write failed since."""
        self._timers: dict[str, Histogram] = {}

    async def read(self, work: Work[T]) -> T:
        async def run(progress: _Progress) -> T:
            return await self._engines.read(work)

        with self._timed(work):
            return await self._attempt(run)

    async def write(self, work: Work[T]) -> T:
        async def run(progress: _Progress) -> T:
            return await self._engines.write(work, progress.commit)

        with self._timed(work):
            return await self._written(run)

    async def _written(self, run: Callable[[_Progress], Awaitable[T]]) -> T:
        async with self._engines.turn:
            try:
                result = await self._attempt(run)
            except StoreUnavailable:
                self.last_write = float("-inf")
                raise
        self.last_write = monotonic()
        return result

    def _timed(self, work: Work[Any]) -> AbstractContextManager[object]:
        """Counts how long this takes, waiting for the turn included, by the store's method that asks."""
        operation = work.__qualname__.removesuffix(".<locals>.work").rpartition(".")[2]
        operation = "read" if operation.startswith("_") else operation
        timer = self._timers.get(operation)
        if timer is None:
            timer = self._timers[operation] = metrics().store_seconds.labels(operation)
        return timer.time()

    async def _attempt(self, run: Callable[[_Progress], Awaitable[T]]) -> T:
        for attempt in (1, 2):
            progress = _Progress()
            try:
                with anyio.fail_after(TRANSACTION_DEADLINE, shield=True):
                    return await run(progress)
            except DBAPIError as error:
                if error.connection_invalidated and not progress.committing and attempt == 1:
                    continue
                if isinstance(error, (IntegrityError, ProgrammingError, DataError)):
                    raise
                raise self._unavailable(error.orig or error) from error
            except (PoolTimeout, TimeoutError, OSError) as error:
                raise self._unavailable(error) from error
            except SQLAlchemyError as error:
                # A rollback over a connection that died: the first error is its context.
                raise self._unavailable(error.__context__ or error) from error
        raise AssertionError("unreachable: the second attempt returns or raises")

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        orig = getattr(error, "orig", None) or error
        text = " ".join(str(orig).split()) or type(orig).__name__
        return StoreUnavailable(f"the store {self._engines.name} is not available: {text}")

    async def close(self) -> None:
        with anyio.move_on_after(TRANSACTION_DEADLINE, shield=True):
            await self._engines.close()
