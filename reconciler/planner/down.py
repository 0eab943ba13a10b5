"""Taking a project away, and starting, stopping, restarting one from its labels."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.compose.model import Project
from reconciler.planner.containers import LABEL_HOOK
from reconciler.planner.draft import Draft
from reconciler.planner.graph import image_reference
from reconciler.planner.labels import (
    ACTIVE,
    in_reverse_order,
    is_ours,
    is_replica,
    labelled_dependencies,
    remove,
    stop,
)
from reconciler.planner.model import ActionKind, Plan
from reconciler.planner.values import is_anonymous_volume
from state.model import Reason, StackKey
from state.observed import LABEL_PROJECT, LABEL_SERVICE, ObservedContainer, ObservedProject

_REMOVE = Reason("Remove", "the stack is to be removed")
_STOP = Reason("Stop", "the stack is to be stopped")
_START = Reason("Start", "the stack is to be started")
_RESTART = Reason("Restart", "the stack is to be restarted")


def plan_down(
    key: StackKey,
    observed: ObservedProject,
    *,
    project: Project | None,
    volumes: bool,
    images: bool | str,
    orphans: bool = True,
    timeout: float | None = None,
    owed: Mapping[str, str] | None = None,
) -> Plan:
    """Remove what a project has: containers, its own networks, and on demand its own volumes
    and images (`"local"`: only those built here).

    Only what carries the project's label goes, never what is external or merely has the name.
    With a file but without `orphans`, containers of services it does not know stay. `owed`: what
    an interrupted removal still had to remove (`lifecycle.TO_REMOVE`).
    """
    draft = Draft(key)
    known = None if project is None else {*project.services, *project.disabled_services}
    leaving = []
    for container in observed.containers:
        if not is_ours(container) or container.state == "removing":
            continue
        stray = container.oneoff or (known is not None and container.service not in known)
        if orphans or not stray:
            leaving.append(container)
    stops, removed = {}, {}
    for container in leaving:
        needs = []
        if container.state in ACTIVE:
            stop_id = stop(draft, container, [_REMOVE], timeout=timeout, pre_stop=_has_hooks(project, container))
            stops[stop_id] = container
            needs.append(stop_id)
        removed[remove(draft, container, [_REMOVE], volumes=volumes, needs=needs)] = container
    in_reverse_order(draft, stops)
    _hooks_first(draft, removed)
    staying = {container.id for container in observed.containers} - {container.id for container in leaving}
    in_use = {network for c in observed.containers if c.id in staying for network in c.networks}
    for network in observed.networks:
        if network.labels.get(LABEL_PROJECT) != key.name or network.name in in_use:
            continue
        if project is not None and _is_external(project.networks, network.name):
            continue
        users = observed.network_users.get(network.id, ())
        if users:
            draft.warnings.append(f"network {network.name} stays: used by {', '.join(users)}")
            continue
        draft.add(
            ActionKind.REMOVE_NETWORK,
            network.name,
            reasons=[_REMOVE],
            needs=removed,
            params={"network_id": network.id, "optional": True},
        )
    if volumes:
        _remove_volumes(draft, observed, project, key.name, leaving, list(removed))
    if images:
        _remove_images(draft, observed, project, leaving, list(removed), only_local=images == "local")
    _remove_owed(draft, owed or {}, list(removed), volumes=volumes, images=images is True)
    return draft.finish()


def _remove_owed(draft: Draft, owed: Mapping[str, str], needs: list[str], *, volumes: bool, images: bool) -> None:
    """What only containers told of that are gone already. Other volumes than anonymous ones are found
    by their labels, and by those alone."""
    for action_id in sorted(owed):
        kind, _, target = action_id.partition(":")
        if volumes and kind == ActionKind.REMOVE_VOLUME and is_anonymous_volume(target):
            draft.add(ActionKind.REMOVE_VOLUME, target, reasons=[_REMOVE], needs=needs, params={"optional": True})
        elif images and kind == ActionKind.REMOVE_IMAGE:
            params = {"optional": True, "reference": owed[action_id]}
            draft.add(ActionKind.REMOVE_IMAGE, target, reasons=[_REMOVE], needs=needs, params=params)


def _hooks_first(draft: Draft, removed: dict[str, ObservedContainer]) -> None:
    """A hook container left behind borrows the anonymous volumes of its service's: as the last
    user it would take them along, so it goes first."""
    hooks = [action_id for action_id, container in removed.items() if LABEL_HOOK in container.labels]
    for action_id, container in removed.items():
        if LABEL_HOOK not in container.labels:
            for hook in hooks:
                if removed[hook].service == container.service:
                    draft.after(action_id, hook)


def _has_hooks(project: Project | None, container: ObservedContainer) -> bool:
    if project is None:
        return False
    return bool((project.services.get(container.service) or {}).get("pre_stop"))


def _is_external(objects: dict[str, dict[str, object]], name: str) -> bool:
    return any(definition.get("external") and definition.get("name") == name for definition in objects.values())


def _remove_volumes(
    draft: Draft,
    observed: ObservedProject,
    project: Project | None,
    name: str,
    leaving: list[ObservedContainer],
    needs: list[str],
) -> None:
    for volume in observed.volumes:
        if volume.labels.get(LABEL_PROJECT) != name:
            continue
        if project is not None and _is_external(project.volumes, volume.name):
            continue
        draft.add(ActionKind.REMOVE_VOLUME, volume.name, reasons=[_REMOVE], needs=needs, params={"optional": True})
    # Anonymous volumes that were handed on to a successor are no longer anonymous for the
    # Engine, and would be left behind for ever.
    for container in leaving:
        host = container.inspect.get("HostConfig") or {}
        for mount in host.get("Mounts") or ():
            source = mount.get("Source") or ""
            if mount.get("Type") == "volume" and is_anonymous_volume(source):
                draft.add(ActionKind.REMOVE_VOLUME, source, reasons=[_REMOVE], needs=needs, params={"optional": True})


def _remove_images(
    draft: Draft,
    observed: ObservedProject,
    project: Project | None,
    leaving: list[ObservedContainer],
    needs: list[str],
    *,
    only_local: bool,
) -> None:
    references: set[str] = set()
    if project is not None:
        for name, service in project.services.items():
            reference = image_reference(project, name)
            if observed.images.get(reference) is not None and (not only_local or not service.get("image")):
                references.add(reference)
    for container in leaving:
        image = observed.images.get(container.image)
        if only_local and not (image is not None and LABEL_SERVICE in image.labels and LABEL_PROJECT in image.labels):
            continue
        if container.image and LABEL_HOOK not in container.labels:
            references.add(container.image)
    for reference in sorted(references):
        draft.add(ActionKind.REMOVE_IMAGE, reference, reasons=[_REMOVE], needs=needs, params={"optional": True})


def plan_stop(key: StackKey, observed: ObservedProject, *, timeout: float | None = None) -> Plan:
    """Stop what runs of a project, dependents first."""
    draft = Draft(key)
    stop_all(draft, observed, _STOP, timeout=timeout)
    return draft.finish()


def stop_all(
    draft: Draft, observed: ObservedProject, reason: Reason, *, timeout: float | None, project: Project | None = None
) -> None:
    """Add the stops of all that runs, dependents first."""
    stops = {}
    for container in observed.containers:
        if is_replica(container) and container.state in ACTIVE:
            hooks = _has_hooks(project, container)
            stops[stop(draft, container, [reason], timeout=timeout, pre_stop=hooks)] = container
    in_reverse_order(draft, stops)


def plan_start(key: StackKey, observed: ObservedProject, *, timeout: float | None = None) -> Plan:
    """Start what exists of a project, dependencies first; `timeout` bounds each wait."""
    draft = Draft(key)
    replicas = [container for container in observed.containers if is_replica(container)]
    starts: dict[str, ObservedContainer] = {}
    for container in replicas:
        if container.state in ("created", "exited"):
            action_id = draft.add(
                ActionKind.START_CONTAINER,
                container.name,
                service=container.service,
                reasons=[_START],
                params={"container": container.id, "post_start": False, "inject": []},
            )
            starts[action_id] = container
        elif container.state == "paused":
            draft.add(
                ActionKind.UNPAUSE_CONTAINER,
                container.name,
                service=container.service,
                reasons=[_START],
                params={"container": container.id},
            )
    _wait_for_dependencies(draft, starts, replicas, timeout)
    return draft.finish()


def plan_restart(key: StackKey, observed: ObservedProject, *, timeout: float | None = None) -> Plan:
    """Restart every container of a project once, dependencies first; `timeout` is the grace."""
    draft = Draft(key)
    replicas = [container for container in observed.containers if is_replica(container)]
    restarts: dict[str, ObservedContainer] = {}
    for container in replicas:
        if container.state in ("dead", "removing"):
            continue
        action_id = draft.add(
            ActionKind.RESTART_CONTAINER,
            container.name,
            service=container.service,
            reasons=[_RESTART],
            params={"container": container.id, "timeout": timeout, "pre_stop": False, "post_start": False},
        )
        restarts[action_id] = container
    by_service: dict[str, list[str]] = {}
    for action_id, container in restarts.items():
        by_service.setdefault(container.service, []).append(action_id)
    for action_id, container in sorted(restarts.items()):
        for need in labelled_dependencies(container):
            for other in by_service.get(need.service, ()):
                draft.after(action_id, other)
    return draft.finish()


def _wait_for_dependencies(
    draft: Draft, starts: dict[str, ObservedContainer], replicas: list[ObservedContainer], timeout: float | None
) -> None:
    """Starts wait for the starts of what they need, and for its condition; a dependency that
    does not get there holds nobody back here: labels do not say whether it is required."""
    by_service: dict[str, list[str]] = {}
    for action_id, container in starts.items():
        by_service.setdefault(container.service, []).append(action_id)
    for action_id, container in sorted(starts.items()):
        for need in labelled_dependencies(container):
            members = [other.name for other in replicas if other.service == need.service]
            if not members:
                continue
            needs = by_service.get(need.service, [])
            if need.condition == "service_started":
                for other in needs:
                    draft.after(action_id, other)
                continue
            wait = draft.add(
                ActionKind.WAIT_SERVICE,
                need.service,
                service=need.service,
                suffix=need.condition,
                reasons=[Reason("Dependency", f"needed by {container.service}")],
                params={"condition": need.condition, "containers": members, "timeout": timeout, "optional": True},
            )
            for other in needs:
                draft.after(wait, other)
            draft.after(action_id, wait)
