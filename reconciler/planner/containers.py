"""A service and a number in, the container to create out.

The result is deterministic: two calls with the same arguments give the same JSON, so a
plan can be compared, and what the Engine reports afterwards lies in a known order.

Labels: the user's, then the tool's own (`cd.doco.*`, `io.moored.*`), then exactly those of
Docker Compose, so that `docker compose ps`, `logs` or `up` work on what we made. The
config hash is written in Compose 5.5's form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.compose.confighash import service_hash
from reconciler.compose.model import Model, Project
from reconciler.compose.render import Form
from reconciler.planner.endpoints import (
    ENDPOINTS_AT_CREATION,
    Peers,
    container_mac_address,
    endpoints,
    link_strings,
)
from reconciler.planner.graph import (
    container_name,
    dependencies,
    image_reference,
    linked_services,
    wanted_replicas,
)
from reconciler.planner.hostconfig import host_config, port_bindings
from reconciler.planner.model import DesiredStack
from reconciler.planner.mounts import injected_files
from reconciler.planner.specs import ContainerSpec, Json
from reconciler.planner.values import nanoseconds, port_key, stop_timeout, without_empty
from state.observed import EngineFacts, ObservedImage

COMPOSE_VERSION = "5.5.0"
"""What the label `com.docker.compose.version` says: whose conventions we follow."""
LABEL_CONTENT = "io.moored.content"
"""JSON: content key -> digest, of all that this container uses."""
LABEL_FILES = "io.moored.files"
"""Digest of where copied configs and secrets lie and with which rights: no inspect shows it."""
LABEL_IMAGE = "com.docker.compose.image"
LABEL_REPLACE = "com.docker.compose.replace"
LABEL_DEPENDS_ON = "com.docker.compose.depends_on"
LABEL_HOOK = "com.docker.compose.hook"
LABEL_VERSION = "com.docker.compose.version"
LABEL_NETWORK = "com.docker.compose.network"
LABEL_VOLUME = "com.docker.compose.volume"
LABEL_BUILD = "io.moored.build"
"""On a built image: digest of what it was built from."""
HASH_FORM: Form = "5"


def healthcheck(service: Model) -> Json | None:
    """`Config.Healthcheck`; a field left out takes the image's value."""
    check = service.get("healthcheck")
    if check is None:
        return None
    if check.get("disable"):
        return {"Test": ["NONE"]}
    return without_empty(
        {
            "Test": check.get("test"),
            "Interval": nanoseconds(check.get("interval")),
            "Timeout": nanoseconds(check.get("timeout")),
            "StartPeriod": nanoseconds(check.get("start_period")),
            "StartInterval": nanoseconds(check.get("start_interval")),
            "Retries": int(check.get("retries") or 0),
        }
    )


def environment(values: Mapping[str, Any] | None) -> list[str]:
    """`K=V` sorted by key; a null value gives a bare `K`, which unsets the image's."""
    return [key if value is None else f"{key}={value}" for key, value in sorted((values or {}).items())]


def files_digest(project: Project, service: Model) -> str:
    """Digest of the copied files' places and rights; empty without any."""
    items = [[i.kind, i.source, i.target, i.mode, i.uid, i.gid] for i in injected_files(project, service)]
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16] if items else ""


def depends_on_label(project: Project, service: Model) -> str:
    """`dep:condition:restart` items; services that no active profile brings are left out, as by Compose."""
    return ",".join(
        f"{need.service}:{need.condition}:{str(need.restart).lower()}"
        for need in dependencies(service)
        if need.service in project.services
    )


def content_label(desired: DesiredStack, service_name: str) -> str:
    """The digests of what a container uses, as its label keeps them."""
    used = {key: digest for key, digest in desired.content.get(service_name, {}).items() if key != "build"}
    return json.dumps(used, sort_keys=True, separators=(",", ":"))


def _image_volume_digests(service: Model, images: Mapping[str, ObservedImage | None]) -> str:
    items = []
    for volume in service.get("volumes") or ():
        if volume.get("type") == "image":
            image = images.get(volume.get("source") or "")
            if image is not None:
                items.append(f"{volume['target']}={image.id}")
    return ",".join(sorted(items))


def user_labels(service: Model) -> dict[str, str]:
    """The labels of the file."""
    return {key: "" if value is None else str(value) for key, value in (service.get("labels") or {}).items()}


