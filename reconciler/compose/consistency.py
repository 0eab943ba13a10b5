"""Do the parts of a project fit together?

Runs on decoded services, enabled ones only. Compose stops at the first contradiction it meets
(in random order); here all are collected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import Problem, nearest, problem_at
from .model import Model

_INVALID = ": invalid compose project"


def check_consistency(
    services: Mapping[str, Model],
    disabled: Mapping[str, Model],
    networks: Mapping[str, Model],
    volumes: Mapping[str, Model],
    secrets: Mapping[str, Model],
    configs: Mapping[str, Model],
    models: Mapping[str, Model],
) -> list[Problem]:
    """Everything that contradicts; `services` may get `deploy.replicas` from `scale`."""
    checks = _Checks(services, disabled, networks, volumes, secrets, configs, models)
    for name, service in services.items():
        checks.service(name, service)
    for name, secret in secrets.items():
        if not secret.get("external") and not secret.get("file") and not secret.get("environment"):
            checks.add(("secrets", name), f'secret "{name}" must declare either `file` or `environment`{_INVALID}')
    if not checks.problems:
        checks.cycles()
    return checks.problems


class _Checks:
    def __init__(
        self,
        services: Mapping[str, Model],
        disabled: Mapping[str, Model],
        networks: Mapping[str, Model],
        volumes: Mapping[str, Model],
        secrets: Mapping[str, Model],
        configs: Mapping[str, Model],
        models: Mapping[str, Model],
    ) -> None:
        self.services, self.disabled = services, disabled
        self.networks, self.volumes, self.secrets = networks, volumes, secrets
        self.configs, self.models = configs, models
        self.problems: list[Problem] = []

    def add(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None:
        self.problems.append(problem_at(path, message, hint=hint))

    def service(self, name: str, service: Model) -> None:
        path = ("services", name)
        build = service.get("build")
        if build is None and not service.get("image") and "provider" not in service:
            self.add(path, f'service "{name}" has neither an image nor a build context specified{_INVALID}')
        if build is not None:
            self.build(name, service, build)
        if service.get("network_mode") and service.get("networks"):
            self.add(path, f"service {name} declares mutually exclusive `network_mode` and `networks`{_INVALID}")
        self.references(name, "network", (*path, "networks"), service.get("networks") or (), self.networks)
        test = (service.get("healthcheck") or {}).get("test")
        if test and test[0] not in ("CMD", "CMD-SHELL", "NONE"):
            self.add(
                (*path, "healthcheck", "test"),
                'healthcheck.test must start either by "CMD", "CMD-SHELL" or "NONE"',
                nearest(str(test[0]), ("CMD", "CMD-SHELL", "NONE")),
            )
        for other, entry in (service.get("depends_on") or {}).items():
            if other in self.services or (other in self.disabled and not entry.get("required")):
                continue
            hint = nearest(other, self.services)
            if other in self.disabled:
                profiles = ", ".join(self.disabled[other].get("profiles", ()))
                hint = f"it is there, but only with one of the profiles {profiles}"
            self.add(
                (*path, "depends_on", other), f'service "{name}" depends on undefined service "{other}"{_INVALID}', hint
            )
        joined = service.get("network_mode", "")
        if joined.startswith("service:") and (other := joined[len("service:") :]) in self.disabled:
            message = f"service \"{other}\" not found for network_mode 'service:{other}'"
            self.add((*path, "network_mode"), message)
        named = [v["source"] for v in service.get("volumes") or () if v.get("type") == "volume" and v.get("source")]
        self.references(name, "volume", (*path, "volumes"), named, self.volumes)
        if build is not None:
            sources = [secret.get("source", "") for secret in build.get("secrets") or ()]
            self.references(name, "build secret", (*path, "build", "secrets"), sources, self.secrets)
        for word, section, known in (("config", "configs", self.configs), ("secret", "secrets", self.secrets)):
            sources = [item.get("source", "") for item in service.get(section) or ()]
            self.references(name, word, (*path, section), sources, known)
        self.references(name, "model", (*path, "models"), service.get("models") or (), self.models)
        self.limits(name, service)
        self.mounts(name, service)

    def references(
        self,
        name: str,
        word: str,
        path: tuple[str | int, ...],
        references: Iterable[str],
        known: Mapping[str, Any],
    ) -> None:
        for reference in references:
            if reference not in known:
                message = f'service "{name}" refers to undefined {word} {reference}{_INVALID}'
                self.add((*path, reference), message, nearest(reference, known))

    def build(self, name: str, service: Model, build: Model) -> None:
        path = ("services", name, "build")
        if build.get("dockerfile_inline") and build.get("dockerfile"):
            message = f'service "{name}" declares mutualy exclusive dockerfile and dockerfile_inline{_INVALID}'
            self.add(path, message)
        for context, target in (build.get("additional_contexts") or {}).items():
            if not target.startswith("service:"):
                continue
            target = target[len("service:") :]
            place = (*path, "additional_contexts", context)
            if target not in self.services:
                message = f'service "{name}" declares unknown service "{target}" as additional contexts {context}'
                self.add(place, message, nearest(target, self.services))
            elif "build" not in self.services[target]:
                message = f'service "{name}" declares non-buildable service "{target}" as additional contexts {context}'
                self.add(place, message)
        platform = service.get("platform")
        if build.get("platforms") and platform and platform not in build["platforms"]:
            self.add(path, f'service.build.platforms MUST include service.platform "{platform}"{_INVALID}')

    def limits(self, name: str, service: Model) -> None:
        path = ("services", name)
        deploy = service.get("deploy")
        scale = service.get("scale")
        replicas = None if deploy is None else deploy.get("replicas")
        if scale is not None and deploy is not None:
            if replicas is not None and replicas != scale:
                message = f"services.{name}: can't set distinct values on 'scale' and 'deploy.replicas'{_INVALID}"
                self.add((*path, "scale"), message)
            elif replicas is None:
                _set_replicas(deploy, scale)
                replicas = scale
        if scale is not None and scale < 0:
            self.add((*path, "scale"), f"services.{name}.scale: must be greater than or equal to 0")
        if replicas is not None and replicas < 0:
            place = (*path, "deploy", "replicas")
            self.add(place, f"services.{name}.deploy.replicas: must be greater than or equal to 0")
        if deploy is not None:
            resources = deploy["resources"]
            for attribute, section, key, zero in (
                ("cpus", "limits", "cpus", 0),
                ("mem_limit", "limits", "memory", "0"),
                ("mem_reservation", "reservations", "memory", "0"),
                ("pids_limit", "limits", "pids", 0),
            ):
                if attribute not in service or section not in resources:
                    continue
                if resources[section].get(key, zero) != service[attribute]:
                    other = f"deploy.resources.{section}.{key}"
                    message = f"services.{name}: can't set distinct values on '{attribute}' and '{other}'{_INVALID}"
                    self.add((*path, attribute), message)
        count = scale if scale is not None else (1 if replicas is None else replicas)
        if count > 1 and service.get("container_name"):
            word = "scale" if scale is not None else "deploy.replicas"
            message = f"services.{word}: can't set container_name and {name} as container name must be unique{_INVALID}"
            self.add((*path, "container_name"), message)
        for index, watch in enumerate((service.get("develop") or {}).get("watch") or ()):
            if not watch.get("target") and watch.get("action") not in ("rebuild", "restart"):
                trigger = (*path, "develop", "watch", index)
                self.add(
                    trigger, f"services.{name}.develop.watch: target is required for non-rebuild actions{_INVALID}"
                )

    def mounts(self, name: str, service: Model) -> None:
        taken: dict[str, str] = {}
        targets = [("tmpfs", index, entry.partition(":")[0]) for index, entry in enumerate(service.get("tmpfs") or ())]
        targets += [("volumes", index, v.get("target", "")) for index, v in enumerate(service.get("volumes") or ())]
        for section, index, target in targets:
            place = f"services.{name}.{section}[{index}]"
            if target in taken:
                message = f"{place}: target {target} already mounted as {taken[target]}"
                self.add(("services", name, section, index), message)
            taken.setdefault(target, place)

    def cycles(self) -> None:
        done: set[str] = set()
        for start in sorted(self.services):
            trail: list[str] = []
            if (cycle := self._cycle(start, trail, done)) is not None:
                message = "dependency cycle detected: " + " -> ".join(cycle)
                self.add(("services", cycle[0], "depends_on"), message)
                return

    def _cycle(self, start: str, trail: list[str], done: set[str]) -> list[str] | None:
        """The first cycle that can be reached from a service, without recursion: chains may be long."""
        stack: list[tuple[str, Any]] = [(start, None)]
        on_trail: set[str] = set()
        while stack:
            name, children = stack.pop()
            if children is None:
                if name in on_trail:
                    return [*trail[trail.index(name) :], name]
                if name in done:
                    continue
                trail.append(name)
                on_trail.add(name)
                depends_on = self.services[name].get("depends_on") or {}
                children = iter(sorted(other for other in depends_on if other in self.services))
            child = next(children, None)
            if child is None:
                trail.pop()
                on_trail.discard(name)
                done.add(name)
            else:
                stack.append((name, children))
                stack.append((child, None))
        return None


def _set_replicas(deploy: Model, replicas: int) -> None:
    """Put `replicas` where Compose's structure has it: after `mode`."""
    rest = {key: value for key, value in deploy.items() if key != "mode"}
    mode = deploy.get("mode")
    deploy.clear()
    if mode is not None:
        deploy["mode"] = mode
    deploy["replicas"] = replicas
    deploy.update(rest)


def container_name_clashes(services: Mapping[str, Model]) -> list[Problem]:
    """Two services that want the same container name."""
    owners: dict[str, str] = {}
    problems: list[Problem] = []
    for name in sorted(services):
        wanted = services[name].get("container_name")
        if not wanted:
            continue
        if wanted in owners:
            problems.append(
                problem_at(
                    ("services", name, "container_name"),
                    f'services.{name}: container name "{wanted}" is already in use by service {owners[wanted]}',
                )
            )
        owners.setdefault(wanted, name)
    return problems
