"""Images: what must be pulled or built before the rest can be decided.

Whether a container is up to date depends on what its image turns out to be, so a plan that
needs images consists of nothing else (`Plan.partial`); the next plan, made of what is then
observed, does the rest. That also means that an old container runs on until the new image
is there.

A registry is asked only when the caller says that this is a moment for it (a new revision,
a poll, a person): never in the quiet rounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from reconciler.compose.model import Model, Project
from reconciler.planner.builds import base_services, build_digest, build_platform
from reconciler.planner.compare import brief
from reconciler.planner.containers import LABEL_BUILD
from reconciler.planner.graph import image_reference, wanted_replicas
from reconciler.planner.model import Action, ActionKind, DesiredStack
from state.model import Change, Reason
from state.observed import ObservedImage, ObservedProject

_PERIOD = re.compile(r"(\d+)([wdhms])")
_PERIOD_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Need:
    """An image that a service needs."""

    reference: str
    service: str
    attribute: str
    platform: str = ""
    buildable: bool = False


def hook_images(service: Model) -> list[str]:
    """Images of `pre_start` hooks, where they are not the service's own."""
    return [
        hook["image"]
        for hook in service.get("pre_start") or ()
        if hook.get("image") not in (None, service.get("image"))
    ]


def mounted_images(service: Model) -> list[str]:
    """Images mounted as volumes."""
    return [volume["source"] for volume in service.get("volumes") or () if volume.get("type") == "image"]


def image_references(project: Project) -> tuple[str, ...]:
    """Every image reference a project uses: what `ObservedProject.images` must hold."""
    found: set[str] = set()
    for name, service in project.services.items():
        found.add(image_reference(project, name))
        found.update(hook_images(service))
        found.update(mounted_images(service))
    return tuple(sorted(found))


def needs(project: Project) -> list[Need]:
    """Every image with the service and attribute it is for."""
    found = []
    for name, service in sorted(project.services.items()):
        platform = service.get("platform") or ""
        found.append(
            Need(image_reference(project, name), name, f"services.{name}.image", platform, bool(service.get("build")))
        )
        for index, hook in enumerate(service.get("pre_start") or ()):
            if hook.get("image") not in (None, service.get("image")):
                found.append(Need(hook["image"], name, f"services.{name}.pre_start[{index}].image"))
        found.extend(
            Need(reference, name, f"services.{name}.volumes", platform) for reference in mounted_images(service)
        )
    return found


def same_platform(wanted: str, image: ObservedImage) -> bool:
    """Whether an image is of the wanted platform, as far as both say."""
    if not wanted or not image.platform:
        return True
    mine, theirs = wanted.lower().split("/"), image.platform.lower().split("/")
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    mine = [names.get(part, part) for part in mine]
    return all(a == b for a, b in zip(mine, theirs, strict=False)) if len(mine) > 1 else mine[0] in theirs


def usable(observed: ObservedProject, need: Need) -> ObservedImage | None:
    """The local image that serves a need, if there is one."""
    image = observed.images.get(need.reference)
    return image if image is not None and same_platform(need.platform, image) else None


def _moves(reference: str) -> bool:
    """Whether a reference may point to something else tomorrow."""
    return "@" not in reference and not reference.startswith("sha256:")


