"""Container by container: keep it, change it in place, or replace it, and why.

Quick first: a config hash that equals the desired one, in Compose 5.5's form or 2.40.3's,
says that the definition did not change. Any other value proves nothing (another tool,
another version wrote it), so the fields are compared, and what they say counts. Beside
the definition: the image behind the reference, the content of what is mounted, networks,
volumes, and the containers whose namespaces are shared.

Restart policy, limits and networks change in place; everything else by replacement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.compose.confighash import service_hash
from reconciler.compose.render import Form
from reconciler.planner.compare import NOT_YET, Redactor, brief, changes, short
from reconciler.planner.containers import (
    HASH_FORM,
    LABEL_CONTENT,
    LABEL_FILES,
    container_spec,
    files_digest,
)
from reconciler.planner.graph import (
    container_name,
    image_reference,
    linked_services,
    named_container,
    referenced_services,
    service_networks,
)
from reconciler.planner.hostconfig import restart_policy
from reconciler.planner.ignore import Ignored, ignored
from reconciler.planner.images import Need, usable
from reconciler.planner.inspected import UPDATABLE, as_inspected, attributes
from reconciler.planner.lifecycle import Course, course
from reconciler.planner.membership import Membership, membership
from reconciler.planner.model import DesiredStack, DriftPolicy
from reconciler.planner.mounts import volume_name
from reconciler.planner.naming import is_interrupted
from reconciler.planner.resources import FORMS
from reconciler.planner.specs import ContainerSpec, Json
from state.model import Change, Reason
from state.observed import LABEL_CONFIG_HASH, ObservedContainer, ObservedProject

_FROM_IMAGE = frozenset(
    {"command", "entrypoint", "user", "working_dir", "stop_signal", "stop_grace_period", "expose", "healthcheck"}
)
"""What the Engine fills from the image: incomparable while that image is unknown or another."""

_NAMESPACES = {"network_mode": "network namespace", "ipc": "IPC namespace", "pid": "PID namespace"}
_FULL_ID = re.compile(r"[0-9a-f]{64}")

DEFINITION = "definition"
"""Content key under which the config hash is remembered that a container was changed to in place:
its label tells the first one for ever, so a way back would look like a change by hand."""


@dataclass(slots=True)
class Decision:
    """What is to become of one container. Filled in step by step, then only read."""

    service: str
    container: ObservedContainer
    final_name: str
    replace: list[Reason] = field(default_factory=list)
    """Why it must be made anew, because of what it is itself."""
    swept: list[Reason] = field(default_factory=list)
    """Why it must be made anew, because of something it is attached to."""
    update: Json = field(default_factory=dict)
    update_reasons: list[Reason] = field(default_factory=list)
    connect: list[tuple[str, Json, Reason]] = field(default_factory=list)
    disconnect: list[tuple[str, Reason]] = field(default_factory=list)
    signal: str = ""
    told: dict[str, str] = field(default_factory=dict)
    """Content keys whose change is told by a signal (or a start) -> digest."""
    told_reasons: list[Reason] = field(default_factory=list)
    drift: list[Reason] = field(default_factory=list)
    """Differences that the policy says to leave."""

    @property
    def replaced(self) -> bool:
        return bool(self.replace or self.swept)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decisions about single containers look at, computed once for a plan."""

    desired: DesiredStack
    observed: ObservedProject
    redactor: Redactor
    references: Mapping[str, str]
    """Service -> id of the present container that others share namespaces with, where it stays."""
    present: Mapping[str, str]
    """As `references`, before this plan: also those that do not stay."""
    unsettled: Mapping[str, str]
    """Service -> why whoever shares its container must be made anew."""
    recreated: set[str]
    """Names of the containers judged so far that this plan makes, be it anew."""
    peers: Mapping[str, list[tuple[str, int]]]
    network_ids: Mapping[str, str]
    project_networks: frozenset[str]
    remade_networks: frozenset[str]
    """Names of networks that this plan makes anew."""
    hashes: dict[tuple[str, Form], str] = field(default_factory=dict)
    """Config hashes computed so far; replicas share them."""

    @property
    def corrects(self) -> bool:
        """Whether drift is undone."""
        return self.desired.policy.drift is DriftPolicy.CORRECT or self.desired.policy.retry_failed


def same_definition(around: Surroundings, name: str, container: ObservedContainer) -> bool:
    """Whether the container's config hash is that of the desired service, in either form, with
    the containers it refers to as they are now."""
    reached = around.desired.acknowledged_content.get(container.id, {}).get(DEFINITION)
    label = reached or container.labels.get(LABEL_CONFIG_HASH) or ""
    return bool(label) and any(label == definition_hash(around, name, form) for form in FORMS)


