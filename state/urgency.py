"""Worker threads that are as urgent as the one that waits for them.

An event loop with real-time priority that waits for an ordinary thread waits as long as that one
waits for a processor: nothing is gained (priority inversion, `man 7 sched`). So the threads that
serve nobody but the loop take its scheduling class.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress


def own_urgency() -> Callable[[], None]:
    """What gives a thread the scheduling class of the one that calls this. Without permission, and
    for the class that every thread has anyway, it does nothing."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)

    def adopt() -> None:
        if policy & ~os.SCHED_RESET_ON_FORK != os.SCHED_OTHER:
            with suppress(OSError):
                os.sched_setscheduler(0, policy, priority)

    return adopt
