"""Relative paths become absolute, and the defaults that depend on no other attribute are set.

`resolve_paths` runs once for a project and once for each included or extended file, each time
with the folder that the file's paths are relative to. Absolute paths stay exactly as written.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .reader import Reader
from .scalars import to_text
from .shortforms import clean_path

Path = tuple[str | int, ...]

LONG_BIND = "x-#long-bind"
"""Marks a bind mount in long syntax that says nothing of `create_host_path`: Compose 2 reads that as false."""


class PathProblem(Exception):
    """A path that is needed and missing."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


def join(folder: str, path: str) -> str:
    """Go's `filepath.Join`."""
    if not path:
        return clean_path(folder) if folder else ""
    return clean_path(f"{folder}/{path}") if folder else clean_path(path)


def set_defaults(model: dict[str, Any]) -> None:
    """Defaults of single attributes, in place."""
    services = model.get("services")
    if services.__class__ is not dict:
        return
    for service in services.values():
        if service.__class__ is not dict:
            continue
        if (build := service.get("build")).__class__ is dict:
            build.setdefault("context", ".")
        for secret in _items(service.get("secrets")):
            if "target" not in secret:
                secret["target"] = f"/run/secrets/{to_text(secret.get('source'))}"
        for port in _items(service.get("ports")):
            port.setdefault("protocol", "tcp")
            port.setdefault("mode", "ingress")
        for request in _items(service.get("gpus")):
            _count(request)
        deploy = service.get("deploy")
        if deploy.__class__ is dict:
            reservations = (deploy.get("resources") or {}).get("reservations") or {}
            for request in _items(reservations.get("devices")):
                _count(request)
        for volume in _items(service.get("volumes")):
            if (bind := volume.get("bind")).__class__ is dict and "create_host_path" not in bind:
                bind["create_host_path"] = True
                bind[LONG_BIND] = True


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if item.__class__ is dict] if value.__class__ is list else []


def _count(request: dict[str, Any]) -> None:
    if "count" not in request and "device_ids" not in request:
        request["count"] = "all"


@dataclass(slots=True)
class PathResolver:
    """Turns the paths of a model absolute."""

    folder: str
    home: str
    reader: Reader
    warn: Callable[[str, Path], None]
    is_remote: Callable[[str], bool]

    def model(self, model: dict[str, Any]) -> None:
        services = model.get("services")
        if services.__class__ is dict:
            for name, service in services.items():
                if service.__class__ is dict:
                    self.service(service, ("services", name))
        for section in ("configs", "secrets"):
            for resource in (model.get(section) or {}).values():
                if resource.__class__ is dict and isinstance(resource.get("file"), str):
                    resource["file"] = self.unix(resource["file"])
        for volume in (model.get("volumes") or {}).values():
            if volume.__class__ is dict and volume.get("driver") == "local":
                options = volume.get("driver_opts")
                if options.__class__ is dict and options.get("o") == "bind" and isinstance(options.get("device"), str):
                    options["device"] = self.unix(options["device"])

    def service(self, service: dict[str, Any], path: Path) -> None:
        if (build := service.get("build")).__class__ is dict:
            self.build(build)
        for item in _items(service.get("env_file")):
            if isinstance(item.get("path"), str):
                item["path"] = self.absolute(item["path"])
        if (labels := service.get("label_file")).__class__ is list:
            service["label_file"] = [self.absolute(item) if isinstance(item, str) else item for item in labels]
        extends = service.get("extends")
        if extends.__class__ is dict and isinstance(extends.get("file"), str) and not self.is_remote(extends["file"]):
            extends["file"] = self.absolute(extends["file"])
        if (develop := service.get("develop")).__class__ is dict:
            for watch in _items(develop.get("watch")):
                if isinstance(watch.get("path"), str):
                    watch["path"] = self.first_link(self.absolute(watch["path"]))
        volumes = service.get("volumes")
        for index, volume in enumerate(volumes if volumes.__class__ is list else ()):
            if volume.__class__ is dict and volume.get("type") == "bind":
                source = volume.get("source")
                if not isinstance(source, str):
                    raise PathProblem(
                        (*path, "volumes", index),
                        'invalid mount config for type "bind": field Source must not be empty',
                    )
                volume["source"] = self.unix(source)

    def build(self, build: dict[str, Any]) -> None:
        if isinstance(build.get("context"), str):
            build["context"] = self.context(build["context"])
        for key, resolve in (("additional_contexts", self.context), ("ssh", self.unix)):
            entries = build.get(key)
            if entries.__class__ is dict:
                for name, value in entries.items():
                    if isinstance(value, str):
                        entries[name] = resolve(value)

    def context(self, value: str) -> str:
        if "://" in value or value.startswith(("service:", "github.com/", "git@")):
            return value
        return self.absolute(value)

    def absolute(self, path: str) -> str:
        path = self.expand(path)
        if not path or path.startswith("/"):
            return path
        return join(self.folder, path)

    def unix(self, path: str) -> str:
        path = self.expand(path)
        if path.startswith("/") or is_windows_absolute(path):
            return path
        return join(self.folder, path)

    def expand(self, path: str) -> str:
        if not path.startswith("~"):
            return path
        if not self.home:
            self.warn("cannot expand '~', because the environment lacks HOME", ())
            return path
        return join(self.home, path[1:])

    def first_link(self, path: str) -> str:
        """A watched path with its first symbolic link followed."""
        current = ""
        for part in path.split("/"):
            if not part:
                continue
            current = f"{current}/{part}"
            if self.reader.is_link(current):
                return path.replace(current, self.reader.resolve(current), 1)
        return path


def is_windows_absolute(path: str) -> bool:
    if path[1:2] == ":":
        return path[2:3] in ("/", "\\") and len(path) > 2
    return len(path) > 1 and path[0] in "/\\" and path[1] in "/\\"


def folder_of(path: str) -> str:
    """Go's `filepath.Dir`."""
    return clean_path(posixpath.dirname(path) or ".")
