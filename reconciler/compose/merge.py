"""Laying one Compose model over another.

`merge_models` is what happens between the files of a project, `merge_service` between a service
and what it extends, `merge_resource` between an included resource and the including file. They
are one recursion: mappings merge, lists grow, scalars are replaced, and some attributes have
rules of their own (`_SERVICE_RULES` and its neighbours).

`unify` runs afterwards and also on a single file: in lists whose items have an identity (a
target, a key before `=`), a later item takes the place of the earlier one.

Both change their arguments in place and give back the result; nobody else holds these trees.
Faults raise `MergeProblem`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .scalars import to_text
from .shortforms import SpecError, volume_target

Path = tuple[str | int, ...]


class MergeProblem(Exception):
    """Two definitions that do not fit together, or a list item without identity."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


def _cannot(path: Path) -> MergeProblem:
    return MergeProblem(path, "cannot override " + ".".join(map(str, path)))


Rule = Callable[[Any, Any, Path], Any]


def _generic(base: Any, over: Any, path: Path) -> Any:
    if over is None:
        return base
    kind = base.__class__
    if kind is dict:
        if over.__class__ is not dict:
            raise _cannot(path)
        return _mappings(base, over, path)
    if kind is list:
        if over.__class__ is not list:
            raise _cannot(path)
        return base + over
    return over


def _mappings(base: dict[str, Any], over: dict[str, Any], path: Path, rules: Any = None) -> dict[str, Any]:
    for key, value in over.items():
        if key not in base:
            base[key] = value
            continue
        rule = None if rules is None else rules.get(key) or rules.get("*")
        if rule is None:
            base[key] = _generic(base[key], value, (*path, key))
        elif rule.__class__ is dict:
            base[key] = _with_rules(base[key], value, (*path, key), rule)
        else:
            base[key] = rule(base[key], value, (*path, key))
    return base


def _with_rules(base: Any, over: Any, path: Path, rules: Any) -> Any:
    if base.__class__ is dict and over.__class__ is dict:
        return _mappings(base, over, path, rules)
    return _generic(base, over, path)


def _replace(base: Any, over: Any, path: Path) -> Any:
    return over


def _entries(value: Any) -> list[Any]:
    """A mapping as a sorted list of `KEY=VALUE`, a text as a list of one."""
    if value.__class__ is dict:
        entries: list[Any] = []
        for key, item in value.items():
            if item is None:
                entries.append(key)
            elif item.__class__ is list:
                entries.extend(f"{key}={to_text(part)}" for part in item)
            else:
                entries.append(f"{key}={to_text(item)}")
        entries.sort()
        return entries
    if value.__class__ is list:
        return value
    return [value] if isinstance(value, str) else []


def _as_entries(base: Any, over: Any, path: Path) -> Any:
    return _entries(base) + _entries(over)


def _extra_hosts(base: Any, over: Any, path: Path) -> Any:
    first = _entries(base)
    return first + [entry for entry in _entries(over) if entry not in first]


