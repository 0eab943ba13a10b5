"""Where this agent's data folder lies on the Engine's host.

Outside a container it is where it is. Inside one, the Engine knows our mounts: our own
container is found by its id, and the mount at the data folder tells its source.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio

from reconciler.deployments.hostpaths import HostPaths
from reconciler.engine.client import Engine
from reconciler.engine.errors import EngineError, NotFound

_ID = re.compile(r"\b[0-9a-f]{64}\b")


class DataMountError(Exception):
    """The data folder cannot be used by containers; the message says what to set."""


async def host_paths(engine: Engine, data: Path, configured: str) -> HostPaths:
    """How paths translate; `configured` is `DATA_HOST_PATH`. Raises `DataMountError`."""
    if configured:
        return HostPaths(str(data), configured)
    container_id = await anyio.to_thread.run_sync(own_container_id)
    if not container_id:
        return HostPaths(str(data), str(data))
    try:
        inspected: dict[str, Any] = await engine.call("inspect", "GET", f"/containers/{container_id}/json")
    except NotFound:
        raise DataMountError(
            f"this agent runs in a container that the Engine at {engine.endpoint.host} does not have; set "
            f"DATA_HOST_PATH to the path that {data} has on the Engine's host"
        ) from None
    except EngineError as error:
        raise DataMountError(f"cannot look at our own container: {error}") from error
    for mount in inspected.get("Mounts", ()):
        if mount.get("Destination") == str(data):
            if not mount.get("RW", True):
                raise DataMountError(f"the mount at {data} is read-only; mount it writable")
            return HostPaths(str(data), str(mount["Source"]))
    raise DataMountError(f"nothing is mounted at {data}: mount a volume or a folder there, or set DATA_HOST_PATH")


def own_container_id() -> str:
    """The id of the container this process runs in; empty outside one."""
    if not Path("/.dockerenv").exists():
        return ""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        if "/etc/hostname" in line:
            found = _ID.search(line)
            if found:
                return found.group()
    return ""
