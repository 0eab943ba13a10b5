"""From decisions to actions and their order.

A service is rolled out as a whole: its replacement waits for what its start waits for, so
that the old container serves until its successor can. Creations do not wait for
dependencies, only for what they name (networks, volumes, namespaces); starts do. There are
no phases: each action names exactly the actions it needs.

Edges that only make things smoother (a port or a name that somebody else gives up in this
very plan, stops in reverse order) are laid where they close no cycle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.planner.containers import LABEL_CONTENT, LABEL_REPLACE
from reconciler.planner.decisions import Decision, is_temporary
from reconciler.planner.draft import Draft
from reconciler.planner.endpoints import network_name
from reconciler.planner.graph import (
    COMPLETED,
    HEALTHY,
    STARTED,
    Dependency,
    container_name,
    dependencies,
    image_reference,
    linked_services,
    referenced_services,
    service_networks,
    service_order,
)
from reconciler.planner.labels import ACTIVE, in_reverse_order, remove, stop
from reconciler.planner.lifecycle import Course, course, is_scheduled
from reconciler.planner.model import ActionKind, Blocked
from reconciler.planner.mounts import volume_name
from reconciler.planner.resources import NetworkState, Standing
from reconciler.planner.scene import Scene, ServicePlan
from state.model import Change, Reason
from state.observed import ObservedContainer


@dataclass(slots=True)
class Rollout:
    """What is known of the actions laid so far."""

    draft: Draft
    scene: Scene
    networks: dict[str, str] = field(default_factory=dict)
    """Real network name -> the action that makes it."""
    volumes: dict[str, str] = field(default_factory=dict)
    made: dict[str, list[str]] = field(default_factory=dict)
    """Service -> actions that make its containers (creations and replacements)."""
    started: dict[str, list[str]] = field(default_factory=dict)
    """Service -> actions after which its containers run."""
    stops: dict[str, ObservedContainer] = field(default_factory=dict)
    frees_name: dict[str, str] = field(default_factory=dict)
    """Container name -> the action after which nobody holds it any more."""
    frees: dict[str, str] = field(default_factory=dict)
    """Container id -> the action after which it no longer runs."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Service -> why those who require it cannot be started."""

    def stop(self, container: ObservedContainer, reasons: Iterable[Reason], *, pre_stop: bool = False) -> str:
        action_id = stop(self.draft, container, reasons, pre_stop=pre_stop)
        self.stops[action_id] = container
        self.frees.setdefault(container.id, action_id)
        return action_id

    def remove(self, container: ObservedContainer, reasons: list[Reason], *, pre_stop: bool = False) -> str:
        """Stop (if it runs) and remove a container."""
        needs = []
        if container.state in ACTIVE:
            needs.append(self.stop(container, reasons, pre_stop=pre_stop))
        action_id = remove(self.draft, container, reasons, needs=needs)
        self.frees_name[container.name] = action_id
        return action_id


def write_actions(draft: Draft, scene: Scene) -> None:
    """Turn the whole scene into actions."""
    rollout = Rollout(draft, scene)
    _remove_what_goes(rollout)
    _write_volumes(rollout)
    _write_networks(rollout)
    for name in service_order(scene.desired.project):
        _write_service(rollout, scene.services[name])
    _former_networks(rollout)
    _restart_dependents(rollout)
    _names_and_ports(rollout)
    in_reverse_order(draft, rollout.stops)
    _prune_images(rollout)


# What goes: orphans, surplus, strays, the dead


def _remove_what_goes(rollout: Rollout) -> None:
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
    for name, strays in groups.strays.items():
        for container in strays:
            rollout.remove(container, [Reason("Interrupted", f"replacement of service {name} was never finished")])
    for service in scene.services.values():
        hooks = bool(desired.project.services[service.name].get("pre_stop"))
        for container in service.surplus:
            why = Reason(
                "ScaleDown",
                "",
                (Change(f"services.{service.name}.scale", str(_present(service)), str(service.wanted)),),
            )
            rollout.remove(container, [why], pre_stop=hooks)
        for container in service.doomed:
            rollout.remove(container, [Reason("VolumeChanged", "a volume of it is made anew")], pre_stop=hooks)


