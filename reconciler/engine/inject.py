"""Configs and secrets by content: copied into a container through the Engine.

One archive for all files of a container, uploaded after its creation and before its
start. The entries carry the ownership that was asked for. The upload never asks the
Engine to "copy UID and GID": it would then replace them by those of the container's own
user, which is how Compose loses them. Contents are in no log, plan or label.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Sequence

from reconciler.engine.errors import ActionFailed, Refused
from reconciler.engine.work import Work
from reconciler.planner.mounts import file_content
from reconciler.planner.specs import InjectedFile


async def inject_files(work: Work, container_id: str, name: str, files: Sequence[InjectedFile]) -> None:
    """Copy files into a container that does not run yet, or does."""
    if not files:
        return
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in files:
            content = file_content(work.wanted, item)
            entry = tarfile.TarInfo(item.target.lstrip("/"))
            entry.size = len(content)
            entry.mode = item.mode
            entry.uid, entry.gid = item.uid, item.gid
            entry.mtime = int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    try:
        await work.engine.call(
            "container.archive",
            "PUT",
            f"containers/{container_id}/archive",
            params={"path": "/", "noOverwriteDirNonDir": True},
            data=archive.getvalue(),
            headers={"Content-Type": "application/x-tar"},
        )
    except Refused as error:
        names = ", ".join(f"{item.kind} {item.source}" for item in files)
        raise ActionFailed(f"container {name}: {names} cannot be copied in: {error.message}") from error
