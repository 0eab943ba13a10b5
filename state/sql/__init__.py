"""`Store` on SQLAlchemy Core, for SQLite and PostgreSQL alike.

Each method is one transaction of few statements. Writers compare before they write: a
status that is already what it shall be costs no disk write and wakes nobody, so loops that
record the same condition again and again stay silent. Waiters are woken only after the
commit; what they then read is what was committed.
"""

from __future__ import annotations

from time import monotonic

from sqlalchemy import Connection

from state import codec, tables
from state.database import Database
from state.sql.runs import Runs
from state.sql.stacks import Stacks
from state.store import Store

__all__ = ["SqlStore"]


class SqlStore(Runs, Stacks, Store):
    """The durable state in a database."""

    def __init__(self, database: Database, instance_id: str) -> None:
        super().__init__(database)
        self.instance_id = instance_id
        self._touch = self._upsert(tables.meta)

    async def check(self) -> None:
        # A write within the last second has proved it already: asking often costs nothing.
        if monotonic() - self._database.last_write < 1.0:
            return
        row = {"key": "checked_at", "value": codec.now().isoformat()}

        def work(connection: Connection) -> None:
            connection.execute(self._touch, row)

        await self._database.write(work)
