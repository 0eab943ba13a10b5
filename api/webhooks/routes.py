"""`POST /v1/webhook[/{customTarget}]`: a repository says that something was pushed.

Whatever cannot prove that it knows the secret leaves no trace but a count and a log line. After
that every delivery has a run: refused ones a failed, uninteresting ones a skipped one. The
rest becomes a durable intent and is answered at once, or with its outcome when asked to
wait. A delivery that comes again (the sender saw no answer) is answered as the first time.

Most deliveries are about one reference. Where a provider puts several into one, each becomes
an intent of its own, and the answer speaks of all of them under the first one's `job_id`.

Addresses of this machine's own files are refused here, unless a rewrite rule of the
operator made them: whoever can send a webhook must not choose what is read from the disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import anyio
import structlog

from api import wire
from api.errors import RUN_STATUS, ApiError, PayloadRefused, wrong_method
from api.intents import ended, new_run, submit
from api.jsonbody import BadJson, decode
from api.params import flag, integer, read_query
from api.routing import Call, Operation, Order, Route, slow_down
from api.webhooks.payload import BadPayload, Event
from api.webhooks.providers import Provider, delivery_id, provider_of, spoken_by
from state import codec
from state.ids import uuid7
from state.model import IntentKind, Run, RunStatus, SourceKind, SourceSpec, Trigger

log = structlog.get_logger("api")

ACCEPTED = "job accepted"
COMPLETED = "job completed successfully"
DELETION = "branch or tag deletion event received, skipping webhook event"
NO_REFERENCE = "no reference provided in webhook payload, skipping event"
PARSING = "failed to parse payload"
LOCAL_REFUSED = "webhook clone URL is not allowed"
LOCAL_CAUSE = (
    "local filesystem Git URLs in webhook payloads require a configured source URL rewrite (SOURCE_URL_REWRITES)"
)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9._-]*:[^-].*")


async def receive(call: Call) -> wire.Answer:
    if call.method != "POST":
        raise wrong_method("invalid http method", "POST", names_job=True)
    try:
        body = await call.body()
    except PayloadRefused as refusal:
        _count_error(call, "unknown")
        raise ApiError(refusal.status, PARSING, f"{PARSING}: {refusal.error}") from None
    provider = _authenticated(call, body)
    payload, events = await _parsed(call, provider, body)
    call.query = {
        **read_query(call.request.query_string, (integer("timeout", None, ""),)),
        "wait": _waits(call),
    }
    delivery = delivery_id(call, provider, payload, body)
    moved = [event for event in events if not event.deleted]
    if not moved:
        await _skip(call, events[0], DELETION)
        return wire.success(DELETION, call.job_id, 202)
    moved = [event for event in moved if event.ref] or moved[:1]
    if not moved[0].ref:
        await _skip(call, moved[0], NO_REFERENCE)
        if call.query["wait"]:
            raise ApiError(400, NO_REFERENCE, NO_REFERENCE)
        return wire.success(ACCEPTED, call.job_id, 202)
    return await _deploy(call, moved, delivery)


def _authenticated(call: Call, body: bytes) -> Provider:
    """Whose request this is, once it has proved itself; raises `ApiError`."""
    provider = provider_of(call)
    proved = provider is not None and provider.proves(
        call.header(provider.signature), call.services.options.webhook_secret or "", body
    )
    if provider is not None and proved:
        return provider
    failures = call.server.webhook_failures
    seconds = failures.retry_after(call.client)
    failures.add(call.client)
    call.services.metrics.webhook_refused.labels("missing" if provider is None else "invalid").inc()
    _count_error(call, "unknown")
    if seconds:
        raise slow_down(seconds)
    log.warning("webhook refused", ip=call.client, provider=provider.name if provider else "", job_id=call.job_id)
    if not body:
        raise _empty_body()
    if provider is None:
        text = "missing signature or token header"
        raise ApiError(400, text, text)
    raise ApiError(401, *provider.refusal)


def _empty_body() -> ApiError:
    return ApiError(400, PARSING, f"{PARSING}: request body is empty")


async def _parsed(call: Call, provider: Provider, body: bytes) -> tuple[Any, tuple[Event, ...]]:
    """The payload and what it says; a failure leaves a failed run and raises `ApiError`."""
    try:
        if not body:
            raise _empty_body()
        try:
            payload = decode(body, trailing_commas=False, trailing_text=False)
            if not isinstance(payload, dict):
                raise BadPayload("expected an object")
            speaker = spoken_by(provider, payload)
            event = call.header(provider.event) if provider.event else ""
            events = speaker.parse(payload, event)
        except (BadJson, BadPayload) as error:
            raise ApiError(400, PARSING, str(error)) from None
        if speaker is provider and provider.event and not event:
            raise ApiError(
                400,
                "failed to check if event is branch or tag deletion",
                f"missing event header for {provider.name}",
            )
    except ApiError as refusal:
        _count_error(call, "unknown")
        run = new_run(call.job_id, Trigger.WEBHOOK, RunStatus.ACCEPTED, repository="unknown", target=_target(call))
        await _record(call, run, RunStatus.FAILED, refusal, "InvalidRequest")
        raise
    return payload, events


def _waits(call: Call) -> bool:
    """Asking to wait is never an error: whatever is not a clear yes is a no."""
    first = call.request.get_args(keep_blank_values=True).get("wait", "")
    return str(first).lower() == "true" or first == "1"


def _target(call: Call) -> str:
    return call.path.get("target", "")


def _count_error(call: Call, repository: str) -> None:
    call.services.metrics.webhook_errors.labels(repository).inc()


def _run_of(call: Call, event: Event, status: RunStatus) -> Run:
    return new_run(
        call.job_id,
        Trigger.WEBHOOK,
        status,
        repository=event.full_name or "unknown",
        target=_target(call),
        revision=event.revision,
    )


async def _skip(call: Call, event: Event, message: str) -> None:
    run = _run_of(call, event, RunStatus.ACCEPTED)
    await call.services.store.put_run(ended(run, RunStatus.SKIPPED, message))


async def _record(call: Call, run: Run, status: RunStatus, refusal: ApiError, code: str) -> None:
    content = str(refusal.content)
    message = content if code == "LocalURLRefused" else f"{refusal.error}: {content}"
    await call.services.store.put_run(ended(run, status, message, error=refusal.error, content=content, code=code))


@dataclass(frozen=True, slots=True)
class _Order:
    """An intent about to be written."""

    run: Run
    payload: dict[str, Any]
    delivery: str


async def _deploy(call: Call, events: list[Event], delivery: str) -> wire.Answer:
    waiting = call.query["wait"]
    try:
        orders = [_order(call, event, delivery, number) for number, event in enumerate(events)]
    except ApiError as refusal:
        event = events[0]
        _count_error(call, event.full_name or "unknown")
        run = _run_of(call, event, RunStatus.ACCEPTED)
        code = "LocalURLRefused" if refusal.error == LOCAL_REFUSED else "InvalidRequest"
        await _record(call, run, RunStatus.FAILED, refusal, code)
        if waiting:
            raise
        return wire.success(ACCEPTED, call.job_id, 202)
    if not waiting:
        return wire.success(ACCEPTED, (await _submit(call, orders))[0], 202)
    with call.server.waits.slot():
        job_ids = await _submit(call, orders)
        longest = call.services.options.max_wait
        timeout = call.query["timeout"]
        seconds = longest if timeout is None else min(float(timeout), longest)
        end = anyio.current_time() + seconds
        outcomes = [
            await call.server.waits.run(call.services.store, job_id, end - anyio.current_time()) for job_id in job_ids
        ]
    return _answer(outcomes, job_ids[0])


async def _submit(call: Call, orders: list[_Order]) -> list[str]:
    return [
        (await submit(call, IntentKind.WEBHOOK, order.payload, order.run, delivery=order.delivery))[0]
        for order in orders
    ]


def _order(call: Call, event: Event, delivery: str, number: int) -> _Order:
    """The intent for an event; raises `ApiError` for an address that is not allowed."""
    url, rewritten = event.clone_url.strip(), False
    if event.kind is SourceKind.GIT:
        if not url:
            raise ApiError(500, "failed to clone repository", "the webhook payload has no clone URL")
        new_url = call.services.rewrite_url(url)
        rewritten = new_url != url
        if not rewritten and is_local(url):
            raise ApiError(403, LOCAL_REFUSED, LOCAL_CAUSE)
        url = new_url
    spec = SourceSpec(kind=event.kind, url=url, reference=event.ref, target=_target(call))
    status = RunStatus.RUNNING if call.query["wait"] else RunStatus.ACCEPTED
    run = _run_of(call, event, status)
    if number:
        run = replace(run, job_id=uuid7())
    payload = {
        "target": codec.source_spec_to_json(spec),
        "ref": event.ref,
        "commit": event.commit,
        "name": event.name,
        "full_name": event.full_name,
        "clone_url": event.clone_url,
        "ssh_url": event.ssh_url,
        "web_url": event.web_url,
        "private": event.private,
        "rewritten": rewritten,
    }
    return _Order(run, payload, f"{delivery}#{number}" if delivery and number else delivery)


def is_local(url: str) -> bool:
    """Whether a Git URL names files of this machine."""
    if url.lower().startswith("file:"):
        return True
    return not _SCHEME.match(url) and not _SCP.fullmatch(url)


def _answer(outcomes: list[Run | None], job_id: str) -> wire.Answer:
    """What a waiting sender is told: the first failure, else whether all have ended."""
    for run in outcomes:
        if run is not None and run.status is RunStatus.FAILED:
            status = RUN_STATUS.get(run.code, 500)
            return wire.failure(status, run.error or "deployment failed", run.content or run.message, job_id)
    if any(run is None for run in outcomes):
        return wire.success(ACCEPTED, job_id, 202)
    return wire.success(COMPLETED, job_id, 201)


def _operations(summary: str) -> dict[str, Operation]:
    failures = dict.fromkeys((400, 401, 403, 405, 408, 413, 429, 500, 503), "Failure")
    return {
        "POST": Operation(
            receive,
            summary,
            {201: "Text", 202: "Text", **failures},
            params=(
                flag("wait", False, "Answer with the outcome."),
                integer("timeout", None, "Seconds to wait for the outcome; then 202, and the work goes on."),
            ),
            body="Webhook",
        )
    }


ROUTES = (
    Route(
        "/v1/webhook",
        Order.OPEN,
        _operations("A repository was pushed to"),
        tag="webhooks",
        wrong_method="invalid http method",
    ),
    Route(
        "/v1/webhook/<target>",
        Order.OPEN,
        _operations("A repository was pushed to; deploy it by `.doco-cd.<target>.yml`"),
        tag="webhooks",
        wrong_method="invalid http method",
    ),
)
