"""Whether a stack is as it should be: one pure function over what was observed.

Ready: every service has its containers, running and (where checked) healthy, or ended
with 0 where it is a one-shot. Progressing: it may still get there by itself. Failed: it
will not, and the message names service, container, exit code and since when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.planner.containers import LABEL_HOOK
from reconciler.planner.graph import is_awaited_job, wanted_replicas
from reconciler.planner.lifecycle import Course, course, has_healthcheck, has_job_label
from reconciler.planner.model import DesiredStack
from state.observed import ObservedContainer, ObservedProject

STEADY = timedelta(seconds=10)
"""How long a container must be up after a restart by the Engine to count as recovered (the
time after which the Engine itself starts its back-off anew)."""


class ReadyState(StrEnum):
    READY = "ready"
    PROGRESSING = "progressing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Readiness:
    """How a stack, or one service of it, is."""

    state: ReadyState
    code: str
    """CamelCase."""
    message: str
    services: Mapping[str, str] | None = None
    """Service -> what is the matter, of those that are not ready."""

    @property
    def ready(self) -> bool:
        return self.state is ReadyState.READY


_RANK = {ReadyState.READY: 0, ReadyState.PROGRESSING: 1, ReadyState.FAILED: 2}


def project_containers(observed: ObservedProject, service: str) -> list[ObservedContainer]:
    """A service's own containers (no one-offs, no hooks), by number."""
    return sorted(
        (
            container
            for container in observed.containers
            if container.service == service and not container.oneoff and LABEL_HOOK not in container.labels
        ),
        key=lambda container: (container.number, container.name),
    )


def readiness(
    desired: DesiredStack,
    observed: ObservedProject,
    *,
    now: datetime | None = None,
    restarts_before: Mapping[str, int] | None = None,
) -> Readiness:
    """How the stack is, worst service first.

    `restarts_before` (container id -> restart count when the work began) turns a growing
    count into a failure even while the container happens to be up; `now` lets a container
    that the Engine had to restart prove itself for some seconds.
    """
    overrides = desired.overrides
    if overrides.removed is not None:
        left = [container.name for container in observed.containers]
        if left:
            return Readiness(ReadyState.PROGRESSING, "Removing", f"still there: {', '.join(left)}")
        return Readiness(ReadyState.READY, "Removed", "removed on request")
    if overrides.stopped:
        running = [
            c.name for c in observed.containers if c.state in ("running", "restarting", "paused") and not c.oneoff
        ]
        if running:
            return Readiness(ReadyState.PROGRESSING, "Stopping", f"still running: {', '.join(running)}")
        return Readiness(ReadyState.READY, "Stopped", "stopped on request")
    found: dict[str, Readiness] = {}
    for name in sorted(desired.project.services):
        found[name] = _service(desired, observed, name, now, restarts_before or {})
    bad = {name: each for name, each in found.items() if not each.ready}
    if not bad:
        return Readiness(ReadyState.READY, "Ready", _summary(desired, found))
    worst = max(bad.values(), key=lambda each: _RANK[each.state])
    messages = [each.message for each in bad.values() if each.state is worst.state]
    return Readiness(worst.state, worst.code, "; ".join(messages), {name: each.message for name, each in bad.items()})


def _summary(desired: DesiredStack, found: Mapping[str, Readiness]) -> str:
    done = sum(1 for each in found.values() if each.code == "Completed")
    active = len(found) - done
    tail = f", {done} completed" if done else ""
    return f"{active} service{'' if active == 1 else 's'} ready{tail}"


def service_readiness(
    desired: DesiredStack,
    observed: ObservedProject,
    name: str,
    *,
    now: datetime | None = None,
    restarts_before: Mapping[str, int] | None = None,
) -> Readiness:
    """As `readiness`, of one service, overrides of the whole stack left aside."""
    return _service(desired, observed, name, now, restarts_before or {})


