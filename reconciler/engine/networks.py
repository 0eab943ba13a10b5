"""Networks and volumes: create, remove, connect, disconnect.

Each is safe to repeat: what is already there, or already gone, as wanted is no error.
"""

from __future__ import annotations

from reconciler.engine.client import segment
from reconciler.engine.errors import ActionFailed, Conflict, NotFound, Refused
from reconciler.engine.records import network_record, volume_record
from reconciler.engine.work import Log, Work
from reconciler.planner.model import Action
from reconciler.planner.objects import network_body, volume_body
from state.observed import LABEL_PROJECT


async def create_network(work: Work, action: Action, log: Log) -> None:
    body = network_body(work.wanted.project, str(action.params["network"]), work.facts)
    engine = work.engine
    try:
        created = await engine.call("network.create", "POST", "networks/create", body=body)
        network_id = str(created["Id"])
        if created.get("Warning"):
            await log(str(created["Warning"]))
    except Conflict as error:
        # Somebody was faster; ours only if it says so.
        try:
            there = await engine.call("network.inspect", "GET", f"networks/{segment(body['Name'])}")
        except NotFound:
            raise error from None
        if (there.get("Labels") or {}).get(LABEL_PROJECT) != work.plan.key.name:
            raise
        network_id = str(there["Id"])
    except Refused as error:
        raise ActionFailed(f"network {body['Name']} cannot be created: {error.message}") from error
    work.observed.put_network(
        network_record(await engine.call("network.inspect", "GET", f"networks/{segment(network_id)}"))
    )


async def remove_network(work: Work, action: Action, log: Log) -> None:
    network_id = str(action.params.get("network_id") or action.target)
    try:
        await work.engine.call("network.remove", "DELETE", f"networks/{segment(network_id)}")
    except NotFound:
        pass
    except Refused as error:
        hint = await _why_in_use(work, network_id) if "active endpoints" in error.message else ""
        raise ActionFailed(f"network {action.target} cannot be removed: {error.message}{hint}") from error
    work.observed.drop_network(network_id)


async def _why_in_use(work: Work, network_id: str) -> str:
    """Who uses a network, or that nobody does: Engines up to 20.10 now and then go on counting an
    endpoint whose container is gone, and correct that when they start."""
    try:
        answer = await work.engine.call("network.inspect", "GET", f"networks/{segment(network_id)}")
    except Refused:
        return ""
    names = sorted(str(endpoint.get("Name")) for endpoint in (answer.get("Containers") or {}).values())
    if names:
        return f" (in use by {', '.join(names)})"
    return " (no container uses it: the Engine has miscounted; that ends when it is restarted)"


async def create_volume(work: Work, action: Action, log: Log) -> None:
    body = volume_body(work.wanted, str(action.params["volume"]))
    try:
        answer = await work.engine.call("volume.create", "POST", "volumes/create", body=body)
    except Refused as error:
        raise ActionFailed(f"volume {body['Name']} cannot be created: {error.message}") from error
    work.observed.put_volume(volume_record(answer))


async def remove_volume(work: Work, action: Action, log: Log) -> None:
    try:
        await work.engine.call("volume.remove", "DELETE", f"volumes/{segment(action.target)}")
    except NotFound:
        pass
    except Refused as error:
        raise ActionFailed(f"volume {action.target} cannot be removed: {error.message}") from error
    work.observed.drop_volume(action.target)


async def connect_network(work: Work, action: Action, log: Log) -> None:
    network = str(action.params["network"])
    body = {"Container": await work.container_id(action), "EndpointConfig": action.params.get("endpoint") or {}}
    try:
        await work.engine.call("network.connect", "POST", f"networks/{segment(network)}/connect", body=body)
    except Refused as error:
        if "already exists in network" not in error.message and "already attached to network" not in error.message:
            raise ActionFailed(
                f"container {action.target} cannot be connected to network {network}: {error.message}"
            ) from error


async def disconnect_network(work: Work, action: Action, log: Log) -> None:
    network = str(action.params["network"])
    body = {"Container": await work.container_id(action), "Force": bool(action.params.get("force"))}
    try:
        await work.engine.call("network.disconnect", "POST", f"networks/{segment(network)}/disconnect", body=body)
    except NotFound:
        return
    except Refused as error:
        if "is not connected" not in error.message:
            raise ActionFailed(
                f"container {action.target} cannot be disconnected from network {network}: {error.message}"
            ) from error
