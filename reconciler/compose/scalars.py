"""How words become values, the Go way.

Compose is written in Go, and what a scalar means there differs in many small ways from what
Python makes of it: `yes` is text, `0777` is 511, `1000000.0` printed is `1e+06`, `08` is a
float. Everything of that sort is here, without any knowledge of Compose attributes: the
resolution of plain YAML scalars, numbers as text, sizes, durations, booleans, shell words.

Functions raise `ValueError` with the message a person sees.
"""

from __future__ import annotations

import calendar
import math
import re
import struct
from functools import lru_cache
from typing import Any


class Timestamp(str):
    """An unquoted date. As JSON it is RFC 3339; turned into text it looks as Go prints times."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, rfc3339: str, text: str) -> Timestamp:
        stamp = super().__new__(cls, rfc3339)
        stamp.text = text
        return stamp

    def __reduce__(self) -> tuple[type[Timestamp], tuple[str, str]]:
        return Timestamp, (str(self), self.text)


_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    "-0": -0.0,
    "-0.0": -0.0,
}
_DIGIT_OR_SIGN = frozenset("+-0123456789.")
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_DOTTED_FLOAT = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?\Z")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?P<separator>[Tt ])([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,]([0-9]+))?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?\Z"
)
_INT64 = 1 << 63


def resolve(text: str) -> Any:
    """The value of a plain scalar without a tag."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _DIGIT_OR_SIGN:
        return text
    return _number(text)


@lru_cache(maxsize=4096)
def _number(text: str) -> Any:
    if text[0] == ".":
        return float(text.replace("_", "")) if _DOTTED_FLOAT.match(text) else text
    if text[4:5] == "-" and (stamp := timestamp(text)) is not None:
        return stamp
    plain = text.replace("_", "")
    if _INTEGER.match(plain):
        number = _integer(plain)
        if -_INT64 <= number < _INT64 or (0 <= number < 2 * _INT64 and plain[0] != "+"):
            return number
    if _FLOAT.match(plain):
        value = float(plain)
        if not math.isinf(value):
            return value
    return text


def _integer(plain: str) -> int:
    sign = -1 if plain[0] == "-" else 1
    digits = plain.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1] not in "xXbBoO":
        return sign * int(digits, 8)
    if digits[0] != "0" and len(digits) > 20:
        return sign * 4 * _INT64  # Out of any range that matters; Python refuses to read thousands of digits.
    return sign * int(digits, 0)


def timestamp(text: str) -> Timestamp | None:
    match = _TIMESTAMP.match(text)
    if match is None:
        return None
    year, month, day = (int(match.group(n)) for n in (1, 2, 3))
    if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year or 4, month)[1]:
        return None
    hour = minute = second = 0
    fraction, zone = "", match["zone"]
    if separator := match["separator"]:
        hour, minute, second = (int(match.group(n)) for n in (5, 6, 7))
        fraction = ((match.group(8) or "")[:9]).rstrip("0")
        if hour > 23 or minute > 59 or second > 59 or (separator == " ") == bool(zone):
            return None
        if zone and zone != "Z" and (int(zone[1:3]) > 24 or int(zone[4:6]) > 60):
            return None
    date, time = f"{year:04}-{month:02}-{day:02}", f"{hour:02}:{minute:02}:{second:02}"
    if fraction:
        time += f".{fraction}"
    if zone in (None, "Z", "+00:00", "-00:00"):
        return Timestamp(f"{date}T{time}Z", f"{date} {time} +0000 UTC")
    offset = zone.replace(":", "")
    return Timestamp(f"{date}T{time}{zone}", f"{date} {time} {offset} {offset}")


def resolve_tagged(tag: str, text: str) -> Any:
    """The value of a scalar with one of YAML's own tags (`!!int "3"`)."""
    if tag == "str":
        return text
    if tag == "binary":
        import base64
        import binascii

        try:
            raw = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("!!binary value contains invalid base64 data") from error
        return raw.decode("utf-8", "replace")
    if tag not in ("bool", "int", "float", "null", "timestamp"):
        return text
    value = resolve(text)
    if tag == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kinds = {"bool": bool, "int": int, "float": float, "null": type(None), "timestamp": Timestamp}
    if type(value) is not kinds[tag]:
        raise ValueError(f"cannot decode `{text}` as a !!{tag}")
    return value


