"""`/v1/api/runs` and `/v1/api/run/{jobID}`: what happened, newest first.

A run has Doco-CD's keys in Doco-CD's order; what Moored knows beyond them (causes, warnings,
stacks, actions with their reasons) follows behind, each key only if it says something. The
triggers `reconcile` and `api` exist besides Doco-CD's three: listed when asked for, not
otherwise, for clients count on what they know.
"""

from __future__ import annotations

from typing import Any

from api import wire
from api.errors import ApiError
from api.params import TIMEOUT, choice, limit, text
from api.routing import Call, Operation, Order, Route
from state.model import Run, RunAction, RunStatus, Trigger

DEFAULT_LIMIT = 50
MOST = 200


def run_json(run: Run) -> dict[str, Any]:
    """A run as the API shows it."""
    shown: dict[str, Any] = {
        "job_id": run.job_id,
        "trigger": run.trigger.value,
        "status": run.status.value,
        "repository": run.repository,
        "target": run.target,
        "revision": run.revision,
        "message": run.message,
        "created_at": wire.timestamp(run.created_at),
        "started_at": wire.timestamp(run.started_at) if run.started_at else "",
        "finished_at": wire.timestamp(run.finished_at) if run.finished_at else "",
        "updated_at": wire.timestamp(run.updated_at),
        "error": run.error,
        "content": run.content,
        "code": run.code,
        "joined_job_id": run.joined,
        "warnings": list(run.warnings),
        "stacks": [
            {
                "stack": outcome.stack,
                "context": outcome.context,
                "status": outcome.status.value,
                "message": outcome.message,
                "generation": outcome.generation,
            }
            for outcome in run.stacks
        ],
        "actions": [action_json(action) for action in run.actions],
    }
    return {key: value for key, value in shown.items() if value not in ("", [])}


def action_json(action: RunAction) -> dict[str, Any]:
    """One step of a run with its reasons."""
    shown: dict[str, Any] = {
        "id": action.id,
        "kind": action.kind,
        "target": action.target,
        "stack": action.stack,
        "service": action.service,
        "status": action.status,
        "reasons": [
            {
                "code": reason.code,
                "message": reason.message,
                "changes": [{"field": change.field, "from": change.old, "to": change.new} for change in reason.changes],
            }
            for reason in action.reasons
        ],
    }
    if action.started_at:
        shown["started_at"] = wire.timestamp(action.started_at)
    if action.finished_at:
        shown["finished_at"] = wire.timestamp(action.finished_at)
    if action.error:
        shown["error"] = action.error
    return shown


async def list_runs(call: Call) -> wire.Answer:
    query = call.query
    store = call.services.store
    chosen: dict[str, Any] = {"triggers": [query["trigger"]]} if query["trigger"] else {}
    if query["before"] and await store.get_run(query["before"]) is None:
        raise ApiError(404, f"run not found: {query['before']}")
    runs = await store.list_runs(
        limit=query["limit"], status=query["status"], before=query["before"], stack=query["stack"], **chosen
    )
    return wire.success([run_json(run) for run in runs], call.job_id)


async def find_run(call: Call) -> Run:
    """The run the path names; raises `ApiError` (404)."""
    name = call.path["job_id"]
    run = await call.services.store.get_run(name)
    if run is None:
        raise ApiError(404, f"run not found: {name}")
    return run


async def get_run(call: Call) -> wire.Answer:
    return wire.success(run_json(await find_run(call)), call.job_id)


ROUTES = (
    Route(
        "/v1/api/runs",
        Order.METHOD_FIRST,
        {
            "GET": Operation(
                list_runs,
                "Runs, newest first",
                {200: "RunList", 400: "Failure", 404: "Failure"},
                params=(
                    limit("limit", DEFAULT_LIMIT, MOST, f"How many at most; more than {MOST} counts as {MOST}."),
                    choice(
                        "status",
                        {status.value: status for status in RunStatus},
                        "invalid deployment run status",
                        "valid status values: accepted, running, succeeded, failed, skipped",
                        "Only runs of this status.",
                    ),
                    choice(
                        "trigger",
                        {trigger.value: trigger for trigger in Trigger},
                        "invalid deployment run trigger",
                        "valid trigger values: webhook, poll, scheduled_job",
                        "Only runs of this trigger; `reconcile` and `api` are shown only when asked for.",
                    ),
                    text("before", "Continue behind the run with this `job_id`."),
                    text("stack", "Only runs that touched this stack."),
                    TIMEOUT,
                ),
            )
        },
        tag="runs",
        wrong_method="requires method: GET",
    ),
    Route(
        "/v1/api/run/<job_id>",
        Order.METHOD_FIRST,
        {"GET": Operation(get_run, "One run with its actions and their reasons", {200: "Run", 404: "Failure"})},
        tag="runs",
        wrong_method="requires method: GET",
    ),
)
