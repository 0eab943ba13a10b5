"""What containers say of themselves by their labels: for stacks whose file is not at hand.

A project that Moored does not manage is started, stopped, restarted and taken down from
labels alone, in dependency order, as `docker compose -p NAME` does it.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.planner.containers import LABEL_DEPENDS_ON, LABEL_HOOK
from reconciler.planner.draft import Draft
from reconciler.planner.graph import Dependency
from reconciler.planner.lifecycle import STOPPED, start_time
from reconciler.planner.model import ActionKind
from state.model import Reason
from state.observed import LABEL_CONFIG_HASH, LABEL_NUMBER, ObservedContainer

ACTIVE = ("running", "restarting", "paused")


def is_ours(container: ObservedContainer) -> bool:
    """Whether Compose or Moored made this container. An image built by Compose carries project
    and service labels and hands them on to any `docker run`; numbers and hashes it does not."""
    labels = container.labels
    return LABEL_CONFIG_HASH in labels or LABEL_NUMBER in labels or LABEL_HOOK in labels


def is_up(container: ObservedContainer) -> bool:
    """Whether a container runs, and is healthy where that is checked."""
    return container.state == "running" and container.health in ("", "healthy")


def is_replica(container: ObservedContainer) -> bool:
    """Whether it is one of a service's containers, and no one-off or hook."""
    return is_ours(container) and not container.oneoff and LABEL_HOOK not in container.labels


def labelled_dependencies(container: ObservedContainer) -> list[Dependency]:
    """The label `depends_on`, read."""
    found = []
    for item in container.labels.get(LABEL_DEPENDS_ON, "").split(","):
        name, _, rest = item.partition(":")
        condition, _, restart = rest.partition(":")
        if name:
            found.append(Dependency(name, condition or "service_started", restart == "true", required=False))
    return found


def stop(
    draft: Draft,
    container: ObservedContainer,
    reasons: Iterable[Reason],
    *,
    timeout: float | None = None,
    pre_stop: bool = False,
) -> str:
    """Add the stop of a container."""
    return draft.add(
        ActionKind.STOP_CONTAINER,
        container.name,
        service=container.service,
        reasons=reasons,
        params={
            "container": container.id,
            "timeout": timeout,
            "pre_stop": pre_stop,
            "acknowledge": {STOPPED: start_time(container)},
        },
    )


def remove(
    draft: Draft,
    container: ObservedContainer,
    reasons: Iterable[Reason],
    *,
    volumes: bool = False,
    needs: Iterable[str] = (),
) -> str:
    """Add the removal of a container."""
    return draft.add(
        ActionKind.REMOVE_CONTAINER,
        container.name,
        service=container.service,
        reasons=reasons,
        needs=needs,
        params={"container": container.id, "volumes": volumes},
    )


def in_reverse_order(draft: Draft, stops: dict[str, ObservedContainer]) -> None:
    """Let each stop wait for the stops of those that depend on it."""
    by_service: dict[str, list[str]] = {}
    for action_id, container in stops.items():
        by_service.setdefault(container.service, []).append(action_id)
    for action_id, container in sorted(stops.items()):
        for need in labelled_dependencies(container):
            for other in by_service.get(need.service, ()):
                draft.after(other, action_id)
