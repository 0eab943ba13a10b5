"""Networks and volumes to create."""

from __future__ import annotations

from reconciler.compose.confighash import network_hash, volume_hash
from reconciler.compose.model import Project
from reconciler.planner.containers import COMPOSE_VERSION, LABEL_NETWORK, LABEL_VERSION, LABEL_VOLUME
from reconciler.planner.endpoints import network_name
from reconciler.planner.model import DesiredStack
from reconciler.planner.mounts import volume_name
from reconciler.planner.specs import Json
from reconciler.planner.values import without_empty
from state.observed import LABEL_CONFIG_HASH, LABEL_PROJECT, EngineFacts

_NOT_ON_VOLUMES = frozenset(
    f"cd.doco.deployment.{key}"
    for key in (
        "working_dir",
        "config.sha",
        "auto_discovery",
        "auto_discovery.config",
        "cert.expiry",
        "cert.rotatable",
        "cert.state",
    )
)


def network_body(project: Project, key: str, engine: EngineFacts) -> Json:
    """JSON for `POST /networks/create`."""
    network = project.networks[key]
    body: Json = {
        "Name": network_name(project, key),
        "Driver": network.get("driver") or "bridge",
        "Options": dict(network.get("driver_opts") or {}),
        "Internal": bool(network.get("internal")),
        "Attachable": bool(network.get("attachable")),
        "Labels": {
            **(network.get("labels") or {}),
            LABEL_PROJECT: project.name,
            LABEL_NETWORK: key,
            LABEL_VERSION: COMPOSE_VERSION,
            LABEL_CONFIG_HASH: network_hash(project.networks[key]),
        },
    }
    if not engine.supports("1.44"):
        # Makes a second network of the same name an error instead of a trap.
        body["CheckDuplicate"] = True
    for attribute, field in (("enable_ipv4", "EnableIPv4"), ("enable_ipv6", "EnableIPv6")):
        if network.get(attribute) is not None:
            body[field] = bool(network[attribute])
    ipam = network.get("ipam") or {}
    if ipam.get("driver") or ipam.get("config") or ipam.get("options"):
        body["IPAM"] = {
            "Driver": ipam.get("driver") or "default",
            "Options": dict(ipam.get("options") or {}) or None,
            "Config": [
                without_empty(
                    {
                        "Subnet": entry.get("subnet"),
                        "IPRange": entry.get("ip_range"),
                        "Gateway": entry.get("gateway"),
                        "AuxiliaryAddresses": entry.get("aux_addresses"),
                    }
                )
                for entry in ipam.get("config") or ()
            ],
        }
    return body


def volume_body(desired: DesiredStack, key: str) -> Json:
    """JSON for `POST /volumes/create`."""
    project = desired.project
    volume = project.volumes[key]
    body: Json = {
        "Name": volume_name(project, key),
        "Labels": {
            **(volume.get("labels") or {}),
            **{label: value for label, value in desired.labels.items() if label not in _NOT_ON_VOLUMES},
            LABEL_PROJECT: project.name,
            LABEL_VOLUME: key,
            LABEL_VERSION: COMPOSE_VERSION,
            LABEL_CONFIG_HASH: volume_hash(project.volumes[key]),
        },
    }
    if volume.get("driver"):
        body["Driver"] = volume["driver"]
    if volume.get("driver_opts"):
        body["DriverOpts"] = dict(volume["driver_opts"])
    return body
