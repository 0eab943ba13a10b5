"""Projects and containers as `docker compose ls` and `docker compose ps` show them.

Pure functions over the observed state. Texts such as `Up 3 minutes (healthy)` are computed
here, because the Engine only words them when asked for a list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from api import wire
from state.model import DEFAULT_CONTEXT
from state.observed import LABEL_CONFIG_FILES, LABEL_CONFIG_HASH, ObservedContainer, ObservedContext

ALIVE = frozenset(("running", "paused", "restarting"))
"""States the Engine lists without being asked for all."""


class ProjectLists:
    """The list of all projects as it goes over the wire, made anew only when something changed:
    dashboards ask for it again and again."""

    def __init__(self) -> None:
        self._known: dict[bool, tuple[list[tuple[str, int]], bytes]] = {}

    def encoded(self, contexts: Sequence[ObservedContext], *, all_states: bool) -> bytes:
        """JSON of the projects of these contexts sorted by name; empty if there are none."""
        state = [(context.name, context.revision) for context in contexts]
        known = self._known.get(all_states)
        if known is not None and known[0] == state:
            return known[1]
        rows = [row for context in contexts for row in project_rows(context, all_states=all_states)]
        rows.sort(key=lambda row: str(row["Name"]))
        encoded = wire.encode(rows) if rows else b""
        self._known[all_states] = (state, encoded)
        return encoded


def project_rows(context: ObservedContext, *, all_states: bool) -> list[dict[str, Any]]:
    """The Compose projects of a context, sorted by name."""
    rows = []
    for name in context.project_names():
        containers = [
            container
            for container in context.project(name)
            if LABEL_CONFIG_HASH in container.labels and (all_states or container.state in ALIVE)
        ]
        if containers:
            rows.append(_project_row(context, name, containers))
    return rows


def _project_row(context: ObservedContext, name: str, containers: Sequence[ObservedContainer]) -> dict[str, Any]:
    states = Counter(container.state for container in containers)
    return {
        "ID": name,
        "Name": name,
        "Status": ", ".join(f"{state}({count})" for state, count in sorted(states.items())),
        "ConfigFiles": _config_files(containers),
        "Reason": "",
        **_extras(context),
    }


def _config_files(containers: Sequence[ObservedContainer]) -> str:
    files: dict[str, None] = {}
    for container in containers:
        label = container.labels.get(LABEL_CONFIG_FILES)
        if label is None:
            return "N/A"
        files.update(dict.fromkeys(label.split(",")))
    return ",".join(files)


def container_row(context: ObservedContext, container: ObservedContainer, now: datetime) -> dict[str, Any]:
    """One container as a `ps` summary."""
    return {
        "ID": container.id,
        "Name": container.name,
        "Names": [f"/{container.name}"],
        "Image": container.image,
        "Command": container.command,
        "Project": container.project,
        "Service": container.service,
        "Created": int(container.created_at.timestamp()) if container.created_at else 0,
        "State": container.state,
        "Status": status_text(container, now),
        "Health": container.health if container.state == "running" else "",
        "ExitCode": container.exit_code if container.state in ("exited", "dead") else 0,
        "Publishers": [
            {"URL": port.ip, "TargetPort": port.private, "PublishedPort": port.public, "Protocol": port.protocol}
            for port in sorted(container.ports, key=lambda port: (port.private, port.protocol, port.ip))
        ],
        "Labels": dict(sorted(container.labels.items())),
        "Mounts": list(container.mounts) or None,
        "Networks": sorted(container.networks) or None,
        "LocalVolumes": container.local_volumes,
        **_extras(context),
    }


def _extras(context: ObservedContext) -> dict[str, Any]:
    """What Doco-CD has no key for, where there is something to say."""
    extras: dict[str, Any] = {}
    if context.name != DEFAULT_CONTEXT:
        extras["Context"] = context.name
    if context.stale_since is not None:
        extras["stale_since"] = wire.timestamp(context.stale_since)
    return extras


def status_text(container: ObservedContainer, now: datetime) -> str:
    """The `STATUS` column of `docker ps`."""
    up = _ago(container.started_at, now)
    down = _ago(container.finished_at, now)
    match container.state:
        case "running":
            health = {"": "", "starting": " (health: starting)"}.get(container.health, f" ({container.health})")
            return f"Up {up}{health}"
        case "paused":
            return f"Up {up} (Paused)"
        case "restarting":
            return f"Restarting ({container.exit_code}) {down} ago"
        case "removing":
            return "Removal In Progress"
        case "dead":
            return "Dead"
        case "created":
            return "Created"
        case _:
            if container.started_at is None:
                return "Created"
            return f"Exited ({container.exit_code}) {down} ago" if container.finished_at else ""


def _ago(moment: datetime | None, now: datetime) -> str:
    return human_duration((now - moment).total_seconds() if moment is not None else 0.0)


def human_duration(seconds: float) -> str:
    """A duration in Docker's words."""
    whole = int(seconds)
    minutes, hours = int(seconds / 60), int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"
