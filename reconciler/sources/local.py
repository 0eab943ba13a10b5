"""Noticing commits to a repository on this machine within a second.

Git changes a reference by renaming a lock file over it, so the folder it lies in gets a
new modification time, and so does the one above when a folder is made or removed for it
(`release/1.0`). It is enough to look at the few folders below `refs/`, at `HEAD`, at
`packed-refs` and at the tables of the newer reference format; no process is started and
nothing is read. What is noticed only says *look again*.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

INTERVAL = 0.5
SETTLED_NS = 20_000_000
"""What changed this shortly before it was looked at may change again within the same time stamp."""


async def watch_local(
    path: Path,
    notify: Callable[[], None],
    *,
    interval: float = INTERVAL,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Call `notify` whenever a reference of the repository at `path` may have changed. Never returns.

    Branches, tags, nested ones, packed ones, work trees and bare repositories. A repository
    that is not there (yet) is waited for. What changes after `begun` was called is noticed.
    """
    watched = _Watched(path)
    before, settled = await anyio.to_thread.run_sync(watched.look)
    begun()
    while True:
        await anyio.sleep(interval)
        seen, settled_now = await anyio.to_thread.run_sync(watched.look)
        if seen != before or not settled:
            notify()
        before, settled = seen, settled_now


class _Watched:
    def __init__(self, path: Path) -> None:
        self._path = path

    def look(self) -> tuple[tuple[tuple[str, int, int], ...], bool]:
        """What changes when a reference changes; and whether a further change would show."""
        begun = time.time_ns()
        seen: list[tuple[str, int, int]] = []
        for folder in _git_folders(self._path):
            for name in ("HEAD", "packed-refs", "reftable"):
                _add(seen, folder / name)
            for root, _, _ in os.walk(folder / "refs"):
                _add(seen, Path(root))
        return tuple(sorted(seen)), all(abs(begun - modified) > SETTLED_NS for _, modified, _ in seen)


def _add(seen: list[tuple[str, int, int]], path: Path) -> None:
    try:
        found = path.stat()
    except OSError:
        return
    seen.append((str(path), found.st_mtime_ns, found.st_ino))


def _git_folders(path: Path) -> tuple[Path, ...]:
    """The repository's own folder, and for a linked work tree the one it shares."""
    folder = path / ".git"
    try:
        if folder.is_file():
            text = folder.read_text(errors="replace").strip()
            folder = path / text.removeprefix("gitdir:").strip()
            common = folder / "commondir"
            if common.is_file():
                return folder, folder / common.read_text(errors="replace").strip()
        elif not folder.is_dir():
            folder = path
    except OSError:
        return ()
    return (folder,)
