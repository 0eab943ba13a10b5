"""What goes and what is made ready: leftovers, orphans, surplus; networks, volumes; old images.

A changed network is taken from all its users before it is made anew, and they are replaced
afterwards with their full endpoints, so that aliases, addresses and links survive. A
volume is only ever removed after somebody allowed it by name.
"""

from __future__ import annotations

from reconciler.planner.decisions import Decision
from reconciler.planner.graph import (
    image_reference,
)
from reconciler.planner.images import image_references
from reconciler.planner.labels import ACTIVE
from reconciler.planner.lifecycle import TO_REMOVE
from reconciler.planner.model import ActionKind
from reconciler.planner.naming import is_interrupted
from reconciler.planner.resources import NetworkState, Standing
from reconciler.planner.scene import ServicePlan
from reconciler.planner.steps import Rollout, disconnects
from state.model import Change, Reason
from state.observed import ObservedContainer, ObservedNetwork

LEFTOVER = Reason("Leftover", "pre_start container of an earlier attempt")


def remove_what_goes(rollout: Rollout) -> None:
    scene = rollout.scene
    desired, groups = scene.desired, scene.groups
    for container in groups.orphans:
        if desired.policy.remove_orphans:
            what = (
                "one-off container has ended"
                if container.oneoff
                else f"service {container.service} is not in the project"
            )
            rollout.remove(container, [Reason("Orphan", what)])
        elif not container.oneoff:
            rollout.draft.warnings.append(
                f"container {container.name} is an orphan: service {container.service} is not in the project"
            )
    for container in groups.dead:
        rollout.remove(container, [Reason("Dead", "container is dead")])
    for name, hooks in groups.hooks.items():
        # One that runs goes with the next that are to run.
        given_up = not desired.project.services[name].get("pre_start")
        for container in hooks:
            if given_up or container.state not in ACTIVE:
                rollout.remove(container, [LEFTOVER])
    for name, strays in groups.strays.items():
        for container in strays:
            rollout.remove(container, [_unfinished(name)])
    for service in scene.services.values():
        pre_stop = bool(desired.project.services[service.name].get("pre_stop"))
        for container in service.surplus:
            why = Reason(
                "ScaleDown",
                "",
                (Change(f"services.{service.name}.scale", str(_present(service)), str(service.wanted)),),
            )
            rollout.remove(container, [why], pre_stop=pre_stop)
        for container in service.doubles:
            rollout.remove(container, [_why_double(service, container)], pre_stop=pre_stop)
        for container in service.doomed:
            rollout.remove(container, [Reason("VolumeChanged", "a volume of it is made anew")], pre_stop=pre_stop)


def _unfinished(name: str) -> Reason:
    return Reason("Interrupted", f"replacement of service {name} was never finished")


def _why_double(service: ServicePlan, container: ObservedContainer) -> Reason:
    if is_interrupted(container):
        return _unfinished(service.name)
    return Reason("Double", f"another container of service {service.name} has number {container.number} too")


def _present(service: ServicePlan) -> int:
    return len(service.keep) + len(service.surplus) + len(service.doomed)


def write_volumes(rollout: Rollout) -> None:
    scene, draft = rollout.scene, rollout.draft
    for state in scene.volumes:
        reasons = [Reason("Missing", f"volume {state.name} does not exist")]
        needs: list[str] = []
        if state.name in scene.remade_volumes:
            reasons = [Reason("VolumeChanged", "", state.changes)]
            users = [c for service in scene.services.values() for c in service.leaving]
            users.extend(scene.groups.orphans)
            needs = [
                draft.add(
                    ActionKind.REMOVE_VOLUME,
                    state.name,
                    reasons=reasons,
                    needs=[f"{ActionKind.REMOVE_CONTAINER}:{c.name}" for c in users if state.name in c.mounts],
                    params={"optional": False},
                )
            ]
        elif state.standing is not Standing.MISSING:
            continue
        rollout.volumes[state.name] = draft.add(
            ActionKind.CREATE_VOLUME,
            state.name,
            reasons=reasons,
            needs=needs,
            params={"volume": state.key},
        )


def write_networks(rollout: Rollout) -> None:
    scene, draft = rollout.scene, rollout.draft
    for state in scene.networks:
        reasons = [Reason("Missing", f"network {state.name} does not exist")]
        needs: list[str] = []
        if state.name in scene.remade_networks and state.present is not None:
            reasons = [Reason("NetworkChanged", "", state.changes)]
            needs = [_remove_network(rollout, state.present, reasons)]
        elif state.standing is not Standing.MISSING:
            continue
        else:
            needs = [
                _remove_network(rollout, former, [_renamed(state, former)])
                for former in state.former
                if former.name in scene.remade_networks
            ]
        rollout.networks[state.name] = draft.add(
            ActionKind.CREATE_NETWORK, state.name, reasons=reasons, needs=needs, params={"network": state.key}
        )


