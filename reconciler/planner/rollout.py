"""From decisions to actions and their order.

A service is rolled out as a whole: its replacement waits for what its start waits for, so
that the old container serves until its successor can. Creations do not wait for
dependencies, only for what they name (networks, volumes, namespaces); starts do. There are
no phases: each action names exactly the actions it needs.

Edges that only make things smoother (a port or a name that somebody else gives up in this
very plan, stops in reverse order) are laid where they close no cycle.
"""

from __future__ import annotations

from reconciler.planner.decisions import Decision
from reconciler.planner.departures import (
    LEFTOVER,
    former_networks,
    prune_images,
    remove_what_goes,
    write_networks,
    write_volumes,
)
from reconciler.planner.draft import Draft
from reconciler.planner.graph import (
    container_name,
    referenced_services,
    service_order,
)
from reconciler.planner.labels import in_reverse_order
from reconciler.planner.lifecycle import Course, commands_due, course, is_scheduled
from reconciler.planner.making import (
    creation_params,
    missing_reason,
    named_at_last,
    preparations,
    write_creation,
    write_kept,
)
from reconciler.planner.model import ActionKind, Blocked
from reconciler.planner.scene import Scene, ServicePlan
from reconciler.planner.startfirst import START_FIRST
from reconciler.planner.steps import Rollout, name_taken
from reconciler.planner.waits import (
    dependency_gate,
    joined_first,
    names_and_ports,
    note_unavailable,
    restart_dependents,
    why_held_back,
)
from state.model import Reason
from state.observed import ObservedContainer


def write_actions(draft: Draft, scene: Scene) -> None:
    """Turn the whole scene into actions."""
    rollout = Rollout(draft, scene)
    remove_what_goes(rollout)
    write_volumes(rollout)
    write_networks(rollout)
    for name in service_order(scene.desired.project):
        _write_service(rollout, scene.services[name])
    former_networks(rollout)
    restart_dependents(rollout)
    joined_first(rollout)
    names_and_ports(rollout)
    in_reverse_order(draft, rollout.stops)
    prune_images(rollout)


def _write_service(rollout: Rollout, service: ServicePlan) -> None:
    scene, draft = rollout.scene, rollout.draft
    project = scene.desired.project
    name = service.name
    rollout.made[name], rollout.started[name] = [], []
    runs = not is_scheduled(project.services[name]) and name not in scene.desired.held_services
    to_run: list[tuple[str, int, Decision | None, list[Reason], str]] = []
    for decision in service.keep:
        if not runs:
            continue
        reasons = [*decision.replace, *decision.swept] if decision.replaced else _why_start(rollout, decision)
        if reasons:
            to_run.append((decision.final_name, decision.container.number, decision, reasons, ""))
    again = {container.number for container in service.doomed}
    for number in service.create:
        final = container_name(project, name, number)
        if name_taken(rollout, name, final):
            continue
        if not scene.around.corrects and number not in again:
            draft.drift.append(Blocked(final, missing_reason(service, final)))
            continue
        made = write_creation(rollout, service, number, final)
        if runs:
            to_run.append((final, number, None, [missing_reason(service, final)], made))
    held_back = why_held_back(rollout, name) if to_run else ""
    gate = [] if held_back or not to_run else dependency_gate(rollout, name)
    for decision in service.keep:
        write_kept(rollout, decision, gate, held_back=bool(held_back) and runs)
    if held_back:
        rollout.unavailable[name] = held_back
        for final, *_ in to_run:
            draft.blocked.append(Blocked(final, Reason("DependencyFailed", held_back)))
        return
    if not to_run:
        note_unavailable(rollout, service)
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
            needs.extend(preparations(rollout, start_of))
            if start_of.container.state == "created":
                # Whoever made it may have been interrupted before its files were copied in.
                params["inject"] = True
            elif start_of.told:
                params["inject"] = sorted(key for key in start_of.told if not key.startswith("bind:"))
            if start_of.told:
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
            replaced = f"{ActionKind.REPLACE_CONTAINER}:{final}"
            if replaced not in draft:
                continue
            needs.append(replaced)
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
        rollout.started[name].append(_hand_over(rollout, start_of, started) or started)


def _hand_over(rollout: Rollout, decision: Decision | None, started: str) -> str:
    """The action that ends a replacement which is started first; empty if this is none."""
    if decision is None:
        return ""
    action_id = f"{ActionKind.HAND_OVER}:{decision.final_name}"
    if rollout.frees.get(decision.container.id) != action_id:
        return ""
    service = rollout.scene.desired.project.services[decision.service]
    return rollout.draft.add(
        ActionKind.HAND_OVER,
        decision.final_name,
        service=decision.service,
        reasons=[Reason("StartFirst", f"services.{decision.service}.deploy.update_config.order is {START_FIRST}")],
        needs=[started],
        params={
            "container": decision.container.id,
            "pre_stop": bool(service.get("pre_stop")),
            "timeout": None,
            "ready_timeout": rollout.scene.desired.policy.timeout,
        },
    )


def _why_start(rollout: Rollout, decision: Decision) -> list[Reason]:
    """Why a container that stays as it is must be started (or resumed); nothing: it need not."""
    desired, container = rollout.scene.desired, decision.container
    state = course(desired, decision.service, container)
    if commands_due(desired, decision.service, container):
        return [Reason("Interrupted", "its post_start commands may not have been carried out")]
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
    before = [*gate, *named_at_last(rollout, service)]
    if decision is None:
        before.append(made)
    elif decision.replaced:
        before.append(f"{ActionKind.REPLACE_CONTAINER}:{final}")
    else:
        before.extend(preparations(rollout, decision))
    # Replacements share the hooks, which must see the old containers gone.
    before.extend(rollout.made[service.name])
    before.extend(rollout.remove(left, [LEFTOVER]) for left in scene.groups.hooks.get(service.name, ()))
    last: list[str] = before
    for index in range(len(hooks)):
        params = creation_params(rollout, service, number)
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