def _present(service: ServicePlan) -> int:
    return len(service.keep) + len(service.surplus) + len(service.doomed)


# Networks and volumes


def _write_volumes(rollout: Rollout) -> None:
    scene, draft = rollout.scene, rollout.draft
    for state in scene.volumes:
        reasons = [Reason("Missing", f"volume {state.name} does not exist")]
        needs: list[str] = []
        if state.key in scene.remade_volumes:
            reasons = [Reason("VolumeChanged", "", state.changes)]
            users = [c for service in scene.services.values() for c in (*service.doomed, *service.surplus)]
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
            params={"network": None, "volume": state.key},
        )


def _write_networks(rollout: Rollout) -> None:
    scene, draft = rollout.scene, rollout.draft
    for state in scene.networks:
        reasons = [Reason("Missing", f"network {state.name} does not exist")]
        needs: list[str] = []
        if state.name in scene.remade_networks:
            reasons = [Reason("NetworkChanged", "", state.changes)]
            needs = [_remove_network(rollout, state, reasons)]
        elif state.standing is not Standing.MISSING:
            continue
        rollout.networks[state.name] = draft.add(
            ActionKind.CREATE_NETWORK, state.name, reasons=reasons, needs=needs, params={"network": state.key}
        )


def _remove_network(rollout: Rollout, state: NetworkState, reasons: list[Reason]) -> str:
    """Take everybody off a changed network, then remove it. Its users are replaced later, with
    their full endpoints, so that aliases and addresses survive."""
    assert state.present is not None
    needs = []
    for container in rollout.scene.observed.containers:
        if state.name not in container.networks:
            continue
        removal = f"{ActionKind.REMOVE_CONTAINER}:{container.name}"
        if removal in rollout.draft:
            needs.append(removal)
        elif container.state in ACTIVE and container not in rollout.scene.groups.others:
            needs.append(rollout.stop(container, [Reason("NetworkChanged", f"network {state.name} is made anew")]))
    return rollout.draft.add(
        ActionKind.REMOVE_NETWORK,
        state.name,
        reasons=reasons,
        needs=needs,
        params={"network_id": state.present.id, "optional": False},
    )


def _former_networks(rollout: Rollout) -> None:
    """The network under its former name goes when its last user of the project has moved."""
    scene = rollout.scene
    for state in scene.networks:
        for former in state.former:
            users = scene.observed.network_users.get(former.id, ())
            busy = [c.name for c in scene.groups.others if former.name in c.networks]
            if users or busy:
                continue
            needs = [
                action_id
                for service in scene.services.values()
                for decision in service.keep
                if former.name in decision.container.networks
                for action_id in (*rollout.made.get(service.name, ()), *_disconnects(rollout, decision, former.name))
            ]
            needs.extend(
                f"{ActionKind.REMOVE_CONTAINER}:{c.name}"
                for c in scene.observed.containers
                if former.name in c.networks
            )
            change = Change(f"networks.{state.key}.name", former.name, state.name)
            rollout.draft.add(
                ActionKind.REMOVE_NETWORK,
                former.name,
                reasons=[Reason("NetworkRenamed", "", (change,))],
                needs=[need for need in needs if need in rollout.draft],
                params={"network_id": former.id, "optional": True},
            )


def _disconnects(rollout: Rollout, decision: Decision, network: str) -> list[str]:
    action_id = f"{ActionKind.DISCONNECT_NETWORK}:{decision.container.name}:{network}"
    return [action_id] if action_id in rollout.draft else []


# One service


