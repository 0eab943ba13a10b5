"""`cd.doco.deployment.recreate.ignore`: content whose change does not recreate a service.

The label is a YAML map of scope to items (a null or empty list is the whole scope):
`configs` and `secrets` by name, `bindMounts` by the path inside the container. With
`…ignore.signal` the running containers get a signal instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from reconciler.compose.model import Model
from reconciler.planner.model import PlanError

IGNORE_LABEL = "cd.doco.deployment.recreate.ignore"
SIGNAL_LABEL = "cd.doco.deployment.recreate.ignore.signal"
_SCOPES: Mapping[str, str] = {"configs": "config", "secrets": "secret", "bindMounts": "bind", "volumes": "volume"}


@dataclass(frozen=True, slots=True)
class Ignored:
    """What a service wants ignored."""

    scopes: Mapping[str, frozenset[str]]
    """Kind of content key -> items; none means all."""
    signal: str = ""

    def covers(self, key: str) -> bool:
        """Whether a change of this content key (`config:app`) is ignored."""
        kind, _, item = key.partition(":")
        items = self.scopes.get(kind)
        return items is not None and (not items or item in items)


NOTHING = Ignored({})


def ignored(name: str, service: Model) -> Ignored:
    """Read a service's labels; `PlanError` if they make no sense."""
    labels: Mapping[str, str] = service.get("labels") or {}
    text, signal = labels.get(IGNORE_LABEL), labels.get(SIGNAL_LABEL)
    if text is None and signal is None:
        return NOTHING
    where = f"services.{name}.labels"
    if text is None:
        raise PlanError(f"{where}.{SIGNAL_LABEL}: needs {IGNORE_LABEL} beside it")
    if signal is not None and not signal.strip():
        raise PlanError(f"{where}.{SIGNAL_LABEL}: is blank")
    if not text.strip():
        raise PlanError(f"{where}.{IGNORE_LABEL}: is blank")
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanError(f"{where}.{IGNORE_LABEL}: is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(parsed, Mapping):
        raise PlanError(f"{where}.{IGNORE_LABEL}: expected a map of scopes, got {type(parsed).__name__}")
    scopes: dict[str, frozenset[str]] = {}
    for scope, items in parsed.items():
        if scope not in _SCOPES:
            raise PlanError(f"{where}.{IGNORE_LABEL}: {scope} is not supported, expected {', '.join(_SCOPES)}")
        listed = [items] if isinstance(items, str) else list(items or ())
        texts = [str(item) for item in listed]
        if len(set(texts)) != len(texts):
            raise PlanError(f"{where}.{IGNORE_LABEL}: {scope} names an item twice")
        scopes[_SCOPES[scope]] = frozenset(texts)
    return Ignored(scopes, (signal or "").strip())
