"""Commands around a service's life: `pre_start` containers, `post_start` and `pre_stop` commands.

A `pre_start` hook is a container of its own that borrows the volumes and networks of the
service container (created, not started yet). It carries no config hash and no number, so
that nobody takes it for a replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.compose.model import Model
from reconciler.planner.containers import (
    COMPOSE_VERSION,
    LABEL_HOOK,
    LABEL_VERSION,
    environment,
    expected_peers,
)
from reconciler.planner.endpoints import ENDPOINTS_AT_CREATION, Peers, endpoints, link_strings
from reconciler.planner.graph import image_reference
from reconciler.planner.model import DesiredStack
from reconciler.planner.specs import ExecSpec, HookSpec, Json
from reconciler.planner.values import without_empty
from state.observed import LABEL_PROJECT, LABEL_SERVICE, EngineFacts


def hook_image(desired: DesiredStack, service: str, hook: Model) -> str:
    """The image of a `pre_start` hook: its own, else the service's."""
    return hook.get("image") or image_reference(desired.project, service)


def hook_specs(
    desired: DesiredStack,
    service: str,
    *,
    container_id: str,
    engine: EngineFacts,
    references: Mapping[str, str] | None = None,
    peers: Peers | None = None,
) -> tuple[HookSpec, ...]:
    """The `pre_start` containers of a service, in order; `container_id` lends its volumes."""
    project = desired.project
    model = project.services[service]
    links = link_strings(project, model, 0, expected_peers(desired, service) if peers is None else peers)
    attached = endpoints(project, service, 0, engine, links)
    mode: str = model.get("network_mode") or (attached[0][0] if attached else "none")
    if mode.startswith("service:"):
        mode = f"container:{(references or {})[mode.removeprefix('service:')]}"
    together = len(attached) if engine.supports(ENDPOINTS_AT_CREATION) else 1
    specs = []
    for index, hook in enumerate(model.get("pre_start") or ()):
        host: Json = {"NetworkMode": mode, "VolumesFrom": [container_id], "AutoRemove": False}
        if hook.get("privileged"):
            host["Privileged"] = True
        body: Json = without_empty(
            {
                "Image": hook_image(desired, service, hook),
                "Cmd": hook.get("command"),
                "User": hook.get("user"),
                "WorkingDir": hook.get("working_dir"),
                "Env": environment({**(model.get("environment") or {}), **_hook_environment(hook)}),
            }
        )
        body["Labels"] = {
            LABEL_PROJECT: project.name,
            LABEL_SERVICE: service,
            LABEL_VERSION: COMPOSE_VERSION,
            LABEL_HOOK: "pre_start",
        }
        body["HostConfig"] = host
        if attached:
            body["NetworkingConfig"] = {"EndpointsConfig": dict(attached[:together])}
        specs.append(HookSpec(index=index, image=body["Image"], body=body, connects=tuple(attached[together:])))
    return tuple(specs)


def _hook_environment(hook: Model) -> Mapping[str, Any]:
    values = hook.get("environment") or {}
    if isinstance(values, Mapping):
        return values
    pairs = (entry.partition("=") for entry in values)
    return {key: value if separator else None for key, separator, value in pairs}


def _commands(desired: DesiredStack, service: str, attribute: str) -> tuple[ExecSpec, ...]:
    model = desired.project.services[service]
    specs = []
    for index, hook in enumerate(model.get(attribute) or ()):
        body: Json = without_empty(
            {
                "User": hook.get("user"),
                "Privileged": bool(hook.get("privileged")),
                "WorkingDir": hook.get("working_dir"),
                "Env": environment(_hook_environment(hook)),
            }
        )
        body.update({"Cmd": hook.get("command"), "AttachStdout": True, "AttachStderr": True})
        specs.append(ExecSpec(index=index, body=body, tty=bool(model.get("tty"))))
    return tuple(specs)


def post_start(desired: DesiredStack, service: str) -> tuple[ExecSpec, ...]:
    """Commands to run in a container after it was started."""
    return _commands(desired, service, "post_start")


def pre_stop(desired: DesiredStack, service: str) -> tuple[ExecSpec, ...]:
    """Commands to run in a container before it is stopped."""
    return _commands(desired, service, "pre_stop")
