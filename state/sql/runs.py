"""Intents and runs: what was asked for and what happened.

An intent and its run are written together and finished together, so a `job_id` that was
answered always resolves. The actions of a run are rows of their own: recording one step of
a large rollout does not rewrite the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import TypeVar

import anyio
from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from state import codec, tables
from state.database import Database
from state.errors import StoreUnavailable
from state.model import (
    Backlog,
    Intent,
    Run,
    RunAction,
    RunStatus,
    Trigger,
)
from state.sql.base import SqlBase

_T = TypeVar("_T")

_AT_ONCE = 500
"""Ids in one statement."""
_UNFINISHED = (RunStatus.ACCEPTED.value, RunStatus.RUNNING.value)
_RUNS_MADE_BY_PEOPLE = (Trigger.WEBHOOK, Trigger.POLL, Trigger.SCHEDULED_JOB)

_INTENT = select(tables.intents).where(tables.intents.c.id == bindparam("id"))
_INTENT_OF_KEY = select(tables.intents).where(tables.intents.c.idempotency_key == bindparam("idempotency_key"))
_SAME_INTENT = select(tables.intents).where(
    or_(
        tables.intents.c.id == bindparam("id"),
        tables.intents.c.idempotency_key == bindparam("idempotency_key"),
        tables.intents.c.delivery == bindparam("delivery"),
    )
)
_OPEN_INTENTS = (
    select(tables.intents)
    .where(tables.intents.c.finished_at.is_(None))
    .order_by(tables.intents.c.created_at, tables.intents.c.id)
)
_OPEN_IDS = select(tables.intents.c.id).where(tables.intents.c.finished_at.is_(None))
_RUN = select(tables.runs).where(tables.runs.c.job_id == bindparam("job_id"))
_RUN_STATUS = select(tables.runs.c.status).where(tables.runs.c.job_id == bindparam("job_id"))
_END_ACTIONS = (
    update(tables.run_actions)
    .where(
        tables.run_actions.c.job_id == bindparam("run"),
        or_(tables.run_actions.c.status == "pending", tables.run_actions.c.status == "running"),
    )
    .values(status="cancelled")
)
_END_INTENT = (
    update(tables.intents)
    .where(tables.intents.c.id == bindparam("run"), tables.intents.c.finished_at.is_(None))
    .values(finished_at=bindparam("ended"))
)
_RUN_ACTIONS = (
    select(tables.run_actions)
    .where(tables.run_actions.c.job_id == bindparam("job_id"))
    .order_by(tables.run_actions.c.position, tables.run_actions.c.id)
)


class Runs(SqlBase):
    """The intent and run half of `Store`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._put_run = self._upsert(tables.runs)
        self._put_action = self._upsert(tables.run_actions, keep=("position",))
        self._new_intent = self._insert(tables.intents).on_conflict_do_nothing()

    async def accept(self, intent: Intent, run: Run) -> tuple[Intent, bool]:
        intent_row, run_row = codec.intent_to_row(intent), codec.run_to_row(run)

        def work(connection: Connection) -> tuple[Intent, bool]:
            inserted = connection.execute(self._new_intent, intent_row)
            if not inserted.rowcount:
                keys = {name: intent_row[name] for name in ("id", "idempotency_key", "delivery")}
                row = connection.execute(_SAME_INTENT, keys).mappings().first()
                if row is None:
                    raise StoreUnavailable("the earlier intent of this key was pruned at this very moment: try again")
                return codec.intent_from_row(row), False
            connection.execute(self._put_run, run_row)
            return intent, True

        held, new = await self._database.write(work)
        if new:
            self.watch.notify(("intents",))
            self._run_changed(run.job_id)
        return held, new

    async def open_intents(self) -> Sequence[Intent]:
        return [codec.intent_from_row(row) for row in await self._rows(_OPEN_INTENTS)]

    async def backlog(self, known: Set[str]) -> Backlog:
        def work(connection: Connection) -> Backlog:
            ids = frozenset(connection.execute(_OPEN_IDS).scalars())
            new: list[tuple[Intent, Run | None]] = []
            # What was handed on already is not read again: many may wait behind one that takes long.
            for chunk in _batched(ids - known, _AT_ONCE):
                intents = connection.execute(_OPEN_INTENTS.where(tables.intents.c.id.in_(chunk))).mappings().all()
                runs = connection.execute(select(tables.runs).where(tables.runs.c.job_id.in_(chunk))).mappings()
                by_id = {row["job_id"]: codec.run_from_row(row) for row in runs}
                new += [(codec.intent_from_row(row), by_id.get(row["id"])) for row in intents]
            return Backlog(ids, tuple(sorted(new, key=lambda found: (found[0].created_at, found[0].id))))

        return await self._database.read(work)

    async def get_intent(self, intent_id: str) -> Intent | None:
        row = await self._row(_INTENT, {"id": intent_id})
        return None if row is None else codec.intent_from_row(row)

    async def find_intent(self, idempotency_key: str) -> Intent | None:
        row = await self._row(_INTENT_OF_KEY, {"idempotency_key": codec.clean(idempotency_key)})
        return None if row is None else codec.intent_from_row(row)

    async def note_progress(self, intent_id: str, progress: Mapping[str, object]) -> None:
        statement = update(tables.intents).where(tables.intents.c.id == intent_id)
        text = codec.to_json(progress)

        def work(connection: Connection) -> None:
            connection.execute(statement.values(progress=text))

        await self._database.write(work)

    async def finish_all(self, runs: Sequence[Run]) -> None:
        ended = [run if run.finished_at else replace(run, finished_at=codec.now()) for run in runs]
        if not ended:
            return

        def work(connection: Connection) -> None:
            self._write_runs(connection, ended)
            # What a crash or a cancellation left under way is not under way any more.
            connection.execute(_END_ACTIONS, [{"run": run.job_id} for run in ended])
            connection.execute(
                _END_INTENT,
                [{"run": run.job_id, "ended": codec.to_micros(run.finished_at or codec.now())} for run in ended],
            )

        await self._database.write(work)
        for run in ended:
            self._run_changed(run.job_id)

    async def put_runs(self, runs: Sequence[Run]) -> None:
        if not runs:
            return

        def work(connection: Connection) -> None:
            self._write_runs(connection, runs)

        await self._database.write(work)
        for run in runs:
            self._run_changed(run.job_id)

    def _write_runs(self, connection: Connection, runs: Sequence[Run]) -> None:
        connection.execute(self._put_run, [codec.run_to_row(run) for run in runs])
        rows = [
            codec.action_to_row(run.job_id, position, action)
            for run in runs
            for position, action in enumerate(run.actions)
        ]
        if rows:
            connection.execute(self._put_action, rows)

    async def put_run_actions(self, job_id: str, actions: Sequence[RunAction]) -> None:
        if not actions:
            return

        def work(connection: Connection) -> None:
            known = connection.scalar(
                select(func.count()).select_from(tables.run_actions).where(tables.run_actions.c.job_id == job_id)
            )
            rows = [codec.action_to_row(job_id, (known or 0) + index, action) for index, action in enumerate(actions)]
            connection.execute(self._put_action, rows)

        await self._database.write(work)
        self.watch.notify(("run", job_id, "actions"))

    def _run_changed(self, job_id: str) -> None:
        self.watch.notify(("run", job_id, "status"))
        self.watch.notify(("runs",))

    async def get_run(self, job_id: str) -> Run | None:
        def work(connection: Connection) -> Run | None:
            row = connection.execute(_RUN, {"job_id": job_id}).mappings().first()
            if row is None:
                return None
            actions = connection.execute(_RUN_ACTIONS, {"job_id": job_id}).mappings()
            return codec.run_from_row(row, tuple(codec.action_from_row(action) for action in actions))

        return await self._database.read(work)

    async def list_runs(
        self,
        *,
        limit: int = 50,
        status: RunStatus | None = None,
        triggers: Sequence[Trigger] = _RUNS_MADE_BY_PEOPLE,
        before: str = "",
        stack: str = "",
    ) -> Sequence[Run]:
        runs = tables.runs.c
        statement = select(tables.runs).where(runs.trigger.in_([trigger.value for trigger in triggers]))
        if status is not None:
            statement = statement.where(runs.status == status.value)
        if before:
            cursor = select(runs.created_at, runs.job_id).where(runs.job_id == before).scalar_subquery()
            statement = statement.where(tuple_(runs.created_at, runs.job_id) < cursor)
        if stack:
            actions = tables.run_actions.c
            statement = statement.where(
                or_(
                    runs.touched.contains(f"\n{stack}\n", autoescape=True),
                    exists().where(actions.job_id == runs.job_id, actions.stack == stack),
                )
            )
        statement = statement.order_by(runs.created_at.desc(), runs.job_id.desc()).limit(limit)
        return [codec.run_from_row(row) for row in await self._rows(statement)]

    async def unfinished_runs(self) -> Sequence[Run]:
        # Spelled with literals, as the condition of the index is.
        statement = (
            select(tables.runs)
            .where(tables.runs.c.status.in_([literal(status, literal_execute=True) for status in _UNFINISHED]))
            .order_by(tables.runs.c.created_at, tables.runs.c.job_id)
        )
        return [codec.run_from_row(row) for row in await self._rows(statement)]

    async def wait_run(self, job_id: str, deadline: float | None = None) -> Run | None:
        with self.watch.subscribe(("run", job_id, "status")) as changed, anyio.move_on_after(deadline):
            while True:
                row = await self._row(_RUN_STATUS, {"job_id": job_id})
                if row is None or RunStatus(row["status"]).finished:
                    break
                await changed.wait()
        return await self.get_run(job_id)

    async def prune_runs(self, *, keep_per_trigger: int, max_age_seconds: float) -> int:
        runs, intents = tables.runs.c, tables.intents.c
        oldest = codec.to_micros(codec.now() - timedelta(seconds=max_age_seconds))
        rank = func.row_number().over(partition_by=runs.trigger, order_by=(runs.created_at.desc(), runs.job_id.desc()))
        ranked = select(runs.job_id, rank.label("rank")).subquery()
        doomed = delete(tables.runs).where(
            runs.status.not_in(_UNFINISHED),
            or_(
                runs.created_at < oldest,
                runs.job_id.in_(select(ranked.c.job_id).where(ranked.c.rank > keep_per_trigger)),
            ),
        )
        orphans = delete(tables.intents).where(
            intents.finished_at.is_not(None), ~exists().where(runs.job_id == intents.id)
        )

        def work(connection: Connection) -> int:
            removed = connection.execute(doomed).rowcount
            connection.execute(orphans)
            return removed

        removed = await self._database.write(work)
        if removed:
            self.watch.notify(("runs",))
        return removed


def _batched(items: Iterable[_T], size: int) -> Iterator[tuple[_T, ...]]:
    """Pieces of at most `size`."""
    rest = iter(items)
    while piece := tuple(islice(rest, size)):
        yield piece
