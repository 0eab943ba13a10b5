"""What all parts of the store on SQL share: the database, the wake-ups, reading, upserts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
)

from state.database import Database
from state.watch import Watch


class SqlBase:
    """One database and those who wait for its changes."""

    def __init__(self, database: Database) -> None:
        self.watch = Watch()
        self._database = database

    def _insert(self, table: Table) -> Any:
        """A dialect's own `INSERT`, the one that knows `ON CONFLICT`; both spell it alike."""
        if self._database.dialect == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table)
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)

    def _upsert(self, table: Table, keep: tuple[str, ...] = ()) -> Any:
        """Insert a row or replace all but its key and `keep`."""
        statement = self._insert(table)
        keys = [column.name for column in table.primary_key]
        return statement.on_conflict_do_update(
            index_elements=keys,
            set_={
                column.name: statement.excluded[column.name]
                for column in table.c
                if column.name not in keys and column.name not in keep
            },
        )

    async def _rows(
        self, statement: Select[Any], parameters: dict[str, Any] | None = None
    ) -> Sequence[Mapping[Any, Any]]:
        def work(connection: Connection) -> Sequence[Mapping[Any, Any]]:
            found: Sequence[Mapping[Any, Any]] = connection.execute(statement, parameters).mappings().all()
            return found

        return await self._database.read(work)

    async def _row(self, statement: Select[Any], parameters: dict[str, Any]) -> Mapping[Any, Any] | None:
        def work(connection: Connection) -> Mapping[Any, Any] | None:
            found: Mapping[Any, Any] | None = connection.execute(statement, parameters).mappings().first()
            return found

        return await self._database.read(work)
