"""Coming first where that is allowed, and going on where it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.priority import NICE
from tests.support.real_time import real_time_allowed

AUTOGROUP = Path("/proc/self/autogroup")
# What the asking thread, a thread it starts and a process it starts are served by.
_SAY = """
import json, os, pathlib, threading
{before}
from reconciler.priority import come_first
come_first()
threads = []
thread = threading.Thread(target=lambda: threads.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
child = os.fork()
if not child:
    os._exit(os.sched_getscheduler(0) if os.getpriority(os.PRIO_PROCESS, 0) == 0 else 99)
group = pathlib.Path("/proc/self/autogroup")
print(json.dumps({{
    "loop": os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,
    "thread": threads[0],
    "child": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "group": group.read_text() if group.exists() else "",
}}))
"""


def _say(before: str = "", *, own_session: bool) -> dict[str, object]:
    command = [sys.executable, "-c", _SAY.format(before=before)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=own_session)
    found: dict[str, object] = json.loads(ran.stdout)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask")
def test_root_comes_first_with_its_own_session() -> None:
    said = _say(own_session=True)
    assert said["nice"] == NICE
    assert said["loop"] == (os.SCHED_RR if real_time_allowed() else os.SCHED_OTHER)
    if AUTOGROUP.exists():
        assert f"nice {NICE}" in str(said["group"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask")
def test_what_the_loop_starts_is_served_like_everybody_else() -> None:
    said = _say(own_session=True)
    assert (said["thread"], said["child"]) == (os.SCHED_OTHER, os.SCHED_OTHER)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_who_may_not_goes_on_as_before() -> None:
    said = _say("os.setuid(65534)", own_session=True)
    assert (said["nice"], said["loop"]) == (0, os.SCHED_OTHER)


def test_a_terminal_that_is_shared_with_others_is_left_alone() -> None:
    if not AUTOGROUP.exists():
        return
    before = AUTOGROUP.read_text()
    _say(own_session=False)
    assert AUTOGROUP.read_text() == before
