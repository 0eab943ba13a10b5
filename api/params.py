"""Query parameters: declared with the route, parsed before its handler acts.

The rules are those of Doco-CD's Go handlers: missing or empty means the default, a
repeated parameter counts once (the first), unknown names are ignored. A bad value ends the
request with 400 before anything was done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from api.errors import ApiError

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Param:
    """A query parameter: how it is read, and how it is documented."""

    name: str
    about: str
    default: Any
    parse: Callable[[str], Any]
    """Raises `ApiError`."""
    schema: Mapping[str, Any] = field(default_factory=dict)


def read_query(query: str, params: Sequence[Param]) -> dict[str, Any]:
    """The values of the declared parameters, defaults filled in; raises `ApiError`."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        given.setdefault(name, value)
    return {param.name: param.parse(given[param.name]) if given.get(param.name) else param.default for param in params}


def flag(name: str, default: bool, about: str) -> Param:
    def parse(text: str) -> bool:
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise ApiError(400, f"invalid parameter: {name}", f"'{name}' parameter must be true or false")

    return Param(name, about, default, parse, {"type": "boolean", "default": default})


def integer(name: str, default: int | None, about: str) -> Param:
    def parse(text: str) -> int:
        number = to_integer(text)
        if number is None:
            raise ApiError(400, f"invalid parameter: {name}", f"'{name}' parameter must be a integer")
        return number

    schema: dict[str, Any] = {"type": "integer", "format": "int64"}
    return Param(name, about, default, parse, schema if default is None else {**schema, "default": default})


def limit(name: str, default: int, most: int, about: str) -> Param:
    """A positive number, silently cut at `most`."""

    def parse(text: str) -> int:
        if not text.strip():
            return default
        number = to_integer(text.strip())
        if number is None or number < 1:
            raise ApiError(400, f"invalid parameter: {name}", f"'{name}' parameter must be a positive integer")
        return min(number, most)

    return Param(name, about, default, parse, {"type": "integer", "minimum": 1, "default": default})


def choice(name: str, values: Mapping[str, Any], error: str, content: str, about: str) -> Param:
    """One of `values` in any case; surrounding blanks do not count; blank: no choice (None)."""

    def parse(text: str) -> Any:
        text = text.strip().lower()
        if not text:
            return None
        if text not in values:
            raise ApiError(400, error, content)
        return values[text]

    return Param(name, about, None, parse, {"type": "string", "enum": list(values)})


def text(name: str, about: str) -> Param:
    return Param(name, about, "", str.strip, {"type": "string"})


def to_integer(text: str) -> int | None:
    """A signed decimal number of 64 bits, as Go's `strconv.Atoi` reads it."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if number in _INT64 else None


TIMEOUT = integer("timeout", 30, "Seconds; has no effect on reading.")
"""For routes that neither act nor wait."""