def _write_service(rollout: Rollout, service: ServicePlan) -> None:
    scene, draft = rollout.scene, rollout.draft
    project = scene.desired.project
    name = service.name
    rollout.made[name], rollout.started[name] = [], []
    runs = not is_scheduled(project.services[name]) and name not in scene.desired.held_services
    to_run: list[tuple[str, int, Decision | None, list[Reason], str]] = []
    for decision in service.keep:
        reasons = _why_start(rollout, decision) if runs else []
        if decision.replaced:
            reasons = [*decision.replace, *decision.swept] if runs else []
        if reasons:
            to_run.append((decision.final_name, decision.container.number, decision, reasons, ""))
    for number in service.create:
        final = container_name(project, name, number)
        if _name_taken(rollout, name, final):
            continue
        made = _create(rollout, service, number, final)
        if runs:
            to_run.append((final, number, None, [_missing(service, final)], made))
    held_back = _why_held_back(rollout, name) if to_run else ""
    gate = [] if held_back or not to_run else _gate(rollout, name)
    changed_in_place = False
    for decision in service.keep:
        changed_in_place |= _write_kept(rollout, decision, gate, held_back=bool(held_back) and runs)
    if held_back:
        rollout.unavailable[name] = held_back
        for final, *_ in to_run:
            draft.blocked.append(Blocked(final, Reason("DependencyFailed", held_back)))
        return
    if not to_run:
        _note_unavailable(rollout, service)
        return
    hooks = _write_hooks(rollout, service, to_run, gate)
    for final, _number, start_of, reasons, made in to_run:
        needs = [*gate, *hooks]
        params: dict[str, object] = {
            "post_start": bool(project.services[name].get("post_start")),
            "inject": [],
        }
        if start_of is not None and not start_of.replaced:
            params["container"] = start_of.container.id
            needs.extend(_preparations(rollout, start_of))
            if start_of.told:
                params["inject"] = sorted(key for key in start_of.told if not key.startswith("bind:"))
                params["acknowledge"] = dict(start_of.told)
            if start_of.container.state == "paused":
                rollout.started[name].append(
                    draft.add(
                        ActionKind.UNPAUSE_CONTAINER,
                        start_of.container.name,
                        service=name,
                        reasons=reasons,
                        params={"container": start_of.container.id},
                    )
                )
                continue
        elif start_of is not None:
            needs.append(f"{ActionKind.REPLACE_CONTAINER}:{final}")
        else:
            needs.append(made)
        needs.extend(
            action_id
            for other in referenced_services(project.services[name])
            for action_id in rollout.started.get(other, ())
        )
        started = draft.add(
            ActionKind.START_CONTAINER, final, service=name, reasons=reasons, needs=needs, params=params
        )
        rollout.started[name].append(started)


def _missing(service: ServicePlan, final: str) -> Reason:
    if service.keep or service.doomed:
        return Reason("Missing", f"container {final} is missing: {len(service.keep)} of {service.wanted} exist")
    return Reason("Missing", f"container {final} does not exist")


def _why_start(rollout: Rollout, decision: Decision) -> list[Reason]:
    """Why a container that stays as it is must be started (or resumed); nothing: it need not."""
    desired, container = rollout.scene.desired, decision.container
    state = course(desired, decision.service, container)
    if state in (Course.RUNNING, Course.COMPLETE, Course.LOST):
        if state is Course.COMPLETE and container.id in rollout.scene.groups.interrupted:
            return [Reason("Interrupted", "its replacement was never finished")]
        return []
    if state is Course.FRESH:
        return [Reason("NotStarted", "was created and never started")]
    if container.id in rollout.scene.groups.interrupted:
        return [Reason("Interrupted", "its replacement was never finished")]
    if state is Course.FAILED:
        if desired.policy.retry_failed:
            return [Reason("Retry", f"ended with exit code {container.exit_code}")]
        return []
    if state is Course.PAUSED:
        reason = Reason("Drift", f"container {container.name} was paused outside Moored")
    elif container.stopped_by_hand:
        reason = Reason("Drift", f"container {container.name} was stopped outside Moored")
    else:
        reason = Reason("Drift", f"container {container.name} does not run, exit code {container.exit_code}")
    if rollout.scene.around.corrects or _was_replaced_network(rollout, container):
        return [reason]
    rollout.draft.drift.append(Blocked(container.name, reason))
    return []


def _was_replaced_network(rollout: Rollout, container: ObservedContainer) -> bool:
    """Whether this very plan stops the container, so that it must start it again."""
    return container.id in rollout.frees


