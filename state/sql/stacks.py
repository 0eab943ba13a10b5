"""Sources and stacks: what is wanted, and how it is.

The rules of generations live here, inside the transaction that writes them: a stack's
generation grows when its desired hash or its overrides change, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    select,
    update,
)

from state import codec, tables
from state.database import Database
from state.model import (
    FORMER,
    Condition,
    JsonObject,
    Overrides,
    Source,
    SourceSpec,
    Stack,
    StackKey,
)
from state.sql.base import SqlBase
from state.store import source_id

_ORIGINS = (FORMER, "webhook", "api", "config")
_SOURCE = select(tables.sources).where(tables.sources.c.id == bindparam("id"))
_STACK = select(tables.stacks).where(
    tables.stacks.c.context == bindparam("context"), tables.stacks.c.name == bindparam("name")
)
_STACKS_SLIM = select(*(column for column in tables.stacks.c if column.name != "desired"))


class Stacks(SqlBase):
    """The source and stack half of `Store`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._put_source = self._upsert(tables.sources)
        self._put_stack = self._upsert(tables.stacks, keep=("created_at",))

    async def ensure_source(self, spec: SourceSpec, repository: str, origin: str) -> Source:
        if origin not in _ORIGINS:
            raise ValueError(f"origin must be one of {', '.join(_ORIGINS)}, got {origin!r}")
        key = source_id(spec)

        def merged(known: Source | None) -> Source:
            if known is None:
                return Source(id=key, spec=spec, repository=repository, origin=origin)
            if _ORIGINS.index(origin) < _ORIGINS.index(known.origin):
                return known
            return replace(known, spec=spec, repository=repository, origin=origin)

        known = await self.get_source(key)
        if known is not None and codec.source_to_row(merged(known)) == codec.source_to_row(known):
            return known

        def work(connection: Connection) -> Source:
            row = connection.execute(_SOURCE.with_for_update(), {"id": key}).mappings().first()
            source = merged(None if row is None else codec.source_from_row(row))
            connection.execute(self._put_source, codec.source_to_row(source))
            return source

        source = await self._database.write(work)
        self.watch.notify(("source", key))
        return source

    async def get_source(self, source_id: str) -> Source | None:
        row = await self._row(_SOURCE, {"id": source_id})
        return None if row is None else codec.source_from_row(row)

    async def list_sources(self) -> Sequence[Source]:
        statement = select(tables.sources).order_by(tables.sources.c.repository, tables.sources.c.id)
        return [codec.source_from_row(row) for row in await self._rows(statement)]

    async def demote_sources(self, keep: Sequence[str]) -> None:
        sources = tables.sources.c
        statement = (
            update(tables.sources)
            .where(sources.origin == "config", sources.id.not_in(list(keep)))
            .values(origin=FORMER)
            .returning(sources.id)
        )

        def work(connection: Connection) -> Sequence[str]:
            found: Sequence[str] = connection.execute(statement).scalars().all()
            return found

        for demoted in await self._database.write(work):
            self.watch.notify(("source", demoted))

    async def update_source(
        self,
        source_id: str,
        *,
        revision: str | None = None,
        conditions: Sequence[Condition] | None = None,
        last_checked: datetime | None = None,
        last_success: datetime | None = None,
        failures: int | None = None,
    ) -> None:
        values = _given(
            revision=revision,
            conditions=None if conditions is None else codec.conditions_to_json(conditions),
            last_checked=None if last_checked is None else codec.to_micros(last_checked),
            last_success=None if last_success is None else codec.to_micros(last_success),
            failures=failures,
        )

        def work(connection: Connection) -> bool:
            row = connection.execute(_SOURCE.with_for_update(), {"id": source_id}).mappings().first()
            if row is None or all(row[name] == value for name, value in values.items()):
                return False
            connection.execute(update(tables.sources).where(tables.sources.c.id == source_id).values(values))
            return True

        if await self._database.write(work):
            self.watch.notify(("source", source_id))

    async def apply_stacks(self, source_id: str, revision: str, stacks: Sequence[Stack]) -> Sequence[Stack]:
        def work(connection: Connection) -> tuple[list[Stack], list[StackKey], bool]:
            written: list[Stack] = []
            changed: list[codec.Row] = []
            now = codec.now()
            known = self._stack_rows(connection, stacks)
            for stack in stacks:
                row = known.get(stack.key)
                next_stack = _applied(stack, None if row is None else codec.stack_from_row(row))
                created_at = next_stack.created_at or now
                next_row = codec.stack_to_row(next_stack, created_at, now)
                if row is not None and all(row[name] == next_row[name] for name in next_row if name != "updated_at"):
                    written.append(replace(next_stack, updated_at=codec.from_micros(row["updated_at"])))
                    continue
                written.append(replace(next_stack, created_at=created_at, updated_at=now))
                changed.append(next_row)
            if changed:
                connection.execute(self._put_stack, changed)
            moved = connection.execute(
                update(tables.sources)
                .where(tables.sources.c.id == source_id, tables.sources.c.revision != revision)
                .values(revision=revision)
            )
            return written, [StackKey(row["context"], row["name"]) for row in changed], bool(moved.rowcount)

        written, changed, moved = await self._database.write(work)
        for key in changed:
            self.watch.notify(("stack", key))
        if moved:
            self.watch.notify(("source", source_id))
        return written

    def _stack_rows(self, connection: Connection, stacks: Sequence[Stack]) -> dict[StackKey, Mapping[Any, Any]]:
        """The rows of those stacks that are known, locked until the end of the transaction."""
        names = sorted({stack.key.name for stack in stacks})
        statement = (
            select(tables.stacks)
            .where(tables.stacks.c.name.in_(names))
            # In one order, so that two writers never wait for each other.
            .order_by(tables.stacks.c.context, tables.stacks.c.name)
            .with_for_update()
        )
        rows = connection.execute(statement).mappings()
        return {StackKey(row["context"], row["name"]): row for row in rows}

    def _stack_row(self, connection: Connection, key: StackKey) -> Mapping[Any, Any] | None:
        """A stack's row, locked until the end of the transaction."""
        found = connection.execute(_STACK.with_for_update(), {"context": key.context, "name": key.name})
        return found.mappings().first()

    async def get_stack(self, key: StackKey) -> Stack | None:
        row = await self._row(_STACK, {"context": key.context, "name": key.name})
        return None if row is None else codec.stack_from_row(row)

    async def list_stacks(self, source_id: str | None = None, *, desired: bool = True) -> Sequence[Stack]:
        statement = select(tables.stacks) if desired else _STACKS_SLIM
        if source_id is not None:
            statement = statement.where(tables.stacks.c.source_id == source_id)
        rows = await self._rows(statement)
        return sorted((codec.stack_from_row(row) for row in rows), key=lambda stack: stack.key)

    async def set_overrides(self, key: StackKey, overrides: Overrides, *, deleting: bool = False) -> Stack | None:
        text = codec.overrides_to_json(overrides)

        def work(connection: Connection) -> tuple[Stack | None, bool]:
            row = self._stack_row(connection, key)
            if row is None:
                return None, False
            values: dict[str, Any] = {}
            if row["overrides"] != text:
                values = {"overrides": text, "generation": row["generation"] + 1}
            if deleting and not row["deleting"]:
                values["deleting"] = True
            if not values:
                return codec.stack_from_row(row), False
            return self._change_stack(connection, row, **values), True

        stack, changed = await self._database.write(work)
        if changed:
            self.watch.notify(("stack", key))
        return stack

    async def update_stack(
        self,
        key: StackKey,
        *,
        observed_generation: int | None = None,
        conditions: Sequence[Condition] | None = None,
        ready_revision: str | None = None,
        deleting: bool | None = None,
        pending_recreate: str | None = None,
        acknowledged: JsonObject | None = None,
    ) -> Stack | None:
        values = _given(
            observed_generation=observed_generation,
            conditions=None if conditions is None else codec.conditions_to_json(conditions),
            ready_revision=ready_revision,
            deleting=deleting,
            pending_recreate=pending_recreate,
            acknowledged=None if acknowledged is None else codec.to_json(acknowledged),
        )

        def work(connection: Connection) -> tuple[Stack | None, bool]:
            row = self._stack_row(connection, key)
            if row is None:
                return None, False
            if all(row[name] == value for name, value in values.items()):
                return codec.stack_from_row(row), False
            return self._change_stack(connection, row, **values), True

        stack, changed = await self._database.write(work)
        if changed:
            self.watch.notify(("stack", key))
        return stack

    def _change_stack(self, connection: Connection, row: Mapping[Any, Any], **values: Any) -> Stack:
        values["updated_at"] = codec.to_micros(codec.now())
        connection.execute(
            update(tables.stacks)
            .where(tables.stacks.c.context == row["context"], tables.stacks.c.name == row["name"])
            .values(values)
        )
        return codec.stack_from_row({**row, **values})

    async def delete_stack(self, key: StackKey) -> None:
        stacks = tables.stacks.c
        statement = delete(tables.stacks).where(stacks.context == key.context, stacks.name == key.name)

        def work(connection: Connection) -> bool:
            return bool(connection.execute(statement).rowcount)

        if await self._database.write(work):
            self.watch.notify(("stack", key))


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _applied(wanted: Stack, known: Stack | None) -> Stack:
    """What is to be stored when `wanted` is applied over `known`."""
    if known is None:
        return replace(wanted, generation=1, observed_generation=0)
    overrides, generation = known.overrides, known.generation
    moved = wanted.desired_hash != known.desired_hash
    removed = overrides.removed
    if removed is not None:
        back = known.deleting and not wanted.deleting
        if back or (moved and removed.desired_hash != wanted.desired_hash):
            overrides = replace(overrides, removed=None)
            moved = True
    if moved:
        generation += 1
    return replace(
        wanted,
        generation=generation,
        observed_generation=known.observed_generation,
        overrides=overrides,
        conditions=known.conditions,
        acknowledged=known.acknowledged,
        ready_revision=known.ready_revision,
        pending_recreate=wanted.pending_recreate or known.pending_recreate,
        created_at=known.created_at,
    )
