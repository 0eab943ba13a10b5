"""The table of routes, and the way a request goes through it.

A `Route` says for one path which methods it has, what each takes and answers, and in
which order a request is checked. That order is part of the contract and differs by group:
some routes look at the method before the key, some the other way round, and the action
routes only after they have found the project. The same table makes the OpenAPI document,
so the two cannot drift apart.

Every handler runs in a task of the server's own task group, not in Sanic's connection task:
Sanic cancels that one natively when the client goes away, which would tear through shields
around a transaction. Here a lost client becomes an ordinary anyio cancellation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from time import perf_counter
from typing import Any, TypeAlias

import anyio
import structlog
from anyio.abc import TaskGroup
from sanic import Request
from sanic.exceptions import BadRequest, PayloadTooLarge

from api import wire
from api.auth import Failures, same_secret
from api.clients import client_address
from api.errors import ApiError, PayloadRefused, as_api_error, wrong_method
from api.listing import ProjectLists
from api.params import Param, read_query
from api.services import ApiServices
from api.waits import Waits
from state.ids import uuid7

log = structlog.get_logger("api")

BODY_DEADLINE = 30.0
"""Seconds a client may take to send a body."""
DRAIN_DEADLINE = 2.0
"""Seconds an answer is held back to take in a body that no one wants."""


KNOWN_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
"""What an OpenAPI document can tell of. A caller's invention is refused, and becomes no label."""


class Order(Enum):
    """In which order a request is checked."""

    OPEN = "no key; the handler checks the rest itself"
    METHOD_FIRST = "method, key, query"
    KEY_FIRST = "key, method, query"
    HANDLER = "key, query; the handler checks the method itself, late"


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of a path does."""

    handler: Handler
    summary: str
    answers: Mapping[int, str]
    """Status -> name of the model in `api.schema` that `content` has, or `""` for none."""
    params: Sequence[Param] = ()
    body: str = ""
    """Name of the body's model."""
    idempotent: bool = False
    """Takes `Idempotency-Key`."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path. Wildcards are written `<name>` and match one non-empty segment."""

    path: str
    order: Order
    operations: Mapping[str, Operation]
    """By method; `*` is any."""
    tag: str
    wrong_method: str = ""
    """`content` of the 405 answer."""
    documented: Mapping[str, Mapping[str, Operation]] = field(default_factory=dict)
    """Paths to describe instead of `path`, where one wildcard stands for several things."""


@dataclass(slots=True)
class Server:
    """What lives as long as the server does."""

    services: ApiServices
    waits: Waits
    failures: Failures
    webhook_failures: Failures
    projects: ProjectLists = field(default_factory=ProjectLists)
    tasks: TaskGroup | None = None
    """Where handlers run; there while the server serves."""


@dataclass(slots=True)
class Call:
    """A request on its way, as a handler sees it."""

    server: Server
    request: Request
    route: Route
    job_id: str
    path: Mapping[str, str]
    query: dict[str, Any] = field(default_factory=dict)

    @property
    def services(self) -> ApiServices:
        return self.server.services

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def client(self) -> str:
        options = self.services.options
        peer = str(self.request.ip or "")
        return client_address(peer, self.request.headers, options.trusted_proxy_networks, options.trusted_proxy_header)

    def header(self, name: str) -> str:
        """The first value of a header without surrounding blanks, or nothing."""
        return str(self.request.headers.getone(name, "")).strip(" \t")

    async def body(self, deadline: float = BODY_DEADLINE) -> bytes:
        """The request's body; raises `PayloadRefused`."""
        request: Any = self.request
        stream = request.stream
        if stream is None or not stream.request_body:
            return bytes(request.body)
        stream.request_max_size = max(0, self.services.options.max_payload_size)
        try:
            with anyio.fail_after(deadline):
                await request.receive_body()
        except PayloadTooLarge:
            raise PayloadRefused(413, "http: request body too large", _too_large(self)) from None
        except TimeoutError:
            raise PayloadRefused(408, "request body did not arrive in time") from None
        except BadRequest as error:
            raise PayloadRefused(400, "malformed request body", str(error)) from None
        return bytes(request.body)


Handler: TypeAlias = Callable[[Call], Awaitable[wire.Answer | None]]
"""Returns the answer, or None when it has sent it itself."""


