"""What the state of a container means: runs, ended as it should, failed, was stopped.

Compose starts every exited container on each `up`, finished one-shot jobs too. We do not:
a container that ended by itself stays ended until its own definition changes. What tells
the two apart is written here, once, for planning and for readiness.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from reconciler.compose.model import Model, Project
from reconciler.planner.graph import is_awaited_job, lends_namespace
from reconciler.planner.hostconfig import restart_policy
from reconciler.planner.model import DesiredStack
from state.observed import ObservedContainer

JOB_LABEL = "cd.doco.job.enabled"
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
STOPPED = "stopped"
"""Content key under which is remembered when a container that we stopped had been started: many
programs end with 0 then, and would pass for done."""
POST_START = "post_start"
"""Where is remembered (instead of a container's id) of which containers `post_start` commands may not
have been carried out: name -> the run after which they are due."""
TO_REMOVE = "to_remove"
"""Where is remembered (instead of a container's id) which images and volumes a plan was to remove after
the containers that told of them: id of the action -> reference of the image."""
KILLED = 128
"""Exit codes from here on say that a signal ended the process."""


class Course(StrEnum):
    """How a container stands against what it should do."""

    RUNNING = "running"
    COMPLETE = "complete"
    """A one-shot that ended with 0: done."""
    FAILED = "failed"
    """Ended by itself with an error, and nothing says to run it again."""
    ENDED = "ended"
    """Not running though it should."""
    PAUSED = "paused"
    FRESH = "fresh"
    """Created and never started."""
    LOST = "lost"
    """Dead or being removed: good for nothing."""


def is_scheduled(service: Model) -> bool:
    """Whether a service is an enabled scheduled job: created at deployment, started by its schedule."""
    return str((service.get("labels") or {}).get(JOB_LABEL, "")) in _TRUE


def has_job_label(service: Model) -> bool:
    """Whether a service is a scheduled job, enabled or not: nobody waits for those."""
    return JOB_LABEL in (service.get("labels") or {})


def has_healthcheck(service: Model, container: ObservedContainer | None = None) -> bool:
    """Whether health is checked, by the file or by what was observed (an image's own check)."""
    check = service.get("healthcheck")
    if check is not None:
        if check.get("disable") or (check.get("test") or [""])[0] == "NONE":
            return False
        if check.get("test"):
            return True
    return container is not None and bool(container.health)


def is_one_shot(project: Project, name: str, container: ObservedContainer | None = None) -> bool:
    """Whether a service is expected to end: somebody waits for its completion, or it offers
    nothing (no published port, no health check, no namespace) and nothing restarts it after
    success."""
    service = project.services[name]
    if is_awaited_job(project, name):
        return True
    if restart_policy(service)["Name"] not in ("", "no", "on-failure"):
        return False
    if service.get("ports") or has_healthcheck(service, container):
        return False
    return not lends_namespace(project, name)


def course(desired: DesiredStack, name: str, container: ObservedContainer) -> Course:
    """How one container of a service stands."""
    state = container.state
    if state in ("running", "restarting"):
        return Course.RUNNING
    if state == "paused":
        return Course.PAUSED
    if state == "created":
        return Course.FRESH
    if state in ("dead", "removing"):
        return Course.LOST
    if stopped_by_us(desired, container):
        return Course.ENDED
    return _ended(desired.project, name, container)


def stopped_by_us(desired: DesiredStack, container: ObservedContainer) -> bool:
    """Whether it did not end by itself, but because a plan stopped it."""
    since = desired.acknowledged_content.get(container.id, {}).get(STOPPED, "")
    return bool(since) and since == start_time(container)


def start_time(container: ObservedContainer) -> str:
    """When a container was last started; empty if never."""
    return container.started_at.isoformat() if container.started_at is not None else ""


def run_of(container: ObservedContainer) -> str:
    """Tells one run of one container from all others."""
    return f"{container.id}@{start_time(container)}"


def commands_due(desired: DesiredStack, name: str, container: ObservedContainer) -> bool:
    """Whether a running container was started by us and its `post_start` commands perhaps not carried
    out, because we were interrupted."""
    after = desired.acknowledged_content.get(POST_START, {}).get(container.name)
    has_any = bool(desired.project.services[name].get("post_start"))
    return has_any and container.state == "running" and after is not None and after != run_of(container)


def _ended(project: Project, name: str, container: ObservedContainer) -> Course:
    if container.stopped_by_hand or container.exit_code >= KILLED:
        return Course.ENDED
    policy: Mapping[str, object] = restart_policy(project.services[name])
    restart, limit = policy["Name"], policy["MaximumRetryCount"]
    one_shot = is_one_shot(project, name, container)
    if container.exit_code == 0:
        return Course.COMPLETE if one_shot else Course.ENDED
    if restart == "on-failure" and isinstance(limit, int) and 0 < limit <= container.restart_count:
        return Course.FAILED
    if restart not in ("", "no"):
        return Course.ENDED
    return Course.FAILED if one_shot else Course.ENDED
