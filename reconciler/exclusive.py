"""One agent at a time in a data folder.

Two agents that share checkouts and a store would undo each other's work. The lock is the kernel's
(`man 2 flock`): it ends with the process that holds it, however that one dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from reconciler.log import get_logger

PATIENCE = 30.0
"""Seconds to wait for an agent that is on its way out, as at a restart."""
_EVERY = 0.2
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_log = get_logger()


class FolderInUse(OSError):
    """Another agent works in this data folder."""


@asynccontextmanager
async def sole_user(folder: Path, patience: float = PATIENCE) -> AsyncIterator[None]:
    """Hold the folder; waits at most `patience` seconds for whoever has it. Raises `FolderInUse`."""
    descriptor = os.open(folder / "moored.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _acquire(descriptor, folder, patience)
        yield
    finally:
        os.close(descriptor)


async def _acquire(descriptor: int, folder: Path, patience: float) -> None:
    end, told = anyio.current_time() + patience, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if anyio.current_time() >= end:
                raise FolderInUse(f"the data folder {folder} is in use by another agent; give each its own") from None
            if not told:
                _log.warning("waiting for another agent to leave the data folder", path=str(folder), timeout=patience)
                told = True
            await anyio.sleep(_EVERY)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("the data folder knows no locks; see that no second agent uses it", path=str(folder))
            return
        else:
            return
