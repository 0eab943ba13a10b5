"""Containers: create, replace, start, stop, remove.

**Replacing.** The successor is created first, under a temporary name, with its networks
and files: if that fails, the old one never noticed. Then, shielded from cancellation, the
old one is stopped and *parked* (renamed out of the way), and the successor gets the final
name. The START action of the plan starts it; only then the parked one is removed. If the
successor does not start, or never comes to it because something it needs failed, the old
one is put back: name, and running if it was. Killed at any point, what is left is two
containers of one number, one of them as desired: the next plan keeps that one, gives it
its name, starts it, and removes the other. A successor that is to be started *first* waits
under its temporary name for `handover.py`.

**Stopping** is shielded too, with a deadline made of the container's own grace period: a
request that is given up halfway would leave a container that dies a little later.
"""

from __future__ import annotations

import time
from typing import Any

import anyio

from reconciler.engine.client import segment
from reconciler.engine.errors import ActionFailed, Conflict, DeadlineExceeded, EngineError, NotFound, Refused
from reconciler.engine.hooks import run_commands
from reconciler.engine.inject import inject_files
from reconciler.engine.output import indented, log_tail
from reconciler.engine.snapshot import image_references, known_container, refresh_container, resolve_images
from reconciler.engine.work import Log, Parked, Work
from reconciler.planner.containers import container_spec
from reconciler.planner.hooks import post_start, pre_stop
from reconciler.planner.model import Action
from reconciler.planner.mounts import injected_files
from reconciler.planner.naming import parked_name
from reconciler.planner.specs import ContainerSpec
from reconciler.planner.startfirst import START_FIRST

STOP_MARGIN = 30.0
"""Seconds the Engine may take beyond a container's grace period."""
DEFAULT_GRACE = 10
ENDLESS_GRACE = 3600.0
"""For a negative grace period, which means no limit."""
START_DEADLINE = 120.0
REMOVE_DEADLINE = 180.0
"""Large file systems take their time."""
TIDY_DEADLINE = 60.0


async def create_container(work: Work, action: Action, log: Log) -> None:
    spec = await _spec(work, action)
    work.created[action.target] = await _create(work, spec, log)


async def replace_container(work: Work, action: Action, log: Log) -> None:
    name = action.target
    old_id = str(action.params["container"])
    inherit = None
    if action.params.get("inherit"):
        inherit = await work.engine.call("container.inspect", "GET", f"containers/{old_id}/json")
    spec = await _spec(work, action, name=str(action.params["temporary_name"]), inherit=inherit)
    new_id = await _create(work, spec, log)
    if action.params.get("order") == START_FIRST:
        work.parked[name] = Parked(id=old_id, name=name, was_running=True, successor=new_id, serves=True)
        work.created[name] = new_id
        return
    with anyio.CancelScope(shield=True), work.acting(old_id, new_id):
        # An earlier action of this plan may have stopped it, to free a port or a network.
        was_running = old_id in work.stopped or await _is_running(work, old_id)
        parked = Parked(id=old_id, name=name, was_running=was_running, successor=new_id)
        try:
            await take_name(work, action, parked, log)
        except EngineError:
            await put_back(work, parked)
            raise
        work.parked[name] = parked
        work.created[name] = new_id
        if not work.starts_later(name):
            await discard(work, work.parked.pop(name))


async def take_name(work: Work, action: Action, parked: Parked, log: Log) -> None:
    """The old one is stopped and parked, its successor gets its name."""
    with anyio.CancelScope(shield=True), work.acting(parked.id, parked.successor):
        await _stop(work, action, parked.id, log)
        await _rename(work, parked.id, parked_name(parked.name, parked.successor))
        await _rename(work, parked.successor, parked.name)


async def put_back(work: Work, parked: Parked) -> None:
    """The successor did not come to life: remove it and let its predecessor serve again."""
    with anyio.CancelScope(shield=True), work.acting(parked.id, parked.successor):
        work.created.pop(parked.name, None)
        try:
            await _remove(work, parked.successor, volumes=False)
            await _rename(work, parked.id, parked.name)
            if parked.was_running:
                await _start(work, parked.id)
        except EngineError as error:
            work.warnings.append(f"container {parked.name}: the previous one could not be put back: {error}")
            return
        if parked.serves:
            work.warnings.append(f"container {parked.name}: the previous one serves on, its successor was removed")
        else:
            work.warnings.append(
                f"container {parked.name}: the previous one was put back"
                f"{' and started again' if parked.was_running else ''}"
            )


async def discard(work: Work, parked: Parked) -> None:
    """The successor lives: the parked one goes. If it cannot, the next plan tries again."""
    with anyio.CancelScope(shield=True), work.acting(parked.id):
        try:
            await _remove(work, parked.id, volumes=False)
        except EngineError as error:
            work.warnings.append(f"container {parked.name}: the replaced one could not be removed: {error}")