def container_labels(
    desired: DesiredStack,
    service_name: str,
    number: int,
    *,
    references: Mapping[str, str],
    images: Mapping[str, ObservedImage | None],
    replacing: bool,
) -> dict[str, str]:
    """All labels of a service's container."""
    project = desired.project
    service = project.services[service_name]
    labels = user_labels(service)
    labels.update(desired.labels)
    labels[LABEL_CONTENT] = content_label(desired, service_name)
    digest = files_digest(project, service)
    if digest:
        labels[LABEL_FILES] = digest
    labels.update(
        {
            "com.docker.compose.project": project.name,
            "com.docker.compose.service": service_name,
            LABEL_VERSION: COMPOSE_VERSION,
            "com.docker.compose.project.working_dir": project.working_dir,
            "com.docker.compose.project.config_files": ",".join(project.compose_files),
            "com.docker.compose.oneoff": "False",
            "com.docker.compose.config-hash": service_hash(
                project, service_name, form=HASH_FORM, references=references
            ),
            "com.docker.compose.container-number": str(number),
            LABEL_DEPENDS_ON: depends_on_label(project, service),
        }
    )
    if project.env_files:
        labels["com.docker.compose.project.environment_file"] = ",".join(project.env_files)
    image = images.get(image_reference(project, service_name))
    if image is not None:
        labels[LABEL_IMAGE] = image.id
    mounted = _image_volume_digests(service, images)
    if mounted:
        labels["com.docker.compose.image-volume-digest"] = mounted
    if replacing:
        labels[LABEL_REPLACE] = service.get("container_name") or f"{service_name}-{number}"
    return labels


def expected_peers(desired: DesiredStack, service_name: str) -> dict[str, list[tuple[str, int]]]:
    """The containers of linked services as they are when nothing was ever renumbered."""
    project = desired.project
    peers = {}
    for linked, _ in linked_services(project.services[service_name]):
        if linked in project.services:
            numbers = range(1, wanted_replicas(desired, linked) + 1)
            peers[linked] = [(container_name(project, linked, number), number) for number in numbers]
    return peers


def container_spec(
    desired: DesiredStack,
    service: str,
    number: int,
    *,
    name: str | None = None,
    engine: EngineFacts,
    references: Mapping[str, str] | None = None,
    peers: Peers | None = None,
    images: Mapping[str, ObservedImage | None] | None = None,
    inherit: Mapping[str, Any] | None = None,
    tool_labels: bool = True,
) -> ContainerSpec:
    """The container of a service with this number, for the Engine at hand.

    `name` is the temporary name of a replacement (its aliases are those of the final one);
    `references` maps services to the ids of the containers whose namespaces or volumes it
    shares; `inherit` is the inspect answer of the container it replaces, whose anonymous
    volumes it takes over. Without `tool_labels` it is for comparison only, and cheaper.
    """
    project = desired.project
    model = project.services[service]
    references, images = references or {}, images or {}
    final = container_name(project, service, number)
    image = images.get(image_reference(project, service))
    links = link_strings(project, model, number, expected_peers(desired, service) if peers is None else peers)
    attached = endpoints(project, service, number, engine, links)
    network_mode = model.get("network_mode") or (attached[0][0] if attached else "none")
    body: Json = without_empty(
        {
            "Image": image_reference(project, service),
            "Env": environment(model.get("environment")),
            "Hostname": model.get("hostname"),
            "Domainname": model.get("domainname"),
            "User": model.get("user"),
            "WorkingDir": model.get("working_dir"),
            "StopSignal": model.get("stop_signal"),
            "Tty": bool(model.get("tty")),
            "OpenStdin": bool(model.get("stdin_open")),
            "NetworkDisabled": model.get("network_mode") == "disabled",
            "MacAddress": container_mac_address(model, engine),
            "ExposedPorts": {
                key: {}
                for key in [
                    *(key for entry in model.get("expose") or () for key in port_key(str(entry))),
                    *port_bindings(model),
                ]
            },
            "AttachStdout": True,
            "AttachStderr": True,
        }
    )
    body["Cmd"] = model.get("command")
    body["Entrypoint"] = model.get("entrypoint")
    check = healthcheck(model)
    if check:
        body["Healthcheck"] = check
    timeout = stop_timeout(model.get("stop_grace_period"))
    if timeout is not None:
        body["StopTimeout"] = timeout
    if tool_labels:
        body["Labels"] = container_labels(
            desired, service, number, references=references, images=images, replacing=name not in (None, final)
        )
    else:
        body["Labels"] = user_labels(model)
    body["HostConfig"] = host_config(
        desired,
        service,
        network_mode=network_mode,
        references=references,
        links=links,
        image_volumes=(image.config.get("Volumes") or {}) if image is not None else {},
        inherit=inherit,
    )
    at_creation, later = _split_endpoints(attached, engine)
    if at_creation:
        body["NetworkingConfig"] = {"EndpointsConfig": at_creation}
    return ContainerSpec(
        name=name or final,
        body=body,
        platform=model.get("platform") or "",
        connects=later,
        files=injected_files(project, model),
    )


def _split_endpoints(
    attached: Sequence[tuple[str, Json]], engine: EngineFacts
) -> tuple[dict[str, Json], tuple[tuple[str, Json], ...]]:
    """Endpoints the Engine takes at creation, and those to connect afterwards."""
    if engine.supports(ENDPOINTS_AT_CREATION):
        return dict(attached), ()
    return dict(attached[:1]), tuple(attached[1:])
