"""What a run did, written down while it happens.

A `RunRecorder` is the executor's `Progress`: the actions of a plan are in the store
before the first of them is carried out, their ends follow in small batches, and every
step goes to the live events and the log at once. One recorder serves one run; a run
that heals drift is only begun when there is something to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from reconciler.engine.execute import ExecutionResult
from reconciler.log import get_logger
from reconciler.planner.model import Action, Plan
from state.events import EventHub
from state.ids import uuid7
from state.model import Reason, Run, RunAction, RunStatus, StackOutcome, Trigger
from state.store import Store

_log = get_logger()

_BATCH = 32
"""How many ended actions may wait for their write; more would lengthen what a crash forgets."""


def utcnow() -> datetime:
    return datetime.now(UTC)


def new_run(trigger: Trigger, **fields: Any) -> Run:
    """A run that starts now, with a fresh id unless one is given."""
    now = utcnow()
    fields.setdefault("job_id", uuid7())
    fields.setdefault("status", RunStatus.RUNNING)
    fields.setdefault("started_at", now)
    return Run(trigger=trigger, created_at=now, updated_at=now, **fields)


def finished(run: Run, status: RunStatus, message: str, **fields: Any) -> Run:
    """`run` as it ends now."""
    now = utcnow()
    return replace(
        run,
        status=status,
        message=message,
        started_at=run.started_at or now,
        finished_at=now,
        updated_at=now,
        **fields,
    )


def reason_json(reason: Reason) -> dict[str, Any]:
    """A reason as the API, the log and the live events show it."""
    return {
        "code": reason.code,
        "message": reason.message,
        "changes": [{"field": c.field, "from": c.old, "to": c.new} for c in reason.changes],
    }


@dataclass
class RunRecorder:
    """The executor's `Progress` for one run."""

    store: Store
    hub: EventHub
    job_id: str
    stack: str
    context: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What every log line of this run carries: repository, revision, trigger."""
    _actions: dict[str, RunAction] = field(default_factory=dict)
    _unwritten: dict[str, RunAction] = field(default_factory=dict)
    _round: int = 0

    async def plan(self, plan: Plan) -> None:
        """Write the actions of a plan, before the first of them is carried out."""
        self._round += 1
        for action in plan.actions:
            self._put(
                RunAction(
                    id=self._id(action),
                    kind=action.kind.value,
                    target=action.target,
                    stack=self.stack,
                    service=action.service,
                    reasons=action.reasons,
                )
            )
        await self.flush()

    async def started(self, action: Action) -> None:
        """An action begins."""
        self._change(action, status="running", started_at=utcnow())

    async def finished(self, action: Action, error: str | None) -> None:
        """An action has ended, well or with an error."""
        run_action = self._change(
            action, status="failed" if error else "succeeded", finished_at=utcnow(), error=error or ""
        )
        seconds = 0.0
        if run_action.started_at and run_action.finished_at:
            seconds = (run_action.finished_at - run_action.started_at).total_seconds()
        log = _log.bind(job_id=self.job_id, stack=self.stack, context=self.context, **self.fields)
        values: dict[str, Any] = {
            "action": action.kind.value,
            "target": action.target,
            "reason": "; ".join(map(str, action.reasons)),
            "duration": round(seconds, 3),
        }
        if error:
            log.error("action failed", error=error, **values)
        elif action.kind.value == "wait-service":
            log.debug("action done", **values)
        else:
            log.info("action done", **values)
        if len(self._unwritten) >= _BATCH:
            await self.flush()

    async def log(self, action: Action, line: str) -> None:
        """A line of output of a build, a pull or a hook."""
        self.hub.publish(
            self.job_id, "log", {"stack": self.stack, "action": self._id(action), "target": action.target, "line": line}
        )

    async def replay(self, plan: Plan, result: ExecutionResult) -> None:
        """Record a plan that was carried out before anybody knew whether it would do anything."""
        await self.plan(plan)
        for outcome in result.outcomes:
            await self.started(outcome.action)
            await self.finished(outcome.action, outcome.error or None)
        await self.flush()

    async def flush(self) -> None:
        """Write what is not written yet."""
        if self._unwritten:
            unwritten, self._unwritten = self._unwritten, {}
            await self.store.put_run_actions(self.job_id, tuple(unwritten.values()))

    def _id(self, action: Action) -> str:
        return f"{self.stack}/{self._round}/{action.id}"

    def _put(self, run_action: RunAction) -> RunAction:
        self._actions[run_action.id] = self._unwritten[run_action.id] = run_action
        return run_action

    def _change(self, action: Action, **fields: Any) -> RunAction:
        run_action = self._put(replace(self._actions[self._id(action)], **fields))
        self.hub.publish(
            self.job_id,
            "action",
            {
                "id": run_action.id,
                "stack": self.stack,
                "kind": run_action.kind,
                "target": run_action.target,
                "service": run_action.service,
                "status": run_action.status,
                "reasons": [reason_json(reason) for reason in run_action.reasons],
                "error": run_action.error,
            },
        )
        return run_action


def outcome_text(outcomes: Iterable[StackOutcome]) -> str:
    """The causes of the failed stacks, one a line."""
    return "\n".join(f"{o.stack}: {o.message}" for o in outcomes if o.status is RunStatus.FAILED)
