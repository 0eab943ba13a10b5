"""Waiting for containers: for a dependency's condition, and for a whole stack to be ready.

Nothing is polled. The observer writes what happens into the cache, the cache's watch wakes
the waiter, the waiter judges again; every wait has a deadline. A condition that can no
longer come true ends the wait at once: an exit, a failed health check, a crash loop. The
message then carries the container's last lines.

A dependency that its Engine restarts gets a few attempts, because many programs wait for
their database by dying.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio

from reconciler.engine.client import Engine
from reconciler.engine.containers import describe_container
from reconciler.engine.errors import WaitFailed
from reconciler.engine.output import indented, log_tail
from reconciler.engine.snapshot import current_project, known_container, refresh_container
from reconciler.engine.work import Log, Work
from reconciler.planner.model import Action, DesiredStack
from reconciler.planner.readiness import STEADY, Readiness, ReadyState, project_containers, readiness
from state.observed import ObservedContainer, ObservedContext, ObservedProject

RESTARTS_TO_FORGIVE = 2
PROOF = timedelta(seconds=0.5)
"""How long a container without a health check must be up before it counts as running: many that
die at once are seen running first. Compose, too, looks no earlier."""
LAST_WORDS = 2.0
"""Seconds to wait for the next end of a container that keeps restarting and happens to run: only then
the Engine says with which code it ended."""
HEALTHY = "service_healthy"
COMPLETED = "service_completed_successfully"
_GIVEN_UP = ("exited", "dead", "removing")


async def wait_service(work: Work, action: Action, log: Log) -> None:
    """WAIT_SERVICE: every named container satisfies the condition."""
    condition = str(action.params.get("condition") or "service_started")
    names = [str(name) for name in action.params.get("containers") or ()]
    timeout = float(action.params.get("timeout") or 0) or None
    ids = [await work.id_of(name) for name in names]
    containers = dict(zip(names, ids, strict=True))
    await work.unless_interrupted(wait_containers(work, action.target, condition, containers, timeout))


async def wait_containers(
    work: Work,
    service: str,
    condition: str,
    containers: Mapping[str, str],
    timeout: float | None,
    *,
    what: str = "dependencies",
) -> None:
    """Wait until containers (name -> id) of a service satisfy a condition, at most `timeout` seconds."""
    waited_for = ""
    with work.observed.watch.subscribe(("observed", work.observed.name, work.plan.key.name)) as changed:
        try:
            with anyio.fail_after(timeout):
                while True:
                    waited_for = await _judge(work, service, condition, containers)
                    if not waited_for:
                        return
                    await changed.wait()
        except TimeoutError as error:
            raise WaitFailed(
                f"timeout waiting for {what}: service {service} is not {_word(condition)} "
                f"after {timeout or 0:g} s: {waited_for}",
                timed_out=True,
            ) from error


async def _judge(work: Work, service: str, condition: str, containers: Mapping[str, str]) -> str:
    """What is still waited for, empty if nothing; raises if it cannot come any more."""
    for name, container_id in containers.items():
        container = work.observed.containers.get(container_id)
        if container is None:
            container = await refresh_container(work.engine, work.observed, container_id)
        if container is None:
            raise WaitFailed(f"service {service}: container {name} is gone while it is waited for")
        pending, hopeless = _outlook(container, condition)
        if hopeless:
            description = await describe_container(work, container_id, name)
            raise WaitFailed(f"service {service} is not {_word(condition)}: {hopeless}; {description}")
        if pending:
            return f"container {name} {pending}"
    return ""


def _outlook(container: ObservedContainer, condition: str) -> tuple[str, str]:
    """(what is missing, why it is hopeless); both empty when the condition holds."""
    restarts = container.restart_count
    if condition == COMPLETED:
        if container.state == "exited" and container.started_at is not None:
            if container.exit_code == 0:
                return "", ""
            return "", f"it ended with exit code {container.exit_code}"
        if container.state in ("dead", "removing"):
            return "", f"it is {container.state}"
        if restarts > RESTARTS_TO_FORGIVE:
            return "", f"it keeps failing, {restarts} restarts"
        return f"is {container.state}", ""
    if condition != HEALTHY:
        return "", ""
    if container.state in _GIVEN_UP and container.started_at is not None:
        return "", f"it is {container.state} (exit code {container.exit_code})"
    if restarts > RESTARTS_TO_FORGIVE:
        return "", f"it keeps restarting, {restarts} restarts"
    if container.state == "paused":
        return "", "it is paused"
    if container.state != "running":
        return f"is {container.state}", ""
    if container.health == "healthy":
        return "", ""
    if container.health == "unhealthy":
        return "", "its health check fails"
    if not container.health:
        return "", "it has no health check; add one, or depend on service_started"
    return f"is running, health {container.health}", ""


def _word(condition: str) -> str:
    return {HEALTHY: "healthy", COMPLETED: "completed"}.get(condition, "started")


async def wait_ready(
    engine: Engine,
    observed: ObservedContext,
    desired: DesiredStack,
    timeout: float,
    restarts_before: Mapping[str, int] | None,
) -> Readiness:
    """How the stack is when it is ready, has failed, or `timeout` seconds are over (then it has
    failed too). Still progressing: somebody took a container away, which no waiting brings back.
    `restarts_before`: counts before the work began, None: as they are now."""
    baseline = restarts_before
    if baseline is None:
        baseline = {container.id: container.restart_count for container in observed.project(desired.key.name)}
    found: Readiness | None = None
    proven: set[tuple[str, datetime | None]] = set()
    present: set[str] = set()
    told_by = anyio.current_time() + LAST_WORDS
    with observed.watch.subscribe(
        ("observed", observed.name, desired.key.name), ("connection", observed.name)
    ) as changed:
        with anyio.move_on_after(timeout):
            while True:
                seen = await current_project(engine, observed, desired)
                counts = {container.id: baseline.get(container.id, 0) for container in seen.containers}
                found = readiness(desired, seen, now=datetime.now(UTC), restarts_before=counts)
                ids = {container.id for container in seen.containers if not container.oneoff}
                if present - ids and found.state is ReadyState.PROGRESSING:
                    return found
                present = ids
                if found.state is ReadyState.FAILED:
                    left = told_by - anyio.current_time()
                    if left > 0 and _runs_again(seen.containers, counts):
                        with anyio.move_on_after(left):
                            await changed.wait()
                        continue
                    break
                told_by = anyio.current_time() + LAST_WORDS
                if found.state is ReadyState.READY:
                    young = _young(seen.containers, proven)
                    if not young:
                        break
                    with anyio.move_on_after(_left_to_prove(young)):
                        await changed.wait()
                    for container in young:
                        await known_container(engine, observed, container.id)
                    continue
                # Proving itself after a restart is a matter of time, not of an event.
                with anyio.move_on_after(STEADY.total_seconds() + 0.1 if found.code == "JustRestarted" else None):
                    await changed.wait()
    if found is None:
        return Readiness(ReadyState.FAILED, "Timeout", f"nothing is known of the stack after {timeout:g} s")
    if found.state is ReadyState.PROGRESSING:
        found = replace(
            found,
            state=ReadyState.FAILED,
            code="Timeout",
            message=f"application not healthy after {timeout:g}s: {found.message}",
        )
    if found.state is ReadyState.FAILED:
        return replace(found, message=found.message + await _last_lines(engine, observed, desired, found))
    return found


def _runs_again(containers: Iterable[ObservedContainer], restarts_before: Mapping[str, int]) -> bool:
    return any(
        container.state == "running" and container.restart_count > restarts_before[container.id]
        for container in containers
    )


def settled(observed: ObservedContext, desired: DesiredStack, seen: ObservedProject) -> bool:
    """Whether `wait_ready` would have nothing to wait for, by what is known without asking: no event
    spoke of a container that was not looked at since, and the stack has been ready for a while."""
    return (
        not any(container.id in observed.outdated for container in seen.containers)
        and readiness(desired, seen, now=datetime.now(UTC)).state is ReadyState.READY
        and not _young(seen.containers, set())
    )


def _young(
    containers: Iterable[ObservedContainer], proven: set[tuple[str, datetime | None]]
) -> list[ObservedContainer]:
    """Those that run, that no health check vouches for, and that have only just started. Each start
    is waited for once, so that an Engine with another clock holds nobody up."""
    now = datetime.now(UTC)
    found = []
    for container in containers:
        start = (container.id, container.started_at)
        if container.state != "running" or container.health or start in proven or container.started_at is None:
            continue
        proven.add(start)
        if now - container.started_at < PROOF:
            found.append(container)
    return found


def _left_to_prove(containers: Iterable[ObservedContainer]) -> float:
    now = datetime.now(UTC)
    latest = max(container.started_at for container in containers if container.started_at is not None)
    return min((latest + PROOF - now).total_seconds(), PROOF.total_seconds())


async def _last_lines(engine: Engine, observed: ObservedContext, desired: DesiredStack, found: Readiness) -> str:
    """What the first container of the worst service wrote last."""
    seen = await current_project(engine, observed, desired)
    suspects = [
        container
        for service in found.services or {}
        for container in project_containers(seen, service)
        if container.state != "running" or container.health in ("unhealthy", "starting") or container.restart_count
    ]
    mentioned = [container for container in suspects if container.name in found.message]
    for container in (mentioned or suspects)[:1]:
        lines = await log_tail(engine, container.id, tty=bool(container.inspect.get("Config", {}).get("Tty")))
        if lines:
            return f"; last lines of container {container.name}:{indented(lines)}"
    return ""
