"""Loops that are started again when they fail.

A loop of the agent must not end: one that raises is logged with its traceback and
started again after a pause that grows while it keeps failing. Cancellation passes
through.

Work on one item (a stack, a sync, a command) ends at an edge of its own: what nobody
foresaw there is told by `unexpected` and concerns that item alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from reconciler.log import get_logger

_log = get_logger()

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
HEALTHY_AFTER = 60.0
"""Seconds a loop must have run for its next failure to count as the first."""


async def supervise(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run `loop` for ever, again after each failure."""
    pause = FIRST_PAUSE
    while True:
        started = anyio.current_time()
        try:
            await loop()
            error: Exception | None = None
        except Exception as failure:
            error = failure
        if anyio.current_time() - started > HEALTHY_AFTER:
            pause = FIRST_PAUSE
        _log.error(
            "a loop ended and is started again",
            loop=name,
            error=str(error) if error else "it returned",
            pause=pause,
            exc_info=error,
        )
        await anyio.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 2)


def unexpected(what: str, error: Exception) -> str:
    """Log an exception that nobody foresaw, with its traceback; returns what the caller is told."""
    _log.error("unexpected error", what=what, error=str(error), exc_info=error)
    return f"unexpected {type(error).__name__}: {error} (the log has the traceback)"
