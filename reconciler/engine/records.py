"""The Engine's JSON as the slim records of `state.observed`.

Pure. What the field-by-field comparison needs beyond the fields goes into the compressed
`inspect_blob`; what changes all the time and nobody compares (the output of health
checks, storage driver paths) is left out of it, so that an unchanged container makes an
unchanged record.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from sys import intern
from typing import Any

from state.observed import (
    LABEL_PROJECT,
    ObservedContainer,
    ObservedImage,
    ObservedNetwork,
    ObservedVolume,
    PublishedPort,
)

ZERO_TIME = "0001-01-01"
_HEALTH_IN_STATUS = {"starting": "(health: starting)", "healthy": "(healthy)", "unhealthy": "(unhealthy)"}
_UNCOMPARED = ("GraphDriver", "LogPath", "ResolvConfPath", "HostnamePath", "HostsPath", "ExecIDs", "SizeRw")


def parse_time(text: str | None) -> datetime | None:
    """RFC 3339 with up to nine digits after the point; the Engine's zero time is None."""
    if not text or text.startswith(ZERO_TIME):
        return None
    whole, point, rest = text.partition(".")
    if point:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        zone = rest[len(digits) :]
        text = f"{whole}.{digits[:6]}{zone}"
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _health(state: Mapping[str, Any]) -> str:
    """What the health check says. The Engine calls a paused container unhealthy, and still so when it
    goes on, until the next check: no check has failed then."""
    health = state.get("Health") or {}
    status = str(health.get("Status") or "")
    if status == "unhealthy" and state.get("Status") == "running" and health.get("FailingStreak") == 0:
        return "starting"
    return "" if status == "none" else status


def command_text(inspect: Mapping[str, Any]) -> str:
    """Program and arguments as the Engine's own list words them: an argument with a blank in it is quoted."""
    arguments = (f"'{argument}'" if " " in argument else argument for argument in map(str, inspect.get("Args") or []))
    return " ".join([str(inspect.get("Path") or ""), *arguments]).strip()


def container_record(inspect: Mapping[str, Any], *, stopped_by_hand: bool = False) -> ObservedContainer:
    """From `GET /containers/{id}/json`."""
    state = inspect.get("State") or {}
    config = inspect.get("Config") or {}
    network = inspect.get("NetworkSettings") or {}
    mounts = inspect.get("Mounts") or []
    labels = _shared(config.get("Labels"))
    return ObservedContainer(
        id=inspect["Id"],
        name=str(inspect.get("Name", "")).removeprefix("/"),
        image=str(config.get("Image", "")),
        image_id=str(inspect.get("Image", "")),
        labels=labels,
        state=str(state.get("Status", "")),
        health=_health(state),
        exit_code=int(state.get("ExitCode") or 0),
        restart_count=int(inspect.get("RestartCount") or 0),
        error=str(state.get("Error") or ""),
        oom_killed=bool(state.get("OOMKilled")),
        created_at=parse_time(inspect.get("Created")),
        started_at=parse_time(state.get("StartedAt")),
        finished_at=parse_time(state.get("FinishedAt")),
        command=command_text(inspect),
        ports=_published(network.get("Ports") or {}),
        mounts=tuple(sorted(str(mount.get("Name") or mount.get("Source") or "") for mount in mounts)),
        local_volumes=sum(
            1 for mount in mounts if mount.get("Type") == "volume" and mount.get("Driver", "local") == "local"
        ),
        networks=tuple(sorted(network.get("Networks") or {})),
        stopped_by_hand=stopped_by_hand,
        inspect_blob=_blob(inspect) if LABEL_PROJECT in labels else b"",
    )


def container_summary(entry: Mapping[str, Any]) -> ObservedContainer:
    """From an entry of `GET /containers/json`: enough for a container of no project."""
    names = [name for name in entry.get("Names") or () if name.count("/") == 1]
    return ObservedContainer(
        id=entry["Id"],
        name=(names[0] if names else "").removeprefix("/"),
        image=str(entry.get("Image", "")),
        image_id=str(entry.get("ImageID", "")),
        labels=_shared(entry.get("Labels")),
        state=str(entry.get("State", "")),
        command=str(entry.get("Command") or ""),
        networks=tuple(sorted((entry.get("NetworkSettings") or {}).get("Networks") or {})),
    )


def agrees(container: ObservedContainer, entry: Mapping[str, Any]) -> bool:
    """Whether an entry of `GET /containers/json` says what a record says, as far as it says anything."""
    status = str(entry.get("Status") or "")
    health = next((word for word, text in _HEALTH_IN_STATUS.items() if text in status), "")
    return (
        container.state == entry.get("State")
        and container.image_id == entry.get("ImageID")
        and f"/{container.name}" in (entry.get("Names") or ())
        and container.labels == (entry.get("Labels") or {})
        and container.networks == tuple(sorted((entry.get("NetworkSettings") or {}).get("Networks") or {}))
        and (container.state != "running" or container.health == health)
        and (container.state != "exited" or status.startswith(f"Exited ({container.exit_code})"))
    )


def network_record(inspect: Mapping[str, Any]) -> ObservedNetwork:
    return ObservedNetwork(
        id=inspect["Id"],
        name=inspect["Name"],
        labels=dict(inspect.get("Labels") or {}),
        driver=str(inspect.get("Driver", "")),
        inspect={key: value for key, value in inspect.items() if key != "Containers"},
    )


def volume_record(inspect: Mapping[str, Any]) -> ObservedVolume:
    return ObservedVolume(
        name=inspect["Name"],
        labels=dict(inspect.get("Labels") or {}),
        driver=str(inspect.get("Driver", "")),
        options=dict(inspect.get("Options") or {}),
    )


def image_record(inspect: Mapping[str, Any]) -> ObservedImage:
    config = inspect.get("Config") or {}
    variant = inspect.get("Variant") or ""
    return ObservedImage(
        id=inspect["Id"],
        tags=tuple(inspect.get("RepoTags") or ()),
        digests=tuple(inspect.get("RepoDigests") or ()),
        platform="/".join(filter(None, (inspect.get("Os", ""), inspect.get("Architecture", ""), variant))),
        labels=dict(config.get("Labels") or {}),
        config=dict(config),
        last_tagged=parse_time((inspect.get("Metadata") or {}).get("LastTagTime")),
    )


def _shared(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Labels whose texts all containers share: most say the same of hundreds."""
    return {intern(key): intern(value) for key, value in (labels or {}).items()}


def _blob(inspect: Mapping[str, Any]) -> bytes:
    slim = {key: value for key, value in inspect.items() if key not in _UNCOMPARED}
    state = slim.get("State")
    if isinstance(state, dict) and "Health" in state:
        slim["State"] = {**state, "Health": {"Status": (state["Health"] or {}).get("Status")}}
    # The Engine lists mounts in random order.
    slim["Mounts"] = sorted(slim.get("Mounts") or [], key=lambda mount: str(mount.get("Destination")))
    return zlib.compress(json.dumps(slim, separators=(",", ":")).encode(), 1)


def _published(ports: Mapping[str, Iterable[Mapping[str, str]] | None]) -> tuple[PublishedPort, ...]:
    found: set[tuple[int, str, str, int]] = set()
    for key, bindings in ports.items():
        number, _, protocol = key.partition("/")
        if not number.isdigit():
            continue
        for binding in bindings or ({},):
            public = binding.get("HostPort") or "0"
            found.add((int(number), protocol or "tcp", binding.get("HostIp") or "", int(public)))
    return tuple(
        PublishedPort(ip=ip, private=private, public=public, protocol=protocol)
        for private, protocol, ip, public in sorted(found)
    )
