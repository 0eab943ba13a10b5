"""The Sanic application and how it is served.

Sanic runs inside the event loop and task group that are there already: no worker
processes, no signal handlers, no banner. Two sockets are served: API and webhooks on one,
metrics on the other. Cancelling `serve` stops it gracefully: nothing new is accepted,
waiting callers are told that their work goes on, and requests under way get some seconds.

Routing follows Go's rules, which clients know: every method reaches the handler, a wildcard
is one percent-decoded segment, there are no variants with a trailing slash, and a path
with `//`, `.` or `..` is redirected to its clean form.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Mapping
from typing import Any

import structlog
from sanic import Request, Sanic
from sanic.exceptions import NotFound, SanicException
from sanic.router import Router

from api import wire
from api.auth import Failures
from api.routes import routes_for
from api.routing import Route, Server, handle
from api.services import ApiServices
from api.serving import BoundPorts, serve_apps
from api.waits import Waits

__all__ = ["BoundPorts", "create_app", "serve"]

log = structlog.get_logger("api")

NO_TIMEOUT = 10 * 365 * 86_400
HEAD_DEADLINE = 5.0
"""Seconds a client may take to send the head of a request."""
_serial = itertools.count(1)


class _CleanPath(SanicException):
    """The path is not in its clean form."""

    quiet = True

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class _AnyMethodRouter(Router):
    """Finds routes by path alone; what a method means there is for the route to say."""

    def _get(self, path: str, method: str, host: str | None) -> Any:
        clean = clean_path(path)
        if clean != path:
            raise _CleanPath(clean)
        return super()._get(path, self.DEFAULT_METHOD, None)


def clean_path(path: str) -> str:
    """The canonical form of a path: one leading slash, no empty, `.` or `..` segments; a trailing
    slash stays."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def create_app(services: ApiServices) -> Sanic[Any, Any]:
    """The application with all routes that `services.options` enable."""
    options = services.options
    server = Server(
        services,
        Waits(options.max_concurrent_waits),
        Failures(options.max_auth_failures),
        Failures(options.max_auth_failures),
    )
    app = bare_app("moored")
    app.ctx.server = server
    services.metrics.waiting_requests.set_function(lambda: server.waits.taken)
    for number, route in enumerate(routes_for(options)):
        _register(app, server, route, f"route{number}")
    return app


def bare_app(name: str) -> Sanic[Any, Any]:
    """A Sanic application with our ways and no routes."""
    app: Sanic[Any, Any] = Sanic(
        f"{name}-{next(_serial)}",
        router=_AnyMethodRouter(),
        strict_slashes=True,
        configure_logging=False,
        env_prefix="MOORED_SANIC_",
    )
    app.config.update(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "FALLBACK_ERROR_FORMAT": "json",
            "MOTD": False,
            "TOUCHUP": False,
            "REQUEST_MAX_HEADER_SIZE": 16_384,
            "REQUEST_TIMEOUT": HEAD_DEADLINE,
            "RESPONSE_TIMEOUT": NO_TIMEOUT,
            "KEEP_ALIVE_TIMEOUT": 120,
        }
    )
    app.exception(_CleanPath)(_redirect)
    app.exception(NotFound)(_nothing_here)
    app.exception(Exception)(_unforeseen)
    return app


def _register(app: Sanic[Any, Any], server: Server, route: Route, name: str) -> None:
    async def endpoint(request: Request, **path: str) -> wire.Answer | None:
        return await handle(server, route, request, path)

    # Sanic's mark of a handler that reads the body itself: the key is checked before the body is taken in.
    endpoint.is_stream = True  # type: ignore[attr-defined]
    app.add_route(endpoint, route.path, methods=["GET"], name=name, strict_slashes=True, unquote=True)


async def serve(services: ApiServices, *, task_status: Any = None) -> None:
    """Serve until cancelled; reports `BoundPorts` to `task_status` once both sockets listen."""
    from api.metrics import create_metrics_app

    app = create_app(services)
    server: Server = app.ctx.server
    await serve_apps(services.options, app, create_metrics_app(services.metrics), server, task_status)


def _redirect(request: Request, error: _CleanPath) -> wire.Answer:
    query = request.query_string
    location = f"{error.path}?{query}" if query else error.path
    return wire.answer(b"", 307, wire.TEXT_TYPE, {"Location": location})


def _nothing_here(request: Request, error: Exception) -> wire.Answer:
    return wire.not_found()


def _unforeseen(request: Request, error: Exception) -> wire.Answer:
    """What Sanic itself refuses (malformed requests), or a fault of ours outside a handler."""
    status = error.status_code if isinstance(error, SanicException) else 500
    if status >= 500:
        log.error("request failed", path=request.path, exc_info=error)
    text = str(error) if isinstance(error, SanicException) else "internal server error"
    return wire.failure(status, text, "", headers=_plain(getattr(error, "headers", None)))


def _plain(headers: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (headers or {}).items()}
