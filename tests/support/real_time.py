"""Whether this process may have real-time priority: not without CAP_SYS_NICE, and in a control
group only with a share of real time (`CONFIG_RT_GROUP_SCHED`)."""

from __future__ import annotations

import os


def real_time_allowed() -> bool:
    """Tries it, and gives it back."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        return False
    os.sched_setscheduler(0, policy, priority)
    return True
