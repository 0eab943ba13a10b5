"""Who waits for what: runs that callers know by their `job_id`, and the work behind them.

A poll call may name several targets, and several calls may be served by one piece of
work. A `Job` collects the results of its targets and ends its run when the last is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from reconciler.controllers.record import finished, utcnow
from state.events import EventHub
from state.model import IntentKind, Run, RunStatus, StackOutcome
from state.store import Store


@dataclass(frozen=True)
class TargetResult:
    """How one source of a job ended."""

    repository: str
    ok: bool
    error: str = ""
    """Fixed text of the failure, as the API shows it: `failed to clone repository`."""
    causes: tuple[tuple[str, str], ...] = ()
    """What failed (repository or stack) and why."""
    code: str = ""
    revision: str = ""
    skipped: bool = False
    synced: bool = False
    """The revision was read; whatever failed then is the stacks' own affair."""
    stacks: tuple[StackOutcome, ...] = ()
    warnings: tuple[str, ...] = ()
    leader: str = ""
    """`job_id` that the work was recorded under."""


@dataclass
class Job:
    """A run in progress."""

    run: Run
    kind: IntentKind | None
    """None: a poll of our own."""
    targets: tuple[str, ...]
    """As asked for; one that was named twice counts twice."""
    started: bool = False
    """Poll calls are shown as running from their acceptance on; this tells when it is true."""
    results: dict[str, TargetResult] = field(default_factory=dict)
    """By target, so that telling a result again after a fault of the store counts once."""


class Jobs:
    """The runs in progress."""

    def __init__(self, store: Store, hub: EventHub) -> None:
        self._store = store
        self._hub = hub
        self._jobs: dict[str, Job] = {}

    def add(self, run: Run, kind: IntentKind | None, targets: Iterable[str]) -> None:
        """A run begins to wait for a result of each target (the id of its source)."""
        if run.job_id not in self._jobs:
            self._jobs[run.job_id] = Job(run, kind, tuple(targets))

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    async def start(self, job_ids: Sequence[str]) -> None:
        """Work on these runs begins."""
        jobs = [job for job_id in job_ids if (job := self._jobs.get(job_id)) is not None and not job.started]
        now = utcnow()
        runs = [replace(job.run, status=RunStatus.RUNNING, started_at=now, updated_at=now) for job in jobs]
        await self._store.put_runs(runs)
        for job, run in zip(jobs, runs, strict=True):
            job.run, job.started = run, True
            self._hub.publish(run.job_id, "status", {"status": "running"})

    async def result(self, job_ids: Sequence[str], target: str, result: TargetResult) -> None:
        """A target of these runs has ended; the last one of a run ends it."""
        runs = []
        for job_id in job_ids:
            job = self._jobs.get(job_id)
            if job is not None:
                job.results[target] = result
                if job.results.keys() >= set(job.targets):
                    runs.append(conclude(job))
        await self._store.finish_all(runs)
        for run in runs:
            del self._jobs[run.job_id]
            self._hub.publish(run.job_id, "status", {"status": run.status.value, "message": run.message})


def conclude(job: Job) -> Run:
    """The end of a run, with Doco-CD's words."""
    results = list(job.results.values())
    failed = [result for result in results if not result.ok]
    leaders = {result.leader for result in results if result.leader and result.leader != job.run.job_id}
    revision = job.run.revision
    if job.kind is not IntentKind.POLL and results:
        revision = results[0].revision or revision
    common = replace(
        job.run,
        revision=revision,
        joined=next(iter(sorted(leaders)), ""),
        stacks=tuple(stack for result in results for stack in result.stacks),
        warnings=(*job.run.warnings, *(warning for result in results for warning in result.warnings)),
    )
    causes = tuple(f"{subject}: {text}" for result in failed for subject, text in result.causes)
    if job.kind is IntentKind.POLL:
        if not failed:
            return finished(common, RunStatus.SUCCEEDED, "poll jobs complete")
        count = sum(not job.results[target].ok for target in job.targets)
        error = f"{count}/{len(job.targets)} poll jobs failed"
        return finished(
            common,
            RunStatus.FAILED,
            f"{error}: {'; '.join(causes)}",
            error=error,
            content="\n".join(causes),
            code=failed[0].code,
        )
    if not failed:
        done = "job completed successfully" if job.kind is IntentKind.WEBHOOK else "poll completed successfully"
        return finished(common, RunStatus.SUCCEEDED, done)
    first = failed[0]
    content = "\n".join(text for _, text in first.causes)
    return finished(
        common,
        RunStatus.FAILED,
        f"{first.error}: {content}" if content else first.error,
        error=first.error,
        content=content,
        code=first.code,
    )
