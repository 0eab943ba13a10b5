"""Being served before the containers that are being started.

A host that starts thirty containers at once has its processors full for seconds; an agent that
then waits its turn like everybody else answers late, although it needs next to nothing. Where
it may (root, or CAP_SYS_NICE), it asks Linux to come first:

- Its event loop, which answers and never computes for long, with the lowest real-time priority.
  Linux lets an ordinary process that wakes up wait until the one that runs has had its slice, be
  it ever so nice (10 ms and more under load); a real-time one runs at once (`man 7 sched`). What
  is started from it, threads and git alike, is ordinary again (`SCHED_RESET_ON_FORK`), and what
  it can take is bounded: by default Linux keeps 5 % of each processor for everybody else.
- All of it with a nicer value and, if it has a session of its own, that session as well, by which
  Linux shares out processors first (`Documentation/scheduler/sched-design-CFS.rst`, autogroups).

In a container, `cap_add: [SYS_NICE]` allows the first and `cpu_shares` does the second. Whoever
does not want it withholds the permission (systemd: `RestrictRealtime=yes`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICE = -10
_AUTOGROUP = Path("/proc/self/autogroup")


def come_first() -> None:
    """Ask for it, in the thread of the event loop, before it starts others.

    Without permission nothing happens."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            _AUTOGROUP.write_text(str(NICE))
    lowest = os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, lowest)
