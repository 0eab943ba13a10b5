"""From what the store keeps of a stack to what the planner wants to know.

Pure. One-time wishes (`force_recreate`, `force_image_pull`, asking the registry whether
a mutable tag moved, trying failed containers again) are only part of the policy while
somebody is entitled to them: once for a new revision or an explicit request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reconciler.deployments.snapshot import content_of, project_of
from reconciler.planner.model import DesiredStack, DriftPolicy, Policy
from state.model import JsonObject, Stack

LABEL_MANAGER = "cd.doco.metadata.manager"
LABEL_SOURCE_NAME = "cd.doco.source.name"

DEFAULT_TIMEOUT = 180.0
SHORTEST_TIMEOUT = 30.0
"""What a `timeout` of zero or less means."""


def desired_of(stack: Stack, *, fresh: bool) -> DesiredStack:
    """What should run. `fresh`: a new revision or a person asked for this reconcile."""
    config = stack.config
    return DesiredStack(
        key=stack.key,
        project=project_of(stack.desired),
        policy=policy_of(config, fresh=fresh or force_requested(stack), pending=force_requested(stack)),
        overrides=stack.overrides,
        labels=stack.desired.get("labels", {}),
        content=content_of(stack.desired),
        acknowledged_content=acknowledged_of(stack),
        adopted_builds=stack.desired.get("adopted_builds", {}),
        seccomp_profiles=stack.desired.get("seccomp_profiles", {}),
    )


def force_requested(stack: Stack) -> bool:
    """Whether a new revision or an explicit call still has its one-time wishes open."""
    return bool(stack.pending_recreate)


def acknowledged_of(stack: Stack) -> Mapping[str, Mapping[str, str]]:
    """Content changes that were signalled instead of recreated, by service."""
    acknowledged: Mapping[str, Mapping[str, str]] = stack.acknowledged
    return acknowledged


def policy_of(config: JsonObject, *, fresh: bool, pending: bool) -> Policy:
    """The policy of a deploy configuration (`reconciler.deployments.config`, as JSON)."""
    build: Mapping[str, Any] = config.get("build") or {}
    timeout = float(config.get("timeout", DEFAULT_TIMEOUT))
    return Policy(
        remove_orphans=bool(config.get("remove_orphans", True)),
        prune_images=bool(config.get("prune_images", True)),
        force_recreate=pending and bool(config.get("force_recreate", False)),
        force_image_pull=pending and bool(config.get("force_image_pull", False)),
        check_registry=fresh,
        retry_failed=fresh,
        timeout=timeout if timeout > 0 else SHORTEST_TIMEOUT,
        build_no_cache=bool(build.get("no_cache", False)),
        build_pull=bool(build.get("force_image_pull", False)),
        build_args={name: str(value) for name, value in (build.get("args") or {}).items()},
        drift=drift_policy(config),
    )


def drift_policy(config: JsonObject) -> DriftPolicy:
    """How `reconciliation` maps onto drift.

    `false` switches the repair of drift off; an empty list of events only reports it. Any
    event corrects existence and running state, whatever the event: a level-triggered agent
    does not depend on which of them it happened to hear.
    """
    reconciliation = config.get("reconciliation")
    if not isinstance(reconciliation, Mapping):
        return DriftPolicy.CORRECT
    if not reconciliation.get("enabled", True):
        return DriftPolicy.OFF
    if reconciliation.get("events") == []:
        return DriftPolicy.DETECT
    return DriftPolicy.CORRECT


def flow_bool(value: bool) -> str:
    return "true" if value else "false"


def discovery_label(config: JsonObject) -> str:
    """Label `cd.doco.deployment.auto_discovery.config`: YAML flow, its keys in a fixed order."""
    raw = config.get("auto_discovery")
    discovery: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    return (
        f"{{enabled: {flow_bool(bool(discovery.get('enabled', False)))}, depth: {int(discovery.get('depth', 0))}, "
        f"delete: {flow_bool(bool(discovery.get('delete', False)))}, "
        f"remove_volumes: {flow_bool(bool(discovery.get('remove_volumes', False)))}, "
        f"remove_images: {flow_bool(bool(discovery.get('remove_images', True)))}}}"
    )


def tool_labels(
    *,
    name: str,
    config: JsonObject,
    config_sha: str,
    desired_sha: str,
    working_dir: str,
    target: str,
    reference: str,
    revision: str,
    trigger: str,
    source_name: str,
    source_url: str,
    timestamp: str,
    version: str,
    instance: str,
) -> dict[str, str]:
    """The labels that Doco-CD's clients look for, and our owner mark.

    They are written when a container is created and never a reason to recreate it: the
    truth is in the store.
    """
    raw = config.get("auto_discovery")
    discovered = isinstance(raw, Mapping) and bool(raw.get("enabled", False))
    return {
        LABEL_MANAGER: "doco-cd",
        "cd.doco.metadata.version": version,
        "cd.doco.deployment.name": name,
        "cd.doco.deployment.timestamp": timestamp,
        "cd.doco.deployment.compose.sha": desired_sha,
        "cd.doco.deployment.working_dir": working_dir,
        "cd.doco.deployment.config.target": target,
        "cd.doco.deployment.config.sha": config_sha,
        "cd.doco.deployment.target.ref": reference,
        "cd.doco.deployment.target.sha": revision,
        "cd.doco.deployment.trigger": trigger,
        "cd.doco.deployment.auto_discovery": flow_bool(discovered),
        "cd.doco.deployment.auto_discovery.config": discovery_label(config),
        "cd.doco.source": "git",
        LABEL_SOURCE_NAME: source_name,
        "cd.doco.source.url": source_url,
        "io.moored.instance": instance,
    }


def canonical(value: object) -> str:
    """Compact JSON with sorted keys, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
