"""Compose's ways to write numbers, times and sizes, as the Engine wants them.

The canonical project (see `reconciler.compose.model`) holds durations as Go prints them
(`1m3.5s`), sizes as decimal texts, CPU counts as numbers that the reference tool keeps in
32 bits.
"""

from __future__ import annotations

import re
import struct
from typing import Any

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


def nanoseconds(duration: str | None) -> int:
    """A Go duration text in nanoseconds; nothing or text without units is 0."""
    total = 0
    for number, unit in _DURATION_PART.findall(duration or ""):
        whole, _, fraction = number.partition(".")
        scale = _UNITS[unit]
        total += int(whole or 0) * scale
        if fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
    return total


def size(value: Any) -> int:
    """A size in bytes, written as a number or a decimal text."""
    return int(value) if value not in (None, "") else 0


def _float32(value: float) -> float:
    result: float = struct.unpack("f", struct.pack("f", value))[0]
    return result


def nano_cpus(cpus: Any) -> int:
    """CPUs in billionths; Compose multiplies in 32 bits, so 1.333 are 1332999936."""
    return int(_float32(_float32(float(cpus)) * _float32(1e9))) if cpus else 0


def stop_timeout(grace: str | None) -> int | None:
    """Whole seconds of a grace period. Less than one becomes one: 0 would mean an immediate kill."""
    if grace is None:
        return None
    duration = nanoseconds(grace)
    return max(duration // 10**9, 1) if duration else 0


def capabilities(names: list[str] | None) -> list[str]:
    """Capabilities as the docker client sends them: upper case, `CAP_` in front, sorted, once each."""
    result = set()
    for name in names or ():
        upper = name.strip().upper()
        if upper:
            result.add(upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}")
    return sorted(result)


def port_key(entry: str) -> list[str]:
    """An `expose` entry (`9000`, `9000/udp`, `9000-9002`) as the Engine's port keys."""
    ports, _, protocol = entry.partition("/")
    first, _, last = ports.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        return [f"{ports}/{protocol or 'tcp'}"]
    return [f"{port}/{protocol.lower() or 'tcp'}" for port in range(int(first), int(last or first) + 1)]


def is_anonymous_volume(name: str) -> bool:
    """Whether the Engine invented this volume name."""
    return _ANONYMOUS.fullmatch(name) is not None


def without_empty(body: dict[str, Any]) -> dict[str, Any]:
    """The entries that say something: no None, "", 0, False, [] or {}."""
    return {key: value for key, value in body.items() if value or (value is False and key == "Init")}