def _too_large(call: Call) -> str:
    return f"the body is larger than {call.services.options.max_payload_size} bytes (MAX_PAYLOAD_SIZE)"


async def handle(server: Server, route: Route, request: Request, path: Mapping[str, str]) -> wire.Answer | None:
    """Take a request through its checks and its handler, in a task of the server's own."""
    call = Call(server, request, route, uuid7(), path)
    started = perf_counter()
    response = await _in_own_task(server, call)
    status = response.status if response is not None else 200
    method = request.method if request.method in KNOWN_METHODS else "other"
    server.services.metrics.api_requests.labels(route.path, method, str(status)).inc()
    log.debug(
        "request answered",
        method=request.method,
        path=request.path,
        status=status,
        ip=call.client,
        job_id=call.job_id,
        seconds=round(perf_counter() - started, 4),
    )
    return response


async def _in_own_task(server: Server, call: Call) -> wire.Answer | None:
    if server.tasks is None:
        raise RuntimeError("the server is not serving")
    done = anyio.Event()
    scope = anyio.CancelScope()
    answers: list[wire.Answer | None] = []

    async def work() -> None:
        try:
            with scope:
                answers.append(await _answer(call))
        except anyio.get_cancelled_exc_class():
            # Sanic raises it for a connection that is gone when we write to it. It concerns this
            # request alone, and the task ends here in any case: it must not reach the task group,
            # which would stop the server.
            pass
        finally:
            done.set()

    server.tasks.start_soon(work, name=f"{call.method} {call.route.path}")
    try:
        await done.wait()
    except anyio.get_cancelled_exc_class():
        scope.cancel()
        raise
    if not answers:
        return wire.failure(503, "shutting down", "", call.job_id, {"Retry-After": "5"})
    return answers[0]


async def _answer(call: Call) -> wire.Answer | None:
    try:
        operation = _checked(call)
        response = await operation.handler(call)
    except Exception as error:  # the supervisor's edge: whatever a handler raises becomes an answer
        refusal = as_api_error(error)
        if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error(
                "request failed",
                method=call.method,
                path=call.request.path,
                job_id=call.job_id,
                error=str(error),
                exc_info=None if isinstance(error, ApiError) else error,
            )
        job_id = call.job_id if refusal.names_job else ""
        response = wire.failure(refusal.status, refusal.error, refusal.content, job_id, refusal.headers)
    await _drain(call)
    return response


def _checked(call: Call) -> Operation:
    """The operation asked for, after the checks that come before it in this route's order."""
    route = call.route
    operation = route.operations.get(call.method)
    if operation is None and "*" in route.operations:
        if call.method not in KNOWN_METHODS:
            raise wrong_method(route.wrong_method, ", ".join(KNOWN_METHODS))
        operation = route.operations["*"]
    if route.order is Order.OPEN:
        fallback = next(iter(route.operations.values()))
        return operation or fallback
    if route.order is Order.METHOD_FIRST and operation is None:
        raise refuse_method(route)
    _check_key(call)
    if operation is None and route.order is Order.HANDLER:
        operation = next(iter(route.operations.values()))
    if operation is None:
        raise refuse_method(route)
    call.query = read_query(call.request.query_string, operation.params)
    return operation


def refuse_method(route: Route) -> ApiError:
    return wrong_method(route.wrong_method, ", ".join(route.operations))


def _check_key(call: Call) -> None:
    failures = call.server.failures
    seconds = failures.retry_after(call.client)
    if seconds:
        raise slow_down(seconds)
    if same_secret(call.header("x-api-key"), call.services.options.api_secret or ""):
        return
    failures.add(call.client)
    log.warning("invalid api key", ip=call.client, path=call.request.path, job_id=call.job_id)
    raise ApiError(401, "invalid api key")


def slow_down(seconds: int) -> ApiError:
    return ApiError(
        429, "too many failed attempts", f"try again in {seconds} seconds", headers={"Retry-After": str(seconds)}
    )


async def _drain(call: Call) -> None:
    """Take in a body that no one read, so that the connection can be used again; what is too
    large to be taken in costs the connection."""
    stream: Any = call.request.stream
    if stream is None or not stream.request_body:
        return
    try:
        await call.body(DRAIN_DEADLINE)
    except PayloadRefused:
        stream.keep_alive = False
