"""Coming first where that is allowed, and going on where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.priority import NICE

AUTOGROUP = Path("/proc/self/autogroup")
_SAY = """
import os, pathlib
{before}
from reconciler.priority import come_first
come_first()
group = pathlib.Path("/proc/self/autogroup")
print(os.getpriority(os.PRIO_PROCESS, 0), group.read_text() if group.exists() else "")
"""


def _say(before: str = "", *, own_session: bool) -> str:
    command = [sys.executable, "-c", _SAY.format(before=before)]
    return subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=own_session).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask")
def test_root_comes_first_with_its_own_session() -> None:
    said = _say(own_session=True)
    assert said.startswith(f"{NICE} ")
    if AUTOGROUP.exists():
        assert f"nice {NICE}" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_who_may_not_goes_on_as_before() -> None:
    assert _say("os.setuid(65534)", own_session=True).startswith("0 ")


def test_a_terminal_that_is_shared_with_others_is_left_alone() -> None:
    if not AUTOGROUP.exists():
        return
    before = AUTOGROUP.read_text()
    _say(own_session=False)
    assert AUTOGROUP.read_text() == before
