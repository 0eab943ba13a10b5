"""The durable desired-state store: what is wanted, what was asked for, what happened.

One implementation on SQLAlchemy Core for SQLite (embedded, the default) and PostgreSQL.
Whatever a method has returned from is on disk: an acknowledged intent survives a power
loss. Readers are woken by `state.watch.Watch` when something changes; nobody polls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from state.model import (
    Condition,
    Intent,
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


class Store:
    """Access to the durable state. Create it with `open_store`.

    Safe to use from any number of tasks of one event loop. Errors: `StoreUnavailable`
    when the database cannot be written or reached (disk full, connection lost); the
    caller retries, nothing is half done.
    """

    watch: Watch
    """Signals changes: `("run", job_id)`, `("stack", StackKey)`, `("source", id)`,
    `("intents",)`, `("runs",)`."""
    instance_id: str
    """A random id made with the database; owner label of what this instance deploys."""

    # --- intents and runs -------------------------------------------------------------
    async def accept(self, intent: Intent, run: Run) -> tuple[Intent, bool]:
        """Write an intent and its run, in one transaction.

        Returns the intent that holds, and whether it is new: an earlier intent with the
        same `idempotency_key` (or `delivery`) is returned instead of writing again.
        """
        raise NotImplementedError

    async def open_intents(self) -> Sequence[Intent]:
        """Intents not finished yet, oldest first."""
        raise NotImplementedError

    async def get_intent(self, intent_id: str) -> Intent | None:
        raise NotImplementedError

    async def note_progress(self, intent_id: str, progress: dict[str, object]) -> None:
        """Replace the `progress` of an intent."""
        raise NotImplementedError

    async def finish(self, run: Run) -> None:
        """Write the end of a run and, if it has one, finish its intent, in one transaction."""
        raise NotImplementedError

    async def put_run(self, run: Run) -> None:
        """Insert or replace a run (its actions included) and wake its waiters."""
        raise NotImplementedError

    async def put_run_actions(self, job_id: str, actions: Sequence[RunAction]) -> None:
        """Insert or replace actions of a run, by their id, leaving the others."""
        raise NotImplementedError

    async def get_run(self, job_id: str) -> Run | None:
        """A run with its actions."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def unfinished_runs(self) -> Sequence[Run]:
        """Runs accepted or running: after a start, those that a crash left behind."""
        raise NotImplementedError

    async def wait_run(self, job_id: str, deadline: float | None = None) -> Run | None:
        """Wait until the run has finished; after `deadline` seconds (None: no limit)
        return it as it is. None: no such run."""
        raise NotImplementedError

    async def prune_runs(self, *, keep_per_trigger: int, max_age_seconds: float) -> int:
        """Delete finished runs beyond the newest `keep_per_trigger` of a trigger or older
        than `max_age_seconds`; and finished intents without a run. Returns how many runs."""
        raise NotImplementedError

    # --- sources ----------------------------------------------------------------------
    async def ensure_source(self, spec: SourceSpec, repository: str, origin: str) -> Source:
        """The source with this identity (`source_id(spec)`), made or updated; `origin`
        `config` wins over `api` over `webhook`."""
        raise NotImplementedError

    async def get_source(self, source_id: str) -> Source | None:
        raise NotImplementedError

    async def list_sources(self) -> Sequence[Source]:
        raise NotImplementedError

    async def demote_sources(self, keep: Sequence[str]) -> None:
        """Sources of origin `config` that are not in `keep` become origin `api`: they are no
        longer polled, and their stacks stay."""
        raise NotImplementedError

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
        """Change the given fields."""
        raise NotImplementedError

    # --- stacks -----------------------------------------------------------------------
    async def apply_stacks(self, source_id: str, revision: str, stacks: Sequence[Stack]) -> Sequence[Stack]:
        """Write the desired state of a revision, all of its stacks in one transaction.

        For each: a new `desired_hash` (or none before) raises `generation` by one and, if
        it differs from the hash the stack was removed at, ends the override *removed*;
        conditions, overrides and observed generation of a known stack are kept. The
        source's `revision` is set too. Returns the stacks as written.
        """
        raise NotImplementedError

    async def get_stack(self, key: StackKey) -> Stack | None:
        raise NotImplementedError

    async def list_stacks(self, source_id: str | None = None) -> Sequence[Stack]:
        """All stacks (of a source), sorted by key."""
        raise NotImplementedError

    async def set_overrides(self, key: StackKey, overrides: Overrides) -> Stack | None:
        """Replace a stack's overrides; raises `generation` if they differ."""
        raise NotImplementedError

    async def update_stack(
        self,
        key: StackKey,
        *,
        observed_generation: int | None = None,
        conditions: Sequence[Condition] | None = None,
        ready_revision: str | None = None,
        deleting: bool | None = None,
        pending_recreate: str | None = None,
    ) -> Stack | None:
        """Change the given fields; None: no such stack."""
        raise NotImplementedError

    async def delete_stack(self, key: StackKey) -> None:
        """Forget a stack."""
        raise NotImplementedError

    # --- health -----------------------------------------------------------------------
    async def check(self) -> None:
        """Raise `StoreUnavailable` unless the store can be written."""
        raise NotImplementedError


def source_id(spec: SourceSpec) -> str:
    """The stable id of a source: 16 hex digits over `kind, url, reference, target, deployments`."""
    raise NotImplementedError


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Open (and migrate) the store at a SQLAlchemy-style URL: `sqlite:////data/moored.db` or
    `postgresql://user:password@host/name`."""
    raise NotImplementedError
    yield Store()
