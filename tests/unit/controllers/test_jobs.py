"""How a run ends, from the results of its targets."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.controllers.jobs import Job, TargetResult, conclude
from state.model import IntentKind, Run, RunStatus, Trigger


def test_a_target_that_was_named_twice_counts_twice_and_is_explained_once() -> None:
    now = datetime.now(UTC)
    run = Run(job_id="1", trigger=Trigger.POLL, status=RunStatus.RUNNING, created_at=now, updated_at=now)
    job = Job(run, IntentKind.POLL, ("a", "b", "a"))
    job.results = {
        "a": TargetResult("x/a", ok=False, error="failed to clone repository", causes=(("x/a", "gone"),)),
        "b": TargetResult("x/b", ok=True),
    }
    ended = conclude(job)
    assert (ended.error, ended.content) == ("2/3 poll jobs failed", "x/a: gone")
