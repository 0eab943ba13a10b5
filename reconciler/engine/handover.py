"""The end of a replacement that was started first: its predecessor goes once it serves.

Serving means healthy where there is a health check, else having run for a moment. Until then
nothing happens to the predecessor, so a successor that fails costs nothing. Killed before the
end, what is left is a running container with a temporary name beside the one it was to replace:
the next plan removes it and begins anew.
"""

from __future__ import annotations

from datetime import UTC, datetime

import anyio

from reconciler.engine.containers import describe_container, discard, put_back, take_name
from reconciler.engine.errors import ActionFailed, EngineError
from reconciler.engine.snapshot import known_container
from reconciler.engine.waiting import HEALTHY, PROOF, wait_containers
from reconciler.engine.work import Log, Parked, Work
from reconciler.planner.model import Action
from state.observed import ObservedContainer


async def hand_over(work: Work, action: Action, log: Log) -> None:
    """HAND_OVER: wait until the successor serves, then stop the predecessor, take its name, remove it."""
    parked = work.parked[action.target]
    try:
        await work.unless_interrupted(_serves(work, action, parked))
        await take_name(work, action, parked, log)
    except EngineError:
        await put_back(work, work.parked.pop(action.target))
        raise
    await discard(work, work.parked.pop(action.target))


async def _serves(work: Work, action: Action, parked: Parked) -> None:
    container = await known_container(work.engine, work.observed, parked.successor)
    if container is not None and container.health:
        timeout = float(action.params.get("ready_timeout") or 0) or None
        successor = {action.target: parked.successor}
        await wait_containers(work, action.service, HEALTHY, successor, timeout, what="the successor")
        return
    if container is not None and container.started_at is not None:
        left = (container.started_at + PROOF - datetime.now(UTC)).total_seconds()
        await anyio.sleep(min(max(left, 0), PROOF.total_seconds()))
        container = await known_container(work.engine, work.observed, parked.successor)
    if container is None or not _stays(container):
        description = await describe_container(work, parked.successor, action.target)
        raise ActionFailed(f"the successor of container {action.target} does not stay up: {description}")


def _stays(container: ObservedContainer) -> bool:
    """Whether a container without a health check runs on since its start, or has done its work."""
    if container.state == "running":
        return not container.restart_count
    return container.state == "exited" and container.exit_code == 0
