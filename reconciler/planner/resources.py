"""Networks and volumes: which exist, which are to be made, which differ from their definition.

An object belongs to a key by its labels; among several the one with the exact name counts.
One found by name only is used as it is. External ones must exist. A changed network can be
made anew if nobody outside the project uses it; a changed volume holds data, so it stays
as it is until somebody allows its loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from itertools import permutations, product
from typing import Any

from reconciler.compose.confighash import network_hash, volume_hash
from reconciler.compose.model import Model, Project
from reconciler.compose.render import Form
from reconciler.planner.compare import Redactor
from reconciler.planner.containers import LABEL_NETWORK
from reconciler.planner.endpoints import network_name
from reconciler.planner.graph import service_networks
from reconciler.planner.inspected import is_tool_label
from reconciler.planner.model import DesiredStack, PlanError
from reconciler.planner.mounts import volume_name
from state.model import Change
from state.observed import LABEL_CONFIG_HASH, LABEL_PROJECT, ObservedNetwork, ObservedProject, ObservedVolume

FORMS: tuple[Form, ...] = ("5", "2")
"""Compose 5.5's way to hash, and 2.40.3's."""


class Standing(StrEnum):
    PRESENT = "present"
    MISSING = "missing"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class NetworkState:
    """A network that enabled services use, against what is there."""

    key: str
    name: str
    """The name that containers shall be attached to."""
    standing: Standing
    present: ObservedNetwork | None = None
    changes: tuple[Change, ...] = ()
    subnets: tuple[str, ...] = ()
    """Those the definition chooses."""
    former: tuple[ObservedNetwork, ...] = ()
    """Networks of this project and key that are not the one: left over from a rename, or made
    twice."""


@dataclass(frozen=True, slots=True)
class VolumeState:
    """A volume that enabled services use, against what is there."""

    key: str
    name: str
    standing: Standing
    present: ObservedVolume | None = None
    changes: tuple[Change, ...] = ()
    labels_only: bool = False
    """Nothing but labels differs: not worth anybody's data."""


def used_networks(project: Project) -> list[str]:
    """Keys of the networks that enabled services are attached to."""
    return sorted(
        {
            key
            for service in project.services.values()
            for key, _ in service_networks(service)
            if key in project.networks
        }
    )


def used_volumes(project: Project) -> list[str]:
    """Keys of the volumes that enabled services mount."""
    return sorted(
        {
            volume["source"]
            for service in project.services.values()
            for volume in service.get("volumes") or ()
            if volume.get("type") == "volume" and volume.get("source") in project.volumes
        }
    )


def network_states(desired: DesiredStack, observed: ObservedProject) -> list[NetworkState]:
    """All used networks; `PlanError` for an external one that does not exist."""
    project = desired.project
    found, missing = [], []
    for key in used_networks(project):
        definition, name = project.networks[key], network_name(project, key)
        candidates = [network for network in observed.networks if network.name == name]
        if definition.get("external"):
            if not candidates and not any(network.id == name for network in observed.networks):
                missing.append(f"networks.{key}: external network {name} does not exist")
            found.append(NetworkState(key, name, Standing.PRESENT, candidates[0] if candidates else None))
            continue
        ours = [network for network in observed.networks if _owned(network.labels, project, LABEL_NETWORK, key)]
        exact = [network for network in ours if network.name == name] or candidates
        former = tuple(network for network in ours if network.name != name)
        if len(exact) > 1:
            exact, doubles = _most_used(exact, observed)
            former += tuple(network for network in doubles if network in ours)
        pools = (definition.get("ipam") or {}).get("config") or ()
        subnets = tuple(pool["subnet"] for pool in pools if pool.get("subnet"))
        if not exact:
            found.append(NetworkState(key, name, Standing.MISSING, subnets=subnets, former=former))
            continue
        present = exact[0]
        changes: tuple[Change, ...] = ()
        if present in ours and _hash_differs(present.labels, {network_hash(definition, form) for form in FORMS}):
            changes = tuple(_network_changes(key, definition, present))
        standing = Standing.CHANGED if changes else Standing.PRESENT
        found.append(NetworkState(key, name, standing, present, changes, subnets, former))
    if missing:
        raise PlanError("; ".join(missing))
    return found