def _service(
    desired: DesiredStack,
    observed: ObservedProject,
    name: str,
    now: datetime | None,
    restarts_before: Mapping[str, int],
) -> Readiness:
    service = desired.project.services[name]
    wanted = wanted_replicas(desired, name)
    containers = [c for c in project_containers(observed, name) if c.state not in ("dead", "removing")]
    if wanted == 0:
        if containers:
            return Readiness(ReadyState.PROGRESSING, "ScalingDown", f"service {name}: {len(containers)} of 0 left")
        return Readiness(ReadyState.READY, "ScaledToZero", f"service {name} is scaled to 0")
    if has_job_label(service):
        return Readiness(ReadyState.READY, "Scheduled", f"service {name} is started by its schedule")
    if name in desired.held_services:
        return Readiness(ReadyState.READY, "Held", f"service {name} is held by a running job")
    each = [_container(desired, name, container, now, restarts_before) for container in containers]
    if each:
        worst = max(each, key=lambda one: _RANK[one.state])
        if worst.state is ReadyState.FAILED:
            return worst
    if len(containers) < wanted:
        return Readiness(
            ReadyState.PROGRESSING,
            "Missing",
            f"service {name}: {len(containers)} of {wanted} container{'' if wanted == 1 else 's'} exist",
        )
    return max(each, key=lambda one: _RANK[one.state])


def _since(moment: datetime | None) -> str:
    return f" since {moment:%Y-%m-%dT%H:%M:%SZ}" if moment is not None and moment.year > 1 else ""


def _detail(container: ObservedContainer) -> str:
    parts = []
    if container.oom_killed:
        parts.append("out of memory")
    if container.error:
        parts.append(container.error)
    return f" ({'; '.join(parts)})" if parts else ""


def _container(
    desired: DesiredStack,
    name: str,
    container: ObservedContainer,
    now: datetime | None,
    restarts_before: Mapping[str, int],
) -> Readiness:
    who = f"service {name}: container {container.name}"
    restarts = container.restart_count
    if container.state == "restarting" or restarts > restarts_before.get(container.id, restarts):
        return Readiness(
            ReadyState.FAILED,
            "CrashLoop",
            # While it runs again, the Engine does not know any more how it ended.
            f"{who} keeps restarting, {'' if container.state == 'running' else f'exit code {container.exit_code}, '}"
            f"{restarts} restart{'' if restarts == 1 else 's'}"
            f"{_since(container.finished_at)}{_detail(container)}",
        )
    state = course(desired, name, container)
    if state is Course.RUNNING:
        return _running(desired, name, container, who, now)
    if state is Course.COMPLETE:
        return Readiness(ReadyState.READY, "Completed", f"{who} completed{_since(container.finished_at)}")
    if state is Course.PAUSED:
        return Readiness(ReadyState.FAILED, "Paused", f"{who} is paused")
    if state is Course.FRESH:
        if container.error:
            return Readiness(ReadyState.FAILED, "StartFailed", f"{who} could not be started{_detail(container)}")
        return Readiness(ReadyState.PROGRESSING, "NotStarted", f"{who} was created and not started yet")
    return Readiness(
        ReadyState.FAILED,
        "Exited" if container.exit_code == 0 else "ExitedWithError",
        f"{who} exited with code {container.exit_code}{_since(container.finished_at)}{_detail(container)}",
    )


def _running(
    desired: DesiredStack, name: str, container: ObservedContainer, who: str, now: datetime | None
) -> Readiness:
    service = desired.project.services[name]
    if container.health == "unhealthy":
        return Readiness(ReadyState.FAILED, "Unhealthy", f"{who} is unhealthy, running{_since(container.started_at)}")
    if container.health == "starting" and has_healthcheck(service, container):
        return Readiness(
            ReadyState.PROGRESSING, "HealthStarting", f"{who} is not healthy yet, running{_since(container.started_at)}"
        )
    if is_awaited_job(desired.project, name):
        return Readiness(
            ReadyState.PROGRESSING,
            "NotCompleted",
            f"{who} has not completed yet, running{_since(container.started_at)}",
        )
    recent = (
        container.restart_count > 0
        and now is not None
        and container.started_at is not None
        and now - container.started_at < STEADY
    )
    if recent:
        return Readiness(
            ReadyState.PROGRESSING,
            "JustRestarted",
            f"{who} was restarted by the Engine {container.restart_count} times, last exit code {container.exit_code}, "
            f"running{_since(container.started_at)}",
        )
    return Readiness(ReadyState.READY, "Running", f"{who} runs{_since(container.started_at)}")