# Numbers as text


def float_text(value: float) -> str:
    """What Go's `fmt.Sprint` prints for a float64."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    digits, exponent = shortest_digits(abs(value))
    sign = "-" if value < 0 else ""
    return sign + (_scientific(digits, exponent) if exponent < -4 or exponent >= 6 else plain_decimal(digits, exponent))


def shortest_digits(value: float) -> tuple[str, int]:
    """The significant digits that identify a positive number, and its decimal exponent."""
    mantissa, _, power = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = int(power or 0) + len(whole) - 1
    digits = whole + fraction
    stripped = digits.lstrip("0")
    exponent -= len(digits) - len(stripped)
    return stripped.rstrip("0") or "0", exponent


def _scientific(digits: str, exponent: int) -> str:
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"


def plain_decimal(digits: str, exponent: int) -> str:
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    if len(digits) <= exponent + 1:
        return digits + "0" * (exponent + 1 - len(digits))
    return digits[: exponent + 1] + "." + digits[exponent + 1 :]


def to_text(value: Any) -> str:
    """A scalar as Compose writes it where it wants text (`environment: {A: 1.0}`)."""
    if value.__class__ is str:
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "<nil>"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Timestamp):
        return value.text
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{to_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(to_text, value)) + "]"
    return str(value)


def float32(value: float) -> float:
    """The number as a float32 holds it, written with as few digits as identify it."""
    try:
        packed = struct.pack("f", value)
    except OverflowError:
        return math.copysign(math.inf, value)
    narrow: float = struct.unpack("f", packed)[0]
    if math.isnan(narrow) or math.isinf(narrow):
        return narrow
    for precision in range(1, 10):
        short = float(f"{narrow:.{precision}g}")
        if struct.pack("f", short) == packed:
            return short
    return narrow


# Text as numbers

_GO_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_GO_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9](?:_?[0-9])*\.?(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)(?:[eE][+-]?[0-9]+)?"
    r"|inf|infinity|nan)\Z",
    re.IGNORECASE | re.ASCII,
)
_GO_HEX_FLOAT = re.compile(r"[+-]?0[xX]_?(?:[0-9a-fA-F_]+\.?[0-9a-fA-F_]*|\.[0-9a-fA-F_]+)[pP][+-]?[0-9]+\Z", re.ASCII)


def parse_int(text: str, function: str = "Atoi") -> int:
    if not _GO_INTEGER.match(text):
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax')
    if len(text) > 20 and len(text.lstrip("+-0")) > 19:
        raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
    value = int(text)
    if not -_INT64 <= value < _INT64:
        raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
    return value


def parse_float(text: str) -> float:
    if _GO_FLOAT.match(text):
        value = float(text)
        if math.isinf(value) and "inf" not in text.lower():
            raise ValueError(f'strconv.ParseFloat: parsing "{text}": value out of range')
        return value
    if _GO_HEX_FLOAT.match(text):
        try:
            return float.fromhex(text.replace("_", ""))
        except (OverflowError, ValueError):
            pass
    raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax')


_TRUE = frozenset(("true", "y", "yes", "on"))
_FALSE = frozenset(("false", "n", "no", "off"))


def parse_bool(text: str) -> tuple[bool, str]:
    """The boolean, and a warning for the words that YAML 1.2 does not know (else empty)."""
    word = text.lower()
    if word in _TRUE:
        value = True
    elif word in _FALSE:
        value = False
    else:
        raise ValueError(f"invalid boolean: {text}")
    if word in ("true", "false"):
        return value, ""
    return value, f'"{text}" for boolean is not supported by YAML 1.2, please use `{str(value).lower()}`'


_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def parse_bytes(text: str) -> int:
    """`10m`, `1.5 GiB`, `-1`, `4096` in bytes."""
    if _GO_INTEGER.match(text):
        try:
            return parse_int(text)
        except ValueError:
            pass
    split = max(text.rfind(character) for character in "0123456789. ")
    if split == -1:
        raise ValueError(f"invalid size: '{text}'")
    number = text[:split] if text[split] == " " else text[: split + 1]
    suffix = text[split + 1 :]
    size = parse_float(number)
    if size < 0:
        raise ValueError(f"invalid size: '{text}'")
    if not suffix:
        return _int64(size)
    lowered = suffix.lower()
    if len(suffix) > 3:
        raise ValueError(f"invalid suffix: '{suffix}'")
    if lowered[0] == "b":
        if len(lowered) > 1:
            raise ValueError(f"invalid suffix: '{lowered}'")
        return _int64(size)
    if lowered[0] not in _UNITS or lowered[1:] not in ("", "b", "ib"):
        raise ValueError(f"invalid suffix: '{lowered}'")
    return _int64(size * _UNITS[lowered[0]])


def _int64(value: float) -> int:
    """A float cut to a signed 64-bit integer; amd64's marker where it does not fit."""
    if math.isnan(value) or not -_INT64 <= value < _INT64:
        return -_INT64
    return int(value)


