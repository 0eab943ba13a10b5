"""What is to be built, as `POST /build?version=2` takes it without a session.

Build secrets, SSH agents, folders as additional contexts and entitlements travel over
BuildKit's session channel, which we do not open: they are refused by name in
`requirements.py` before anything is touched. Additional contexts that are images become
stages of the Dockerfile. What only speeds a build up or decorates its result
(`cache_to`, `provenance`, `sbom`, `no_cache_filter`) is left out with a warning.
"""

from __future__ import annotations

import re

from reconciler.compose.model import Model, Project
from reconciler.planner.containers import COMPOSE_VERSION, LABEL_BUILD, LABEL_VERSION
from reconciler.planner.graph import image_reference
from reconciler.planner.hostconfig import extra_hosts, ulimits
from reconciler.planner.model import DesiredStack
from reconciler.planner.specs import BuildRequest, NamedContext
from reconciler.planner.values import size
from state.observed import LABEL_PROJECT, LABEL_SERVICE


def is_remote(context: str) -> bool:
    """Whether a build context is fetched by the Engine."""
    return "://" in context or context.startswith(("github.com/", "git@"))


_STAGE = re.compile(r"^[a-z][a-z0-9_.-]*$", re.IGNORECASE)
_IMAGE, _SERVICE = "docker-image://", "service:"


def named_contexts(project: Project, build: Model) -> tuple[NamedContext, ...]:
    """The additional contexts of a build that are images, by name."""
    found = []
    for name, value in sorted((build.get("additional_contexts") or {}).items()):
        if value.startswith(_IMAGE):
            found.append(NamedContext(name, value.removeprefix(_IMAGE), built_here=False))
        elif value.startswith(_SERVICE):
            found.append(NamedContext(name, image_reference(project, value.removeprefix(_SERVICE)), built_here=True))
    return tuple(found)


def base_services(build: Model) -> list[str]:
    """The services whose images a build starts from."""
    values = (build.get("additional_contexts") or {}).values()
    return sorted(value.removeprefix(_SERVICE) for value in values if value.startswith(_SERVICE))


def unusable_context(project: Project, service: str) -> str:
    """Why an additional context cannot be given to the builder; empty: all can."""
    build = project.services[service]["build"]
    if _starts_from(project, service, service, set()):
        return f"the image of {service} would be built from itself"
    for name, value in sorted((build.get("additional_contexts") or {}).items()):
        if not value.startswith((_IMAGE, _SERVICE)):
            return f"{name} is no image: other contexts need a BuildKit session, which is not supported"
        if not _STAGE.match(name):
            return f"{name} is no name of a build stage: that needs a BuildKit session, which is not supported"
        if is_remote(build.get("context") or ""):
            return "the Dockerfile of a remote context cannot be given further ones without a BuildKit session"
    return ""


def _starts_from(project: Project, service: str, goal: str, seen: set[str]) -> bool:
    for base in base_services((project.services.get(service) or {}).get("build") or {}):
        if base == goal:
            return True
        if base not in seen:
            seen.add(base)
            if _starts_from(project, base, goal, seen):
                return True
    return False


def build_digest(desired: DesiredStack, service: str) -> str:
    """Digest of the build's inputs, empty if unknown."""
    return desired.content.get(service, {}).get("build", "")


def build_platform(desired: DesiredStack, service: str) -> str:
    """The one platform to build for; empty: the builder's own."""
    model = desired.project.services[service]
    platforms = (model.get("build") or {}).get("platforms") or []
    wanted: str = model.get("platform") or (platforms[0] if len(platforms) == 1 else "")
    return wanted


def build_request(desired: DesiredStack, service: str) -> BuildRequest:
    """How to build the image of a service."""
    project, policy = desired.project, desired.policy
    build = project.services[service]["build"]
    reference = image_reference(project, service)
    labels = {
        **(build.get("labels") or {}),
        LABEL_PROJECT: project.name,
        LABEL_SERVICE: service,
        LABEL_VERSION: COMPOSE_VERSION,
    }
    digest = build_digest(desired, service)
    if digest:
        labels[LABEL_BUILD] = digest
    inline = build.get("dockerfile_inline") or ""
    context = build.get("context") or project.working_dir
    return BuildRequest(
        service=service,
        context=context,
        remote=is_remote(context),
        dockerfile="" if inline else build.get("dockerfile") or "Dockerfile",
        dockerfile_inline=inline,
        tags=tuple(dict.fromkeys((reference, *(build.get("tags") or ())))),
        args={**(build.get("args") or {}), **policy.build_args},
        labels=labels,
        target=build.get("target") or "",
        extra_hosts=tuple(extra_hosts(build.get("extra_hosts"))),
        network=build.get("network") or "",
        no_cache=bool(build.get("no_cache")) or policy.build_no_cache,
        pull=bool(build.get("pull")) or policy.build_pull,
        platform=build_platform(desired, service),
        cache_from=tuple(build.get("cache_from") or ()),
        shm_size=size(build.get("shm_size")),
        ulimits=tuple(ulimits(build.get("ulimits"))),
        contexts=named_contexts(project, build),
    )
