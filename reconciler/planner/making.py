"""Containers made, replaced and changed in place."""

from __future__ import annotations

from reconciler.planner.decisions import DEFINITION, Decision, definition_hash, goes_by, same_definition
from reconciler.planner.endpoints import network_name
from reconciler.planner.graph import (
    linked_services,
    referenced_services,
    service_networks,
)
from reconciler.planner.lifecycle import STOPPED, start_time
from reconciler.planner.model import ActionKind, Blocked
from reconciler.planner.mounts import volume_name
from reconciler.planner.naming import is_interrupted, successor_name
from reconciler.planner.scene import ServicePlan
from reconciler.planner.startfirst import START_FIRST, starts_first
from reconciler.planner.steps import Rollout, disconnects, name_taken
from state.model import Change, Reason


def _surroundings(rollout: Rollout, service: ServicePlan) -> list[str]:
    """The actions that make what a container of this service names in its body."""
    scene = rollout.scene
    project = scene.desired.project
    model = project.services[service.name]
    needs = [rollout.networks.get(network_name(project, key), "") for key, _ in service_networks(model)]
    needs.extend(
        rollout.volumes.get(volume_name(project, volume["source"]), "")
        for volume in model.get("volumes") or ()
        if volume.get("type") == "volume" and volume.get("source")
    )
    for other in referenced_services(model):
        needs.extend(rollout.made.get(other, ()))
    return [*(need for need in needs if need), *named_at_last(rollout, service)]


def named_at_last(rollout: Rollout, service: ServicePlan) -> list[str]:
    """The actions after which the containers that this service refers to have their final names, by
    which they are found."""
    scene = rollout.scene
    renames = (
        f"{ActionKind.RENAME_CONTAINER}:{name}"
        for other in referenced_services(scene.desired.project.services[service.name])
        for name, _ in scene.services[other].names(scene.desired)
    )
    return [action_id for action_id in renames if action_id in rollout.draft]


def creation_params(rollout: Rollout, service: ServicePlan, number: int) -> dict[str, object]:
    scene = rollout.scene
    model = scene.desired.project.services[service.name]
    references = {}
    for other in referenced_services(model):
        names = scene.services[other].names(scene.desired)
        if names:
            references[other] = names[0][0]
    peers = {
        other: [[name, number] for name, number in scene.services[other].names(scene.desired)]
        for other, _ in linked_services(model)
        if other in scene.services
    }
    return {"number": number, "references": references, "peers": peers}


def write_creation(rollout: Rollout, service: ServicePlan, number: int, final: str) -> str:
    needs = _surroundings(rollout, service)
    action_id = rollout.draft.add(
        ActionKind.CREATE_CONTAINER,
        final,
        service=service.name,
        reasons=[missing_reason(service, final)],
        needs=needs,
        params=creation_params(rollout, service, number),
    )
    rollout.made[service.name].append(action_id)
    return action_id


def missing_reason(service: ServicePlan, final: str) -> Reason:
    if service.keep or service.doomed:
        return Reason("Missing", f"container {final} is missing: {len(service.keep)} of {service.wanted} exist")
    return Reason("Missing", f"container {final} does not exist")


def _replace(rollout: Rollout, decision: Decision, gate: list[str]) -> None:
    scene, draft, container = rollout.scene, rollout.draft, decision.container
    service = scene.services[decision.service]
    model = scene.desired.project.services[decision.service]
    needs = [*_surroundings(rollout, service), *gate]
    for other in referenced_services(model):
        needs.extend(rollout.started.get(other, ()))
    strays = scene.groups.strays.get(decision.service, ())
    needs.extend(f"{ActionKind.REMOVE_CONTAINER}:{stray.name}" for stray in strays)
    if container.id in rollout.frees:
        needs.append(rollout.frees[container.id])
    params = creation_params(rollout, service, container.number)
    first = starts_first(rollout, decision)
    params.update(
        {
            "container": container.id,
            **({"order": START_FIRST} if first else {}),
            "temporary_name": successor_name(decision.final_name, container.id),
            "inherit": True,
            "pre_stop": bool(model.get("pre_stop")),
            "timeout": None,
            "acknowledge": {STOPPED: start_time(container)},
        }
    )
    action_id = draft.add(
        ActionKind.REPLACE_CONTAINER,
        decision.final_name,
        service=decision.service,
        reasons=[*decision.replace, *decision.swept],
        needs=needs,
        params=params,
    )
    rollout.made[decision.service].append(action_id)
    rollout.frees.setdefault(container.id, f"{ActionKind.HAND_OVER}:{decision.final_name}" if first else action_id)
    if decision.final_name != container.name:
        rollout.frees_name[container.name] = action_id