def volume_states(desired: DesiredStack, observed: ObservedProject) -> list[VolumeState]:
    """All used volumes; `PlanError` for an external one that does not exist."""
    project = desired.project
    found, missing = [], []
    for key in used_volumes(project):
        definition, name = project.volumes[key], volume_name(project, key)
        present = next((volume for volume in observed.volumes if volume.name == name), None)
        if present is None:
            if definition.get("external"):
                missing.append(f"volumes.{key}: external volume {name} does not exist")
            found.append(VolumeState(key, name, Standing.MISSING))
            continue
        changes: list[Change] = []
        labels_only = False
        if (
            not definition.get("external")
            and present.labels.get(LABEL_PROJECT) == project.name
            and _hash_differs(present.labels, {volume_hash(definition)})
        ):
            changes, labels_only = _volume_changes(key, definition, present)
        standing = Standing.CHANGED if changes else Standing.PRESENT
        found.append(VolumeState(key, name, standing, present, tuple(changes), labels_only))
    if missing:
        raise PlanError("; ".join(missing))
    return found


def overlaps(state: NetworkState, former: ObservedNetwork) -> bool:
    """Whether a missing network can only be made when a former one of it is gone."""
    if state.standing is not Standing.MISSING:
        return False
    taken = [pool.get("Subnet") or "" for pool in (former.inspect.get("IPAM") or {}).get("Config") or ()]
    return any(_same_addresses(wanted, present) for wanted in state.subnets for present in taken if present)


def _same_addresses(one: str, other: str) -> bool:
    try:
        a, b = ip_network(one, strict=False), ip_network(other, strict=False)
    except ValueError:
        return False
    return a.version == b.version and a.overlaps(b)


def _most_used(
    networks: list[ObservedNetwork], observed: ObservedProject
) -> tuple[list[ObservedNetwork], list[ObservedNetwork]]:
    """Of several networks with one name (older Engines allow that) the one to go by, and those
    that nobody of the project is attached to."""
    attached = [
        endpoint.get("NetworkID")
        for container in observed.containers
        for endpoint in ((container.inspect.get("NetworkSettings") or {}).get("Networks") or {}).values()
    ]
    ranked = sorted(networks, key=lambda network: (-attached.count(network.id), network.id))
    return ranked[:1], [network for network in ranked[1:] if network.id not in attached]


def _owned(labels: Mapping[str, str], project: Project, label: str, key: str) -> bool:
    return labels.get(LABEL_PROJECT) == project.name and labels.get(label) == key


def _hash_differs(labels: Mapping[str, str], hashes: set[str]) -> bool:
    """Whether the definition may have changed; without a hash label nobody says so."""
    label = labels.get(LABEL_CONFIG_HASH)
    return label is not None and label not in hashes


def _change(field: str, old: Any, new: Any) -> Change:
    plain = Redactor()
    return Change(field, plain.value(field, old), plain.value(field, new))


def _user_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if not is_tool_label(key)}


def _network_changes(key: str, definition: Model, present: ObservedNetwork) -> list[Change]:
    inspect, prefix = present.inspect, f"networks.{key}"
    wanted: dict[str, tuple[Any, Any]] = {
        "driver": (inspect.get("Driver") or "bridge", definition.get("driver") or "bridge"),
        "driver_opts": (dict(inspect.get("Options") or {}), dict(definition.get("driver_opts") or {})),
        "internal": (bool(inspect.get("Internal")), bool(definition.get("internal"))),
        "attachable": (bool(inspect.get("Attachable")), bool(definition.get("attachable"))),
        "labels": (_user_labels(present.labels), _user_labels(definition.get("labels") or {})),
    }
    if definition.get("enable_ipv6") is not None or inspect.get("EnableIPv6"):
        wanted["enable_ipv6"] = (bool(inspect.get("EnableIPv6")), bool(definition.get("enable_ipv6")))
    if "EnableIPv4" in inspect:
        wanted["enable_ipv4"] = (bool(inspect["EnableIPv4"]), definition.get("enable_ipv4") is not False)
    found = [_change(f"{prefix}.{field}", old, new) for field, (old, new) in wanted.items() if old != new]
    label = present.labels.get(LABEL_CONFIG_HASH) or ""
    found.extend(_ipam_changes(f"{prefix}.ipam", definition, inspect.get("IPAM") or {}, label))
    return found