def definition_hash(around: Surroundings, name: str, form: Form = HASH_FORM) -> str:
    """The config hash of a service with the containers it refers to as they are now; empty if one
    of those is missing."""
    known = around.hashes.get((name, form))
    if known is None:
        project = around.desired.project
        references = {other: around.present.get(other, "") for other in referenced_services(project.services[name])}
        complete = all(references.values())
        known = service_hash(project, name, form=form, references=references) if complete else ""
        around.hashes[name, form] = known
    return known


def needs_image_to_decide(around: Surroundings, name: str, container: ObservedContainer) -> bool:
    """Whether only the image's configuration can tell if this container is as desired."""
    service = around.desired.project.services[name]
    need = Need(image_reference(around.desired.project, name), name, "", service.get("platform") or "")
    return usable(around.observed, need) is None and not same_definition(around, name, container)


def decide(around: Surroundings, name: str, container: ObservedContainer) -> Decision:
    """Look at one container of an enabled service."""
    desired = around.desired
    project = desired.project
    service = project.services[name]
    decision = Decision(name, container, container_name(project, name, container.number))
    if course(desired, name, container) is Course.LOST:
        return decision
    if desired.policy.force_recreate:
        decision.replace.append(Reason("ForceRecreate", "force_recreate is set for this deployment"))
    moved = _image_reason(around, name, container)
    same = same_definition(around, name, container)
    unsettled = [
        (other, attribute) for other, attribute in referenced_services(service).items() if other in around.unsettled
    ]
    for other, attribute in unsettled:
        what = _NAMESPACES.get(attribute, "volumes")
        decision.swept.append(Reason("NamespaceChanged", f"{what} of {other} changed: {around.unsettled[other]}"))
    if moved:
        decision.replace.append(moved)
    if not same and not is_interrupted(container) and not goes_by(around, name, container, decision.final_name):
        # Not renamed in place: others know it by the old name, which its endpoints keep.
        change = Change(f"services.{name}.container_name", container.name, decision.final_name)
        decision.replace.append(Reason("DefinitionChanged", "", (change,)))
    _look_inside(around, decision, name, container, same=same, moved=moved is not None)
    _look_at_content(around, decision, name, container)
    if not same and container.labels.get(LABEL_CONTENT) is not None:
        wanted, has = files_digest(project, service), container.labels.get(LABEL_FILES, "")
        if wanted != has:
            decision.replace.append(
                Reason(
                    "DefinitionChanged",
                    "",
                    (
                        Change(
                            f"services.{name}.secrets/configs (places and rights)", has or "(none)", wanted or "(none)"
                        ),
                    ),
                )
            )
    remade = sorted(set(container.networks) & around.remade_networks)
    if remade:
        decision.swept.append(Reason("NetworkChanged", f"network {', '.join(remade)} is made anew"))
    if decision.swept and not decision.replace and course(desired, name, container) is Course.COMPLETE:
        decision.swept.clear()
    return decision


def _image_reason(around: Surroundings, name: str, container: ObservedContainer) -> Reason | None:
    reference = image_reference(around.desired.project, name)
    image = around.observed.images.get(reference)
    if image is None or image.id == container.image_id:
        return None
    if container.image not in (reference, container.image_id) and container.image:
        change = Change(f"services.{name}.image", container.image, reference)
        return Reason("ImageChanged", "", (change,))
    change = Change(f"services.{name}.image", f"{reference} ({short(container.image_id)})", short(image.id))
    return Reason("ImageMoved", f"{reference} is another image now", (change,))


def desired_spec(around: Surroundings, name: str, number: int) -> ContainerSpec:
    """The spec of a service as it would be with what exists now."""
    service = around.desired.project.services[name]
    return container_spec(
        around.desired,
        name,
        number,
        engine=around.observed.engine,
        references={**dict.fromkeys(referenced_services(service), NOT_YET), **around.present},
        peers={linked: around.peers.get(linked, []) for linked, _ in linked_services(service)},
        images=around.observed.images,
        tool_labels=False,
    )


def _look_inside(
    around: Surroundings, decision: Decision, name: str, container: ObservedContainer, *, same: bool, moved: bool
) -> None:
    """Compare with what the Engine reports: everything, or (same definition) what can drift."""
    inspect = container.inspect
    if not inspect:
        return
    engine = around.observed.engine
    spec = desired_spec(around, name, container.number)
    _look_at_joined(around, decision, spec, inspect, same=same)
    image = around.observed.images.get(image_reference(around.desired.project, name))
    config = image.config if image is not None and not moved else {}
    wanted = attributes(as_inspected(spec, config, engine), engine, config)
    has = attributes(inspect, engine, config)
    skip: set[str] = {"image"} if moved else set()
    if not config and (image is None or moved):
        skip |= _FROM_IMAGE
        for attribute in ("environment", "labels"):
            has[attribute] = {k: v for k, v in has[attribute].items() if k in wanted[attribute]}
    if image is not None and container.image == container.image_id and not moved:
        skip.add("image")
    if same:
        _correct_drift(around, decision, name, has, wanted)
        _check_volumes(around, decision, name, container)
        _check_lent_volumes(around, decision, name, container, has, wanted)
    else:
        around.redactor.learn(inspect)
        _sort_changes(around, decision, name, changes(f"services.{name}", has, wanted, around.redactor, skip), wanted)
    _look_at_networks(around, decision, name, spec, inspect, same=same)