def _note_unavailable(rollout: Rollout, service: ServicePlan) -> None:
    """A job that failed and is not run again makes those who require its success unstartable."""
    for decision in service.keep:
        container = decision.container
        if decision.replaced or course(rollout.scene.desired, service.name, container) is not Course.FAILED:
            continue
        rollout.unavailable[service.name] = (
            f"service {service.name}: container {container.name} exited with code {container.exit_code}"
        )


def _why_held_back(rollout: Rollout, name: str) -> str:
    for need in dependencies(rollout.scene.desired.project.services[name]):
        why = rollout.unavailable.get(need.service)
        if why and need.required:
            return f"requires {need.service} ({need.condition}): {why}"
    return ""


def _name_taken(rollout: Rollout, service: str, final: str) -> bool:
    foreign = rollout.scene.observed.foreign_names.get(final)
    if foreign is None:
        foreign = next(
            (
                container.id
                for container in rollout.scene.observed.containers
                if container.name == final and _keeps_name(rollout, container)
            ),
            None,
        )
    if foreign is None:
        return False
    why = f"the name {final} is held by container {foreign[:12]}, which is none of this service's"
    rollout.draft.blocked.append(Blocked(final, Reason("NameTaken", why)))
    rollout.unavailable[service] = why
    return True


def _keeps_name(rollout: Rollout, container: ObservedContainer) -> bool:
    """Whether a container of the project still has its name after this plan."""
    if container.name in rollout.frees_name:
        return False
    for service in rollout.scene.services.values():
        for decision in service.keep:
            if decision.container.id == container.id:
                return decision.final_name == container.name
    return True


# Creation and replacement


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
    return [need for need in needs if need]


def _params(rollout: Rollout, service: ServicePlan, number: int) -> dict[str, object]:
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


def _create(rollout: Rollout, service: ServicePlan, number: int, final: str) -> str:
    needs = _surroundings(rollout, service)
    action_id = rollout.draft.add(
        ActionKind.CREATE_CONTAINER,
        final,
        service=service.name,
        reasons=[_missing(service, final)],
        needs=needs,
        params=_params(rollout, service, number),
    )
    rollout.made[service.name].append(action_id)
    return action_id


def _write_kept(rollout: Rollout, decision: Decision, gate: list[str], *, held_back: bool) -> bool:
    """What happens to a container that stays, short of being started. Whether anything does."""
    draft, container, name = rollout.draft, decision.container, decision.service
    for reason in decision.drift:
        draft.drift.append(Blocked(container.name, reason))
    if decision.replaced:
        if held_back:
            return False
        if decision.final_name != container.name and _name_taken(rollout, name, decision.final_name):
            return False
        _replace(rollout, decision, gate)
        return True
    service = rollout.scene.services[name]
    if decision.update:
        draft.add(
            ActionKind.UPDATE_CONTAINER,
            container.name,
            service=name,
            reasons=decision.update_reasons,
            params={"container": container.id, "update": decision.update},
        )
    for network, reason in decision.disconnect:
        draft.add(
            ActionKind.DISCONNECT_NETWORK,
            container.name,
            suffix=network,
            service=name,
            reasons=[reason],
            params={"container": container.id, "network": network, "force": True},
        )
    for network, endpoint, reason in decision.connect:
        needs = [rollout.networks[network]] if network in rollout.networks else []
        needs.extend(_disconnects(rollout, decision, network))
        draft.add(
            ActionKind.CONNECT_NETWORK,
            container.name,
            suffix=network,
            service=name,
            reasons=[reason],
            needs=needs,
            params={"container": container.id, "network": network, "endpoint": endpoint},
        )
    _rename(rollout, decision)
    if decision.signal and container.state == "running":
        draft.add(
            ActionKind.SIGNAL_CONTAINER,
            container.name,
            service=service.name,
            reasons=decision.told_reasons,
            params={
                "container": container.id,
                "signal": decision.signal,
                "inject": sorted(key for key in decision.told if not key.startswith("bind:")),
                "acknowledge": dict(decision.told),
            },
        )
    return bool(decision.update or decision.connect or decision.disconnect)


