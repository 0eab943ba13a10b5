"""BuildKit's progress, as much of it as a log needs.

In a build without a session the Engine reports as `moby.buildkit.trace` lines: base64 of
a `StatusResponse` in protobuf. A full protobuf library for two messages would be heavy;
the wire format is simple. Of each step ("vertex") its name is told once when it starts,
its output as it comes, and its error.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

_VERTEXES, _LOGS = 1, 3
_DIGEST, _NAME, _CACHED, _STARTED, _ERROR = 1, 3, 4, 5, 7
_LOG_MESSAGE = 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class TraceReader:
    """Turns trace messages into log lines; remembers what was already told."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._rest = b""

    def lines(self, aux: str) -> list[str]:
        """The new log lines of one `aux` value; a message we cannot read gives none."""
        try:
            return list(self._lines(base64.b64decode(aux)))
        except (ValueError, IndexError, binascii.Error):
            return []

    def _lines(self, message: bytes) -> Iterator[str]:
        for number, value in fields(message):
            if not isinstance(value, bytes):
                continue
            if number == _VERTEXES:
                yield from self._vertex(value)
            elif number == _LOGS:
                for inner, content in fields(value):
                    if inner == _LOG_MESSAGE and isinstance(content, bytes):
                        yield from self._output(content)

    def _vertex(self, message: bytes) -> Iterator[str]:
        digest = name = error = ""
        cached = started = False
        for number, value in fields(message):
            if number == _DIGEST and isinstance(value, bytes):
                digest = value.decode("utf-8", "replace")
            elif number == _NAME and isinstance(value, bytes):
                name = value.decode("utf-8", "replace")
            elif number == _ERROR and isinstance(value, bytes):
                error = value.decode("utf-8", "replace")
            elif number == _CACHED:
                cached = bool(value)
            elif number == _STARTED:
                started = True
        if (started or cached) and digest not in self._told and not name.startswith("[internal]"):
            self._told.add(digest)
            yield f"{name} (cached)" if cached else name
        if error and f"{digest} error" not in self._told:
            self._told.add(f"{digest} error")
            yield f"{name}: {error}"

    def _output(self, content: bytes) -> Iterator[str]:
        *complete, self._rest = (self._rest + content).split(b"\n")
        for line in complete:
            yield line.decode("utf-8", "replace").rstrip("\r")


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: number and raw value."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        value: int | bytes
        if kind == _VARINT:
            value, position = _varint(message, position)
        elif kind == _BYTES:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
            if len(value) != length:
                raise ValueError("truncated protobuf message")
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
            value, position = message[position : position + length], position + length
        else:
            raise ValueError(f"protobuf wire type {kind}")
        yield key >> 3, value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, position
        shift += 7