def _ipam_changes(prefix: str, network: Model, present: Mapping[str, Any], label: str) -> list[Change]:
    found = []
    definition = network.get("ipam") or {}
    driver = definition.get("driver") or "default"
    if (present.get("Driver") or "default") != driver:
        found.append(_change(f"{prefix}.driver", present.get("Driver"), driver))
    if dict(present.get("Options") or {}) != dict(definition.get("options") or {}):
        found.append(_change(f"{prefix}.options", present.get("Options"), definition.get("options")))
    wanted = sorted(
        _pool(entry, "subnet", "ip_range", "gateway", "aux_addresses") for entry in definition.get("config") or ()
    )
    live = sorted(
        _pool(entry, "Subnet", "IPRange", "Gateway", "AuxiliaryAddresses") for entry in present.get("Config") or ()
    )
    if not any(pool[0] for pool in wanted):
        # Nothing chosen: any subnet the Engine picked is right, unless it was chosen once.
        if _was_chosen(network, present.get("Config") or (), label):
            found.append(_change(f"{prefix}.config", [_pool_text(p) for p in live], None))
        return found
    if len(wanted) == len(live):
        # A gateway that was not asked for is the Engine's choice.
        live = [
            (subnet, span, gateway if want[2] else "", extra)
            for (subnet, span, gateway, extra), want in zip(live, wanted, strict=True)
        ]
    if wanted != live:
        found.append(_change(f"{prefix}.config", [_pool_text(p) for p in live], [_pool_text(p) for p in wanted]))
    return found


def _was_chosen(network: Model, live: Sequence[Mapping[str, Any]], label: str) -> bool:
    """Whether the network's hash is that of its definition with the subnets it has. A gateway may
    have been chosen or not; the Engine tells them in an order of its own."""
    if not live or len(live) > _MOST_POOLS:
        return False
    pools = [{ours: pool[theirs] for ours, theirs in _POOL_FIELDS.items() if pool.get(theirs)} for pool in live]
    choices = [(pool, {key: value for key, value in pool.items() if key != "gateway"}) for pool in pools]
    candidates = (
        {**network, "ipam": {**(network.get("ipam") or {}), "config": list(ordered)}}
        for chosen in product(*choices)
        for ordered in permutations(chosen)
    )
    return any(network_hash(candidate, form) == label for candidate in candidates for form in FORMS)


_MOST_POOLS = 3
_POOL_FIELDS = {
    "subnet": "Subnet",
    "ip_range": "IPRange",
    "gateway": "Gateway",
    "aux_addresses": "AuxiliaryAddresses",
}
_Pool = tuple[str, str, str, tuple[tuple[str, str], ...]]


def _pool(entry: Mapping[str, Any], subnet: str, span: str, gateway: str, extra: str) -> _Pool:
    return (
        entry.get(subnet) or "",
        entry.get(span) or "",
        entry.get(gateway) or "",
        tuple(sorted((entry.get(extra) or {}).items())),
    )


def _pool_text(pool: _Pool) -> str:
    return " ".join(part for part in (*pool[:3], *(f"{name}={address}" for name, address in pool[3])) if part)


def _volume_changes(key: str, definition: Model, present: ObservedVolume) -> tuple[list[Change], bool]:
    prefix = f"volumes.{key}"
    pairs: dict[str, tuple[Any, Any]] = {
        "driver": (present.driver or "local", definition.get("driver") or "local"),
        "driver_opts": (dict(present.options or {}), dict(definition.get("driver_opts") or {})),
    }
    found = [_change(f"{prefix}.{field}", old, new) for field, (old, new) in pairs.items() if old != new]
    if found:
        return found, False
    old, new = _user_labels(present.labels), _user_labels(definition.get("labels") or {})
    if old == new:
        return [], False
    return [_change(f"{prefix}.labels", old, new)], True
