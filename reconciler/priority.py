"""Being served before the containers that are being started.

A host that starts thirty containers at once has its processors full for seconds; an agent that
then waits its turn like everybody else answers late, although it needs next to nothing. Where
it may (root, or CAP_SYS_NICE), it asks Linux to come first, for itself and, if it has a session
of its own, for that session, by which Linux shares out processors first
(`Documentation/scheduler/sched-design-CFS.rst`, autogroups). In a container, `cpu_shares` does it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICE = -10
_AUTOGROUP = Path("/proc/self/autogroup")


def come_first() -> None:
    """Ask for it, before the first thread is started. Without permission nothing happens."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            _AUTOGROUP.write_text(str(NICE))
