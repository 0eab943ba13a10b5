"""What the process does about its own memory; called by the composition root.

What is imported and built at the start lives until the end. Searching it for garbage again
and again costs a tenth of the start and wakes an idle agent for nothing, so the collector
rests until everything runs and leaves that part alone ever after.

glibc gives each thread that allocates an arena of its own and keeps what they once needed.
Our threads only take turns, so two arenas do, and now and then what is free goes back to
the system. On other C libraries none of this happens.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

ARENAS = 2
_M_ARENA_MAX = -8


def starting() -> None:
    """Before the first thread: nothing that is made from now on is garbage."""
    gc.disable()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def started() -> None:
    """Everything runs: collect what is left over from the start, and never look at the rest again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    give_back()


def give_back() -> None:
    """Return free memory to the system."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
