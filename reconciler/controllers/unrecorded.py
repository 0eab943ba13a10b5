"""A stack that is to be destroyed and that only the Engine knows.

Doco-CD deployed it before Moored took its place, or the store was lost. `destroy` is to take it
away all the same, but only if its containers say that this repository deployed them: without a
record, their labels are all there is to tell whose they are.
"""

from __future__ import annotations

from collections.abc import Collection

from reconciler.compose.model import Project
from reconciler.deployments.config import DeployConfig, config_json
from reconciler.deployments.desired import LABEL_MANAGER, LABEL_SOURCE_NAME
from reconciler.deployments.snapshot import desired_hash, snapshot
from state.model import Overrides, Removal, Source, Stack, StackKey
from state.observed import ObservedProject


def refusal(name: str, seen: ObservedProject, source_names: Collection[str]) -> str:
    """Why what is there of a stack may not be destroyed; empty: it may."""
    labels = [container.labels for container in seen.containers if not container.oneoff]
    if not any(LABEL_MANAGER in found for found in labels):
        return f"stack is not managed by doco-cd: {name}: aborting destruction"
    if any(found.get(LABEL_SOURCE_NAME) not in source_names for found in labels):
        return f"another stack with the same name already exists and is not managed by this repository: {name}"
    return ""


def leaving(source: Source, key: StackKey, config: DeployConfig, commit: str) -> Stack:
    """The record of such a stack: one that is being taken down, and wants nothing."""
    values = config_json(config)
    body = dict(snapshot(Project(name=key.name, working_dir="/", compose_files=(), services={}), {}))
    digest = desired_hash(body, values)
    destroy = config.destroy
    return Stack(
        key=key,
        source_id=source.id,
        repository=source.repository,
        reference=config.reference,
        revision=commit,
        config=values,
        desired=body,
        desired_hash=digest,
        overrides=Overrides(removed=Removal(digest, destroy.remove_volumes, destroy.remove_images)),
        deleting=True,
    )
