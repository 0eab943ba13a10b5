"""A proxy in front of a Docker Engine that writes down what is created through it.

Compose is pointed at its socket; every request is passed on as it is, and the bodies of
those that create or connect something are kept, in order.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import socketserver
import tempfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

_KEPT = re.compile(r"^(?:/v[\d.]+)?(/(?:containers|networks|volumes)/create|/networks/[^/]+/connect)$")


@dataclass
class Recorded:
    """One creating request."""

    path: str
    query: dict[str, str]
    body: dict[str, Any] = field(repr=False)


class _Upstream(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(120)
        self.sock.connect(self._path)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, upstream: str) -> None:
        self.upstream = upstream
        self.recorded: list[Recorded] = []
        super().__init__(path, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        request, _ = super().get_request()
        return request, ("local", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up early is nothing to talk about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests themselves are the record."""

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        parts = urlsplit(self.path)
        kept = _KEPT.match(parts.path)
        if kept and body:
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            self.server.recorded.append(Recorded(kept.group(1), query, json.loads(body)))
        upstream = _Upstream(self.server.upstream)
        headers = {
            key: value
            for key, value in self.headers.items()
            if key.lower() not in ("connection", "content-length", "transfer-encoding")
        }
        upstream.request(self.command, self.path, body or None, headers)
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status, answer.reason)
        for key, value in answer.getheaders():
            if key.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(key, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        upstream.close()

    def _chunks(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return b""
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass_on


class RecordingProxy:
    """Use as a context manager; `url` is what `DOCKER_HOST` takes."""

    def __init__(self, upstream: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="moored-proxy-")
        path = str(Path(self._folder.name) / "docker.sock")
        self.url = f"unix://{path}"
        self._server = _Server(path, upstream)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> RecordingProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def take(self) -> list[Recorded]:
        """What was recorded since the last call."""
        taken, self._server.recorded = self._server.recorded, []
        return taken