def _acknowledge(rollout: Rollout, decision: Decision, in_place: list[str]) -> None:
    """The last change in place, after all others, tells what the container has become."""
    around, name = rollout.scene.around, decision.service
    reached = definition_hash(around, name)
    if not in_place or not reached or same_definition(around, name, decision.container):
        return
    *others, last = in_place
    for other in others:
        if not rollout.draft.after(last, other):
            return
    rollout.draft.acknowledge(last, {DEFINITION: reached})


def _rename(rollout: Rollout, decision: Decision) -> list[str]:
    """The ids of actions that give a container its name."""
    container, final = decision.container, decision.final_name
    if goes_by(rollout.scene.around, decision.service, container, final):
        return []
    if is_interrupted(container):
        reason = Reason("Interrupted", "its replacement was never finished")
    else:
        reason = Reason("Drift", "renamed outside Moored", (Change("name", container.name, final),))
        if not rollout.scene.around.corrects:
            rollout.draft.drift.append(Blocked(container.name, reason))
            return []
    if name_taken(rollout, decision.service, final):
        return []
    action_id = rollout.draft.add(
        ActionKind.RENAME_CONTAINER,
        final,
        service=decision.service,
        reasons=[reason],
        params={"container": container.id},
    )
    rollout.frees_name[container.name] = action_id
    return [action_id]


def write_kept(rollout: Rollout, decision: Decision, gate: list[str], *, held_back: bool) -> None:
    """What happens to a container that stays, short of being started."""
    draft, container, name = rollout.draft, decision.container, decision.service
    for reason in decision.drift:
        draft.drift.append(Blocked(container.name, reason))
    if decision.replaced:
        if held_back:
            return
        if decision.final_name != container.name and name_taken(rollout, name, decision.final_name):
            return
        _replace(rollout, decision, gate)
        return
    in_place = []
    if decision.update:
        update = draft.add(
            ActionKind.UPDATE_CONTAINER,
            container.name,
            service=name,
            reasons=decision.update_reasons,
            params={"container": container.id, "update": decision.update},
        )
        in_place.append(update)
    for network, reason in decision.disconnect:
        disconnect = draft.add(
            ActionKind.DISCONNECT_NETWORK,
            container.name,
            suffix=network,
            service=name,
            reasons=[reason],
            params={"container": container.id, "network": network, "force": True},
        )
        in_place.append(disconnect)
    for network, endpoint, reason in decision.connect:
        needs = [rollout.networks[network]] if network in rollout.networks else []
        needs.extend(disconnects(rollout, decision, network))
        connect = draft.add(
            ActionKind.CONNECT_NETWORK,
            container.name,
            suffix=network,
            service=name,
            reasons=[reason],
            needs=needs,
            params={"container": container.id, "network": network, "endpoint": endpoint},
        )
        in_place.append(connect)
    in_place.extend(_rename(rollout, decision))
    _acknowledge(rollout, decision, in_place)
    if decision.signal and container.state == "running":
        draft.add(
            ActionKind.SIGNAL_CONTAINER,
            container.name,
            service=name,
            reasons=decision.told_reasons,
            params={
                "container": container.id,
                "signal": decision.signal,
                "inject": sorted(key for key in decision.told if not key.startswith("bind:")),
                "acknowledge": dict(decision.told),
            },
        )


def preparations(rollout: Rollout, decision: Decision) -> list[str]:
    """Actions on a kept container that come before its start."""
    container = decision.container
    names = [f"{ActionKind.UPDATE_CONTAINER}:{container.name}", f"{ActionKind.RENAME_CONTAINER}:{decision.final_name}"]
    names.extend(f"{ActionKind.CONNECT_NETWORK}:{container.name}:{network}" for network, _, _ in decision.connect)
    names.extend(f"{ActionKind.DISCONNECT_NETWORK}:{container.name}:{network}" for network, _ in decision.disconnect)
    if container.id in rollout.frees:
        names.append(rollout.frees[container.id])
    return [name for name in names if name in rollout.draft]
