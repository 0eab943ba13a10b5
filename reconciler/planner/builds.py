"""What is to be built, as `POST /build?version=2` takes it without a session.

Build secrets, SSH agents, additional contexts and entitlements travel over BuildKit's
session channel, which we do not open: they are refused by name in `requirements.py`
before anything is touched. What only speeds a build up or decorates its result
(`cache_to`, `provenance`, `sbom`, `no_cache_filter`) is left out with a warning.
"""

from __future__ import annotations

from reconciler.planner.containers import COMPOSE_VERSION, LABEL_BUILD, LABEL_VERSION
from reconciler.planner.graph import image_reference
from reconciler.planner.hostconfig import extra_hosts, ulimits
from reconciler.planner.model import DesiredStack
from reconciler.planner.specs import BuildRequest
from reconciler.planner.values import size
from state.observed import LABEL_PROJECT, LABEL_SERVICE


def is_remote(context: str) -> bool:
    """Whether a build context is fetched by the Engine."""
    return "://" in context or context.startswith(("github.com/", "git@"))


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
    )
