"""Speaking to an agent: one HTTP connection a request, and event streams.

Every request that changes something carries an `Idempotency-Key`. So one whose connection
breaks before the answer came is simply sent again: the agent answers with the work that it
took up the first time. What never reached an agent is not repeated, a wrong address should
say so at once.

Redirects are not followed, for the key must not travel to where it was not addressed. The key
is in no error and no representation.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from reconciler.client.configuration import Endpoint
from reconciler.client.exits import ClientError, Failed, Misused, NotAuthorised, Unreachable
from reconciler.version import VERSION

if TYPE_CHECKING:
    import ssl

CONNECT_LIMIT = 10.0
ANSWER_LIMIT = 60.0
RECOVERY = 15.0
"""Seconds from the first broken connection in which a request is sent again."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


class Dropped(ClientError):
    """A connection that stood has broken; never leaves this package."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: 200 is done, 202 is accepted."""

    status: int
    content: Any
    job_id: str


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event; kind "comment" is a sign of life."""

    kind: str
    data: Mapping[str, Any]
    number: str = ""


class Agent:
    """An agent's API."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        connect_limit: float = CONNECT_LIMIT,
        answer_limit: float = ANSWER_LIMIT,
        recovery: float = RECOVERY,
    ) -> None:
        self._endpoint = endpoint
        self._parts = urlsplit(endpoint.server)
        self._connect_limit = connect_limit
        self._answer_limit = answer_limit
        self._recovery = recovery
        self._tls: ssl.SSLContext | None = None

    @property
    def server(self) -> str:
        return self._endpoint.server

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The `content` of an answer."""
        return self._request("GET", path, query).content

    def change(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Answer:
        """Ask for something to be done; it is done once, however often the connection breaks."""
        return self._request(method, path, query, body, {"Idempotency-Key": os.urandom(16).hex()})

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        target = self._target(path, query)
        data = None if body is None else json.dumps(body).encode()
        give_up, pause = 0.0, FIRST_PAUSE
        while True:
            try:
                with self._exchange(method, target, data, headers or {}, self._answer_limit) as (response, _):
                    try:
                        content = response.read()
                    except (OSError, http.client.HTTPException) as error:
                        raise Dropped(f"{self.server}: {_words(error)}") from None
                    return self._answer(response, content)
            except (Dropped, Unreachable) as error:
                now = time.monotonic()
                if isinstance(error, Dropped) and not give_up:
                    give_up = now + self._recovery
                if not give_up or now + pause > give_up:
                    raise Unreachable(str(error)) from None
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def events(self, job_id: str, after: str, silence: float) -> Iterator[Event]:
        """The events of a run from `after` on, until the stream ends.

        Raises `Dropped` when the connection breaks, or when nothing comes for `silence` seconds.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        target = self._target(f"/v1/api/run/{quote(job_id, safe='')}/events", None)
        with self._exchange("GET", target, None, headers, silence) as (response, connected):
            try:
                if response.status != 200 or "event-stream" not in response.getheader("Content-Type", ""):
                    self._answer(response, response.read())
                    raise Failed(f"{self.server}: no stream of events", 501)
                connected.settimeout(silence)
                yield from _parse(response)
            except (OSError, http.client.HTTPException) as error:
                raise Dropped(f"{self.server}: {_words(error)}") from None

    def _target(self, path: str, query: Mapping[str, Any] | None) -> str:
        pairs = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in (query or {}).items()
            if value not in (None, "")
        }
        return self._parts.path + path + (f"?{urlencode(pairs)}" if pairs else "")

    @contextmanager
    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: Mapping[str, str], limit: float
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """Send a request; the answer's head is there, its body not yet."""
        if not self._endpoint.api_key:
            raise NotAuthorised(
                f"{self.server}: no API key given (--api-key-file, MOORED_API_KEY, MOORED_API_KEY_FILE or a context)"
            )
        connection = self._connection()
        try:
            try:
                connection.connect()
            except OSError as error:
                raise Unreachable(f"{self.server}: {_words(error)}") from None
            connected: socket.socket = connection.sock
            connected.settimeout(limit)
            try:
                connection.request(method, target, data, self._headers(headers, data))
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Dropped(f"{self.server}: {_words(error)}") from None
            yield response, connected
        finally:
            connection.close()

    def _headers(self, more: Mapping[str, str], data: bytes | None) -> dict[str, Any]:
        # Bytes: names and keys beyond Latin-1 go as UTF-8.
        headers: dict[str, Any] = {
            "x-api-key": self._endpoint.api_key.encode(),
            "User-Agent": f"moored/{VERSION}",
            "Connection": "close",
            **more,
        }
        if data is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._connect_limit)
        if self._tls is None:
            self._tls = _tls(self._endpoint)
        return http.client.HTTPSConnection(host, port, timeout=self._connect_limit, context=self._tls)

    def _answer(self, response: http.client.HTTPResponse, data: bytes) -> Answer:
        """The answer, when it is a success; raises the `ClientError` that it is otherwise."""
        status = response.status
        try:
            body = json.loads(data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self._foreign(response)
        if status < 300:
            return Answer(status, body.get("content"), str(body.get("job_id", "")))
        message = _refusal(body)
        if status in (401, 403, 429):
            wait = response.getheader("Retry-After")
            raise NotAuthorised(f"{self.server}: {message}" + (f" (again in {wait} s)" if wait else ""))
        if status in (400, 405, 413):
            raise Misused(message)
        if status in (502, 503, 504):
            raise Unreachable(f"{self.server}: {message}")
        raise Failed(message, status)

    def _foreign(self, response: http.client.HTTPResponse) -> ClientError:
        """An answer that is not in the API's form."""
        status = response.status
        if 300 <= status < 400:
            return Unreachable(
                f"{self.server}: redirects to {response.getheader('Location', '?')}; give the address itself"
            )
        if status in (401, 403):
            return NotAuthorised(f"{self.server}: {status} {response.reason}, not from an agent but before it")
        if status == 404:
            return Unreachable(f"{self.server}: no API there (an agent without API_SECRET has none, or not an agent)")
        return Unreachable(f"{self.server}: {status} {response.reason}, not an answer of an agent")


def _parse(response: http.client.HTTPResponse) -> Iterator[Event]:
    kind = number = data = ""
    for line in iter(response.readline, b""):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith(":"):
            yield Event("comment", {})
        elif not text:
            if kind:
                yield Event(kind, _object(data), number)
            kind = number = data = ""
        else:
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            kind = value if name == "event" else kind
            number = value if name == "id" else number
            data = f"{data}\n{value}" if name == "data" and data else value if name == "data" else data


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _refusal(body: Mapping[str, Any]) -> str:
    """Error and details of a failure in one text."""
    error, content = str(body.get("error", "")), body.get("content", "")
    details = content if isinstance(content, str) else json.dumps(content)
    if not details or details in error:
        return error or "refused without a reason"
    return f"{error}:\n{details}" if "\n" in details else f"{error}: {details}"


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    import ssl

    files = endpoint.ca_file or endpoint.own_certificate
    try:
        context = ssl.create_default_context(cafile=files or None)
    except (OSError, ssl.SSLError) as error:
        raise Misused(f"{files}: no certificates can be read: {error.strerror or error}") from None
    if endpoint.own_certificate:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    if endpoint.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _words(error: Exception) -> str:
    """What went wrong on the way."""
    verify = getattr(error, "verify_message", "")
    if verify:
        return f"the certificate is not trusted: {verify} (--ca-file names the authority)"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return "the connection was closed before the answer"
    if isinstance(error, http.client.HTTPException):
        return f"not an HTTP answer ({type(error).__name__})"
    if isinstance(error, OSError) and type(error).__name__ == "SSLError":
        return f"no TLS connection: {getattr(error, 'reason', None) or error}"
    return str(getattr(error, "strerror", None) or error)
