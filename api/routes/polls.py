"""`POST /v1/api/poll/run`: look at these sources now.

All targets are validated before anything is written; one that is wrong refuses the whole
call. Every call leaves a run, the refused ones too, so that "what did my pipeline send?"
can be answered later. With `wait=true` the answer is the outcome: 200 only if every target
reached its desired state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api import wire
from api.errors import ApiError
from api.intents import ended, idempotency_key, new_run, submit
from api.jsonbody import BadJson, check_nesting, decode, fold_keys, type_name
from api.params import flag, integer
from api.routing import Call, Operation, Order, Route
from api.services import InvalidTarget, ValidatedTarget
from state import codec
from state.model import IntentKind, Run, RunStatus, Trigger

STARTED = "poll jobs started"
COMPLETE = "poll jobs complete"
DECODING = "failed to decode json in body"

KEY_TYPES: Mapping[str, tuple[str, ...]] = {
    "source": ("string",),
    "url": ("string",),
    "reference": ("string",),
    "interval": ("number", "string"),
    "target": ("string",),
    "run_once": ("bool",),
    "watch": ("bool",),
    "deployments": ("array",),
}


async def run_polls(call: Call) -> wire.Answer:
    try:
        key = idempotency_key(call)
        targets = parse_targets(call, await call.body())
    except ApiError as refusal:
        await _record_refusal(call, refusal)
        raise
    repository = targets[0].repository if len(targets) == 1 else "multiple"
    warnings = tuple(warning for target in targets for warning in target.warnings)
    payload = {"targets": [codec.source_spec_to_json(target.spec) for target in targets]}
    run = new_run(call.job_id, Trigger.POLL, RunStatus.RUNNING, repository=repository, warnings=warnings)
    if not call.query["wait"]:
        job_id, _ = await submit(call, IntentKind.POLL, payload, run, key=key)
        return wire.success(STARTED, job_id, 202)
    with call.server.waits.slot():
        job_id, _ = await submit(call, IntentKind.POLL, payload, run, key=key)
        outcome = await call.server.waits.run(call.services.store, job_id, _wait_seconds(call))
    return answer(outcome, job_id)


def _wait_seconds(call: Call) -> float:
    longest = call.services.options.max_wait
    timeout: int | None = call.query["timeout"]
    return longest if timeout is None else min(float(timeout), longest)


def answer(run: Run | None, job_id: str) -> wire.Answer:
    """What a waiting caller is told of a poll run."""
    if run is None:
        return wire.success(STARTED, job_id, 202)
    if run.status is RunStatus.FAILED:
        return wire.failure(500, run.error or run.message, run.content, job_id)
    return wire.success(COMPLETE, job_id)


async def _record_refusal(call: Call, refusal: ApiError) -> None:
    run = new_run(call.job_id, Trigger.POLL, RunStatus.RUNNING)
    message = f"{refusal.error}: {refusal.content}" if refusal.content else refusal.error
    content = str(refusal.content)
    await call.services.store.put_run(
        ended(run, RunStatus.FAILED, message, error=refusal.error, content=content, code="InvalidRequest")
    )


def parse_targets(call: Call, body: bytes) -> list[ValidatedTarget]:
    """The targets of a poll body; raises `ApiError` (400)."""
    try:
        decoded = decode(body, trailing_commas=True, trailing_text=True)
        check_nesting(decoded)
    except BadJson as error:
        raise ApiError(400, DECODING, str(error)) from None
    if decoded is None:
        decoded = []
    if not isinstance(decoded, list):
        raise ApiError(400, DECODING, f"expected an array of poll configurations, found {type_name(decoded)}")
    raws = [_poll_object(item, index) for index, item in enumerate(decoded)]
    if not raws:
        raise ApiError(400, "no poll configuration provided in request body")
    return [_validated(call, raw, index) for index, raw in enumerate(raws)]


def _poll_object(item: Any, index: int) -> dict[str, Any]:
    """One object with known keys in lower case and of the right types; null counts as absent."""
    if item is None:
        return {}
    if not isinstance(item, dict):
        raise ApiError(400, DECODING, f"poll configuration {index}: expected object, found {type_name(item)}")
    raw = {key: value for key, value in fold_keys(item, KEY_TYPES).items() if value is not None}
    for key, types in KEY_TYPES.items():
        if key in raw and type_name(raw[key]) not in types:
            expected = " or ".join(types)
            raise ApiError(
                400,
                DECODING,
                f'key "{key}" of poll configuration {index}: expected {expected}, found {type_name(raw[key])}',
            )
    for number, deployment in enumerate(raw.get("deployments", ())):
        if not isinstance(deployment, dict):
            raise ApiError(
                400,
                DECODING,
                f'key "deployments[{number}]" of poll configuration {index}: expected object, '
                f"found {type_name(deployment)}",
            )
    return raw


def _validated(call: Call, raw: dict[str, Any], index: int) -> ValidatedTarget:
    try:
        return call.services.validate_target(raw, index)
    except InvalidTarget as error:
        if error.wrong_type:
            raise ApiError(400, DECODING, str(error)) from None
        raise ApiError(400, f"invalid poll configuration at index {index}", str(error)) from None


ROUTES = (
    Route(
        "/v1/api/poll/run",
        Order.METHOD_FIRST,
        {
            "POST": Operation(
                run_polls,
                "Look at the given sources now and bring their stacks to the desired state",
                {
                    200: "Text",
                    202: "Text",
                    400: "Failure",
                    408: "Failure",
                    409: "Failure",
                    413: "Failure",
                    500: "Failure",
                    503: "Failure",
                },
                params=(
                    flag("wait", True, "Answer with the outcome."),
                    integer("timeout", None, "Seconds to wait for the outcome; then 202, and the work goes on."),
                ),
                body="PollTargets",
                idempotent=True,
            )
        },
        tag="polls",
        wrong_method="requires method: POST",
    ),
)
