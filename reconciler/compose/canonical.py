"""Short and alternative forms become the one canonical form.

Runs on the accumulated model after every file, so that the next file meets canonical values.
What is not mentioned in `_SERVICE` and `_RESOURCES` stays as written. Faults raise `CanonicalProblem`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .scalars import to_text
from .shortforms import SpecError, clean_target, parse_device, parse_port, parse_volume

Path = tuple[str | int, ...]
Warn = Callable[[str, Path], None]


class CanonicalProblem(Exception):
    """A value that cannot be brought into canonical form."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


def _kind(value: Any) -> str:
    names = {int: "int", float: "float64", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}
    if value is None:
        return "<nil>"
    return names.get(value.__class__, "string" if value.__class__ is str else "time.Time")


def _invalid(value: Any, path: Path, what: str) -> CanonicalProblem:
    return CanonicalProblem(path, f"{'.'.join(map(str, path))}: invalid type {_kind(value)} for {what}")


def _list_of_one(value: Any, path: Path) -> Any:
    return [value] if value.__class__ is str else value


def _keyed(value: Any, path: Path) -> Any:
    if value.__class__ is not list:
        return value
    for index, name in enumerate(value):
        if name.__class__ is not str:
            raise _invalid(name, (*path, index), "a name")
    return dict.fromkeys(value)


def _depends_on(value: Any, path: Path) -> Any:
    if value.__class__ is dict:
        for name, entry in value.items():
            if entry.__class__ is not dict:
                raise CanonicalProblem((*path, name), f"{'.'.join(map(str, path))}.{name}: unsupported value")
            entry.setdefault("condition", "service_started")
            entry.setdefault("required", True)
        return value
    if value.__class__ is list:
        for index, name in enumerate(value):
            if name.__class__ is not str:
                raise _invalid(name, (*path, index), "depend_on")
        return {name: {"condition": "service_started", "required": True} for name in value}
    raise _invalid(value, path, "depend_on")


def _env_file(value: Any, path: Path) -> Any:
    if value.__class__ is str:
        return [{"path": value, "required": True}]
    if value.__class__ is not list:
        raise _invalid(value, path, "env_file")
    for index, item in enumerate(value):
        if item.__class__ is str:
            value[index] = {"path": item, "required": True}
        elif item.__class__ is dict:
            item.setdefault("required", True)
        else:
            raise _invalid(item, (*path, index), "env_file")
    return value


def _gpus(value: Any, path: Path) -> Any:
    if value.__class__ is str:
        return [{"count": "all"}]
    if value.__class__ is not list:
        raise _invalid(value, path, "gpus")
    return value


def _volumes(value: Any, path: Path) -> Any:
    if value.__class__ is not list:
        return value
    for index, item in enumerate(value):
        if item.__class__ is str:
            try:
                mount = parse_volume(item)
            except SpecError as error:
                raise CanonicalProblem((*path, index), str(error)) from error
            if target := clean_target(mount["target"]):
                mount["target"] = target
            else:
                del mount["target"]
            value[index] = mount
        elif item.__class__ is not dict:
            raise _invalid(item, (*path, index), "service volume mount")
    return value


def _devices(value: Any, path: Path) -> Any:
    if value.__class__ is not list:
        return value
    for index, item in enumerate(value):
        if item.__class__ is str:
            try:
                value[index] = parse_device(item)
            except SpecError as error:
                raise CanonicalProblem((*path, index), str(error)) from error
        elif item.__class__ is not dict:
            raise _invalid(item, (*path, index), "service volume mount")
    return value


def _ports(value: Any, path: Path) -> Any:
    if value.__class__ is not list:
        raise _invalid(value, path, "port")
    ports: list[Any] = []
    for index, item in enumerate(value):
        if item.__class__ is dict:
            ports.append(item)
        elif item.__class__ is str or item.__class__ is int:
            try:
                ports.extend(parse_port(str(item)))
            except SpecError as error:
                raise CanonicalProblem((*path, index), str(error)) from error
        else:
            raise _invalid(item, path, "port")
    return ports


def _file_mounts(value: Any, path: Path) -> Any:
    if value.__class__ is not list:
        return value
    for index, item in enumerate(value):
        if item.__class__ is str:
            value[index] = {"source": item}
        elif item.__class__ is not dict:
            raise CanonicalProblem((*path, index), f"{'.'.join(map(str, path))}: unsupported type {_kind(item)}")
    return value


