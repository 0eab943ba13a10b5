"""Volumes, configs and secrets of a service: what becomes `Binds`, `Mounts` or a copied file.

Compose sends what the older `Binds` form can express as `Binds` and the rest as `Mounts`;
we keep to that, because the Engine reports both verbatim and whoever compares (another
Compose, ourselves at adoption) should find what it expects.

A config or secret with a file is a read-only bind mount; one with inline content or a
variable is copied into the container between creation and start, so that the content is
on no host path. Its content leaves this module only through `file_content`.

Anonymous volumes move on to a container's successor, but only they: a bind or a named
volume that left the file is gone with it, even where the image declares a VOLUME.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.compose.model import Model, Project
from reconciler.planner.model import DesiredStack, PlanError
from reconciler.planner.specs import InjectedFile, Json
from reconciler.planner.values import is_anonymous_volume, size, without_empty


def volume_name(project: Project, key: str) -> str:
    """The real name of a top-level volume."""
    return (project.volumes.get(key) or {}).get("name") or f"{project.name}_{key}"


def creates_host_path(volume: Model) -> bool:
    """Whether a missing source folder is made (the default since Compose 5)."""
    return (volume.get("bind") or {}).get("create_host_path", True) is not False


def _as_bind(project: Project, volume: Model) -> str | None:
    """The `Binds` text of a volume, or None where only `Mounts` can say it."""
    kind, source, target = volume.get("type"), volume.get("source") or "", volume["target"]
    bind = volume.get("bind") or {}
    if kind == "bind":
        if not creates_host_path(volume) or bind.get("propagation") or bind.get("recursive"):
            return None
    elif kind == "volume":
        options = volume.get("volume") or {}
        if not source or source not in project.volumes or options.get("labels") or options.get("subpath"):
            return None
        if options.get("nocopy"):
            return None
        source = volume_name(project, source)
    else:
        return None
    if ":" in source or ":" in target:
        return None
    selinux = f",{bind['selinux']}" if bind.get("selinux") else ""
    return f"{source}:{target}:{'ro' if volume.get('read_only') else 'rw'}{selinux}"


def _as_mount(project: Project, volume: Model) -> Json:
    kind, source = volume["type"], volume.get("source") or ""
    if kind == "volume" and source in project.volumes:
        source = volume_name(project, source)
    mount: Json = {"Type": kind, "Source": source, "Target": volume["target"]}
    if volume.get("read_only"):
        mount["ReadOnly"] = True
    if volume.get("consistency"):
        mount["Consistency"] = volume["consistency"]
    section = volume.get(kind)
    if section is None:
        return mount
    if kind == "bind":
        recursive = section.get("recursive")
        mount["BindOptions"] = without_empty(
            {
                "Propagation": section.get("propagation"),
                "CreateMountpoint": creates_host_path(volume),
                "NonRecursive": recursive == "disabled",
                "ReadOnlyNonRecursive": recursive == "writable",
                "ReadOnlyForceRecursive": recursive == "readonly",
            }
        )
    elif kind == "volume":
        mount["VolumeOptions"] = without_empty(
            {
                "NoCopy": section.get("nocopy"),
                "Subpath": section.get("subpath"),
                "Labels": section.get("labels"),
            }
        )
    elif kind == "tmpfs":
        mount["TmpfsOptions"] = without_empty({"SizeBytes": size(section.get("size")), "Mode": section.get("mode")})
    elif kind == "image":
        mount["ImageOptions"] = without_empty({"Subpath": section.get("subpath")})
    return mount


def _targets(service: Model) -> set[str]:
    return {volume["target"] for volume in service.get("volumes") or ()}


def _inherited(service: Model, image_volumes: Mapping[str, Any], inherit: Mapping[str, Any]) -> list[Json]:
    """Mounts that carry the anonymous volumes of the replaced container on."""
    volumes = service.get("volumes") or ()
    anonymous = {volume["target"] for volume in volumes if volume.get("type") == "volume" and not volume.get("source")}
    taken = _targets(service) - anonymous | {entry.partition(":")[0] for entry in service.get("tmpfs") or ()}
    mounts = []
    for mount in inherit.get("Mounts") or ():
        target, name = mount.get("Destination") or "", mount.get("Name") or ""
        if mount.get("Type") != "volume" or not is_anonymous_volume(name) or target in taken:
            continue
        if target in anonymous or target in image_volumes:
            kept: Json = {"Type": "volume", "Source": name, "Target": target}
            if mount.get("RW") is False:
                kept["ReadOnly"] = True
            mounts.append(kept)
    return mounts


def file_target(kind: str, item: Model) -> str:
    """Where a config or secret appears inside the container."""
    folder = "/run/secrets" if kind == "secret" else ""
    target: str = item.get("target") or item["source"]
    return target if target.startswith("/") else f"{folder}/{target}"


def _file_items(project: Project, service: Model) -> list[tuple[str, Model, Model]]:
    """(kind, item, definition) of each secret and config of a service not hidden by a mount."""
    taken = _targets(service)
    found: list[tuple[str, Model, Model]] = []
    for kind, items, definitions in (
        ("secret", service.get("secrets"), project.secrets),
        ("config", service.get("configs"), project.configs),
    ):
        found.extend(
            (kind, item, definitions.get(item["source"]) or {})
            for item in items or ()
            if file_target(kind, item) not in taken
        )
    return found


def binds_and_mounts(
    project: Project, service: Model, image_volumes: Mapping[str, Any], inherit: Mapping[str, Any] | None
) -> tuple[list[str], list[Json]]:
    """`HostConfig.Binds` and `HostConfig.Mounts` of a service."""
    inherited = _inherited(service, image_volumes, inherit) if inherit else []
    replaced = {mount["Target"] for mount in inherited}
    binds, mounts = [], []
    for volume in service.get("volumes") or ():
        bind = _as_bind(project, volume)
        if bind is not None:
            binds.append(bind)
        elif volume["target"] not in replaced:
            mounts.append(_as_mount(project, volume))
    mounts.extend(inherited)
    for kind, item, definition in _file_items(project, service):
        if definition.get("file"):
            mount: Json = {
                "Type": "bind",
                "Source": definition["file"],
                "Target": file_target(kind, item),
                "ReadOnly": True,
            }
            if kind == "secret":
                mount["BindOptions"] = {}
            mounts.append(mount)
    return binds, mounts


def _mode(item: Model) -> int:
    text = item.get("mode")
    return int(str(text), 8) if text not in (None, "") else 0o444


def _number(text: Any) -> int:
    return int(text) if str(text or "").isdigit() else 0


def injected_files(project: Project, service: Model) -> tuple[InjectedFile, ...]:
    """The configs and secrets to copy in, secrets first; those with empty content are left out."""
    files = []
    for kind, item, definition in _file_items(project, service):
        if definition.get("file") or not _content(project, kind, item["source"]):
            continue
        files.append(
            InjectedFile(
                kind=kind,
                source=item["source"],
                target=file_target(kind, item),
                mode=_mode(item),
                uid=_number(item.get("uid")),
                gid=_number(item.get("gid")),
                keep_ids=bool(item.get("uid") or item.get("gid")),
            )
        )
    return tuple(files)


def _content(project: Project, kind: str, source: str) -> str:
    value = project.secret_values.get(f"{kind}s.{source}")
    if value is not None:
        return value
    definitions = project.secrets if kind == "secret" else project.configs
    return (definitions.get(source) or {}).get("content") or ""


def file_content(desired: DesiredStack, item: InjectedFile) -> bytes:
    """What a copied config or secret contains."""
    content = _content(desired.project, item.kind, item.source)
    if not content:
        raise PlanError(f"{item.kind}s.{item.source}: has no content any more")
    return content.encode("utf-8", "surrogateescape")