def _repository(reference: str) -> str:
    """A reference without tag and digest, as the Engine writes it in `RepoDigests`."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    name = f"{folder}{slash}{last.partition(':')[0]}"
    return name.removeprefix("docker.io/").removeprefix("library/")


def _came_from_registry(reference: str, image: ObservedImage) -> bool:
    """Whether the image was pulled from, or pushed to, the repository of `reference`."""
    return any(_repository(digest) == _repository(reference) for digest in image.digests)


def _is_latest(reference: str) -> bool:
    last = reference.rsplit("/", 1)[-1]
    return ":" not in last or last.endswith(":latest")


def _period(policy: str) -> timedelta | None:
    if policy == "daily":
        return timedelta(days=1)
    if policy == "weekly":
        return timedelta(weeks=1)
    if policy.startswith("every_"):
        return timedelta(seconds=sum(int(n) * _PERIOD_SECONDS[unit] for n, unit in _PERIOD.findall(policy)))
    return None


def _asks_registry(desired: DesiredStack, need: Need, image: ObservedImage, now: datetime | None) -> str:
    """Why the registry should be asked about an image that is here; empty: not now."""
    policy = desired.policy
    if not (policy.check_registry or policy.force_image_pull) or not _moves(need.reference):
        return ""
    rule = desired.project.services[need.service].get("pull_policy") or ""
    if rule in ("never", "build"):
        return ""
    if policy.force_image_pull:
        return "force_image_pull"
    if rule != "always" and not _came_from_registry(need.reference, image):
        # Built or imported here: no registry has given it, so none can have a newer one.
        return ""
    period = _period(rule)
    if period is not None:
        due = now is None or image.last_tagged is None or now > image.last_tagged + period
        return f"pull_policy {rule}" if due else ""
    if rule in ("missing", "if_not_present", "refresh") and not _is_latest(need.reference):
        return ""
    return f"pull_policy {rule}" if rule else "the tag may have moved"


def image_actions(
    desired: DesiredStack, observed: ObservedProject, wanted: Iterable[str], now: datetime | None
) -> tuple[list[Action], list[tuple[str, str]]]:
    """Pulls and builds to do first, and (service, why) where an image can come from nowhere.

    `wanted` are the services that cannot be decided or created without their images.
    """
    required = set(wanted)
    services = desired.project.services
    used = _with_bases(desired, {*required, *(name for name in services if wanted_replicas(desired, name) > 0)})
    actions: dict[str, Action] = {}
    hopeless: list[tuple[str, str]] = []
    buildable = {need.reference for need in needs(desired.project) if need.buildable}
    for need in needs(desired.project):
        if need.service not in used:
            continue
        image = usable(observed, need)
        if need.buildable:
            action = _build(desired, observed, need, image, need.service in required)
        elif need.reference in buildable:
            continue
        else:
            action = _pull(desired, need, image, need.service in required, now)
            if action is None and image is None and need.service in required:
                there = observed.images.get(need.reference)
                here = "not here" if there is None else f"here for {there.platform} only, not for {need.platform},"
                why = f"{need.attribute}: {need.reference} is {here} and pull_policy says never to pull it"
                hopeless.append((need.service, why))
        if action is not None:
            actions.setdefault(action.id, action)
    for action in [*actions.values()]:
        if action.kind is ActionKind.BUILD_IMAGE:
            _build_missing_bases(desired, observed, action, actions)
    return [_after_bases(desired, action, actions) for action in actions.values()], hopeless


def _with_bases(desired: DesiredStack, services: Iterable[str]) -> set[str]:
    """Services, and those whose images theirs are built from."""
    found: set[str] = set()
    waiting = [*services]
    while waiting:
        name = waiting.pop()
        service = desired.project.services.get(name)
        if service is not None and name not in found:
            found.add(name)
            waiting.extend(base_services(service.get("build") or {}))
    return found


def _build_missing_bases(
    desired: DesiredStack, observed: ObservedProject, action: Action, actions: dict[str, Action]
) -> None:
    bases = _with_bases(desired, [action.service]) - {action.service}
    for need in needs(desired.project):
        if need.service in bases and need.buildable:
            build = _build(desired, observed, need, usable(observed, need), required=True)
            if build is not None:
                actions.setdefault(build.id, build)


def _after_bases(desired: DesiredStack, action: Action, actions: Mapping[str, Action]) -> Action:
    """A build begins when the images that it starts from are there."""
    if action.kind is not ActionKind.BUILD_IMAGE:
        return action
    bases = base_services(desired.project.services[action.service]["build"])
    ids = (f"{ActionKind.BUILD_IMAGE}:{image_reference(desired.project, base)}" for base in bases)
    return replace(action, needs=action.needs | {needed for needed in ids if needed in actions})


def _adopted(desired: DesiredStack, observed: ObservedProject, service: str, image: ObservedImage) -> bool:
    """Whether an image of unknown inputs runs already, and the inputs are still those of then."""
    digest = build_digest(desired, service)
    return desired.adopted_builds.get(service) == digest and any(
        container.service == service and container.image_id == image.id for container in observed.containers
    )


def _build(
    desired: DesiredStack, observed: ObservedProject, need: Need, image: ObservedImage | None, required: bool
) -> Action | None:
    service = desired.project.services[need.service]
    reason: Reason | None = None
    if image is None:
        if required:
            reason = Reason("ImageMissing", f"image {need.reference} does not exist yet")
    else:
        digest, built = build_digest(desired, need.service), image.labels.get(LABEL_BUILD, "")
        if digest and built and digest != built:
            change = Change(f"services.{need.service}.build", brief(built), brief(digest))
            reason = Reason("BuildChanged", "what the image is built from changed", (change,))
        elif desired.policy.check_registry and service.get("pull_policy") == "build":
            reason = Reason("PullPolicy", "pull_policy build: built at each deployment")
        elif desired.policy.force_image_pull and desired.policy.build_pull:
            reason = Reason("ForceImagePull", "build.force_image_pull: newer base images are wanted")
        elif (
            digest
            and not built
            and desired.policy.check_registry
            and not _adopted(desired, observed, need.service, image)
        ):
            reason = Reason("BuildUnknown", "it is not known what the present image was built from")
    if reason is None:
        return None
    params: dict[str, Any] = {"platform": build_platform(desired, need.service), "optional": False}
    return Action(
        id=f"{ActionKind.BUILD_IMAGE}:{need.reference}",
        kind=ActionKind.BUILD_IMAGE,
        target=need.reference,
        service=need.service,
        reasons=(reason,),
        params=params,
    )


def _pull(
    desired: DesiredStack, need: Need, image: ObservedImage | None, required: bool, now: datetime | None
) -> Action | None:
    rule = desired.project.services[need.service].get("pull_policy") or ""
    if image is None:
        if not required or rule == "never":
            return None
        reason = Reason("ImageMissing", f"image {need.reference} is not here")
    else:
        why = _asks_registry(desired, need, image, now)
        if not why:
            return None
        reason = Reason("CheckRegistry", f"{why}: ask the registry for a newer {need.reference}")
    return Action(
        id=f"{ActionKind.PULL_IMAGE}:{need.reference}",
        kind=ActionKind.PULL_IMAGE,
        target=need.reference,
        service=need.service,
        reasons=(reason,),
        params={"platform": need.platform, "if_changed": image is not None, "optional": image is not None},
    )