def _preparations(rollout: Rollout, decision: Decision) -> list[str]:
    """Actions on a kept container that come before its start."""
    container = decision.container
    names = [f"{ActionKind.UPDATE_CONTAINER}:{container.name}", f"{ActionKind.RENAME_CONTAINER}:{decision.final_name}"]
    names.extend(f"{ActionKind.CONNECT_NETWORK}:{container.name}:{network}" for network, _, _ in decision.connect)
    names.extend(f"{ActionKind.DISCONNECT_NETWORK}:{container.name}:{network}" for network, _ in decision.disconnect)
    if container.id in rollout.frees:
        names.append(rollout.frees[container.id])
    return [name for name in names if name in rollout.draft]


def _rename(rollout: Rollout, decision: Decision) -> None:
    container, final = decision.container, decision.final_name
    if container.name in (final, final.replace("-", "_")) or _is_underscored(rollout, decision):
        return
    if is_temporary(container):
        reason = Reason("Interrupted", "its replacement was never finished")
    else:
        reason = Reason("Drift", "renamed outside Moored", (Change("name", container.name, final),))
        if not rollout.scene.around.corrects:
            rollout.draft.drift.append(Blocked(container.name, reason))
            return
    if _name_taken(rollout, decision.service, final):
        return
    action_id = rollout.draft.add(
        ActionKind.RENAME_CONTAINER,
        final,
        service=decision.service,
        reasons=[reason],
        params={"container": container.id},
    )
    rollout.frees_name[container.name] = action_id