def _ulimits(value: Any, path: Path) -> Any:
    if value.__class__ is dict:
        for name, limit in value.items():
            if limit.__class__ is not dict and limit.__class__ is not int:
                raise _invalid(limit, (*path, name), "external")
    return value


def _extends(value: Any, path: Path) -> Any:
    return {"service": value} if value.__class__ is str else value


def _additional_contexts(value: Any, path: Path) -> Any:
    if value.__class__ is dict:
        return value
    if value.__class__ is not list:
        raise _invalid(value, path, "additional_contexts")
    contexts: dict[str, Any] = {}
    for item in value:
        name, found, context = item.partition("=") if item.__class__ is str else ("", "", "")
        if not found:
            raise CanonicalProblem(path, f"{'.'.join(map(str, path))}: invalid value {item}, expected key=value")
        contexts[name] = context
    return contexts


def _ssh(value: Any, path: Path) -> Any:
    if value.__class__ is dict:
        return value
    if value.__class__ is not list:
        raise _invalid(value, path, "ssh")
    keys: dict[str, Any] = {}
    for item in value:
        if item.__class__ is not str:
            raise CanonicalProblem(path, f"invalid ssh key type {_kind(item)}")
        name, found, key = item.partition("=")
        if not found and name != "default":
            raise CanonicalProblem(path, f'invalid ssh key "{item}"')
        keys[name] = key if found else None
    return keys


def _text(value: Any, path: Path) -> Any:
    return to_text(value)


_BUILD: dict[str, Callable[[Any, Path], Any]] = {
    "secrets": _file_mounts,
    "provenance": _text,
    "sbom": _text,
    "additional_contexts": _additional_contexts,
    "ssh": _ssh,
    "ulimits": _ulimits,
}


def _build(value: Any, path: Path) -> Any:
    if value.__class__ is str:
        return {"context": value}
    if value.__class__ is not dict:
        raise _invalid(value, path, "build")
    for key in _BUILD.keys() & value.keys():
        value[key] = _BUILD[key](value[key], (*path, key))
    return value


def _develop(value: Any, path: Path) -> Any:
    watches = value.get("watch") if value.__class__ is dict else None
    for watch in watches if watches.__class__ is list else ():
        if watch.__class__ is dict:
            for key in ("ignore", "include"):
                if watch.get(key).__class__ is str:
                    watch[key] = [watch[key]]
    return value


def _dns(value: Any, path: Path) -> Any:
    value = _list_of_one(value, path)
    return [item for item in value if item not in (None, "")] if value.__class__ is list else value


_SERVICE: dict[str, Callable[[Any, Path], Any]] = {
    "build": _build,
    "configs": _file_mounts,
    "depends_on": _depends_on,
    "develop": _develop,
    "devices": _devices,
    "dns": _dns,
    "env_file": _env_file,
    "extends": _extends,
    "gpus": _gpus,
    "label_file": _list_of_one,
    "models": _keyed,
    "networks": _keyed,
    "ports": _ports,
    "secrets": _file_mounts,
    "ulimits": _ulimits,
    "volumes": _volumes,
}


def canonicalise(model: dict[str, Any], warn: Warn) -> None:
    """Bring the model into canonical form, in place."""
    services = model.get("services")
    if services.__class__ is dict:
        for name, service in services.items():
            if service.__class__ is dict:
                for key in _SERVICE.keys() & service.keys():
                    service[key] = _SERVICE[key](service[key], ("services", name, key))
    for section in ("volumes", "networks", "secrets", "configs"):
        resources = model.get(section)
        if resources.__class__ is dict:
            for name, resource in resources.items():
                if resource is not None:
                    _external(resource, (section, name), warn)


def _external(resource: Any, path: Path, warn: Warn) -> None:
    """`external: {name: N}`, the deprecated way to name what exists already."""
    if resource.__class__ is not dict:
        raise _invalid(resource, path, "a resource")
    external = resource.get("external")
    if external.__class__ is not dict:
        return
    resource["external"] = True
    if "name" in external:
        where = ".".join(map(str, path))
        warn(f"{where}: external.name is deprecated. Please set name and external: true", path)
        if "name" not in resource:
            resource["name"] = external["name"]
        elif resource["name"] != external["name"]:
            raise CanonicalProblem(path, f"{where}: name and external.name conflict; only use name")
