"""Waiting for what other processes do: look, pause, look again, never longer than a deadline.

Inside one process tests wait for events; this is for daemons, containers and files that tell
nobody. What was seen last goes into the error, so a time-out explains itself.

The deadlines of tests are for a machine at rest. A slower or busier one gets `PATIENCE` times as
long: a test that passes is not the slower for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 6


def wait_for(look: Callable[[], T], what: str, *, seconds: float = 20, pause: float = 0.05) -> T:
    """The first true answer of `look`. Its OSErrors count as "not yet"."""
    deadline = time.monotonic() + PATIENCE * seconds
    seen: object = None
    while True:
        try:
            answer = look()
        except OSError as error:
            seen = error
        else:
            if answer:
                return answer
            seen = answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {PATIENCE * seconds:g} s; last seen: {seen!r}")
        time.sleep(pause)