_DURATION_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)", re.DOTALL)


def parse_duration(text: str) -> int:
    """`1m30s` in nanoseconds."""
    rest = text
    negative = rest[:1] == "-"
    if rest[:1] in ("-", "+"):
        rest = rest[1:]
    if rest == "0":
        return 0
    invalid = ValueError(f'time: invalid duration "{text}"')
    if not rest:
        raise invalid
    total = position = 0
    while position < len(rest):
        match = _DURATION_PART.match(rest, position)
        if match is None or match.end() == position or rest[position] not in ".0123456789":
            raise invalid
        whole, fraction, unit = match.groups()
        if not whole and not fraction:
            raise invalid
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        factor = _DURATION_UNITS.get(unit)
        if factor is None:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        if len(whole) > 19 or int(whole or 0) * factor >= _INT64:
            raise invalid
        total += int(whole or 0) * factor
        if fraction:
            total += int(float(int(fraction[:18])) * (factor / 10 ** min(len(fraction), 18)))
        if total >= _INT64:
            raise invalid
        position = match.end()
    return -total if negative else total


def duration_text(nanoseconds: int) -> str:
    """Go's way to print a duration: `1m30s`, `1.5s`, `100ms`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 1_000_000_000:
        for name, unit in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if rest >= unit:
                return sign + _decimal(rest, unit) + name
    seconds, fraction = divmod(rest, 1_000_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    text = _decimal(second * 1_000_000_000 + fraction, 1_000_000_000) + "s"
    if minutes:
        text = f"{minute}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0")


def shell_words(line: str) -> list[str]:
    """A command written as one string, split as Compose splits it (not as a shell would)."""
    if line.isalnum():
        return [line]
    words: list[str] = []
    word = ""
    escaped = double = single = backquote = dollar = False
    begun = quoted = False  # something of the word was seen; its last part was in quotes
    for character in line:
        if escaped:
            if backquote or dollar:
                word += "\\" + character
            else:
                word += {"t": "\t", "n": "\n"}.get(character, character)
            escaped, begun, quoted = False, True, False
            continue
        if character == "\\":
            if single:
                word += character
            else:
                escaped = True
            continue
        if character in " \t\r\n":
            if single or double or backquote or dollar:
                word += character
                continue
            if quoted or (begun and word):
                words.append(word)
            word, begun, quoted = "", False, False
            continue
        if character == "`":
            if not (single or double or dollar):
                backquote = not backquote
        elif character == ")":
            if not (single or double or backquote):
                if not dollar:
                    raise ValueError("invalid command line string")
                dollar = False
        elif character == "(":
            if not (single or double or backquote):
                if dollar or not word.endswith("$") or word.endswith("\\$"):
                    raise ValueError("invalid command line string")
                dollar = True
                word += "("
                continue
        elif character == '"':
            if not (single or dollar or backquote):
                if double:
                    begun = quoted = True
                double = not double
                continue
        elif character == "'":
            if not (double or dollar or backquote):
                if single:
                    begun = quoted = True
                single = not single
                continue
        elif character in ";&|<>" and not (single or double or backquote or dollar):
            if character == ">" and word and not word.strip("0123456789"):
                begun = quoted = False
            break
        begun, quoted = True, False
        word += character
    if quoted or (begun and word):
        words.append(word)
    if escaped or double or single or backquote or dollar:
        raise ValueError("invalid command line string")
    return words