async def start_container(work: Work, action: Action, log: Log) -> None:
    container_id = await work.container_id(action)
    await _inject_again(work, action, container_id)
    parked = work.parked.get(action.target)
    with work.acting(container_id):
        try:
            if _draws_from_a_range(work, action.service):
                async with work.range_lock:
                    await _start(work, container_id)
            else:
                await _start(work, container_id)
        except (Refused, DeadlineExceeded) as error:
            message = error.message if isinstance(error, Refused) else str(error)
            raise ActionFailed(f"container {action.target} cannot be started: {message}") from error
        if parked is not None and not parked.serves:
            del work.parked[action.target]
            await discard(work, parked)
        # What waits for this container must not judge it by what it was before.
        await refresh_container(work.engine, work.observed, container_id)
    if action.params.get("post_start") and work.desired is not None:
        await run_commands(
            work, container_id, action.target, "post_start", post_start(work.desired, action.service), log
        )


async def stop_container(work: Work, action: Action, log: Log) -> None:
    container_id = await work.container_id(action)
    with anyio.CancelScope(shield=True), work.acting(container_id):
        if await _is_running(work, container_id):
            work.stopped.add(container_id)
        await _stop(work, action, container_id, log)


async def restart_container(work: Work, action: Action, log: Log) -> None:
    container_id = await work.container_id(action)
    with anyio.CancelScope(shield=True), work.acting(container_id):
        await _run_pre_stop(work, action, container_id, log)
        params, deadline = await _grace(work, action, container_id)
        try:
            await work.engine.call(
                "container.restart",
                "POST",
                f"containers/{container_id}/restart",
                params=params,
                deadline=deadline + START_DEADLINE,
            )
        except Refused as error:
            raise ActionFailed(f"container {action.target} cannot be restarted: {error.message}") from error
        await refresh_container(work.engine, work.observed, container_id)
    if action.params.get("post_start") and work.desired is not None:
        await run_commands(
            work, container_id, action.target, "post_start", post_start(work.desired, action.service), log
        )


async def remove_container(work: Work, action: Action, log: Log) -> None:
    container_id = await work.container_id(action)
    with anyio.CancelScope(shield=True), work.acting(container_id):
        await _remove(work, container_id, volumes=bool(action.params.get("volumes")))


async def rename_container(work: Work, action: Action, log: Log) -> None:
    container_id = await work.container_id(action)
    await _rename(work, container_id, action.target)
    work.created[action.target] = container_id


async def update_container(work: Work, action: Action, log: Log) -> None:
    container_id = await work.container_id(action)
    body = dict(action.params.get("update") or {})
    answer = await work.engine.call("container.update", "POST", f"containers/{container_id}/update", body=body)
    for warning in (answer or {}).get("Warnings") or ():
        await log(str(warning))
    await refresh_container(work.engine, work.observed, container_id)


async def unpause_container(work: Work, action: Action, log: Log) -> None:
    container_id = await work.container_id(action)
    try:
        await work.engine.call("container.unpause", "POST", f"containers/{container_id}/unpause")
    except Refused as error:
        if "is not paused" not in error.message:
            raise
    await refresh_container(work.engine, work.observed, container_id)


async def signal_container(work: Work, action: Action, log: Log) -> None:
    container_id = await work.container_id(action)
    await _inject_again(work, action, container_id)
    with work.acting(container_id):
        await work.engine.call(
            "container.kill",
            "POST",
            f"containers/{container_id}/kill",
            params={"signal": str(action.params.get("signal") or "SIGHUP")},
        )


async def describe_container(work: Work, container_id: str, name: str) -> str:
    """State, exit code and last lines of a container, for an error."""
    record = await refresh_container(work.engine, work.observed, container_id)
    if record is None:
        return f"container {name} is gone"
    lines = await log_tail(work.engine, container_id, tty=bool(record.inspect.get("Config", {}).get("Tty")))
    code = f" with code {record.exit_code}" if record.state in ("exited", "dead") else ""
    why = f" ({record.error})" if record.error else ""
    return f"container {name} is {record.state}{code}{why}{indented(lines)}"


async def _spec(work: Work, action: Action, *, name: str | None = None, inherit: Any = None) -> ContainerSpec:
    desired = work.wanted
    return container_spec(
        desired,
        action.service,
        int(action.params["number"]),
        name=name,
        engine=work.facts,
        references=await work.reference_ids(action),
        peers=action.params.get("peers"),
        images=await resolve_images(work.engine, work.observed, image_references(desired)),
        inherit=inherit,
    )