def _look_at_joined(
    around: Surroundings, decision: Decision, spec: ContainerSpec, inspect: Json, *, same: bool
) -> None:
    """Namespaces joined by a container's name. The Engine tells the id that it had at creation, so
    the spec shall say the same; unless another container has that name now, whose namespace it is
    that is wanted, and no start finds the former any more."""
    host, present = spec.body["HostConfig"], inspect.get("HostConfig") or {}
    for attribute, key in (("network_mode", "NetworkMode"), ("ipc", "IpcMode"), ("pid", "PidMode")):
        name, joined = named_container(host.get(key)), named_container(present.get(key))
        if not name or _FULL_ID.fullmatch(name) or not _FULL_ID.fullmatch(joined):
            continue
        other = around.observed.named.get(name)
        what = f"{_NAMESPACES[attribute]} of {name} changed"
        if name in around.recreated:
            host[key] = present[key]
            decision.swept.append(Reason("NamespaceChanged", f"{what}: container {name} is made anew"))
        elif joined.startswith(name) or (other is not None and other.id == joined):
            host[key] = present[key]
        elif not same:
            host[key] = f"container:{other.id if other is not None else name}"
        else:
            host[key] = present[key]
            if other is None or other.state != "running":
                continue
            reason = Reason("NamespaceChanged", f"{what}: container {name} was made anew")
            (decision.swept if around.corrects else decision.drift).append(reason)


def _sort_changes(
    around: Surroundings, decision: Decision, name: str, found: list[tuple[str, Change]], wanted: Mapping[str, Any]
) -> None:
    service = around.desired.project.services[name]
    shared = set(referenced_services(service).values())
    moved = [change for a, change in found if a in shared and _was_shared(change)]
    if moved:
        decision.swept.append(Reason("NamespaceChanged", "", tuple(moved)))
        found = [(a, change) for a, change in found if change not in moved]
    in_place = [(a, change) for a, change in found if a == "restart" or (a in UPDATABLE and wanted[a])]
    rest = [change for a, change in found if (a, change) not in in_place]
    everything = Reason("DefinitionChanged", "", tuple(change for _, change in found))
    if rest:
        decision.replace.append(everything)
    elif in_place:
        decision.update = _update_body(around.desired, name, [a for a, _ in in_place], wanted)
        decision.update_reasons.append(everything)


_SHARED_BEFORE = re.compile(r"(container:)?[0-9a-f]{12}\b")


def _was_shared(change: Change) -> bool:
    """Whether the old value names a container too: another one of the same service, most likely,
    which says nothing about this container's own definition."""
    return _SHARED_BEFORE.match(change.old) is not None


def _update_body(desired: DesiredStack, name: str, changed: list[str], wanted: Mapping[str, Any]) -> Json:
    body: Json = {}
    for attribute in changed:
        if attribute == "restart":
            policy = restart_policy(desired.project.services[name])
            body["RestartPolicy"] = {**policy, "Name": policy["Name"] or "no"}
        else:
            body[UPDATABLE[attribute]] = wanted[attribute]
    if "Memory" in body:
        # The Engine refuses a memory limit above the present swap limit, so both go together.
        body["MemorySwap"] = wanted["memswap_limit"] or 2 * body["Memory"]
    return body