def _renamed(state: NetworkState, former: ObservedNetwork) -> Reason:
    if former.name == state.name:
        return Reason("NetworkDouble", f"network {state.name} exists twice, this one is used by nobody")
    return Reason("NetworkRenamed", "", (Change(f"networks.{state.key}.name", former.name, state.name),))


def _remove_network(rollout: Rollout, network: ObservedNetwork, reasons: list[Reason]) -> str:
    """Take everybody off a network, then remove it. Its users are replaced later, with their
    full endpoints, so that aliases and addresses survive."""
    needs = []
    for container in rollout.scene.observed.containers:
        if network.name not in container.networks:
            continue
        removal = f"{ActionKind.REMOVE_CONTAINER}:{container.name}"
        if removal in rollout.draft:
            needs.append(removal)
        elif container.state in ACTIVE and container not in rollout.scene.groups.others:
            needs.append(rollout.stop(container, [Reason("NetworkChanged", f"network {network.name} is made anew")]))
    return rollout.draft.add(
        ActionKind.REMOVE_NETWORK,
        network.name,
        reasons=reasons,
        needs=needs,
        params={"network_id": network.id, "optional": False},
    )


def former_networks(rollout: Rollout) -> None:
    """The network under its former name goes when its last user of the project has moved."""
    scene = rollout.scene
    for state in scene.networks:
        for former in state.former:
            if former.name in scene.remade_networks:
                continue
            users = scene.observed.network_users.get(former.id, ())
            busy = [c.name for c in scene.groups.others if former.name in c.networks]
            if users or busy:
                continue
            needs = [
                action_id
                for service in scene.services.values()
                for decision in service.keep
                if former.name in decision.container.networks
                for action_id in (
                    *rollout.made.get(service.name, ()),
                    rollout.frees.get(decision.container.id, ""),
                    *disconnects(rollout, decision, former.name),
                )
            ]
            needs.extend(
                f"{ActionKind.REMOVE_CONTAINER}:{c.name}"
                for c in scene.observed.containers
                if former.name in c.networks
            )
            rollout.draft.add(
                ActionKind.REMOVE_NETWORK,
                former.name,
                suffix="" if former.name != state.name else former.id[:12],
                reasons=[_renamed(state, former)],
                needs=[need for need in needs if need in rollout.draft],
                params={"network_id": former.id, "optional": True},
            )


def prune_images(rollout: Rollout) -> None:
    """Images that this plan takes the last container away from."""
    scene, draft = rollout.scene, rollout.draft
    if not scene.desired.policy.prune_images:
        return
    gone = [*scene.groups.orphans] if scene.desired.policy.remove_orphans else []
    wanted = (scene.observed.images.get(reference) for reference in image_references(scene.desired.project))
    staying: set[str] = {image.id for image in wanted if image is not None}
    staying.update(container.image_id for container in scene.groups.others)
    for service in scene.services.values():
        gone.extend(service.leaving)
        for decision in service.keep:
            replaced = f"{ActionKind.REPLACE_CONTAINER}:{decision.final_name}" in draft
            if replaced and _has_image(rollout, decision):
                gone.append(decision.container)
            else:
                staying.add(decision.container.image_id)
    everything = draft.ids
    unused = {container.image_id: container.image for container in reversed(gone) if container.image_id}
    # What an interrupted plan did not come to, after the containers that told of it.
    for action_id, reference in scene.desired.acknowledged_content.get(TO_REMOVE, {}).items():
        image_id = action_id.removeprefix(f"{ActionKind.REMOVE_IMAGE}:")
        if image_id.startswith("sha256:"):
            unused.setdefault(image_id, reference)
    for image_id, reference in unused.items():
        if image_id not in staying:
            why = f"no container of the stack uses {reference or 'it'} as it was any more"
            draft.add(
                ActionKind.REMOVE_IMAGE,
                image_id,
                reasons=[Reason("PruneImages", why)],
                needs=everything,
                params={"optional": True, "reference": reference},
            )


def _has_image(rollout: Rollout, decision: Decision) -> bool:
    scene = rollout.scene
    return scene.observed.images.get(image_reference(scene.desired.project, decision.service)) is not None
