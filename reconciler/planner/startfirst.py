"""`deploy.update_config.order: start-first`: a successor that serves before its predecessor goes.

Compose reads the attribute and does nothing with it; Swarm does what it says
(https://docs.docker.com/reference/compose-file/deploy/#update_config). So do we, where two
containers of a service can live side by side. Where they cannot, the old one is stopped first,
as always, and a warning says why.
"""

from __future__ import annotations

from reconciler.compose.model import Model, Project
from reconciler.planner.decisions import Decision
from reconciler.planner.graph import joined_containers, named_container, referenced_services
from reconciler.planner.steps import Rollout

START_FIRST = "start-first"


def starts_first(rollout: Rollout, decision: Decision) -> bool:
    """Whether a replacement is started before the container it replaces is stopped."""
    project, name = rollout.scene.desired.project, decision.service
    update = (project.services[name].get("deploy") or {}).get("update_config") or {}
    container = decision.container
    if update.get("order") != START_FIRST or container.state != "running" or container.name != decision.final_name:
        return False
    why = _obstacle(project, name)
    if not why and decision.final_name in _joined(project):
        why = "others join it by its name"
    if not why and (decision.swept or container.id in rollout.frees):
        why = "what it is attached to is made anew"
    if why:
        where = f"services.{name}.deploy.update_config.order"
        rollout.draft.warnings.append(f"{where}: {START_FIRST} is not possible here, {why}: stopped first")
    return not why


def _obstacle(project: Project, name: str) -> str:
    """What two containers of a service cannot share, empty if nothing."""
    service = project.services[name]
    for port in service.get("ports") or ():
        published = str(port.get("published") or "")
        if published and "-" not in published:
            return f"host port {published} can be given to one container only"
    if (service.get("network_mode") or "none") not in ("none", "bridge", "default"):
        return f"network_mode {service['network_mode']} is shared with it"
    if service.get("mac_address") or any(
        _fixed_address(network) for network in (service.get("networks") or {}).values()
    ):
        return "its address on a network is fixed"
    if service.get("pre_start"):
        return "its pre_start hooks run while no container of it does"
    if any(name in referenced_services(other) for other in project.services.values()):
        return "other services share its namespaces or volumes"
    return ""


def _joined(project: Project) -> frozenset[str]:
    """The containers whose namespaces or volumes services take by name."""
    lenders = (
        named_container(entry).partition(":")[0]
        for service in project.services.values()
        for entry in service.get("volumes_from") or ()
    )
    return joined_containers(project) | {*lenders}


def _fixed_address(network: Model | None) -> bool:
    keys = ("ipv4_address", "ipv6_address", "mac_address", "link_local_ips")
    return any((network or {}).get(key) for key in keys)