def _is_underscored(rollout: Rollout, decision: Decision) -> bool:
    """Whether the name is the one of Compose 1 and `--compatibility`."""
    project = rollout.scene.desired.project
    return decision.container.name == f"{project.name}_{decision.service}_{decision.container.number}"


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
    params = _params(rollout, service, container.number)
    params.update(
        {
            "container": container.id,
            "temporary_name": f"{container.id[:12]}_{decision.final_name}",
            "inherit": True,
            "pre_stop": bool(model.get("pre_stop")),
            "timeout": None,
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
    rollout.frees.setdefault(container.id, action_id)
    if decision.final_name != container.name:
        rollout.frees_name[container.name] = action_id


# Waiting for dependencies


def _gate(rollout: Rollout, name: str) -> list[str]:
    """What must have ended before the containers of a service may be started."""
    gate: list[str] = []
    for need in dependencies(rollout.scene.desired.project.services[name]):
        gate.extend(_condition(rollout, name, need))
    return gate


def _condition(rollout: Rollout, name: str, need: Dependency) -> list[str]:
    scene = rollout.scene
    service = scene.services.get(need.service)
    if service is None or service.wanted == 0 or is_scheduled(scene.desired.project.services[need.service]):
        return []
    if need.service in scene.desired.held_services:
        return []
    started = rollout.started.get(need.service, [])
    if need.condition not in (HEALTHY, COMPLETED) and (need.required or not started):
        return list(started)
    if not started and _satisfied(rollout, service, need):
        return []
    optional = not need.required
    return [
        rollout.draft.add(
            ActionKind.WAIT_SERVICE,
            need.service,
            suffix=f"{need.condition}{':optional' if optional else ''}",
            service=need.service,
            reasons=[Reason("Dependency", f"needed by {name}")],
            needs=started,
            params={
                "condition": need.condition if need.condition in (HEALTHY, COMPLETED) else STARTED,
                "containers": [container for container, _ in service.names(scene.desired)],
                "timeout": scene.desired.policy.timeout,
                "optional": optional,
            },
        )
    ]


def _satisfied(rollout: Rollout, service: ServicePlan, need: Dependency) -> bool:
    """Whether a dependency that this plan leaves alone already is as it must be."""
    if service.create:
        return False
    for decision in service.keep:
        container = decision.container
        if decision.replaced:
            return False
        if need.condition == HEALTHY and container.health != "healthy":
            return False
        if (
            need.condition == COMPLETED
            and course(rollout.scene.desired, service.name, container) is not Course.COMPLETE
        ):
            return False
    return True


# Hooks before the first start


def _write_hooks(
    rollout: Rollout,
    service: ServicePlan,
    to_run: list[tuple[str, int, Decision | None, list[Reason], str]],
    gate: list[str],
) -> list[str]:
    """`pre_start` containers, one after the other, if no replica of the service is running on."""
    scene, draft = rollout.scene, rollout.draft
    hooks = scene.desired.project.services[service.name].get("pre_start") or ()
    stays_up = any(
        decision.container.state in ("running", "restarting", "paused")
        and not decision.replaced
        and decision.container.id not in rollout.frees
        for decision in service.keep
    )
    if not hooks or stays_up:
        return []
    final, number, decision, _, made = min(to_run, key=lambda item: item[1])
    before = [*gate]
    if decision is None:
        before.append(made)
    elif decision.replaced:
        before.append(f"{ActionKind.REPLACE_CONTAINER}:{final}")
    else:
        before.extend(_preparations(rollout, decision))
    # Replacements share the hooks, which must see the old containers gone.
    before.extend(rollout.made[service.name])
    leftover = Reason("Leftover", "pre_start container of an earlier attempt")
    before.extend(rollout.remove(left, [leftover]) for left in scene.groups.hooks.get(service.name, ()))
    last: list[str] = before
    for index in range(len(hooks)):
        params = _params(rollout, service, number)
        params["index"] = index
        if decision is not None and not decision.replaced:
            params["container"] = decision.container.id
        last = [
            draft.add(
                ActionKind.RUN_HOOK,
                final,
                suffix=f"pre_start.{index}",
                service=service.name,
                reasons=[Reason("PreStart", f"services.{service.name}.pre_start[{index}] runs before the first start")],
                needs=last,
                params=params,
            )
        ]
    return last


# Afterwards


def _restart_dependents(rollout: Rollout) -> None:
    """`depends_on.restart: true` after a dependency was recreated, and shared network
    namespaces whose owner was started again.

    Both are also seen from the times alone, so that a crash between the two actions is
    repaired: a replacement newer than its running dependent's start has not been told yet.
    """
    scene = rollout.scene
    for name, service in scene.services.items():
        model = scene.desired.project.services[name]
        if is_scheduled(model) or name in scene.desired.held_services:
            continue
        running = [
            decision
            for decision in service.keep
            if decision.container.state in ("running", "paused")
            and not decision.replaced
            and decision.container.id not in rollout.frees
        ]
        if not running:
            continue
        shared = (model.get("network_mode") or "").partition("service:")[2]
        for need in dependencies(model):
            target = scene.services.get(need.service)
            if target is None:
                continue
            for decision in running:
                if need.restart and _was_recreated(rollout, target, decision.container):
                    message = f"{need.service} was recreated (depends_on.{need.service}.restart)"
                    _restart(rollout, decision, need, Reason("DependencyRecreated", message))
                elif need.service == shared and scene.around.corrects and _restarted_since(rollout, target, decision):
                    message = f"network namespace of {shared} changed: it was started again"
                    _restart(rollout, decision, need, Reason("NamespaceChanged", message))


def _was_recreated(rollout: Rollout, target: ServicePlan, dependent: ObservedContainer) -> bool:
    for decision in target.keep:
        container = decision.container
        if f"{ActionKind.REPLACE_CONTAINER}:{decision.final_name}" in rollout.draft:
            return True
        if (
            LABEL_REPLACE in container.labels
            and LABEL_CONTENT in container.labels
            and container.created_at is not None
            and dependent.started_at is not None
            and container.created_at > dependent.started_at
        ):
            return True
    return False


def _restarted_since(rollout: Rollout, target: ServicePlan, decision: Decision) -> bool:
    names = target.names(rollout.scene.desired)
    for owner in target.keep:
        if names and owner.final_name == names[0][0] and not owner.replaced:
            if f"{ActionKind.START_CONTAINER}:{owner.final_name}" in rollout.draft:
                return True
            started, own = owner.container.started_at, decision.container.started_at
            return owner.container.state == "running" and started is not None and own is not None and started > own
    return False


def _restart(rollout: Rollout, decision: Decision, need: Dependency, reason: Reason) -> None:
    model = rollout.scene.desired.project.services[decision.service]
    unpause = f"{ActionKind.UNPAUSE_CONTAINER}:{decision.container.name}"
    if decision.container.state == "paused" and unpause not in rollout.draft:
        return
    rollout.draft.add(
        ActionKind.RESTART_CONTAINER,
        decision.container.name,
        service=decision.service,
        reasons=[reason],
        needs=[*_condition(rollout, decision.service, need), *([unpause] if unpause in rollout.draft else [])],
        params={
            "container": decision.container.id,
            "timeout": None,
            "pre_stop": bool(model.get("pre_stop")),
            "post_start": bool(model.get("post_start")),
        },
    )


def _names_and_ports(rollout: Rollout) -> None:
    """Who takes over a name or a host port waits until its present holder has given it up."""
    draft, scene = rollout.draft, rollout.scene
    for service in scene.services.values():
        for action_id in (*rollout.made.get(service.name, ()), *_renames(rollout, service)):
            target = action_id.partition(":")[2]
            if target in rollout.frees_name:
                draft.after(action_id, rollout.frees_name[target])
    holders: dict[tuple[int, str], list[ObservedContainer]] = {}
    for container in scene.observed.containers:
        if container.state in ACTIVE:
            for port in container.ports:
                if port.public:
                    holders.setdefault((port.public, port.protocol), []).append(container)
    for name in scene.services:
        for port in scene.desired.project.services[name].get("ports") or ():
            published = str(port.get("published") or "")
            if not published.isdigit():
                continue
            for holder in holders.get((int(published), port.get("protocol") or "tcp"), ()):
                if holder.service != name:
                    _take_over(rollout, name, holder)


def _renames(rollout: Rollout, service: ServicePlan) -> list[str]:
    names = (f"{ActionKind.RENAME_CONTAINER}:{decision.final_name}" for decision in service.keep)
    return [action_id for action_id in names if action_id in rollout.draft]


def _take_over(rollout: Rollout, name: str, holder: ObservedContainer) -> None:
    freed = rollout.frees.get(holder.id)
    if freed is None:
        return
    for start in rollout.started.get(name, ()):
        if rollout.draft.after(start, freed):
            continue
        # The holder's replacement waits for us, so it must be stopped ahead of that.
        early = rollout.stop(holder, [Reason("PortHandover", f"a port of it goes to {name}")])
        rollout.draft.after(start, early)
        rollout.draft.after(freed, early)


def _prune_images(rollout: Rollout) -> None:
    """Images that this plan takes the last container away from."""
    scene, draft = rollout.scene, rollout.draft
    if not scene.desired.policy.prune_images:
        return
    gone = [*scene.groups.orphans] if scene.desired.policy.remove_orphans else []
    staying: set[str] = {image.id for image in scene.observed.images.values() if image is not None}
    staying.update(container.image_id for container in scene.groups.others)
    for service in scene.services.values():
        gone.extend((*service.surplus, *service.doomed))
        for decision in service.keep:
            replaced = f"{ActionKind.REPLACE_CONTAINER}:{decision.final_name}" in draft
            if replaced and _has_image(rollout, decision):
                gone.append(decision.container)
            else:
                staying.add(decision.container.image_id)
    everything = draft.ids
    for container in gone:
        if container.image_id and container.image_id not in staying:
            draft.add(
                ActionKind.REMOVE_IMAGE,
                container.image_id,
                reasons=[
                    Reason(
                        "PruneImages", f"no container of the stack uses {container.image or 'it'} as it was any more"
                    )
                ],
                needs=everything,
                params={"optional": True, "reference": container.image},
            )


def _has_image(rollout: Rollout, decision: Decision) -> bool:
    scene = rollout.scene
    return scene.observed.images.get(image_reference(scene.desired.project, decision.service)) is not None
