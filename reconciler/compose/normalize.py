"""What follows from what is written: implied dependencies, the default network, names.

Works on the canonical tree of the whole project, after includes and paths are resolved and
before values are decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .shortforms import clean_path

_STARTED_AND_RESTARTED = {"condition": "service_started", "restart": True, "required": True}


class NormaliseProblem(Exception):
    """A value that the schema lets pass and nothing can be made of."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


def normalise(model: dict[str, Any], project_name: str, environment: Mapping[str, str]) -> None:
    """Complete the model in place."""
    services = model.get("services") or {}
    _networks(model, services)
    for name, service in services.items():
        _service(name, service, environment)
    _names(model, project_name)


def _networks(model: dict[str, Any], services: dict[str, Any]) -> None:
    uses_default = False
    for service in services.values():
        if "provider" in service or "network_mode" in service:
            continue
        if not service.get("networks"):
            service["networks"] = {"default": None}
        uses_default = uses_default or "default" in service["networks"]
    networks = model.get("networks") or {}
    if uses_default:
        networks.setdefault("default", None)
    if networks:
        model["networks"] = networks


def _service(name: str, service: dict[str, Any], environment: Mapping[str, str]) -> None:
    if service.get("pull_policy") == "if_not_present":
        service["pull_policy"] = "missing"
    build = service.get("build")
    if build.__class__ is dict:
        if build.get("context") is None:
            build["context"] = "."
        if build.get("dockerfile") is None and build.get("dockerfile_inline") is None:
            build["dockerfile"] = "Dockerfile"
        if "args" in build:
            build["args"] = _looked_up(build["args"], environment, keep=False)
    if "environment" in service:
        service["environment"] = _looked_up(service["environment"], environment, keep=True)
    depends_on = _dependencies(name, service)
    if depends_on:
        service["depends_on"] = depends_on
    for volume in service.get("volumes") or ():
        volume["target"] = clean_path(volume["target"])
    if (image := service.get("image")) and isinstance(image, str):
        for hook in service.get("pre_start") or ():
            hook.setdefault("image", image)


def _dependencies(name: str, service: dict[str, Any]) -> dict[str, Any]:
    depends_on: dict[str, Any] = service.get("depends_on") or {}
    for link in service.get("links") or ():
        parts = link.split(":")
        depends_on.setdefault(parts[0] if len(parts) == 2 else link, dict(_STARTED_AND_RESTARTED))
    for namespace in ("network_mode", "ipc", "pid", "uts", "cgroup"):
        joined = service.get(namespace)
        if namespace in service and not isinstance(joined, str):
            raise NormaliseProblem(("services", name, namespace), "must be a string")
        if isinstance(joined, str) and joined.startswith("service:"):
            depends_on.setdefault(joined[len("service:") :], dict(_STARTED_AND_RESTARTED))
    for source in service.get("volumes_from") or ():
        if not source.startswith("container:"):
            depends_on.setdefault(
                source.partition(":")[0], {"condition": "service_started", "restart": False, "required": True}
            )
    return depends_on


def _looked_up(value: Any, environment: Mapping[str, str], *, keep: bool) -> Any:
    """Variables without a value get the one of the project environment; else they stay or go."""
    if value.__class__ is dict:
        resolved: dict[str, Any] = {}
        for name, item in value.items():
            if item is not None:
                resolved[name] = item
            elif name in environment:
                resolved[name] = environment[name]
            elif keep:
                resolved[name] = None
        return resolved
    if value.__class__ is list:
        entries: list[Any] = []
        for entry in value:
            if entry.__class__ is not str:
                continue
            if "=" in entry:
                entries.append(entry)
            elif entry in environment:
                entries.append(f"{entry}={environment[entry]}")
            elif keep:
                entries.append(entry)
        return entries
    return value


def _names(model: dict[str, Any], project_name: str) -> None:
    for section in ("networks", "volumes", "configs", "secrets"):
        resources = model.get(section)
        if not resources:
            continue
        for key, resource in resources.items():
            if resource is None:
                resource = resources[key] = {}
            if resource.get("name") is None:
                external = str(resource.get("external", False)).lower() in ("true", "t", "1")
                resource["name"] = key if external else f"{project_name}_{key}"
