"""The durable desired-state store: what is wanted, what was asked for, what happened.

`Store` says what can be done with it; the one implementation is `state.sql`, on SQLAlchemy
Core for SQLite (embedded, the default) and PostgreSQL, loaded by `open_store` alone because
it takes its time to import. Whatever a method has returned from is on disk: an acknowledged
intent survives a power loss. Readers are woken by `state.watch.Watch` when something
changes; nobody polls.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from datetime import datetime

from state import codec
from state.errors import StoreIncompatible, StoreUnavailable
from state.model import (
    Backlog,
    Condition,
    Intent,
    JsonObject,
    Overrides,
    Run,
    RunAction,
    RunStatus,
    Source,
    SourceSpec,
    Stack,
    StackKey,
    Trigger,
)
from state.watch import Watch


class Store(ABC):
    """Access to the durable state. Create it with `open_store`.

    Safe to use from any number of tasks of one event loop. Errors: `StoreUnavailable`
    when the database cannot be written or reached (disk full, connection lost); the
    caller retries, nothing is half done.
    """

    watch: Watch
    """Signals changes: `("run", job_id)`, `("stack", StackKey)`, `("source", id)`,
    `("intents",)` (one was accepted), `("runs",)`. Who cares for one half of a run only subscribes to
    `("run", job_id, "status")` or `("run", job_id, "actions")`."""
    instance_id: str
    """A random id made with the database; owner label of what this instance deploys."""

    @abstractmethod
    async def accept(self, intent: Intent, run: Run) -> tuple[Intent, bool]:
        """Write an intent and its run, in one transaction.

        Returns the intent that holds, and whether it is new: an earlier intent with the
        same `idempotency_key` (or `delivery`) is returned instead of writing again.
        """

    @abstractmethod
    async def open_intents(self) -> Sequence[Intent]:
        """Intents not finished yet, oldest first."""

    @abstractmethod
    async def backlog(self, known: Set[str]) -> Backlog:
        """What is not finished yet, and of it, oldest first and with their runs, the intents
        that are not among the `known` ids."""

    @abstractmethod
    async def get_intent(self, intent_id: str) -> Intent | None: ...

    @abstractmethod
    async def find_intent(self, idempotency_key: str) -> Intent | None:
        """The intent that was accepted under a key."""

    @abstractmethod
    async def note_progress(self, intent_id: str, progress: Mapping[str, object]) -> None:
        """Replace the `progress` of an intent."""

    async def finish(self, run: Run) -> None:
        """`finish_all` of one run."""
        await self.finish_all((run,))

    @abstractmethod
    async def finish_all(self, runs: Sequence[Run]) -> None:
        """Write the ends of runs and finish the intents of those that have one, in one transaction.
        Their actions still pending or running become cancelled."""

    async def put_run(self, run: Run) -> None:
        """`put_runs` of one run."""
        await self.put_runs((run,))

    @abstractmethod
    async def put_runs(self, runs: Sequence[Run]) -> None:
        """Insert or replace runs and wake their waiters. Their actions are inserted or replaced by
        their id; actions written before and not among them stay."""

    @abstractmethod
    async def put_run_actions(self, job_id: str, actions: Sequence[RunAction]) -> None:
        """Insert or replace actions of a run, by their id, leaving the others."""

    @abstractmethod
    async def get_run(self, job_id: str) -> Run | None:
        """A run with its actions."""

    @abstractmethod
    async def list_runs(
        self,
        *,
        limit: int = 50,
        status: RunStatus | None = None,
        triggers: Sequence[Trigger] = (Trigger.WEBHOOK, Trigger.POLL, Trigger.SCHEDULED_JOB),
        before: str = "",
        stack: str = "",
    ) -> Sequence[Run]:
        """Runs without their actions, newest `created_at` first; `before` is a job id to
        continue behind; `stack` keeps runs that touched that stack."""

    @abstractmethod
    async def unfinished_runs(self) -> Sequence[Run]:
        """Runs accepted or running: after a start, those that a crash left behind."""

    @abstractmethod
    async def wait_run(self, job_id: str, deadline: float | None = None) -> Run | None:
        """Wait until the run has finished; after `deadline` seconds (None: no limit)
        return it as it is. None: no such run."""

    @abstractmethod
    async def prune_runs(self, *, keep_per_trigger: int, max_age_seconds: float) -> int:
        """Delete finished runs beyond the newest `keep_per_trigger` of a trigger or older
        than `max_age_seconds`; and finished intents without a run. Returns how many runs."""

    @abstractmethod
    async def ensure_source(self, spec: SourceSpec, repository: str, origin: str) -> Source:
        """The source with this identity (`source_id(spec)`), made or updated; `origin`
        `config` wins over `api` over `webhook`."""

    @abstractmethod
    async def get_source(self, source_id: str) -> Source | None: ...

    @abstractmethod
    async def list_sources(self) -> Sequence[Source]: ...

    @abstractmethod
    async def demote_sources(self, keep: Sequence[str]) -> None:
        """Sources of origin `config` that are not in `keep` become origin `former`: they are no
        longer polled, and their stacks stay until somebody takes them over."""

    @abstractmethod
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
        """Change the given fields; wakes nobody if they are so already."""

    @abstractmethod
    async def apply_stacks(self, source_id: str, revision: str, stacks: Sequence[Stack]) -> Sequence[Stack]:
        """Write the desired state of a revision, all of its stacks in one transaction.

        For each: a new `desired_hash` (or none before) raises `generation` by one and, if
        it differs from the hash the stack was removed at, ends the override *removed*; so does
        coming back while it was still being taken down. Conditions, overrides and observed
        generation of a known stack are kept. The source's `revision` is set too. Returns the
        stacks as written.
        """

    @abstractmethod
    async def get_stack(self, key: StackKey) -> Stack | None: ...

    @abstractmethod
    async def list_stacks(self, source_id: str | None = None, *, desired: bool = True) -> Sequence[Stack]:
        """All stacks (of a source), sorted by key; with `desired=False` without their
        (large) desired state, for lists."""

    @abstractmethod
    async def set_overrides(self, key: StackKey, overrides: Overrides, *, deleting: bool = False) -> Stack | None:
        """Replace a stack's overrides; raises `generation` if they differ. `deleting`: from now on
        it is also being taken down for good."""

    @abstractmethod
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
        """Change the given fields; wakes nobody if they are so already. None: no such stack."""

    @abstractmethod
    async def delete_stack(self, key: StackKey) -> None:
        """Forget a stack."""

    @abstractmethod
    async def check(self) -> None:
        """Raise `StoreUnavailable` unless the store can be written."""


def source_id(spec: SourceSpec) -> str:
    """The stable id of a source: 16 hex digits over `kind, url, reference, target, deployments`."""
    identity = [spec.kind.value, spec.url, spec.reference, spec.target, spec.deployments]
    return hashlib.sha256(codec.to_json(identity, sort_keys=True).encode()).hexdigest()[:16]


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Open (and migrate) the store at a SQLAlchemy-style URL: `sqlite:////data/moored.db` or
    `postgresql://user:password@host/name`.

    Raises `ValueError` for a URL of another kind, `StoreUnavailable` when the database cannot
    be opened now, `StoreIncompatible` when it was written by a newer version or is not ours.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, DatabaseError

    from state.database import Database
    from state.schema import prepare
    from state.sql import SqlStore

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("the URL of the store cannot be read; expected sqlite:////path or postgresql://…") from None
    match parsed.drivername.partition("+")[0]:
        case "sqlite":
            from state.sqlite import connect
        case "postgresql" | "postgres":
            from state.postgres import connect
        case other:
            raise ValueError(f"the store is at a sqlite: or postgresql: URL, but {other!r} was found")
    database = Database(connect(parsed))
    try:
        try:
            instance_id = await database.write(prepare)
        except (StoreUnavailable, DatabaseError) as error:
            if "file is not a database" in str(error):
                raise StoreIncompatible(f"{parsed.database} is not a SQLite database") from error
            if isinstance(error, StoreUnavailable):
                raise
            where = parsed.render_as_string(hide_password=True)
            raise StoreUnavailable(f"the store {where} cannot be prepared: {error.orig}") from error
        yield SqlStore(database, instance_id)
    finally:
        await database.close()
