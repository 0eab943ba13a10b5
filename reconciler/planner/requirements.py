"""What the Engine at hand cannot do is said before anything is touched.

Older Engines drop what they do not know in silence: a `subpath` they have never heard of
mounts the whole volume. So every attribute with an API gate is checked here, and so is
what no Engine or no session-less builder can do. All findings come in one `PlanError`.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.compose.model import Model, Project
from reconciler.planner.builds import unusable_context
from reconciler.planner.endpoints import ENDPOINTS_AT_CREATION
from reconciler.planner.graph import referenced_services, service_networks, wanted_replicas
from reconciler.planner.hostconfig import profile_text, seccomp_profile
from reconciler.planner.model import DesiredStack, PlanError
from reconciler.planner.values import nanoseconds
from state.observed import EngineFacts

_PULL_POLICIES = ("", "missing", "if_not_present", "refresh", "always", "never", "build", "daily", "weekly")
_CAPABILITY_WORDS = frozenset({"no-new-privileges"})


class _Findings:
    def __init__(self, engine: EngineFacts) -> None:
        self.engine = engine
        self.found: list[str] = []

    def refuse(self, where: str, why: str) -> None:
        self.found.append(f"{where}: {why}")

    def needs_api(self, where: str, version: str, instead: str = "") -> None:
        """Note a finding unless the Engine's API has this version."""
        if not self.engine.supports(version):
            tail = f" ({instead})" if instead else ""
            self.refuse(where, f"needs Engine API {version}, this Engine has {self.engine.api_version}{tail}")


def check(desired: DesiredStack, engine: EngineFacts) -> None:
    """Raise `PlanError` with everything that cannot be done here."""
    findings = _Findings(engine)
    project = desired.project
    used_networks: set[str] = set()
    for name, service in sorted(project.services.items()):
        _check_service(findings, desired, name, service)
        used_networks.update(key for key, _ in service_networks(service))
    for key in sorted(used_networks & set(project.networks)):
        if project.networks[key].get("enable_ipv4") is False:
            findings.needs_api(f"networks.{key}.enable_ipv4", "1.48", "it would be ignored")
    if findings.found:
        raise PlanError("; ".join(findings.found))


def _check_service(findings: _Findings, desired: DesiredStack, name: str, service: Model) -> None:
    project, where = desired.project, f"services.{name}"
    if service.get("provider"):
        findings.refuse(f"{where}.provider", "services made by an external program are not supported")
    if service.get("models"):
        findings.refuse(f"{where}.models", "needs the Docker Model Runner plugin, which is not supported")
    if service.get("use_api_socket"):
        findings.refuse(f"{where}.use_api_socket", "is not supported, mount the socket as a volume instead")
    if service.get("container_name") and wanted_replicas(desired, name) > 1:
        findings.refuse(
            f"{where}.container_name",
            f"one name cannot serve {wanted_replicas(desired, name)} replicas; remove it or scale to 1",
        )
    if not service.get("image") and not service.get("build") and not service.get("provider"):
        findings.refuse(where, "has neither image nor build")
    if service.get("annotations"):
        findings.needs_api(f"{where}.annotations", "1.43", "they would be ignored")
    if service.get("platform"):
        findings.needs_api(f"{where}.platform", "1.41")
    policy = service.get("pull_policy") or ""
    if policy not in _PULL_POLICIES and not policy.startswith("every_"):
        findings.refuse(
            f"{where}.pull_policy", f"{policy!r} is not one of {', '.join(_PULL_POLICIES[1:])}, every_<time>"
        )
    check_ = service.get("healthcheck") or {}
    if nanoseconds(check_.get("start_interval")) and not check_.get("disable"):
        findings.needs_api(f"{where}.healthcheck.start_interval", "1.44", "it would be ignored")
        if not nanoseconds(check_.get("start_period")):
            findings.refuse(f"{where}.healthcheck.start_interval", "needs a start_period")
    for hook_index, hook in enumerate(service.get("pre_start") or ()):
        if hook.get("per_replica"):
            findings.refuse(f"{where}.pre_start[{hook_index}].per_replica", "is not supported by Docker Compose either")
    for option in service.get("security_opt") or ():
        key = option.replace(":", "=", 1).partition("=")
        if not key[1] and option not in _CAPABILITY_WORDS:
            findings.refuse(f"{where}.security_opt", f"{option!r} is not of the form key=value")
        profile = seccomp_profile(option)
        if profile and profile_text(desired, profile) is None:
            findings.refuse(f"{where}.security_opt", f"seccomp profile {profile} could not be read")
    for other, attribute in referenced_services(service).items():
        if other not in project.services:
            findings.refuse(f"{where}.{attribute}", f"service {other} is not enabled")
        elif wanted_replicas(desired, other) < 1 and wanted_replicas(desired, name) > 0:
            findings.refuse(f"{where}.{attribute}", f"service {other} is scaled to 0, there is nothing to share")
    _check_networks(findings, where, service)
    _check_volumes(findings, where, service)
    _check_files(findings, project, where, service)
    if service.get("build"):
        for attribute, why in _build_findings(service["build"], findings.engine):
            findings.refuse(f"{where}.build.{attribute}", why)
        unusable = unusable_context(project, name)
        if unusable:
            findings.refuse(f"{where}.build.additional_contexts", unusable)


