"""Durations as Go writes them."""

from __future__ import annotations

import re

_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def go_duration(text: str) -> float:
    """What Go's `ParseDuration` makes of a text, in seconds; raises `ValueError`."""
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0.0
    total, end = 0.0, 0
    for part in _PART.finditer(body):
        if part.start() != end:
            break
        total += float(part[1]) * _SECONDS[part[2]]
        end = part.end()
    if not body or end != len(body):
        raise ValueError("expected a duration with units, such as 90s or 1h30m")
    total = round(total, 9)
    return -total if text.startswith("-") else total