async def _create(work: Work, spec: ContainerSpec, log: Log) -> str:
    """Create, connect and fill a container; one that cannot be completed is removed again."""
    params = {"name": spec.name, **({"platform": spec.platform} if spec.platform else {})}
    try:
        answer = await work.engine.call("container.create", "POST", "containers/create", params=params, body=spec.body)
    except Refused as error:
        kind = Conflict if isinstance(error, Conflict) else None
        message = f"container {spec.name} cannot be created: {error.message}"
        raise (kind(409, message) if kind else ActionFailed(message)) from error
    container_id = str(answer["Id"])
    for warning in answer.get("Warnings") or ():
        await log(str(warning))
    try:
        for network, endpoint in spec.connects:
            body = {"Container": container_id, "EndpointConfig": endpoint}
            try:
                await work.engine.call("network.connect", "POST", f"networks/{segment(network)}/connect", body=body)
            except Refused as error:
                raise ActionFailed(
                    f"container {spec.name} cannot be connected to network {network}: {error.message}"
                ) from error
        await inject_files(work, container_id, spec.name, spec.files)
    except BaseException:
        with anyio.move_on_after(TIDY_DEADLINE, shield=True):
            await _remove(work, container_id, volumes=True)
        raise
    return container_id


async def _start(work: Work, container_id: str) -> None:
    async with work.starts:
        await work.engine.call("container.start", "POST", f"containers/{container_id}/start", deadline=START_DEADLINE)


async def _stop(work: Work, action: Action, container_id: str, log: Log) -> None:
    await _run_pre_stop(work, action, container_id, log)
    params, deadline = await _grace(work, action, container_id)
    try:
        await work.engine.call(
            "container.stop", "POST", f"containers/{container_id}/stop", params=params, deadline=deadline
        )
    except NotFound:
        return
    except Refused as error:
        raise ActionFailed(f"container {action.target} cannot be stopped: {error.message}") from error
    await refresh_container(work.engine, work.observed, container_id)


async def _run_pre_stop(work: Work, action: Action, container_id: str, log: Log) -> None:
    """A failing command is told, and the container is stopped all the same: it must not be
    able to keep a stack from ever changing."""
    if not action.params.get("pre_stop") or work.desired is None or not await _is_running(work, container_id):
        return
    try:
        specs = pre_stop(work.desired, action.service)
        await run_commands(work, container_id, action.target, "pre_stop", specs, log)
    except EngineError as error:
        work.warnings.append(str(error))
        await log(str(error))


async def _grace(work: Work, action: Action, container_id: str) -> tuple[dict[str, int], float]:
    """The `t` parameter, if any, and how long the call may take."""
    timeout = action.params.get("timeout")
    if timeout is not None:
        grace = int(timeout)
        params = {"t": grace}
    else:
        params = {}
        record = work.observed.containers.get(container_id)
        configured = (record.inspect.get("Config") or {}).get("StopTimeout") if record is not None else None
        grace = DEFAULT_GRACE if configured is None else int(configured)
    return params, (ENDLESS_GRACE if grace < 0 else grace) + STOP_MARGIN


async def _is_running(work: Work, container_id: str) -> bool:
    record = await known_container(work.engine, work.observed, container_id)
    return record is not None and record.state in ("running", "paused", "restarting")


async def _rename(work: Work, container_id: str, name: str) -> None:
    record = work.observed.containers.get(container_id)
    try:
        await work.engine.call("container.rename", "POST", f"containers/{container_id}/rename", params={"name": name})
    except Refused as error:
        if "same name" in error.message:
            return
        current = f" ({record.name})" if record is not None else ""
        raise ActionFailed(
            f"container {container_id[:12]}{current} cannot be renamed to {name}: {error.message}"
        ) from error


async def _remove(work: Work, container_id: str, *, volumes: bool) -> None:
    params = {"force": True, "v": volumes}
    try:
        await work.engine.call(
            "container.remove", "DELETE", f"containers/{container_id}", params=params, deadline=REMOVE_DEADLINE
        )
    except NotFound:
        pass
    except Conflict as error:
        if "already in progress" not in error.message:
            raise
        await _await_removal(work, container_id)
    work.observed.drop_container(container_id, time.monotonic())


async def _await_removal(work: Work, container_id: str) -> None:
    try:
        await work.engine.call(
            "container.wait",
            "POST",
            f"containers/{container_id}/wait",
            params={"condition": "removed"},
            write=False,
        )
    except NotFound:
        return


async def _inject_again(work: Work, action: Action, container_id: str) -> None:
    """Copy changed contents into a container that lives on; `inject` lists their keys."""
    wanted = action.params.get("inject") or ()
    if not wanted or work.desired is None:
        return
    project = work.desired.project
    files = injected_files(project, project.services[action.service])
    chosen = files if wanted is True else tuple(item for item in files if item.key in wanted)
    await inject_files(work, container_id, action.target, chosen)


def _draws_from_a_range(work: Work, service: str) -> bool:
    """Whether a published port is a range: the Engine gives one port to two containers that
    draw at the same time."""
    if work.desired is not None:
        ports = (work.desired.project.services.get(service) or {}).get("ports") or ()
        return any("-" in str(port.get("published") or "") for port in ports)
    for container in work.observed.project(work.plan.key.name):
        if container.service == service:
            bindings = (container.inspect.get("HostConfig") or {}).get("PortBindings") or {}
            return any("-" in (entry.get("HostPort") or "") for entries in bindings.values() for entry in entries or ())
    return False