def _correct_drift(
    around: Surroundings, decision: Decision, name: str, has: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """With an unchanged definition only `docker update` can have changed anything.

    A limit that is wanted and absent was not taken by the kernel: no update takes one away.
    """
    drifted = [
        (attribute, change)
        for attribute, change in changes(
            f"services.{name}", has, {key: wanted[key] for key in ("restart", *UPDATABLE)}, around.redactor
        )
        if attribute == "restart" or has[attribute]
    ]
    if not drifted:
        return
    reason = Reason("Drift", "changed outside Moored", tuple(change for _, change in drifted))
    if not around.corrects:
        decision.drift.append(reason)
    elif all(attribute == "restart" or wanted[attribute] for attribute, _ in drifted):
        decision.update = _update_body(around.desired, name, [attribute for attribute, _ in drifted], wanted)
        decision.update_reasons.append(reason)
    else:
        decision.replace.append(reason)


def _check_volumes(around: Surroundings, decision: Decision, name: str, container: ObservedContainer) -> None:
    """A named volume of the definition that is not mounted: the volume got another name."""
    project = around.desired.project
    for volume in project.services[name].get("volumes") or ():
        if volume.get("type") != "volume" or volume.get("source") not in project.volumes:
            continue
        real = volume_name(project, volume["source"])
        if real not in container.mounts:
            change = Change(f"services.{name}.volumes.{volume['target']}", "(another volume)", real)
            decision.replace.append(Reason("VolumeNotMounted", f"volume {real} is not mounted", (change,)))


def _check_lent_volumes(
    around: Surroundings,
    decision: Decision,
    name: str,
    container: ObservedContainer,
    has: Mapping[str, Any],
    wanted: Mapping[str, Any],
) -> None:
    """Compose's hash says whose volumes are taken, but not whether to read only, which it loses. So
    only what we made is looked at."""
    if LABEL_CONTENT not in container.labels:
        return
    found = changes(f"services.{name}", has, {"volumes_from": wanted["volumes_from"]}, around.redactor)
    if found:
        decision.replace.append(Reason("DefinitionChanged", "", tuple(change for _, change in found)))


def _look_at_networks(
    around: Surroundings, decision: Decision, name: str, spec: ContainerSpec, inspect: Json, *, same: bool
) -> None:
    found: Membership = membership(spec, inspect, around.network_ids, around.project_networks, links=not same)
    if found.same:
        return
    if found.gone:
        decision.swept.append(Reason("NetworkChanged", f"network {', '.join(found.gone)} was made anew"))
        return
    prefix = f"services.{name}"
    if found.mode:
        joined = bool(service_networks(around.desired.project.services[name]))
        change = Change(f"{prefix}.{'networks' if joined else 'network_mode'}", *map(around.redactor.text, found.mode))
        reason = Reason("NetworkChanged", "", (change,))
        if same or (not joined and _was_shared(change)):
            decision.swept.append(reason)
        else:
            decision.replace.append(reason)
        return
    if same and not around.corrects:
        parts = [
            *(f"not connected to {n}" for n, _ in found.missing),
            *found.told,
            *(f"connected to {n}" for n in found.extra),
        ]
        decision.drift.append(Reason("Drift", "; ".join(parts)))
        return
    code = "Drift" if same else "DefinitionChanged"
    for network, endpoint in found.missing:
        reason = Reason(
            code, "disconnected outside Moored" if same else "", (Change(f"{prefix}.networks", "(none)", network),)
        )
        decision.connect.append((network, endpoint, reason))
    for network, endpoint in found.changed:
        told = "; ".join(text.partition(": ")[2] for text in found.told if text.startswith(f"{network}: "))
        reason = Reason(code, f"{prefix}.networks.{network}: {told}")
        decision.disconnect.append((network, reason))
        decision.connect.append((network, endpoint, reason))
    for network in found.extra:
        how = "connected outside Moored" if same else ""
        decision.disconnect.append((network, Reason(code, how, (Change(f"{prefix}.networks", network, "(none)"),))))


def _label_content(container: ObservedContainer) -> Mapping[str, str] | None:
    text = container.labels.get(LABEL_CONTENT)
    if text is None:
        return None
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _used(key: str) -> str:
    """How a content key is spoken of."""
    return f"mounts {key}" if key.partition(":")[0] in ("bind", "config", "secret") else key


def _look_at_content(around: Surroundings, decision: Decision, name: str, container: ObservedContainer) -> None:
    """Mounted and copied content. A container without our label is adopted as it is."""
    desired = around.desired
    known = _label_content(container)
    wanted = {key: digest for key, digest in desired.content.get(name, {}).items() if key != "build"}
    if known is None or not wanted:
        return
    acknowledged = desired.acknowledged_content.get(container.id, {})
    rule: Ignored = ignored(name, desired.project.services[name])
    changed, told = [], {}
    for key, digest in sorted(wanted.items()):
        old = acknowledged.get(key) or known.get(key)
        if old is None or old == digest:
            continue
        change = Change(_used(key), f"content {brief(old)}", brief(digest))
        if not rule.covers(key):
            changed.append(Reason("ContentChanged", f"{_used(key)}: content changed ({brief(old)} → {brief(digest)})"))
        elif rule.signal:
            told[key] = digest
            decision.told_reasons.append(Reason("ContentChanged", f"{change}, recreation is ignored by label"))
    if changed:
        decision.replace.extend(changed)
    elif told:
        decision.signal = rule.signal
        decision.told = told


def goes_by(around: Surroundings, name: str, container: ObservedContainer, final: str) -> bool:
    """Whether a container has its name, be it as Compose 1 and `--compatibility` wrote it."""
    underscored = f"{around.desired.project.name}_{name}_{container.number}"
    return container.name in (final, final.replace("-", "_"), underscored)
