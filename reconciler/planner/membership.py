"""Which networks a container is attached to, against those it should be attached to.

Networks can be connected and disconnected in place. A stopped container keeps its
endpoints, so it is looked at like a running one; an endpoint that points to the id of a
network that no longer exists can only be cured by a recreation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.planner.specs import ContainerSpec, Json


@dataclass(frozen=True, slots=True)
class Membership:
    """How the networks of a container differ from the desired ones."""

    missing: tuple[tuple[str, Json], ...] = ()
    changed: tuple[tuple[str, Json], ...] = ()
    """Attached, but with other aliases, addresses or links."""
    extra: tuple[str, ...] = ()
    """Networks of this project it is attached to and should not be."""
    mode: tuple[str, str] | None = None
    """(observed, desired) `NetworkMode` where they differ."""
    gone: tuple[str, ...] = ()
    """Attached to a network of this name that was made anew since."""
    told: tuple[str, ...] = field(default=())
    """What differs in the changed ones."""

    @property
    def same(self) -> bool:
        return not (self.missing or self.changed or self.extra or self.mode or self.gone)


def desired_endpoints(spec: ContainerSpec) -> list[tuple[str, Json]]:
    """All endpoints of a spec, the primary first."""
    created = (spec.body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    return [*created.items(), *spec.connects]


def _mode(value: str) -> str:
    return "bridge" if value in ("", "default") else value


def membership(
    spec: ContainerSpec,
    inspect: Mapping[str, Any],
    network_ids: Mapping[str, str],
    project_networks: frozenset[str],
    *,
    links: bool,
) -> Membership:
    """Compare. `network_ids` are the observed networks by name, `project_networks` the names
    that belong to the project: others were attached by somebody else, who knows why. `links`
    tells whether to look at them: their targets' names are those of the day of creation."""
    attached: Mapping[str, Any] = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    wanted = desired_endpoints(spec)
    desired_mode = _mode(spec.body["HostConfig"].get("NetworkMode") or "")
    observed_mode = _mode((inspect.get("HostConfig") or {}).get("NetworkMode") or "")
    if not wanted:
        mode = (observed_mode, desired_mode) if observed_mode != desired_mode else None
        return Membership(mode=mode)
    missing, changed, gone = [], [], []
    told: list[str] = []
    for name, endpoint in wanted:
        present = attached.get(name)
        if present is None:
            missing.append((name, endpoint))
            continue
        network_id = present.get("NetworkID") or ""
        if network_id and name in network_ids and network_ids[name] != network_id:
            gone.append(name)
            continue
        differences = _differences(endpoint, present, inspect, links)
        if differences:
            changed.append((name, endpoint))
            told.extend(f"{name}: {difference}" for difference in differences)
    names = {name for name, _ in wanted}
    extra = tuple(sorted(name for name in attached if name not in names and name in project_networks))
    return Membership(
        missing=tuple(missing),
        changed=tuple(changed),
        extra=extra,
        mode=(observed_mode, desired_mode) if observed_mode != desired_mode else None,
        gone=tuple(gone),
        told=tuple(told),
    )


def _differences(wanted: Json, present: Mapping[str, Any], inspect: Mapping[str, Any], links: bool) -> list[str]:
    found = []
    container_id: str = inspect.get("Id") or ""
    implied = {
        (inspect.get("Name") or "").lstrip("/"),
        (inspect.get("Config") or {}).get("Hostname") or "",
        container_id[:12],
        wanted["Aliases"][0],
    }
    # The short id is added by the Engine, the container's own name may be an older one.
    own, theirs = set(wanted["Aliases"]) - implied, set(present.get("Aliases") or ()) - implied
    if own != theirs and not (own <= theirs and all(_is_short_id(alias) for alias in theirs - own)):
        found.append(f"aliases {_list(theirs)} → {_list(own)}")
    mine, live = wanted.get("IPAMConfig") or {}, present.get("IPAMConfig") or {}
    for attribute, key in (("ipv4_address", "IPv4Address"), ("ipv6_address", "IPv6Address")):
        if (mine.get(key) or "") != (live.get(key) or ""):
            found.append(f"{attribute} {live.get(key) or '(none)'} → {mine.get(key) or '(none)'}")
    if set(mine.get("LinkLocalIPs") or ()) != set(live.get("LinkLocalIPs") or ()):
        found.append("link_local_ips changed")
    mac, live_mac = (str(each.get("MacAddress") or "").lower() for each in (wanted, present))
    if mac and live_mac and mac != live_mac:
        found.append(f"mac_address {live_mac} → {mac}")
    # Engines before API 1.48 know no priority of gateways.
    if "GwPriority" in present and (present["GwPriority"] or 0) != (wanted.get("GwPriority") or 0):
        found.append(f"gw_priority {present['GwPriority'] or 0} → {wanted.get('GwPriority') or 0}")
    if links and set(wanted.get("Links") or ()) != set(present.get("Links") or ()):
        found.append("links changed")
    if (wanted.get("DriverOpts") or {}) != (present.get("DriverOpts") or {}):
        found.append("driver_opts changed")
    return found


def _is_short_id(alias: str) -> bool:
    return len(alias) == 12 and all(char in "0123456789abcdef" for char in alias)


def _list(names: set[str]) -> str:
    return ",".join(sorted(names)) or "(none)"
