"""`plan(desired, observed)`: the order of thought from two states to a graph of actions.

1. What a person said comes first: a removed stack is taken down, a stopped one stopped.
2. What this Engine cannot do is refused, before anything is touched.
3. Networks and volumes are judged, then the containers service by service, dependencies
   first, because whoever shares a namespace must know what becomes of it.
4. If images are missing or may have moved, the plan consists of them alone (`partial`).
5. Else the decisions become actions; `rollout.py` lays the edges.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from reconciler.planner.compare import Redactor
from reconciler.planner.decisions import Decision, Surroundings, decide, needs_image_to_decide
from reconciler.planner.down import plan_down, stop_all
from reconciler.planner.draft import Draft
from reconciler.planner.endpoints import network_name
from reconciler.planner.graph import container_name, service_order, wanted_replicas
from reconciler.planner.groups import Groups, sort_containers
from reconciler.planner.ignore import ignored
from reconciler.planner.images import image_actions
from reconciler.planner.labels import ACTIVE
from reconciler.planner.model import Action, Blocked, DesiredStack, Plan, PlanError
from reconciler.planner.requirements import build_warnings, check
from reconciler.planner.resources import NetworkState, Standing, VolumeState, network_states, overlaps, volume_states
from reconciler.planner.rollout import write_actions
from reconciler.planner.scene import Scene, ServicePlan
from state.model import Reason
from state.observed import LABEL_PROJECT, ObservedProject


def after_partial(desired: DesiredStack) -> DesiredStack:
    """The same desired stack for the plan that follows a partial one: images are settled."""
    return replace(desired, policy=replace(desired.policy, images_done=True))


def plan(desired: DesiredStack, observed: ObservedProject, *, now: datetime | None = None) -> Plan:
    """What to do so that what is observed becomes what is desired.

    `now` is only needed for pull policies with a period. Raises `PlanError` when the desired
    state cannot be had on this Engine.
    """
    overrides = desired.overrides
    if overrides.removed is not None:
        return plan_down(
            desired.key,
            observed,
            project=desired.project,
            volumes=overrides.removed.volumes,
            images=overrides.removed.images,
        )
    draft = Draft(desired.key)
    if overrides.stopped:
        reason = Reason("Override", "stopped on request")
        stop_all(draft, observed, reason, timeout=None, project=desired.project)
        return draft.finish()
    check(desired, observed.engine)
    for name, service in sorted(desired.project.services.items()):
        ignored(name, service)
    draft.warnings.extend(build_warnings(desired.project))
    scene = _scene(draft, desired, observed)
    if not desired.policy.images_done:
        actions = _images_first(scene, now)
        if actions:
            for action in actions:
                draft.add(
                    action.kind,
                    action.target,
                    service=action.service,
                    reasons=action.reasons,
                    needs=action.needs,
                    params=action.params,
                )
            return draft.finish(partial=True)
    write_actions(draft, scene)
    return draft.finish()


def _scene(draft: Draft, desired: DesiredStack, observed: ObservedProject) -> Scene:
    groups = sort_containers(desired, observed)
    networks, volumes = network_states(desired, observed), volume_states(desired, observed)
    remade_networks = _networks_to_remake(draft, observed, groups, networks)
    remade_volumes = _volumes_to_remake(draft, desired, observed, groups, volumes)
    references: dict[str, str] = {}
    present: dict[str, str] = {}
    unsettled: dict[str, str] = {}
    recreated: set[str] = set()
    peers: dict[str, list[tuple[str, int]]] = {}
    around = Surroundings(
        desired=desired,
        observed=observed,
        redactor=Redactor(desired),
        references=references,
        present=present,
        unsettled=unsettled,
        recreated=recreated,
        peers=peers,
        network_ids={state.name: state.present.id for state in networks if state.present is not None},
        project_networks=frozenset(
            {
                *(n.name for n in observed.networks if n.labels.get(LABEL_PROJECT) == desired.project.name),
                *(network_name(desired.project, key) for key in desired.project.networks),
            }
        ),
        # Also one that is gone: endpoints lead to it by its id, and a start with them fails.
        remade_networks=frozenset(
            {*remade_networks, *(state.name for state in networks if state.standing is Standing.MISSING)}
        ),
    )
    lost_volumes = set(remade_volumes)
    services: dict[str, ServicePlan] = {}
    for name in service_order(desired.project):
        members = groups.replicas.get(name, [])
        doomed = [container for container in members if lost_volumes.intersection(container.mounts)]
        service = ServicePlan(name, wanted_replicas(desired, name), doomed=doomed)
        decisions = [decide(around, name, container) for container in members if container not in doomed]
        _scale(service, decisions)
        services[name] = service
        peers[name] = service.names(desired)
        _settle_reference(desired, service, references, unsettled)
        recreated.update(decision.final_name for decision in service.keep if decision.replaced)
        recreated.update(container_name(desired.project, name, number) for number in service.create)
        if members:
            present[name] = min(members, key=lambda container: container.name).id
    return Scene(desired, observed, groups, networks, volumes, remade_networks, remade_volumes, services, around)


def _scale(service: ServicePlan, decisions: list[Decision]) -> None:
    """Keep the up-to-date ones and the low numbers; new ones get the highest number plus one.

    Of two containers of one number, which an interrupted replacement leaves behind, one goes
    however many are wanted: both want the same name."""
    ranked: list[Decision] = []
    for decision in sorted(decisions, key=lambda decision: (decision.replaced, decision.container.number)):
        if decision.container.number in {better.container.number for better in ranked}:
            service.doubles.append(decision.container)
        else:
            ranked.append(decision)
    again = sorted({container.number for container in service.doomed} - {each.container.number for each in ranked})
    service.keep = sorted(ranked[: service.wanted], key=lambda decision: decision.container.number)
    service.surplus = [decision.container for decision in ranked[service.wanted :]]
    lacking = service.wanted - len(service.keep)
    service.create = again[:lacking]
    highest = max([decision.container.number for decision in decisions] + again, default=0)
    service.create.extend(highest + step for step in range(1, lacking - len(service.create) + 1))


def _settle_reference(
    desired: DesiredStack, service: ServicePlan, references: dict[str, str], unsettled: dict[str, str]
) -> None:
    """Who others share namespaces with: the container whose name sorts first."""
    names = service.names(desired)
    if not names:
        unsettled[service.name] = "it has no container"
        return
    first = names[0][0]
    decision = next((decision for decision in service.keep if decision.final_name == first), None)
    if decision is None:
        unsettled[service.name] = f"container {first} is new"
    elif decision.replaced:
        unsettled[service.name] = f"container {first} is recreated"
    else:
        references[service.name] = decision.container.id


def _networks_to_remake(
    draft: Draft, observed: ObservedProject, groups: Groups, networks: list[NetworkState]
) -> dict[str, NetworkState]:
    """Networks to take from their users and remove before their successor is made: changed ones,
    and former ones whose subnet the successor wants. Only if nobody outside uses them."""
    found = {}
    for state in networks:
        leaving = [network for network in state.former if overlaps(state, network)]
        if state.standing is Standing.CHANGED and state.present is not None:
            leaving.append(state.present)
        for network in leaving:
            users = list(observed.network_users.get(network.id, ()))
            users.extend(
                container.name
                for container in groups.others
                if network.name in container.networks and container.state in ACTIVE
            )
            if users:
                message = f"network {network.name} changed, but is used by {', '.join(users)}"
                draft.blocked.append(Blocked(network.name, Reason("NetworkInUse", message, state.changes)))
            else:
                found[network.name] = state
    return found


def _volumes_to_remake(
    draft: Draft, desired: DesiredStack, observed: ObservedProject, groups: Groups, volumes: list[VolumeState]
) -> dict[str, VolumeState]:
    """Changed volumes whose loss somebody allowed; the others are told and stay."""
    found = {}
    for state in volumes:
        if state.standing is not Standing.CHANGED:
            continue
        if state.labels_only:
            draft.warnings.append(
                f"volume {state.name}: labels cannot be changed in place ({'; '.join(map(str, state.changes))})"
            )
            continue
        users = [container.name for container in groups.others if state.name in container.mounts]
        if not desired.policy.recreate_volumes:
            message = f"volume {state.name} must be made anew, its data would be lost: allow it explicitly"
            draft.blocked.append(Blocked(state.name, Reason("VolumeChanged", message, state.changes)))
        elif users:
            message = f"volume {state.name} changed, but is used by {', '.join(users)}"
            draft.blocked.append(Blocked(state.name, Reason("VolumeChanged", message, state.changes)))
        else:
            found[state.name] = state
    return found


def _images_first(scene: Scene, now: datetime | None) -> list[Action]:
    """Pulls and builds, if any are needed. A service needs its image when a container is to be
    made, or when only the image can tell whether one is as it should be."""
    desired, around = scene.desired, scene.around
    to_make: set[str] = set()
    to_decide: set[str] = set()
    for name, service in scene.services.items():
        if service.create or any(decision.replaced for decision in service.keep):
            to_make.add(name)
        elif any(needs_image_to_decide(around, name, decision.container) for decision in service.keep):
            to_decide.add(name)
    actions, hopeless = image_actions(desired, scene.observed, to_make | to_decide, now)
    refused = [why for service, why in hopeless if service in to_make]
    if refused:
        raise PlanError("; ".join(refused))
    return actions
