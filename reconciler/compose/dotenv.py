"""Files of `KEY=VALUE` lines: `.env`, `--env-file`, `env_file`, `label_file`.

Two grammars. The default one is Compose's own relative of shell syntax: quotes, escapes, values
over several lines, comments, variables; it is ported with its oddities (a last line without `=`
and newline sets the variable with the empty name). The other, `raw`, takes every line verbatim.

Both fill a dictionary that the caller provides and see it while they read, so later lines can
use earlier ones. A lookup function answers for variables that come from elsewhere; it wins.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from .interpolation import Warn, substitute

Lookup = Callable[[str], "str | None"]

_BLANKS = "\t\v\f\r \x85\xa0"
_SPACES = _BLANKS + "\n\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_EXPORT = re.compile(r"export[\t\n\f\r ]+")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.\-\[\]" + _BLANKS + r"]*")
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0[0-9]{0,3})')
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_MAX_RAW_LINE = 64 * 1024


class DotenvError(ValueError):
    """The file does not follow the grammar."""


class _Layers(Mapping[str, str]):
    """What a `$NAME` in a file means: the caller's answer, else an earlier line."""

    def __init__(self, lookup: Lookup, values: Mapping[str, str]) -> None:
        self.lookup, self.values_so_far = lookup, values

    def __getitem__(self, name: str) -> str:
        found = self.lookup(name)
        return self.values_so_far[name] if found is None else found

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.values_so_far)

    def __len__(self) -> int:
        return len(self.values_so_far)


def parse_dotenv(content: bytes, values: dict[str, str], lookup: Lookup, warn: Warn) -> None:
    """Read a file in the default format into `values`."""
    text = content.decode("utf-8", "replace").removeprefix("\ufeff")
    variables = _Layers(lookup, values)
    line, position, end = 1, 0, len(text)
    while True:
        position, line = _statement(text, position, line)
        if position >= end:
            return
        key, position, bare = _key(text, position, line)
        if " " in key:
            raise DotenvError(f"line {line}: key cannot contain a space")
        if bare:
            line += 1
            if (inherited := lookup(key)) is not None:
                values[key] = inherited
            continue
        value, position, line = _value(text, position, line, variables, warn)
        values[key] = value


def _statement(text: str, position: int, line: int) -> tuple[int, int]:
    """Skip blank lines and comments."""
    end = len(text)
    while position < end:
        character = text[position]
        if character in _SPACES:
            line += character == "\n"
            position += 1
        elif character == "#":
            newline = text.find("\n", position)
            position = end if newline < 0 else newline
        else:
            break
    return position, line


def _key(text: str, position: int, line: int) -> tuple[str, int, bool]:
    """Name, where its value starts, and whether the line holds nothing but the name."""
    if (export := _EXPORT.match(text, position)) is not None:
        position += len("export")
        while position < len(text) and text[position] in _BLANKS:
            position += 1
        del export
    if position >= len(text):
        raise DotenvError("zero length string")
    start, end = position, len(text)
    while True:
        match = _PLAIN_KEY.match(text, position)
        position = match.end() if match else position
        if position >= end:
            return "", _skip_blanks(text, start), False
        character = text[position]
        if character in "=:\n":
            return text[start:position].rstrip(_SPACES), _skip_blanks(text, position + 1), character == "\n"
        if unicodedata.category(character)[0] not in "LN":
            rest = text[start:].partition("\n")[0]
            raise DotenvError(f'line {line}: unexpected character "{character}" in variable name "{rest}"')
        position += 1


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _value(text: str, position: int, line: int, variables: Mapping[str, str], warn: Warn) -> tuple[str, int, int]:
    quote = text[position : position + 1]
    if quote not in ("'", '"') or not quote:
        newline = text.find("\n", position)
        stop = len(text) if newline < 0 else newline
        value = text[position:stop].partition(" #")[0].rstrip(_SPACES)
        return substitute(value, variables, warn), min(stop + 1, len(text)), line + 1
    characters: list[str] = []
    escaped = False
    for index in range(position + 1, len(text)):
        character = text[index]
        if character == "\n":
            line += 1
        if character != quote:
            if not escaped and character == "\\":
                escaped = True
                continue
            if escaped:
                escaped = False
                characters.append("\\")
            characters.append(character)
        elif escaped:
            escaped = False
            characters.append(character)
        else:
            value = "".join(characters)
            if quote == '"':
                value = substitute(_ESCAPE.sub(_unescape, value), variables, warn)
            return value, index + 1, line
    raise DotenvError(f"line {line}: unterminated quoted value {text[position:].partition(chr(10))[0]}")


def _unescape(match: re.Match[str]) -> str:
    body = match.group()[1:]
    if body == "$":
        return "$$"
    if body[0] == "0":
        digits = body[1:]
        if len(digits) == 3 and all(digit in "01234567" for digit in digits) and int(digits, 8) < 256:
            return chr(int(digits, 8))
        return match.group()
    return _ESCAPED.get(body, match.group())


def parse_raw(content: bytes, values: dict[str, str], lookup: Lookup) -> None:
    """Read a file of `format: raw` into `values`: lines verbatim, no quotes, no variables."""
    for number, raw_line in enumerate(content.split(b"\n"), 1):
        if len(raw_line) >= _MAX_RAW_LINE:
            raise DotenvError("bufio.Scanner: token too long")
        try:
            line = raw_line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise DotenvError(f"invalid utf8 bytes at line {number}") from error
        if number == 1:
            line = line.removeprefix("\ufeff")
        line = line.lstrip(_SPACES)
        if not line or line[0] == "#":
            continue
        key, separator, value = line.partition("=")
        if not key:
            raise DotenvError(f"no variable name on line '{line}'")
        if " " in key or "\t" in key:
            raise DotenvError(f"variable '{key}' contains whitespaces")
        if separator:
            values[key] = value
        elif (inherited := lookup(line)) is not None:
            values[key] = inherited
