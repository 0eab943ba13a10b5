"""Reading JSON that people write by hand.

Doco-CD's own documentation shows a poll body with a trailing comma, so exactly that is
forgiven; every other fault is named with its line and column. Keys match in any case, as
Go's decoder has it, and of repeated keys the last one counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_TOKENS = re.compile(r'"(?:\\.|[^"\\])*"|[^\s"]', re.DOTALL)
_BLANK = " \t\r\n"
_LONE = re.compile(r"[\ud800-\udfff]")
MAX_NESTING = 100
"""Levels that whoever works through a value can rely on; nothing written by hand comes near."""


class BadJson(ValueError):
    """The text is not JSON; the message says where and why."""


def decode(body: bytes, *, trailing_commas: bool, trailing_text: bool) -> Any:
    """The first JSON value of `body`; raises `BadJson`.

    `trailing_text`: whether something may follow that value. Half a surrogate pair (`\\ud800`),
    which is no text, becomes U+FFFD, as in Go.
    """
    text = body.decode("utf-8", "replace")
    if not text.strip(_BLANK):
        raise BadJson("EOF")
    try:
        return _decode(text, trailing_text)
    except BadJson:
        forgiven = _without_trailing_commas(text) if trailing_commas else text
        if forgiven == text:
            raise
        return _decode(forgiven, trailing_text)


def _decode(text: str, trailing_text: bool) -> Any:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    start = len(text) - len(text.lstrip(_BLANK))
    try:
        value, end = decoder.raw_decode(text, start)
        if "\\ud" in text or "\\uD" in text:
            value = json.loads(_LONE.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
    except json.JSONDecodeError as error:
        raise BadJson(_at(text, error.pos, _lower_first(error.msg))) from None
    except RecursionError:
        raise BadJson("the value is nested too deeply") from None
    except BadJson:
        raise
    except ValueError as error:
        raise BadJson(_lower_first(str(error))) from None
    rest = text[end:].lstrip(_BLANK)
    if rest and not trailing_text:
        raise BadJson(_at(text, len(text) - len(rest), "something follows the value"))
    return value


def check_nesting(value: Any) -> None:
    """Raise `BadJson` for a value that is nested deeper than `MAX_NESTING`."""
    level = [value]
    for _ in range(MAX_NESTING + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise BadJson("the value is nested too deeply")


def _refuse_constant(name: str) -> Any:
    raise BadJson(f"{name} is not JSON")


def _without_trailing_commas(text: str) -> str:
    """Blank out commas between a value and the closing bracket; positions stay."""
    result = list(text)
    comma = -1
    before, previous = "", ""
    for match in _TOKENS.finditer(text):
        word = match.group()
        if word in "]}" and previous == "," and before not in ("", ",", "[", "{", ":"):
            result[comma] = " "
        if word == ",":
            comma = match.start()
        before, previous = previous, word
    return "".join(result)


def _at(text: str, position: int, message: str) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"line {line}, column {column}: {message}"


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


def fold_keys(value: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """`value` with known keys written in any case brought to their own."""
    names = {name.lower(): name for name in known}
    return {names.get(key.lower(), key): item for key, item in value.items()}


def lookup(value: Any, *path: str) -> Any:
    """The member at `path` of nested objects, keys in any case; None when something is missing
    or not an object."""
    for name in path:
        if not isinstance(value, dict):
            return None
        if name in value:
            value = value[name]
            continue
        value = next((item for key, item in value.items() if key.lower() == name), None)
    return value


def type_name(value: Any) -> str:
    """What JSON calls the type of a decoded value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
