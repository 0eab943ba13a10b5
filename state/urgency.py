"""Worker threads that are as urgent as the one that waits for them.

An event loop with real-time priority that waits for an ordinary thread waits as long as that one
waits for a processor: nothing is gained (priority inversion, `man 7 sched`). So the thread that
commits works with the loop's own scheduling class, and gives it back, since it serves others next.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Urgency:
    """The scheduling class of the thread that makes it."""

    def __init__(self) -> None:
        self._policy = os.sched_getscheduler(0)
        self._priority = os.sched_getparam(0)
        # The class every process has unless it asked for another needs no lending.
        self._lends = self._policy & ~os.SCHED_RESET_ON_FORK != os.SCHED_OTHER

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Have the calling thread work with it. Without permission nothing happens."""
        if not self._lends:
            yield
            return
        policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
        with suppress(OSError):
            os.sched_setscheduler(0, self._policy, self._priority)
        try:
            yield
        finally:
            with suppress(OSError):
                os.sched_setscheduler(0, policy, priority)
