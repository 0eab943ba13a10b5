"""The rendered desired state of a stack, as the store keeps it.

A snapshot holds the loaded Compose project and the digests of what its services mount,
so that after a restart a stack is reconciled from the store alone: no Git, no checkout,
no provider is asked. It contains secrets (environment values, inline secrets), like the
store it lies in.

The *desired hash* decides whether a commit changed anything of a stack. It covers the
rendered project, the digests and the deploy configuration, not the revision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from reconciler.compose.model import Project
from state.model import JsonObject

SNAPSHOT_VERSION = 1

_PROJECT_MAPS = (
    "services",
    "networks",
    "volumes",
    "secrets",
    "configs",
    "models",
    "extensions",
    "disabled_services",
)


def snapshot(
    project: Project, content: Mapping[str, Mapping[str, str]], seccomp_profiles: Mapping[str, str] | None = None
) -> JsonObject:
    """The JSON form of a rendered stack. The inverse is `project_of` and `content_of`."""
    body: dict[str, Any] = {
        "version": SNAPSHOT_VERSION,
        "name": project.name,
        "working_dir": project.working_dir,
        "compose_files": list(project.compose_files),
        "env_files": list(project.env_files),
        "secret_values": dict(project.secret_values),
        "seccomp_profiles": dict(seccomp_profiles or {}),
        "content": {service: dict(digests) for service, digests in content.items()},
    }
    for field in _PROJECT_MAPS:
        body[field] = getattr(project, field)
    return body


def project_of(body: JsonObject) -> Project:
    """The project of a snapshot."""
    return Project(
        name=body["name"],
        working_dir=body["working_dir"],
        compose_files=tuple(body["compose_files"]),
        env_files=tuple(body["env_files"]),
        secret_values=body["secret_values"],
        **{field: body[field] for field in _PROJECT_MAPS},
    )


def content_of(body: JsonObject) -> Mapping[str, Mapping[str, str]]:
    """The content digests of a snapshot: service -> what it uses -> digest."""
    content: Mapping[str, Mapping[str, str]] = body["content"]
    return content


def desired_hash(body: JsonObject, config: JsonObject) -> str:
    """SHA-256 over all that counts as a change of a stack, hexadecimal."""
    text = json.dumps([body, config], sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def with_adopted_builds(body: JsonObject, known: JsonObject | None) -> JsonObject:
    """`body` with the build inputs of when the stack was first seen, out of what is `known` of it."""
    adopted = dict(known.get("adopted_builds", {})) if known else {}
    for service, digests in content_of(body).items():
        if "build" in digests:
            adopted.setdefault(service, digests["build"])
    return {**body, "adopted_builds": adopted}
