"""Names of containers under replacement, by which an interrupted one is recognized.

A successor is made as `ID_NAME`, with the first digits of its predecessor's id; the predecessor
makes room as `NAME.replaced-by-ID`, with those of its successor's.
"""

from __future__ import annotations

import re

from reconciler.planner.containers import LABEL_REPLACE
from state.observed import ObservedContainer

_SUCCESSOR = re.compile(r"([0-9a-f]{12})_.+")
_PARKED = re.compile(r".+\.replaced-by-[0-9a-f]{12}")


def successor_name(final: str, predecessor: str) -> str:
    """What a container is called until it takes the name `final` from `predecessor` (an id)."""
    return f"{predecessor[:12]}_{final}"


def parked_name(name: str, successor: str) -> str:
    """What a container is called that gave its name to `successor` (an id)."""
    return f"{name}.replaced-by-{successor[:12]}"


def predecessor_of(container: ObservedContainer) -> str:
    """The first twelve digits of the id this container was to replace, if it still has the
    name of a replacement under way; else nothing."""
    found = _SUCCESSOR.fullmatch(container.name)
    return found[1] if found and LABEL_REPLACE in container.labels else ""


def is_parked(container: ObservedContainer) -> bool:
    """Whether it gave its name to a successor and was never removed."""
    return _PARKED.fullmatch(container.name) is not None


def is_interrupted(container: ObservedContainer) -> bool:
    """Whether it has the name of a replacement that was never finished."""
    return bool(predecessor_of(container)) or is_parked(container)
