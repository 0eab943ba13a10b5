"""One Docker Engine, as the rest of this package calls it.

Every call goes through `Engine.call` (one answer) or `Engine.stream` (an endless one) and
so through aiodocker's connection, whatever the endpoint. There, and only there:

- each call has a deadline;
- aiodocker's and aiohttp's errors become ours (`errors.py`), the Engine's words kept;
- calls that change something are counted (`writes`): a reconcile that has nothing to do
  can be shown to have asked for nothing;
- a hook hears operation, seconds and outcome, for metrics.

aiodocker's own methods for containers or images are passed by: they know no platform at
create, no ownership at archive upload, no repeated tags at build, and swallow a broken
event stream; its query function underneath serves all of them alike.

The API version is the newest that both sides know, agreed upon at the first call and
again at each `facts()`, because an Engine may have been upgraded in between.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

import aiodocker
import aiohttp
import anyio

from reconciler.engine.endpoint import EngineEndpoint
from reconciler.engine.errors import DeadlineExceeded, EngineError, EngineUnreachable, UnsupportedEngine, refused
from state.observed import EngineFacts

OUR_API_VERSION = "1.51"
"""The newest API version whose changes this package knows."""
OLDEST_API_VERSION = "1.40"

DEADLINE = 60.0
CONNECTION_LOST = 900  # aiodocker's status for an Engine it could not connect to

Params: TypeAlias = Mapping[str, str | int | bool | Sequence[str]]
CallHook: TypeAlias = Callable[[str, float, str], None]
"""Hears `(operation, seconds, outcome)`; the outcome is `ok`, `unreachable`, `cancelled` or
the HTTP status as text."""


def segment(text: str) -> str:
    """A name or reference as part of a path."""
    return quote(text, safe="/:@")


def filters(**values: str | Sequence[str]) -> str:
    """The Engine's `filters` parameter."""
    return json.dumps({key: [value] if isinstance(value, str) else list(value) for key, value in values.items()})


