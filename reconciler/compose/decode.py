"""From the canonical tree to typed values, in the form that is printed, compared and hashed.

Every object of Compose is described by an `Object`: its attributes in the order of Compose's own
structures (the config hash depends on it), each with a decoder. A decoder takes what the file
says and gives the JSON value, or `OMIT` where Compose leaves the attribute out: zero values, but
not where an explicit zero means something (`init: false`, `retries: 0`).

Problems are collected, so that one load shows all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .errors import Problem, problem_at
from .paths import LONG_BIND
from .scalars import (
    Timestamp,
    duration_text,
    float32,
    parse_bool,
    parse_bytes,
    parse_duration,
    parse_float,
    parse_int,
    shell_words,
    to_text,
)

Path = tuple[str | int, ...]


class _Omit:
    """Stands for: leave the attribute out."""


OMIT = _Omit()


class Decoding:
    """One decoding run: where it is, what was wrong, what to warn of."""

    def __init__(self, warn: Callable[[str, Path], None]) -> None:
        self.problems: list[Problem] = []
        self.warn = warn

    def problem(self, path: Path, message: str) -> None:
        self.problems.append(problem_at(path, message))

    def unexpected(self, path: Path, expected: str, value: Any) -> _Omit:
        self.problem(path, f"expected type '{expected}', got unconvertible type '{_go_type(value)}'")
        return OMIT


Decoder = Callable[[Any, Path, Decoding], Any]


def _go_type(value: Any) -> str:
    names = {int: "int", float: "float64", bool: "bool", str: "string", dict: "map[string]interface {}"}
    return "<nil>" if value is None else names.get(value.__class__, "[]interface {}")


# Scalars


def text(value: Any, path: Path, run: Decoding) -> Any:
    kind = value.__class__
    if kind is str:
        return value or OMIT
    if kind is int:
        return str(value)
    if value is None:
        return OMIT
    return run.unexpected(path, "string", "time.Time" if kind is Timestamp else value)


def boolean(value: Any, path: Path, run: Decoding) -> Any:
    return _boolean(value, path, run) or OMIT


def boolean_or_unset(value: Any, path: Path, run: Decoding) -> Any:
    result = _boolean(value, path, run)
    return OMIT if result is None else result


def _boolean(value: Any, path: Path, run: Decoding) -> bool | None:
    if value.__class__ is bool:
        return value
    if value.__class__ is str:
        try:
            result, warning = parse_bool(value)
        except ValueError as error:
            run.problem(path, str(error))
            return None
        if warning:
            run.warn(warning, path)
        return result
    if value is not None:
        run.unexpected(path, "bool", value)
    return None


def _number(value: Any, path: Path, run: Decoding, *, unsigned: bool = False) -> int | None:
    kind = value.__class__
    if kind is float:
        value = int(value)
        kind = int
    if kind is int:
        if unsigned and value < 0:
            run.problem(path, f"cannot parse value, {value} overflows uint")
            return None
        return value  # type: ignore[no-any-return]
    if kind is str and not unsigned:
        try:
            return parse_int(value, "ParseInt")
        except ValueError as error:
            run.problem(path, str(error))
            return None
    if value is not None:
        run.unexpected(path, "uint64" if unsigned else "int64", value)
    return None


def integer(value: Any, path: Path, run: Decoding) -> Any:
    return _number(value, path, run) or OMIT


def integer_or_unset(value: Any, path: Path, run: Decoding) -> Any:
    result = _number(value, path, run)
    return OMIT if result is None else result


def unsigned(value: Any, path: Path, run: Decoding) -> Any:
    return _number(value, path, run, unsigned=True) or OMIT


def unsigned_or_unset(value: Any, path: Path, run: Decoding) -> Any:
    result = _number(value, path, run, unsigned=True)
    return OMIT if result is None else result


def number32(value: Any, path: Path, run: Decoding) -> Any:
    kind = value.__class__
    if kind is str:
        try:
            value = parse_float(value)
        except ValueError as error:
            run.problem(path, str(error))
            return OMIT
    elif kind is not int and kind is not float:
        return OMIT if value is None else run.unexpected(path, "float32", value)
    narrow = float32(value)
    if not math.isfinite(narrow):
        run.problem(path, f"json: unsupported value: {to_text(narrow)}")
        return OMIT
    if narrow == 0:
        return OMIT
    return int(narrow) if narrow == int(narrow) and abs(narrow) < 1e15 else narrow


def size(value: Any, path: Path, run: Decoding) -> Any:
    """Bytes, printed as decimal text. Floats count as not written, as in Compose."""
    if value.__class__ is str:
        try:
            value = parse_bytes(value)
        except ValueError as error:
            run.problem(path, str(error))
            return OMIT
    if value.__class__ is not int or value == 0:
        return OMIT
    return str(value)


def size_or_zero(value: Any, path: Path, run: Decoding) -> Any:
    result = size(value, path, run)
    return "0" if result is OMIT else result


def duration(value: Any, path: Path, run: Decoding) -> Any:
    result = duration_or_unset(value, path, run)
    return OMIT if result == "0s" else result


def duration_or_unset(value: Any, path: Path, run: Decoding) -> Any:
    if value is None:
        return OMIT
    try:
        return duration_text(parse_duration(to_text(value)))
    except ValueError as error:
        run.problem(path, str(error))
        return OMIT


def file_mode(value: Any, path: Path, run: Decoding) -> Any:
    if value is None:
        return OMIT
    if value.__class__ is str:
        sign, digits = ("-", value[1:]) if value[:1] == "-" else ("", value.removeprefix("+"))
        if not digits or digits.strip("01234567") or len(digits.lstrip("0")) > 21:
            run.problem(path, f'strconv.ParseInt: parsing "{value}": invalid syntax')
            return OMIT
        value = int(sign + digits, 8)
    if value.__class__ is not int:
        return run.unexpected(path, "FileMode", value)
    return f"0{'-' if value < 0 else ''}{abs(value):o}"


def device_count(value: Any, path: Path, run: Decoding) -> Any:
    if value.__class__ is str:
        if value.lower() == "all":
            return -1
        try:
            value = parse_int(value)
        except ValueError:
            run.problem(path, f"invalid value \"{value}\", the only value allowed is 'all' or a number")
            return OMIT
    if value.__class__ is not int:
        run.problem(path, f"invalid type {_go_type(value)} for device count")
        return OMIT
    return value or OMIT


# Collections


def texts(value: Any, path: Path, run: Decoding) -> Any:
    """A list of strings; a single string counts as a list of one."""
    if value.__class__ is str:
        return [value]
    if value is None:
        return OMIT
    if value.__class__ is not list:
        return run.unexpected(path, "[]string", value)
    result: list[str] = []
    for index, item in enumerate(value):
        if item.__class__ is str:
            result.append(item)
        elif item.__class__ is int:
            result.append(str(item))
        elif item is None:
            result.append("")
        else:
            run.unexpected((*path, index), "string", item)
    return result or OMIT


def any_texts(value: Any, path: Path, run: Decoding) -> Any:
    """A list of whatever, as text."""
    if value.__class__ is str:
        return [value]
    if value.__class__ is not list:
        return OMIT if value is None else run.unexpected(path, "[]string", value)
    return [to_text(item) for item in value] or OMIT


def command(value: Any, path: Path, run: Decoding) -> Any:
    """Always printed: null where nothing is said, an empty list where emptiness is."""
    if value.__class__ is str:
        try:
            return shell_words(value)
        except ValueError as error:
            run.problem(path, str(error))
            return None
    return _strings(value, path, run) if value.__class__ is list else None


def _strings(value: list[Any], path: Path, run: Decoding) -> list[str]:
    for index, item in enumerate(value):
        if item.__class__ is not str:
            run.unexpected((*path, index), "string", "time.Time" if item.__class__ is Timestamp else item)
            return []
    return value


def health_test(value: Any, path: Path, run: Decoding) -> Any:
    if value.__class__ is str:
        return ["CMD-SHELL", value]
    if value.__class__ is list:
        return _strings(value, path, run) or OMIT
    if value is not None:
        run.problem(path, f"unexpected value type {_go_type(value)} for healthcheck.test")
    return OMIT


def labels(value: Any, path: Path, run: Decoding) -> Any:
    """A map of texts; what has no value has an empty one."""
    if value.__class__ is dict:
        result = {key: "" if item is None else to_text(item) for key, item in value.items()}
    elif value.__class__ is list:
        result = {}
        for item in value:
            key, _, content = to_text(item).partition("=")
            result[key] = content
    else:
        return OMIT if value is None else run.unexpected(path, "map[string]string", value)
    return dict(sorted(result.items())) or OMIT


def environment(value: Any, path: Path, run: Decoding) -> Any:
    """A map of texts; what has no value is null."""
    if value.__class__ is dict:
        result = {key: None if item is None else to_text(item) for key, item in value.items()}
    elif value.__class__ is list:
        result = {}
        for item in value:
            key, found, content = to_text(item).partition("=")
            if key and key[-1] in " \t\n\v\f\r\x85\xa0":
                run.problem(path, f"environment variable {key} is declared with a trailing space")
                continue
            result[key] = content if found else None
    else:
        return OMIT if value is None else run.unexpected(path, "map[string]string", value)
    return dict(sorted(result.items())) or OMIT


def options(value: Any, path: Path, run: Decoding) -> Any:
    if value.__class__ is not dict:
        return OMIT if value is None else run.unexpected(path, "map[string]string", value)
    return labels(value, path, run)


def multi_options(value: Any, path: Path, run: Decoding) -> Any:
    if value.__class__ is not dict:
        return OMIT if value is None else run.unexpected(path, "map[string][]string", value)
    result = {
        key: [to_text(part) for part in item] if item.__class__ is list else [to_text(item)]
        for key, item in value.items()
    }
    return dict(sorted(result.items())) or OMIT


def text_map(value: Any, path: Path, run: Decoding) -> Any:
    """A plain map of strings: numbers become text, anything else is an error."""
    if value.__class__ is not dict:
        return OMIT if value is None else run.unexpected(path, "map[string]string", value)
    result: dict[str, str] = {}
    for key in sorted(value):
        item = text(value[key], (*path, key), run)
        result[key] = "" if item is OMIT else item
    return result or OMIT


def extra_hosts(value: Any, path: Path, run: Decoding) -> Any:
    hosts: dict[str, list[str]] = {}
    if value.__class__ is dict:
        for host, item in value.items():
            if item.__class__ is list:
                hosts[host] = [to_text(part) for part in item]
            elif item is None or item.__class__ is str:
                hosts[host] = [item or ""]
            else:
                run.unexpected((*path, host), "string", item)
    elif value.__class__ is list:
        for item in value:
            entry = to_text(item)
            separator = "=" if "=" in entry else ":"
            host, found, addresses = entry.partition(separator)
            if not found:
                run.problem(path, f"invalid additional host, missing IP: {entry}")
                continue
            hosts.setdefault(host, []).extend(addresses.split(","))
    else:
        return OMIT if value is None else run.unexpected(path, "HostsList", value)
    result: list[str] = []
    for host, entries in hosts.items():
        if not host or ":" in host or "=" in host:
            run.problem(path, f"bad host name '{host}'")
        for address in entries:
            if len(address) > 2 and address[0] == "[" and address[-1] == "]":
                address = address[1:-1]
            result.append(f"{host}={address}")
    return sorted(result) or OMIT


def ulimit(value: Any, path: Path, run: Decoding) -> Any:
    if value.__class__ is int:
        return value or {}
    if value.__class__ is not dict:
        run.problem(path, f"unexpected value type {_go_type(value)} for ulimit")
        return {}
    limits: dict[str, int] = {}
    for key in ("soft", "hard"):
        if key not in value:
            continue
        item = value[key]
        if item.__class__ is not int:
            run.problem((*path, key), f"interface conversion: interface {{}} is {_go_type(item)}, not int")
        elif item:
            limits[key] = item
    return limits


def ssh_keys(value: Any, path: Path, run: Decoding) -> Any:
    """Keys by id; Compose cannot print one that has a path, `{id, path}` here."""
    if value.__class__ is not dict:
        return OMIT if value is None else run.unexpected(path, "ssh config", value)
    return [
        name if item in (None, "") else {"id": name, "path": to_text(item)} for name, item in sorted(value.items())
    ] or OMIT


# Objects


class Object:
    """A structure: attributes in order, each with its decoder."""

    def __init__(self, **attributes: Decoder) -> None:
        self.attributes = attributes

    def __call__(self, value: Any, path: Path, run: Decoding) -> Any:
        """Decoder of a pointer to the structure: unset stays unset, `{}` stays."""
        if value is None:
            return OMIT
        return self.decode(value, path, run)

    def decode(self, value: Any, path: Path, run: Decoding) -> dict[str, Any]:
        if value.__class__ is not dict:
            if value is not None:
                run.problem(path, f'expected a map or struct, got "{_go_type(value)}"')
            value = {}
        result: dict[str, Any] = {}
        for name, decoder in self.attributes.items():
            if name in value:
                item = decoder(value[name], (*path, name), run)
                if item is not OMIT:
                    result[name] = item
            elif decoder in _ALWAYS:
                result[name] = _ALWAYS[decoder](path, run)
        return result


_ALWAYS: dict[Decoder, Callable[[Path, Decoding], Any]] = {command: lambda path, run: None}
"""Attributes that are printed even where the file does not mention them."""


class Always:
    """A structure held by value: printed even if empty or unset."""

    def __init__(self, element: Object) -> None:
        self.element = element
        _ALWAYS[self] = lambda path, run: element.decode(None, path, run)

    def __call__(self, value: Any, path: Path, run: Decoding) -> Any:
        return self.element.decode(value, path, run)


class ListOf:
    """A list of structures."""

    def __init__(self, element: Object) -> None:
        self.element = element

    def __call__(self, value: Any, path: Path, run: Decoding) -> Any:
        if value is None:
            return OMIT
        if value.__class__ is not list:
            value = [value]
        decode = self.element.decode
        return [decode(item, (*path, index), run) for index, item in enumerate(value)] or OMIT


class MapOf:
    """Structures by name; null where a name stands without one."""

    def __init__(self, element: Decoder) -> None:
        self.element = element

    def __call__(self, value: Any, path: Path, run: Decoding) -> Any:
        if value is None:
            return OMIT
        if value.__class__ is not dict:
            return run.unexpected(path, "map", value)
        result: dict[str, Any] = {}
        for name in sorted(value):
            item = self.element(value[name], (*path, name), run)
            result[name] = None if item is OMIT else item
        return result or OMIT


class Bind(Object):
    """`create_host_path` is true unless said otherwise, and printed only if false."""

    def decode(self, value: Any, path: Path, run: Decoding) -> dict[str, Any]:
        result = super().decode(value, path, run)
        if value.__class__ is dict and LONG_BIND in value:
            result[LONG_BIND] = True
        return result


class Printed(Object):
    """A structure whose attributes are printed under other names, and always."""

    def __init__(self, zeros: dict[str, Any], **attributes: Decoder) -> None:
        super().__init__(**attributes)
        self.zeros = zeros

    def decode(self, value: Any, path: Path, run: Decoding) -> dict[str, Any]:
        result = super().decode(value, path, run)
        return {name: result.get(name.lower(), zero) for name, zero in self.zeros.items()}


def create_host_path(value: Any, path: Path, run: Decoding) -> Any:
    return False if _boolean(value, path, run) is False else OMIT
