"""Who waits for whom: dependency conditions, restarts after them, names and ports handed over.

Edges that only make things smoother (a port or a name that somebody else gives up in this
very plan) are laid where they close no cycle.
"""

from __future__ import annotations

from reconciler.planner.containers import LABEL_CONTENT, LABEL_REPLACE
from reconciler.planner.decisions import Decision
from reconciler.planner.graph import (
    COMPLETED,
    HEALTHY,
    STARTED,
    Dependency,
    dependencies,
    joined_by,
    named_container,
)
from reconciler.planner.labels import ACTIVE
from reconciler.planner.lifecycle import Course, course, is_scheduled
from reconciler.planner.model import ActionKind
from reconciler.planner.scene import ServicePlan
from reconciler.planner.steps import Rollout
from state.model import Reason
from state.observed import ObservedContainer


def dependency_gate(rollout: Rollout, name: str) -> list[str]:
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


def restart_dependents(rollout: Rollout) -> None:
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
        joined = named_container(model.get("network_mode"))
        for decision in running:
            if joined and scene.around.corrects and _started_since(rollout, joined, decision):
                message = f"network namespace of {joined} changed: it was started again"
                reason = Reason("NamespaceChanged", message)
                _restart(rollout, decision, _starts(joined), reason)
        shared = (model.get("network_mode") or "").partition("service:")[2]
        for need in dependencies(model):
            target = scene.services.get(need.service)
            if target is None:
                continue
            for decision in running:
                if need.restart and _was_recreated(rollout, target, decision.container):
                    message = f"{need.service} was recreated (depends_on.{need.service}.restart)"
                    reason = Reason("DependencyRecreated", message)
                    _restart(rollout, decision, _condition(rollout, name, need), reason)
                elif need.service == shared and scene.around.corrects and _restarted_since(rollout, target, decision):
                    message = f"network namespace of {shared} changed: it was started again"
                    needs = [
                        *_condition(rollout, name, need),
                        *(each for owner in target.keep for each in _starts(owner.final_name, owner.container.name)),
                    ]
                    _restart(rollout, decision, needs, Reason("NamespaceChanged", message))


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
            # Dependencies come first, so the restart of one that shares a namespace itself is known.
            if any(each in rollout.draft for each in _starts(owner.final_name, owner.container.name)):
                return True
            started, own = owner.container.started_at, decision.container.started_at
            return owner.container.state == "running" and started is not None and own is not None and started > own
    return False


def _started_since(rollout: Rollout, joined: str, decision: Decision) -> bool:
    """Whether a container joined by name is started by this plan, or was since who joins it was."""
    if any(action_id in rollout.draft for action_id in _starts(joined)):
        return True
    other, own = rollout.scene.observed.named.get(joined), decision.container.started_at
    if other is None or other.state != "running" or other.started_at is None or own is None:
        return False
    return other.started_at > own


def _starts(name: str, present: str = "") -> list[str]:
    """The ids of actions after which a container has been started anew; `present` is what it is
    called before this plan, if that is something else."""
    return [f"{ActionKind.START_CONTAINER}:{name}", f"{ActionKind.RESTART_CONTAINER}:{present or name}"]


def _restart(rollout: Rollout, decision: Decision, needs: list[str], reason: Reason) -> None:
    model = rollout.scene.desired.project.services[decision.service]
    unpause = f"{ActionKind.UNPAUSE_CONTAINER}:{decision.container.name}"
    if decision.container.state == "paused" and unpause not in rollout.draft:
        return
    rollout.draft.add(
        ActionKind.RESTART_CONTAINER,
        decision.container.name,
        service=decision.service,
        reasons=[reason],
        needs=[need for need in (*needs, unpause) if need in rollout.draft],
        params={
            "container": decision.container.id,
            "timeout": None,
            "pre_stop": bool(model.get("pre_stop")),
            "post_start": bool(model.get("post_start")),
        },
    )


def joined_first(rollout: Rollout) -> None:
    """Who joins a container of this plan by its name is made and started after it: the Engine looks
    for that name at both moments."""
    draft, scene = rollout.draft, rollout.scene
    for name in scene.services:
        model = scene.desired.project.services[name]
        joined = {*joined_by(model)}
        joined.update(named_container(entry).partition(":")[0] for entry in model.get("volumes_from") or ())
        for other in joined - {""}:
            for action_id in rollout.made.get(name, ()):
                for kind in (ActionKind.CREATE_CONTAINER, ActionKind.REPLACE_CONTAINER):
                    draft.after(action_id, f"{kind}:{other}")
            for action_id in rollout.started.get(name, ()):
                draft.after(action_id, f"{ActionKind.START_CONTAINER}:{other}")


def names_and_ports(rollout: Rollout) -> None:
    """Who takes over a name or a host port waits until its present holder has given it up."""
    draft, scene = rollout.draft, rollout.scene
    for service in scene.services.values():
        for action_id in (*rollout.made.get(service.name, ()), *_renames(rollout, service)):
            target = action_id.partition(":")[2]
            freed = rollout.frees_name.get(target)
            if freed is not None and not draft.after(action_id, freed):
                _set_aside(rollout, target, action_id, freed)
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


def _set_aside(rollout: Rollout, name: str, taker: str, freed: str) -> None:
    """Two containers that exchange their names: the holder of one gives it up for a name of its own."""
    holder = next((each for each in rollout.scene.observed.containers if each.name == name), None)
    if holder is None:
        return
    aside = rollout.draft.add(
        ActionKind.RENAME_CONTAINER,
        f"{name}.{holder.id[:12]}",
        service=holder.service,
        reasons=[Reason("NameHandover", f"its name {name} goes to another container")],
        params={"container": holder.id},
    )
    rollout.draft.after(taker, aside)
    rollout.draft.after(freed, aside)


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


def why_held_back(rollout: Rollout, name: str) -> str:
    for need in dependencies(rollout.scene.desired.project.services[name]):
        why = rollout.unavailable.get(need.service)
        if why and need.required:
            return f"requires {need.service} ({need.condition}): {why}"
    return ""


def note_unavailable(rollout: Rollout, service: ServicePlan) -> None:
    """A job that failed and is not run again makes those who require its success unstartable."""
    for decision in service.keep:
        container = decision.container
        if decision.replaced or course(rollout.scene.desired, service.name, container) is not Course.FAILED:
            continue
        rollout.unavailable[service.name] = (
            f"service {service.name}: container {container.name} exited with code {container.exit_code}"
        )
