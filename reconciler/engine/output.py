"""What containers and commands wrote, as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.engine.client import Engine
from reconciler.engine.errors import EngineError

LAST_LINES = 20
MOST_BYTES = 16 << 10
_HEADER = 8


def demultiplex(content: bytes) -> bytes:
    """Output of a container without a terminal: frames of stream, length, payload."""
    payload = bytearray()
    position = 0
    while position + _HEADER <= len(content):
        length = int.from_bytes(content[position + 4 : position + _HEADER], "big")
        payload += content[position + _HEADER : position + _HEADER + length]
        position += _HEADER + length
    return bytes(payload)


def last_lines(content: bytes, count: int = LAST_LINES) -> list[str]:
    """The last lines that say something, as text."""
    text = content[-MOST_BYTES:].decode("utf-8", "replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


async def log_tail(engine: Engine, container_id: str, *, tty: bool, count: int = LAST_LINES) -> list[str]:
    """The last lines a container wrote; none where its log cannot be read."""
    params: Mapping[str, Any] = {"stdout": True, "stderr": True, "tail": str(count)}
    try:
        async with engine.stream(
            "container.logs", "GET", f"containers/{container_id}/logs", params=params, deadline=15.0
        ) as response:
            content = await response.read()
    except EngineError:
        return []
    return last_lines(content if tty else demultiplex(content), count)


def indented(lines: list[str]) -> str:
    """As the tail of an error message."""
    return "".join(f"\n  {line}" for line in lines)
