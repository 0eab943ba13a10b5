"""How a container is attached to its networks, and by which names others find it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.compose.model import Model, Project
from reconciler.planner.graph import container_name, linked_services, service_networks
from reconciler.planner.specs import Json
from reconciler.planner.values import without_empty
from state.observed import EngineFacts

Peers = Mapping[str, Sequence[tuple[str, int]]]
"""Linked service -> (name, number) of each of its containers."""

ENDPOINTS_AT_CREATION = "1.44"
"""API since when a container can be created with several networks and MAC addresses on them."""


def network_name(project: Project, key: str) -> str:
    """The real name of a top-level network."""
    return (project.networks.get(key) or {}).get("name") or f"{project.name}_{key}"


def link_strings(project: Project, service: Model, number: int, peers: Peers) -> list[str]:
    """`container:alias` for every linked container under each name it answers to. Compose puts the
    number of the container that links into the numbered ones."""
    links = []
    for linked, alias in linked_services(service):
        for name, _ in peers.get(linked, ()):
            links.append(f"{name}:{alias or linked}")
            links.append(f"{name}:{linked}-{number}")
            links.append(f"{name}:{project.name}-{linked}-{number}")
    for entry in service.get("external_links") or ():
        target, _, alias = entry.partition(":")
        links.append(f"{target}:{alias or target}")
    return links


def endpoint(name: str, service_name: str, config: Model | None, links: Sequence[str]) -> Json:
    """The endpoint settings of one network, for a container of this final name."""
    options = config or {}
    addresses = without_empty(
        {
            "IPv4Address": options.get("ipv4_address"),
            "IPv6Address": options.get("ipv6_address"),
            "LinkLocalIPs": options.get("link_local_ips"),
        }
    )
    driver_options = dict(options.get("driver_opts") or {})
    if options.get("interface_name"):
        driver_options["com.docker.network.endpoint.ifname"] = options["interface_name"]
    return {
        "Aliases": [name, service_name, *(options.get("aliases") or ())],
        "IPAMConfig": None if config is None else addresses,
        **without_empty(
            {
                "Links": list(links),
                "MacAddress": options.get("mac_address"),
                "DriverOpts": driver_options,
                "GwPriority": int(options.get("gw_priority") or 0),
            }
        ),
    }


def endpoints(
    project: Project, service_name: str, number: int, engine: EngineFacts, links: Sequence[str]
) -> list[tuple[str, Json]]:
    """(real network name, endpoint) of each network of a service, the primary first.

    Below API 1.44 the MAC address belongs to the container and not to the endpoint.
    """
    service = project.services[service_name]
    name = container_name(project, service_name, number)
    found = []
    for position, (key, config) in enumerate(service_networks(service)):
        settings = endpoint(name, service_name, config, links)
        if position == 0 and service.get("mac_address"):
            settings["MacAddress"] = service["mac_address"]
        if not engine.supports(ENDPOINTS_AT_CREATION):
            settings.pop("MacAddress", None)
        found.append((network_name(project, key), settings))
    return found


def container_mac_address(service: Model, engine: EngineFacts) -> str:
    """`Config.MacAddress`: how Engines before API 1.44 take the address of the main endpoint."""
    if engine.supports(ENDPOINTS_AT_CREATION):
        return ""
    networks = service_networks(service)
    primary = (networks[0][1] or {}) if networks else {}
    return service.get("mac_address") or primary.get("mac_address") or ""
