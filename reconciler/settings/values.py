"""From the text of a variable to its value, by the rules of Go where Doco-CD has them.

Each parser takes the text as it stands in the environment (not empty) and returns the
value, or raises `ValueError` with what it expects. What was found is added by the caller,
which knows whether it may be shown.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from reconciler.durations import go_duration

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

Choice = TypeVar("Choice", bound=str)

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_REGISTRY = re.compile(r"(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")


def text(value: str) -> str:
    return value


def trimmed(value: str) -> str:
    return value.strip()


def boolean(value: str) -> bool:
    """Go's `ParseBool`."""
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError("expected true or false (or 1, 0, t, f)")


def any_text_is_true(value: str) -> bool:
    """Docker's reading: set to anything, even `0`, is on."""
    return bool(value)


def integer(minimum: int | None = None, maximum: int | None = None, *, bits: int = 32) -> Callable[[str], int]:
    """A whole decimal number in a range."""
    low = -(2 ** (bits - 1)) if minimum is None else minimum
    high = 2 ** (bits - 1) - 1 if maximum is None else maximum
    if maximum is not None:
        expected = f"expected a whole number from {low} to {high}"
    elif minimum is not None:
        expected = f"expected a whole number, at least {low}"
    else:
        expected = "expected a whole number"

    def parse(value: str) -> int:
        if not _INTEGER.fullmatch(value) or len(value) > 20 or not low <= (number := int(value)) <= high:
            raise ValueError(expected)
        return number

    return parse


def duration(value: str) -> float:
    """Go's `ParseDuration`, in seconds."""
    return go_duration(value)


def positive_duration(value: str) -> float:
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("expected a duration above zero")
    return seconds


def choice(*allowed: Choice, fold: bool = False, message: str = "") -> Callable[[str], Choice]:
    """One of `allowed`; with `fold` in any case and trimmed."""
    by_text: dict[str, Choice] = {str(item): item for item in allowed}

    def parse(value: str) -> Choice:
        candidate = value.strip().lower() if fold else value
        if candidate not in by_text:
            raise ValueError(message or f"expected one of {', '.join(allowed)}")
        return by_text[candidate]

    return parse


def absolute_path(value: str) -> Path:
    cleaned = posixpath.normpath(value.strip())
    if not cleaned.startswith("/"):
        raise ValueError("expected an absolute path")
    return Path("/" + cleaned.lstrip("/"))


def path(value: str) -> Path:
    return Path(value.strip())


def bind_address(value: str) -> str:
    """An IP address to listen on; brackets around IPv6 are taken off."""
    import ipaddress

    candidate = value.strip().removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        raise ValueError("expected an IP address to listen on, such as 127.0.0.1 or ::") from None


def web_url(value: str) -> str:
    """An http(s) URL with a host."""
    try:
        parts = urlsplit(value.strip())
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an http or https URL with a host")
    return value.strip()


def base_url(value: str) -> str:
    return web_url(value).rstrip("/")


def proxy_url(value: str) -> str:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("expected the URL of a proxy, such as http://proxy:3128")
    return value


def database_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    kind = scheme.partition("+")[0]
    if kind == "sqlite" and separator and rest.startswith("//"):
        return value
    if kind in ("postgresql", "postgres") and separator and rest:
        return value
    raise ValueError("expected sqlite:////absolute/path or postgresql://user:password@host/name")


def docker_host(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in ("unix", "tcp", "ssh", "http", "https") or not rest:
        raise ValueError("expected unix:///path, tcp://host:port or ssh://user@host")
    return value


def api_version(value: str) -> str:
    if not re.fullmatch(r"[0-9]+\.[0-9]+", value):
        raise ValueError("expected an Engine API version such as 1.41")
    return value


def comma_list(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in value.split(",") if item.strip()))


def registries(value: str) -> tuple[str, ...]:
    """`host[:port]`, lower case, each once."""
    found = tuple(dict.fromkeys(item.lower() for item in comma_list(value)))
    for item in found:
        if not _REGISTRY.fullmatch(item):
            raise ValueError(f"expected host[:port] without scheme or path, found {item!r} in the list")
    return found


def networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """CIDRs with their host bits cleared, each once; a lone comma is an empty list."""
    import ipaddress

    found: dict[IPv4Network | IPv6Network, None] = {}
    for item in comma_list(value):
        try:
            if "/" not in item:
                raise ValueError
            found[ipaddress.ip_network(item, strict=False)] = None
        except ValueError:
            raise ValueError(
                f'failed to parse TRUSTED_PROXY_NETWORKS: invalid trusted proxy network "{item}": expected CIDR'
            ) from None
    return tuple(found)
