"""How the store talks to a database: one transaction at a time, all of it or nothing.

A piece of work is an async function of a connection. `Database.write` runs it in a
transaction; `Database.read` runs it without one, each statement for itself, which spares
half of the round trips (so a reader of two tables takes them in the order in which a newer
second half does no harm). What the two guarantee to every caller:

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
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias, TypeVar

import anyio
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from state.errors import StoreUnavailable

T = TypeVar("T")
Work: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]

TRANSACTION_DEADLINE = 20.0
"""Seconds a transaction may take before its connection is given up."""


@dataclass(frozen=True)
class Engines:
    """The engines of one database and what is peculiar to it."""

    writer: AsyncEngine
    reader: AsyncEngine
    """In autocommit mode."""
    turn: AbstractAsyncContextManager[object]
    """Entered before writing: a lock where there may be one writer only."""
    name: str
    """For error messages; without credentials."""
    close: Callable[[], Awaitable[None]]


@dataclass
class _Progress:
    committing: bool = False


class Database:
    """Reads and writes one database in transactions."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self.dialect = engines.writer.dialect.name
        self.last_write = float("-inf")
        """`time.monotonic()` of the last successful commit, unless a write failed since."""

    async def read(self, work: Work[T]) -> T:
        async def run(progress: _Progress) -> T:
            async with self._engines.reader.connect() as connection:
                return await work(connection)

        return await self._attempt(run)

    async def write(self, work: Work[T]) -> T:
        async def run(progress: _Progress) -> T:
            async with self._engines.writer.connect() as connection, connection.begin() as transaction:
                result = await work(connection)
                progress.committing = True
                await transaction.commit()
            return result

        async with self._engines.turn:
            try:
                result = await self._attempt(run)
            except StoreUnavailable:
                self.last_write = float("-inf")
                raise
        self.last_write = monotonic()
        return result

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
