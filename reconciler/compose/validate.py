"""Is this model a Compose model at all?

First the published JSON schema (`schema.json`, Apache-2.0, from the Compose specification), run
by a validator written in Rust; it is compiled once, when the first file is loaded. A valid model
costs one call. Only an invalid one is walked again for its errors, which are then rewritten: the
schema speaks of `oneOf` branches, people want to know which attribute must be what.

Then the few rules that the schema cannot say (`check`).
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from .errors import Problem, nearest, problem_at
from .scalars import Timestamp, to_text
from .shortforms import is_ip_address

Path = tuple[str | int, ...]


@cache
def _validator() -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(_schema())


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(FilePath(__file__).with_name("schema.json").read_text("utf-8"))
    return schema


def validate(model: dict[str, Any], *, has_odd_values: bool = False) -> list[Problem]:
    """What the schema has against the model."""
    instance = model
    if has_odd_values:
        problems: list[Problem] = []
        instance = _as_json(model, (), problems)
        if problems:
            return problems
    return [] if _validator().is_valid(instance) else _problems(instance)


def _as_json(value: Any, path: Path, problems: list[Problem]) -> Any:
    """The value with dates as text; a number that JSON does not know is a problem."""
    if value.__class__ is dict:
        return {key: _as_json(item, (*path, key), problems) for key, item in value.items()}
    if value.__class__ is list:
        return [_as_json(item, (*path, index), problems) for index, item in enumerate(value)]
    if value.__class__ is Timestamp:
        return str.__str__(value)
    if value.__class__ is float and not math.isfinite(value):
        problems.append(problem_at(path, f"json: unsupported value: {to_text(value)}"))
    return value


def _problems(instance: dict[str, Any]) -> list[Problem]:
    found: dict[tuple[Path, str], Problem] = {}
    for error in _validator().iter_errors(instance):
        for problem in _flatten(error, instance):
            found.setdefault((problem.parts, problem.message), problem)
    return list(found.values())


def _flatten(error: Any, instance: Any) -> list[Problem]:
    """The errors of the branch that came furthest, where there are several branches."""
    branches = getattr(error.kind, "context", None)
    if not branches:
        return _leaf(error, instance)
    leaves = [leaf for branch in branches for cause in branch for leaf in _flatten(cause, instance)]
    deepest = max((len(leaf.parts) for leaf in leaves), default=0)
    leaves = [leaf for leaf in leaves if len(leaf.parts) == deepest]
    if others := [leaf for leaf in leaves if not leaf.expected]:
        return others[:1]
    if len(leaves) > 1:
        expected = _alternatives({word for leaf in leaves for word in _words(leaf.expected)})
        return [_problem(leaves[0].parts, f"must be a {expected}", instance, expected)]
    return leaves


def _alternatives(words: set[str]) -> str:
    *first, last = sorted(words)
    return f"{', '.join(first)} or {last}" if first else last


def _words(alternatives: str) -> list[str]:
    return alternatives.replace(" or ", ", ").split(", ")


def _leaf(error: Any, instance: Any) -> list[Problem]:
    path = tuple(error.instance_path)
    kind = error.kind
    match kind.name:
        case "additionalProperties":
            known = _known_keys(error)
            return [
                problem_at(
                    (*path, key), f"additional properties '{key}' not allowed", found=key, hint=nearest(key, known)
                )
                for key in kind.unexpected
            ]
        case "type":
            expected = _alternatives({"mapping" if word == "object" else word for word in kind.types})
            return [_problem(path, f"must be a {expected}", instance, expected)]
        case "required":
            return [_problem(path, f"missing property '{kind.property}'", instance)]
        case "enum":
            options = [str(option) for option in kind.options]
            value = _value_at(instance, path)
            hint = nearest(value, options) if isinstance(value, str) else ""
            message = "value must be one of " + ", ".join(f"'{option}'" for option in options)
            return [_problem(path, message, instance, hint=hint)]
        case "pattern":
            return [_problem(path, f"{_value_at(instance, path)!r} does not match pattern '{kind.pattern}'", instance)]
        case "minimum":
            return [_problem(path, f"must be greater than or equal to {kind.limit}", instance)]
        case "maximum":
            return [_problem(path, f"must be less than or equal to {kind.limit}", instance)]
        case "uniqueItems":
            return [_problem(path, _equal_items(_value_at(instance, path)), instance)]
    return [_problem(path, str(error.message), instance)]


def _equal_items(items: Any) -> str:
    for second, item in enumerate(items):
        if item in items[:second]:
            return f"items at {items.index(item)} and {second} are equal"
    return "has equal items"


def _problem(path: Path, message: str, instance: Any, expected: str = "", hint: str = "") -> Problem:
    value = _value_at(instance, path)
    found = json.dumps(value, ensure_ascii=False, default=str)
    return problem_at(
        path, message, found=found if len(found) < 80 else found[:77] + "...", expected=expected, hint=hint
    )


def _value_at(instance: Any, path: Path) -> Any:
    for part in path:
        try:
            instance = instance[part]
        except (KeyError, IndexError, TypeError):
            return None
    return instance


def _known_keys(error: Any) -> list[str]:
    """The properties that the schema knows at the place of the error."""
    schema: Any = _schema()
    for part in list(error.schema_path)[:-1]:
        schema = _deref(schema)
        try:
            schema = schema[int(part)] if isinstance(schema, list) else schema[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return []
    schema = _deref(schema)
    return list(schema.get("properties", ())) if isinstance(schema, dict) else []


def _deref(schema: Any) -> Any:
    while isinstance(schema, dict) and "$ref" in schema:
        target: Any = _schema()
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


# What the schema cannot say


def check(model: dict[str, Any]) -> list[Problem]:
    """Contradictions within single attributes of a canonical model."""
    problems: list[Problem] = []
    services = model.get("services")
    for name, service in services.items() if services.__class__ is dict else ():
        if service.__class__ is dict:
            _check_service(service, ("services", name), problems)
    for name, volume in (model.get("volumes") or {}).items():
        if volume.__class__ is dict and volume.get("external") is True:
            for key in volume:
                if key not in ("name", "external") and not key.startswith("x-"):
                    problems.append(
                        problem_at(
                            ("volumes", name),
                            f'volumes.{name}: conflicting parameters "external" and "{key}" specified',
                        )
                    )
                    break
    for section, keys in (("configs", ("file", "environment", "content")), ("secrets", ("file", "environment"))):
        for name, resource in (model.get(section) or {}).items():
            _check_file_object(resource, (section, name), keys, problems)
    return problems


def _check_file_object(resource: Any, path: Path, keys: tuple[str, ...], problems: list[Problem]) -> None:
    if resource.__class__ is not dict:
        return
    count = sum(key in resource for key in keys)
    where = ".".join(map(str, path))
    if count > 1:
        problems.append(problem_at(path, f"{where}: {'|'.join(keys)} attributes are mutually exclusive"))
    elif count == 0 and "driver" not in resource and "external" not in resource:
        problems.append(problem_at(path, f"{where}: one of {'|'.join(keys)} must be set"))


def _check_service(service: dict[str, Any], path: Path, problems: list[Problem]) -> None:
    for index, port in enumerate(service.get("ports") or ()):
        host_ip = port.get("host_ip") if port.__class__ is dict else None
        if host_ip is not None and not (isinstance(host_ip, str) and is_ip_address(host_ip)):
            place = (*path, "ports", index)
            problems.append(
                problem_at(place, f"{'.'.join(map(str, path))}.ports.[]: invalid ip address: {host_ip}", found=host_ip)
            )
    if (develop := service.get("develop")).__class__ is dict:
        for index, watch in enumerate(develop.get("watch") or ()):
            if watch.get("path") == "":
                place = (*path, "develop", "watch", index, "path")
                problems.append(
                    problem_at(place, f"{'.'.join(map(str, path))}.develop.watch.[].path: value can't be blank")
                )
    requests = [((*path, "gpus"), service.get("gpus"))]
    if (deploy := service.get("deploy")).__class__ is dict:
        reservations = (deploy.get("resources") or {}).get("reservations") or {}
        requests.append(((*path, "deploy", "resources", "reservations", "devices"), reservations.get("devices")))
    for place, items in requests:
        for index, request in enumerate(items or ()):
            if request.__class__ is dict and "count" in request and "device_ids" in request:
                where = ".".join(map(str, place))
                problems.append(
                    problem_at((*place, index), f'{where}.[]: "count" and "device_ids" attributes are exclusive')
                )
