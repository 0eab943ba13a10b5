"""PostgreSQL, for those who run a server anyway or share the state between replicas.

The driver is asyncpg. Every statement and every connection attempt has a deadline, so a
server that accepts connections and then says nothing is an error within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from state import tables
from state.database import Engines, T, Work

CONNECT_DEADLINE = 5.0
STATEMENT_DEADLINE = 10.0


def connect(url: URL) -> Engines:
    """The engine for a `postgresql://…` URL; connects at first use."""
    _say_conditions_of_indexes()
    query = dict(url.query)
    arguments: dict[str, Any] = {
        "timeout": CONNECT_DEADLINE,
        "command_timeout": STATEMENT_DEADLINE,
        "server_settings": {"application_name": "moored"},
    }
    # asyncpg calls libpq's `sslmode` by another name, with the same values.
    if "sslmode" in query:
        arguments["ssl"] = query.pop("sslmode")
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        connect_args=arguments,
        pool_size=4,
        max_overflow=4,
        pool_timeout=10,
        hide_parameters=True,
    )
    return PostgresEngines(engine, url.render_as_string(hide_password=True))


def _say_conditions_of_indexes() -> None:
    """Partial indexes are the same here as on SQLite. Saying so where the tables are defined would
    load this dialect and its drivers everywhere."""
    for table in tables.metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]


class PostgresEngines:
    """Connections to a server."""

    dialect = "postgresql"

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self.name = name
        self.turn: AbstractAsyncContextManager[object] = nullcontext()
        self._writer = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def read(self, work: Work[T]) -> T:
        async with self._reader.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Work[T], committing: Callable[[], None]) -> T:
        async with self._writer.connect() as connection, connection.begin() as transaction:
            result = await connection.run_sync(work)
            committing()
            await transaction.commit()
        return result

    async def close(self) -> None:
        await self._writer.dispose()
