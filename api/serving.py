"""Sockets, TLS, and the life of the two servers.

Both servers share one certificate. The sockets are bound before anything is served, so a
taken port is an error of the start that names its setting.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import structlog
from sanic import Sanic
from sanic.http import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from api.routing import Server
from api.services import ApiOptions

log = structlog.get_logger("api")

BACKLOG = 512
DRAIN_STEP = 0.05
CERTIFICATE_CHECK = 60.0
"""Seconds between two looks at whether the certificate's files changed."""


class _Protocol(HttpProtocol):
    """A connection whose clock does not start anew with each byte of a request's head, so that
    nobody holds it open by sending a head very slowly."""

    def data_received(self, data: bytes) -> None:
        # Data may arrive before the connection's own task has made its parser.
        http = getattr(self, "_http", None)
        reading_head = http is not None and http.stage is Stage.REQUEST
        began = self._time
        super().data_received(data)
        if reading_head:
            self._time = began


@dataclass(frozen=True, slots=True)
class BoundPorts:
    """The ports listened on; of interest where 0 was asked for."""

    http: int
    metrics: int


async def serve_apps(
    options: ApiOptions, app: Sanic[Any, Any], metrics_app: Sanic[Any, Any], server: Server, task_status: Any
) -> None:
    """Serve both applications until cancelled, then stop gracefully."""
    stop = anyio.Event()
    async with anyio.create_task_group() as outer:
        outer.start_soon(_set_when_cancelled, stop)
        ports = await outer.start(_serve_until, stop, options, app, metrics_app, server)
        log.info(
            "api listening", http_port=ports.http, metrics_port=ports.metrics, tls=options.tls_cert_file is not None
        )
        if task_status is not None:
            task_status.started(ports)
        await anyio.sleep_forever()


async def _set_when_cancelled(stop: anyio.Event) -> None:
    """Tell the shielded part of a stop, also while it is still starting: who starts it is then
    waiting for it, and could not."""
    try:
        await anyio.sleep_forever()
    finally:
        stop.set()


async def _serve_until(
    stop: anyio.Event,
    options: ApiOptions,
    app: Sanic[Any, Any],
    metrics_app: Sanic[Any, Any],
    server: Server,
    *,
    task_status: anyio.abc.TaskStatus[BoundPorts],
) -> None:
    """The shielded part: handlers live here, so that a stop lets them end."""
    with anyio.CancelScope(shield=True):
        async with AsyncExitStack() as stack:
            tls = tls_context(options)
            main = stack.enter_context(bind(options.http_bind, options.http_port, "HTTP_PORT"))
            side = stack.enter_context(bind(options.metrics_bind, options.metrics_port, "METRICS_PORT"))
            async with anyio.create_task_group() as tasks:
                server.tasks = tasks
                if tls is not None:
                    tasks.start_soon(_renew_certificate, tls, options)
                async with _listening(metrics_app, side, tls, options.drain), _listening(app, main, tls, options.drain):
                    task_status.started(BoundPorts(main.getsockname()[1], side.getsockname()[1]))
                    await stop.wait()
                    server.waits.close()
                tasks.cancel_scope.cancel()
            server.tasks = None


@asynccontextmanager
async def _listening(
    app: Sanic[Any, Any], sock: socket.socket, tls: ssl.SSLContext | None, drain: float
) -> AsyncIterator[None]:
    running: Any = await app.create_server(
        sock=sock,
        ssl=tls,
        protocol=_Protocol,
        backlog=BACKLOG,
        access_log=False,
        asyncio_server_kwargs={"start_serving": False},
    )
    await running.startup()
    await running.start_serving()
    try:
        yield
    finally:
        running.server.close()
        await _drain(running.connections, drain)
        Sanic.unregister_app(app)


async def _drain(connections: set[Any], seconds: float) -> None:
    """Let requests under way end; cut what is left after `seconds`."""
    with anyio.move_on_after(seconds):
        while True:
            for connection in list(connections):
                connection.close_if_idle()
            if not connections:
                return
            await anyio.sleep(DRAIN_STEP)
    log.warning("requests cut off at shutdown", connections=len(connections))
    for connection in list(connections):
        connection.abort()


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket; without a host on all addresses, IPv6 and IPv4."""
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT and not host:
            return socket.create_server(("", port), backlog=BACKLOG)
        raise OSError(error.errno, f"{setting} {port}: {error.strerror or error}") from error


def tls_context(options: ApiOptions) -> ssl.SSLContext | None:
    """TLS 1.2 or newer with the configured certificate; None without one."""
    if options.tls_cert_file is None or options.tls_key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.tls_cert_file, options.tls_key_file)
    return context


async def _renew_certificate(context: ssl.SSLContext, options: ApiOptions) -> None:
    """Take over a certificate that was renewed on disk; connections made from then on see it."""
    files = [anyio.Path(file) for file in (options.tls_cert_file, options.tls_key_file) if file is not None]
    loaded = await _versions(files)
    while True:
        await anyio.sleep(CERTIFICATE_CHECK)
        found = await _versions(files)
        if found == loaded:
            continue
        try:
            # First where a failure does no harm: the two files are seldom replaced in one instant.
            for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
                each.load_cert_chain(str(files[0]), str(files[1]))
        except (OSError, ssl.SSLError) as error:
            log.warning("certificate not renewed", error=str(error), file=str(options.tls_cert_file))
            continue
        loaded = found
        log.info("certificate renewed", file=str(options.tls_cert_file))


async def _versions(files: list[anyio.Path]) -> list[tuple[int, int]]:
    """What changes when a file is replaced; nothing for one that is gone."""
    found = []
    for file in files:
        try:
            status = await file.stat()
        except OSError:
            return []
        found.append((status.st_mtime_ns, status.st_ino))
    return found