def _check_networks(findings: _Findings, where: str, service: Model) -> None:
    networks = service_networks(service)
    macs = set()
    for position, (key, config) in enumerate(networks):
        options, place = config or {}, f"{where}.networks.{key}"
        if options.get("mac_address"):
            if position:
                findings.needs_api(f"{place}.mac_address", ENDPOINTS_AT_CREATION, "it would be ignored")
            else:
                macs.add(options["mac_address"])
        if options.get("interface_name"):
            findings.needs_api(f"{place}.interface_name", "1.49")
        if options.get("gw_priority"):
            findings.needs_api(f"{place}.gw_priority", "1.48", "it would be ignored")
    if service.get("mac_address") and macs and service["mac_address"] not in macs:
        findings.refuse(f"{where}.mac_address", f"differs from that of network {networks[0][0]}")


def _check_volumes(findings: _Findings, where: str, service: Model) -> None:
    for index, volume in enumerate(service.get("volumes") or ()):
        place = f"{where}.volumes[{index}]"
        kind = volume.get("type")
        if (volume.get("bind") or {}).get("recursive") in ("readonly", "writable"):
            findings.needs_api(f"{place}.bind.recursive", "1.44", "it would be ignored")
        if (volume.get("volume") or {}).get("subpath"):
            findings.needs_api(f"{place}.volume.subpath", "1.45", "the whole volume would be mounted")
        if kind == "image":
            findings.needs_api(f"{place}.type image", "1.48")
        elif kind == "npipe":
            findings.refuse(f"{place}.type", "npipe exists on Windows only")
        elif kind == "cluster":
            findings.refuse(f"{place}.type", "cluster volumes exist in Swarm mode only")


def _check_files(findings: _Findings, project: Project, where: str, service: Model) -> None:
    for kind, items, definitions in (
        ("secrets", service.get("secrets"), project.secrets),
        ("configs", service.get("configs"), project.configs),
    ):
        for item in items or ():
            source = item["source"]
            definition = definitions.get(source)
            if definition is None:
                findings.refuse(f"{where}.{kind}", f"{source} is not defined")
                continue
            for attribute in ("external", "driver", "template_driver"):
                if definition.get(attribute):
                    findings.refuse(f"{kind}.{source}.{attribute}", "exists in Swarm mode only")
            copied = not definition.get("file")
            variable = definition.get("environment")
            if variable and f"{kind}.{source}" not in project.secret_values and not definition.get("content"):
                findings.refuse(f"{kind}.{source}.environment", f"variable {variable} is not set")
            if copied and service.get("read_only") and not definition.get("external"):
                findings.refuse(
                    f"{where}.{kind}",
                    f"{source} cannot be copied into a container with read_only: true, give it a file",
                )


def _build_findings(build: Model, engine: EngineFacts) -> Iterator[tuple[str, str]]:
    for attribute, why in (
        ("secrets", "build secrets need a BuildKit session"),
        ("ssh", "an SSH agent needs a BuildKit session"),
        ("entitlements", "entitlements need a BuildKit session"),
        ("privileged", "privileged builds need a BuildKit session"),
        ("isolation", "exists on Windows only"),
    ):
        if build.get(attribute) and (attribute, build[attribute]) != ("isolation", "default"):
            yield attribute, f"{why}, which is not supported"
    for attribute in ("shm_size", "ulimits"):
        if build.get(attribute) and not engine.supports("1.42"):
            yield attribute, f"needs Engine API 1.42, this Engine has {engine.api_version}"


def build_warnings(project: Project) -> list[str]:
    """What a build leaves out without harm to the image."""
    return [
        f"services.{name}.build.{attribute}: has no effect here (needs a BuildKit session)"
        for name, service in sorted(project.services.items())
        for attribute in ("cache_to", "provenance", "sbom", "no_cache_filter")
        if (service.get("build") or {}).get(attribute) not in (None, "", "false", [], False)
    ]