def _keyed(value: Any, path: Path, default: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """A list of names as a mapping."""
    if value.__class__ is list:
        for name in value:
            if not isinstance(name, str):
                raise _cannot(path)
        return {name: None if default is None else dict(default) for name in value}
    return value if value.__class__ is dict else None


def _merge_keyed(base: Any, over: Any, path: Path, default: dict[str, Any] | None = None) -> Any:
    first, second = _keyed(base, path, default), _keyed(over, path, default)
    if second is None:
        return first
    if first is None:
        if second:
            raise _cannot(path)
        return first
    return _mappings(first, second, path)


def _depends_on(base: Any, over: Any, path: Path) -> Any:
    return _merge_keyed(base, over, path, {"condition": "service_started", "required": True})


def _build(base: Any, over: Any, path: Path) -> Any:
    first = {"context": base} if isinstance(base, str) else base
    second = {"context": over} if isinstance(over, str) else over
    if second.__class__ is not dict:
        return first if first.__class__ is dict else None
    if first.__class__ is not dict:
        if second:
            raise _cannot(path)
        return None
    return _mappings(first, second, path, _BUILD_RULES)


def _logging(base: Any, over: Any, path: Path) -> Any:
    if base.__class__ is not dict or over.__class__ is not dict:
        raise _cannot(path)
    if "driver" in base and "driver" in over and base["driver"] != over["driver"]:
        return over
    return _mappings(base, over, path)


def _ipam_config(base: Any, over: Any, path: Path) -> Any:
    """Every base pool meets every pool of the override; see the specification for what that yields."""
    if base.__class__ is not list or over.__class__ is not list:
        raise MergeProblem(path, f"{'.'.join(map(str, path))}: unexpected type")
    pools: list[Any] = []
    for original in base:
        first = _keyed(original, path)
        for item in over:
            second = _keyed(item, path)
            if first is None or second is None:
                raise _cannot(path)
            if second.get("subnet") != first.get("subnet") and not any(
                pool.get("subnet") == second.get("subnet") for pool in pools
            ):
                pools.append(second)
                continue
            merged = _mappings(first, second, path)
            for index, pool in enumerate(pools):
                if pool.get("subnet") == merged.get("subnet"):
                    pools[index] = merged
                    break
            else:
                pools.append(merged)
    return pools or None  # an empty base swallows the override, and is no list any more


_BUILD_RULES: dict[str, Any] = {
    "args": _as_entries,
    "additional_contexts": _as_entries,
    "labels": _as_entries,
    "extra_hosts": _extra_hosts,
}
_SERVICE_RULES: dict[str, Any] = {
    **dict.fromkeys(
        ("annotations", "dns", "dns_opt", "dns_search", "env_file", "label_file", "environment"), _as_entries
    ),
    **dict.fromkeys(("labels", "sysctls", "tmpfs"), _as_entries),
    "build": _build,
    "command": _replace,
    "entrypoint": _replace,
    "depends_on": _depends_on,
    "deploy": {"labels": _as_entries},
    "extra_hosts": _extra_hosts,
    "healthcheck": {"test": _replace},
    "logging": _logging,
    "models": _merge_keyed,
    "networks": _merge_keyed,
    "ulimits": {"*": _replace},
}
_RULES: dict[str, Any] = {
    "services": {"*": _SERVICE_RULES},
    "networks": {"*": {"ipam": {"config": _ipam_config}, "labels": _as_entries}},
    "volumes": {"*": {"labels": _as_entries}},
}


def merge_models(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The model of a further file laid over what the earlier files gave."""
    if not base:
        return over
    return _mappings(base, over, (), _RULES)


def merge_service(base: dict[str, Any], over: dict[str, Any], name: str) -> dict[str, Any]:
    """A service laid over the one that it extends."""
    return _mappings(base, over, ("services", name), _SERVICE_RULES)


def merge_resource(section: str, name: str, base: Any, over: Any) -> Any:
    """One service, network, ... of the including file laid over the included one."""
    rules = _RULES.get(section, {}).get("*")
    return _with_rules(base, over, (section, name), rules)


# Identity in lists


def _before_equals(item: Any, path: Path) -> str:
    if item.__class__ is not str:
        raise MergeProblem(path, f"{_named(path)}: unexpected type {_go_type(item)}")
    return item.partition("=")[0]


def _mount(item: Any, path: Path) -> str:
    if item.__class__ is dict:
        target = item.get("target")
        if not isinstance(target, str):
            raise MergeProblem(path, f"service volume {_named(path)} is missing a mount target")
        return target
    if item.__class__ is str:
        try:
            return volume_target(item)
        except SpecError as error:
            raise MergeProblem(path, str(error)) from error
    return ""


def _device(item: Any, path: Path) -> str:
    if item.__class__ is dict:
        target = item.get("target")
        if not isinstance(target, str):
            raise MergeProblem(path, f"service device {_named(path)} is missing a mount target")
        return target
    if item.__class__ is str:
        parts = item.split(":")
        return parts[1] if len(parts) > 1 else parts[0]
    return ""


def _expose(item: Any, path: Path) -> str:
    if item.__class__ is str or item.__class__ is int:
        return str(item)
    raise MergeProblem(path, f"{_named(path)}: unsupported expose value {to_text(item)}")


def _file_mount(default: str) -> Callable[[Any, Path], str]:
    def identity(item: Any, path: Path) -> str:
        if item.__class__ is str:
            return f"{default}/{item}"
        if item.__class__ is not dict:
            raise MergeProblem(path, f"{_named(path)}: unsupported expose value {to_text(item)}")
        if "target" in item:
            if not isinstance(item["target"], str):
                raise MergeProblem(path, f"{_named(path)}: the target must be a string")
            return item["target"]
        return f"{default}/{to_text(item.get('source'))}"

    return identity


def _port(item: Any, path: Path) -> Any:
    if item.__class__ is str or item.__class__ is int:
        return str(item)
    if item.__class__ is not dict:
        return ""
    if "target" not in item:
        raise MergeProblem(path, f"service ports {_named(path)} is missing a target port")
    published = item.get("published")
    return (
        item.get("host_ip", "0.0.0.0"),  # noqa: S104 - what an absent address counts as
        published.__class__,
        to_text(published),
        item["target"].__class__,
        to_text(item["target"]),
        item.get("protocol", "tcp"),
    )


def _env_file(item: Any, path: Path) -> str:
    if item.__class__ is str:
        return item
    if item.__class__ is dict:
        if not isinstance(item.get("path"), str):
            raise MergeProblem(path, f"environment path attribute {_named(path)} is missing")
        return item["path"]  # type: ignore[no-any-return]
    return ""


def _named(path: Path) -> str:
    return ".".join(f"[{part}]" if isinstance(part, int) else part for part in path)


def _go_type(value: Any) -> str:
    names = {int: "int", float: "float64", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}
    return names.get(value.__class__, "<nil>" if value is None else "time.Time")


_UNIQUE_BUILD: dict[str, Any] = dict.fromkeys(
    ("args", "additional_contexts", "platform", "tags", "labels"), _before_equals
)
_UNIQUE_SERVICE: dict[str, Any] = {
    **dict.fromkeys(("annotations", "cap_add", "cap_drop", "dns", "dns_opt", "dns_search"), _before_equals),
    **dict.fromkeys(("environment", "labels", "links", "profiles", "sysctls", "tmpfs"), _before_equals),
    "build": _UNIQUE_BUILD,
    "configs": _file_mount(""),
    "deploy": {"labels": _before_equals},
    "devices": _device,
    "env_file": _env_file,
    "expose": _expose,
    "networks": {"*": {"aliases": _before_equals, "link_local_ips": _before_equals}},
    "ports": _port,
    "secrets": _file_mount("/run/secrets"),
    "volumes": _mount,
}
_UNIQUE: dict[str, Any] = {
    "services": {"*": _UNIQUE_SERVICE},
    "networks": {"*": {"labels": _before_equals, "ipam": {"options": _before_equals}}},
}


def unify(model: dict[str, Any]) -> None:
    """Let later list items replace earlier ones of the same identity, in their place."""
    _unify(model, _UNIQUE, ())


def _unify(mapping: dict[str, Any], rules: dict[str, Any], path: Path) -> None:
    wild = rules.get("*")
    if wild is not None:
        for key, value in mapping.items():
            if value.__class__ is dict:
                _unify(value, wild, (*path, key))
        return
    for key, rule in rules.items():
        if (value := mapping.get(key)) is None:
            continue
        if rule.__class__ is dict:
            if value.__class__ is dict:
                _unify(value, rule, (*path, key))
        elif value.__class__ is list:
            seen: dict[Any, Any] = {}
            for index, item in enumerate(value):
                # Replacing keeps the position of the first item with this identity.
                seen[rule(item, (*path, key, index))] = item
            if len(seen) != len(value):
                mapping[key] = list(seen.values())
