"""Writing down what a caller wants, and waiting for what became of it.

An intent and its run are durable before anything is answered, so a caller that goes away, a
crash or a restart cancels nothing. A repeated `Idempotency-Key` (or webhook delivery) finds
the first intent and is answered with the outcome of that one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from api.errors import ApiError
from api.routing import Call
from state.model import Intent, IntentKind, JsonObject, Run, RunStatus, StackOutcome, Trigger

IDEMPOTENCY_HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255


def new_run(
    job_id: str,
    trigger: Trigger,
    status: RunStatus,
    *,
    repository: str = "",
    target: str = "",
    revision: str = "",
    warnings: tuple[str, ...] = (),
    stacks: tuple[StackOutcome, ...] = (),
) -> Run:
    """A run as it is at acceptance."""
    now = datetime.now(UTC)
    return Run(
        job_id=job_id,
        trigger=trigger,
        status=status,
        created_at=now,
        updated_at=now,
        started_at=now if status is RunStatus.RUNNING else None,
        repository=repository,
        target=target,
        revision=revision,
        warnings=warnings,
        stacks=stacks,
    )


def ended(run: Run, status: RunStatus, message: str, *, error: str = "", content: str = "", code: str = "") -> Run:
    """`run` as finished now."""
    now = datetime.now(UTC)
    return replace(
        run,
        status=status,
        message=message,
        error=error,
        content=content,
        code=code,
        started_at=run.started_at or now,
        finished_at=now,
        updated_at=now,
    )


def idempotency_key(call: Call) -> str:
    key = call.header(IDEMPOTENCY_HEADER).strip()
    if len(key) > MAX_KEY_LENGTH:
        raise ApiError(
            400, f"invalid header: {IDEMPOTENCY_HEADER}", f"'{IDEMPOTENCY_HEADER}' may have {MAX_KEY_LENGTH} characters"
        )
    return key


async def submit(
    call: Call, kind: IntentKind, payload: JsonObject, run: Run, *, key: str = "", delivery: str = ""
) -> tuple[str, bool]:
    """Make an intent durable and wake the reconciler.

    Returns the `job_id` to answer with, and whether the intent is new. Raises `ApiError`
    (409) when the key was used for something else before.
    """
    intent = Intent(
        id=run.job_id, kind=kind, payload=payload, created_at=run.created_at, idempotency_key=key, delivery=delivery
    )
    store = call.services.store
    holding, new = await store.accept(intent, run)
    while delivery and not new and await _failed(call, holding.id):
        # Whoever delivers again what failed, such as the button of GitHub, wants it tried again.
        holding, new = await store.accept(replace(intent, delivery=f"{delivery}@{holding.id}"), run)
    if new:
        call.services.wake()
    elif key and not (holding.kind is kind and dict(holding.payload) == dict(payload)):
        raise ApiError(
            409, "idempotency key already used", f"'{IDEMPOTENCY_HEADER}' belongs to another request, {holding.id}"
        )
    return holding.id, new


async def _failed(call: Call, job_id: str) -> bool:
    run = await call.services.store.get_run(job_id)
    return run is not None and run.status is RunStatus.FAILED