def event_time(text: str) -> str:
    """An Engine's RFC 3339 time as its event stream counts it: `seconds.nanoseconds`."""
    match = re.fullmatch(r"(.*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        raise ValueError(f'time "{text}": expected RFC 3339')
    whole, fraction, zone = match.groups()
    seconds = int(datetime.fromisoformat(whole + zone.replace("Z", "+00:00")).timestamp())
    return f"{seconds}.{(fraction or '0').ljust(9, '0')}"


def parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


class Engine:
    """A connection to one Engine. Made by `open_engine`."""

    def __init__(
        self, docker: aiodocker.Docker, endpoint: EngineEndpoint, name: str, on_call: CallHook | None = None
    ) -> None:
        self.docker = docker
        self.endpoint = endpoint
        self.name = name
        self.writes = 0
        """How many calls that change something were made."""
        self.known: EngineFacts | None = None
        """What the last `facts()` told."""
        self.clock = ""
        """The Engine's own time at the last `facts()`, as its event stream counts it."""
        self._on_call = on_call
        self._negotiated = False
        self._negotiating = anyio.Lock()

    async def call(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = DEADLINE,
        write: bool | None = None,
    ) -> Any:
        """One request, one answer: parsed JSON, text, or None for an empty answer."""
        async with self.stream(
            operation,
            method,
            path,
            params=params,
            body=body,
            data=data,
            headers=headers,
            deadline=deadline,
            write=write,
        ) as response:
            content = await response.read()
            if not content:
                return None
            if "json" in response.headers.get("Content-Type", ""):
                return self._parse(content, operation)
            return content.decode("utf-8", "replace")

    @asynccontextmanager
    async def stream(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Mapping[str, Any] | None = None,
        data: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = DEADLINE,
        write: bool | None = None,
        versioned: bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request whose answer is read by the caller, inside the block and the deadline."""
        if versioned and not self._negotiated:
            await self._negotiate_once()
        if write if write is not None else method not in ("GET", "HEAD"):
            self.writes += 1
        if params:
            path = f"{path}?{_query_string(params)}"
        content: Any = json.dumps(body).encode() if body is not None else data
        began = time.monotonic()
        outcome = "cancelled"
        response: aiohttp.ClientResponse | None = None
        try:
            with anyio.fail_after(deadline):
                async with self.docker._query(
                    path, method, data=content, headers=headers, timeout=None, versioned_api=versioned
                ) as response:
                    yield response
            outcome = "ok"
        except TimeoutError as error:
            outcome = "unreachable"
            raise DeadlineExceeded(
                f"no answer from the Docker Engine at {self.endpoint.host} within {deadline or 0:g} s",
                operation=operation,
            ) from error
        except aiodocker.DockerError as error:
            if error.status == CONNECTION_LOST:
                outcome = "unreachable"
                raise self._unreachable(operation, error.message) from error
            outcome = str(error.status)
            raise refused(error.status, error.message, operation) from error
        except (aiohttp.ClientError, asyncio.IncompleteReadError, OSError) as error:
            outcome = "unreachable"
            raise self._unreachable(operation, str(error) or type(error).__name__) from error
        except EngineError:
            outcome = "failed"
            raise
        finally:
            if response is not None:
                response.close() if outcome != "ok" or not response.content.at_eof() else response.release()
            if self._on_call is not None:
                self._on_call(operation, time.monotonic() - began, outcome)

    async def json_lines(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        data: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float | None,
        silence: float | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of a progress stream, as they arrive; it may pause for `silence`
        seconds at most. Close the iterator (`aclosing`), and open no cancel scope around a
        single step of it."""
        async with self.stream(
            operation, method, path, params=params, data=data, headers=headers, deadline=deadline
        ) as response:
            async for line in _lines(response.content, operation, silence):
                yield self._parse(line, operation)

    async def facts(self) -> EngineFacts:
        """Ask what this Engine is; agrees on the API version anew."""
        version = await self._negotiate()
        info = await self.call("info", "GET", "info")
        swarm = info.get("Swarm") or {}
        self.clock = event_time(str(info["SystemTime"]))
        self.known = EngineFacts(
            version=str(version.get("Version", "")),
            api_version=self.docker.api_version.removeprefix("v"),
            os=str(version.get("Os", "linux")),
            architecture=str(version.get("Arch", "")),
            cpus=int(info.get("NCPU") or 0),
            cgroup_version=str(info.get("CgroupVersion") or "1"),
            swarm_manager=bool(swarm.get("ControlAvailable")),
            security_options=tuple(info.get("SecurityOptions") or ()),
            logging_driver=str(info.get("LoggingDriver") or "json-file"),
            default_runtime=str(info.get("DefaultRuntime") or "runc"),
        )
        return self.known

    async def ping(self, deadline: float = 10.0) -> None:
        """Fails unless the Engine answers in time."""
        async with self.stream("ping", "GET", "_ping", deadline=deadline, versioned=False) as response:
            await response.read()

    async def _negotiate_once(self) -> None:
        async with self._negotiating:
            if not self._negotiated:
                await self._negotiate()

    async def _negotiate(self) -> dict[str, Any]:
        async with self.stream("version", "GET", "version", versioned=False, deadline=DEADLINE) as response:
            version: dict[str, Any] = self._parse(await response.read(), "version")
        theirs = str(version.get("ApiVersion", ""))
        least = str(version.get("MinAPIVersion") or "0")
        if self.endpoint.api_version:
            chosen = self.endpoint.api_version
        else:
            chosen = min(theirs, OUR_API_VERSION, key=parse_version)
            if parse_version(chosen) < max(parse_version(OLDEST_API_VERSION), parse_version(least)):
                raise UnsupportedEngine(
                    f"Docker Engine {version.get('Version')} at {self.endpoint.host} speaks API {least} to {theirs}; "
                    f"Moored speaks {OLDEST_API_VERSION} to {OUR_API_VERSION}"
                )
        self.docker.api_version = f"v{chosen}"
        self._negotiated = True
        return version

    def _parse(self, content: bytes, operation: str) -> Any:
        try:
            return json.loads(content)
        except ValueError as error:
            raise self._unreachable(operation, f"the answer is not JSON ({error})") from error

    def _unreachable(self, operation: str, message: str) -> EngineUnreachable:
        host = self.endpoint.host
        text = message if host in message else f"Docker Engine at {host}: {message}"
        return EngineUnreachable(text, operation=operation)


@asynccontextmanager
async def open_engine(endpoint: EngineEndpoint, name: str, *, on_call: CallHook | None = None) -> AsyncIterator[Engine]:
    """A client of the Engine at `endpoint`. Connects at the first call, so it opens even while
    the Engine is away."""
    endpoint.check()
    docker = aiodocker.Docker(url=endpoint.url, ssl_context=endpoint.ssl_context(), api_version=f"v{OUR_API_VERSION}")
    try:
        yield Engine(docker, endpoint, name, on_call)
    finally:
        with anyio.CancelScope(shield=True):
            await docker.close()


def _query_string(params: Params) -> str:
    pairs: list[tuple[str, str]] = []
    for key, value in params.items():
        if isinstance(value, bool):
            pairs.append((key, "1" if value else "0"))
        elif isinstance(value, str | int):
            pairs.append((key, str(value)))
        else:
            pairs.extend((key, item) for item in value)
    return urlencode(pairs)


async def _lines(content: aiohttp.StreamReader, operation: str, silence: float | None) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own `readline` stops at 128 KiB."""
    rest = b""
    while True:
        with anyio.move_on_after(silence) as waiting:
            chunk = await content.readany()
        if waiting.cancelled_caught:
            raise DeadlineExceeded(f"no progress for {silence or 0:g} s", operation=operation)
        if not chunk:
            break
        rest += chunk
        *complete, rest = rest.split(b"\n")
        for line in complete:
            if line.strip():
                yield line
    if rest.strip():
        yield rest
