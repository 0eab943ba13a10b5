"""Differences in the words of the Compose file, safe to show to anybody.

Two `attributes` (see `inspected.py`) in, `Change`s out. Maps are told entry by entry, so
that one changed variable is one line. Whatever could be secret is hidden here, at the
source: values under telling names, contents known to be secret wherever they turn up,
credentials in URLs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.planner.model import DesiredStack
from state.model import Change

HIDDEN = "(hidden)"
NOT_YET = "0" * 64
"""Stands for the id of a container that does not exist yet."""
_LONGEST = 160
_HARMLESS = frozenset({"volumes", "tmpfs", "ports", "sysctls", "ulimits", "healthcheck"})
"""Maps under whose keys nothing secret stands, whatever those are called."""
_ID = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_SECRET_WORDS = re.compile(
    r"pass(word|wd|phrase)?|secret|token|credential|api_?key|private_?key|access_?key|auth|dsn|_key$|^key$|cookie|salt",
    re.IGNORECASE,
)
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_FLAG_VALUE = re.compile(
    r"(--?[\w-]*(?:pass(?:word|wd|phrase)?|secret|token|credential|key)[\w-]*[= ])\S+", re.IGNORECASE
)


def is_secret_name(name: str) -> bool:
    """Whether a variable or label of this name should not be shown."""
    return _SECRET_WORDS.search(name) is not None


class Redactor:
    """Knows the secret texts of a stack and takes them out of whatever is shown."""

    def __init__(self, desired: DesiredStack | None = None) -> None:
        self._secrets: list[str] = []
        values: set[str] = set()
        if desired is not None:
            project = desired.project
            values.update(project.secret_values.values())
            values.update(value for name, value in project.environment.items() if is_secret_name(name))
            for service in project.services.values():
                values.update(
                    str(value)
                    for name, value in (service.get("environment") or {}).items()
                    if value is not None and is_secret_name(name)
                )
        self._keep(values)

    def learn(self, inspect: Mapping[str, Any]) -> None:
        """Also hide what a present container holds under telling names: an old password may
        stand in an old command."""
        pairs = (entry.partition("=") for entry in (inspect.get("Config") or {}).get("Env") or ())
        self._keep({value for name, _, value in pairs if is_secret_name(name)})

    def _keep(self, values: set[str]) -> None:
        lines = {line.strip() for value in values for line in value.splitlines()}
        new = {line for line in lines if len(line) >= 4}.difference(self._secrets)
        if new:
            self._secrets = sorted((*self._secrets, *new), key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` without anything secret, cut to a readable length."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        text = _ID.sub(r"\1", text.replace(NOT_YET, "(new)"))
        text = _FLAG_VALUE.sub(rf"\1{HIDDEN}", _URL_CREDENTIALS.sub(f"{HIDDEN}@", text))
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

    def value(self, name: str, value: Any) -> str:
        """How a value of this name is shown."""
        if value in (None, "", [], {}, ()) or (value == 0 and not isinstance(value, bool)):
            return "(none)"
        if is_secret_name(name):
            return HIDDEN
        return self.text(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return " ".join(value) if value else "(none)"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, sort_keys=True, default=list, ensure_ascii=False)


def changes(
    prefix: str, old: Mapping[str, Any], new: Mapping[str, Any], redactor: Redactor, skip: Iterable[str] = ()
) -> list[tuple[str, Change]]:
    """(attribute, change) for each attribute of `new` that differs in `old`."""
    found: list[tuple[str, Change]] = []
    left_out = set(skip)
    for attribute, wanted in new.items():
        present = old.get(attribute)
        if attribute in left_out or present == wanted:
            continue
        if isinstance(wanted, Mapping) and isinstance(present, Mapping):
            entries = _entries(f"{prefix}.{attribute}", attribute, present, wanted, redactor)
            found.extend((attribute, change) for change in entries)
        else:
            shown = _UNITS.get(attribute, _same)
            old_text, new_text = (redactor.value(attribute, shown(value)) for value in (present, wanted))
            found.append((attribute, Change(f"{prefix}.{attribute}", old_text, new_text)))
    return found


def _entries(
    prefix: str, attribute: str, old: Mapping[str, Any], new: Mapping[str, Any], redactor: Redactor
) -> list[Change]:
    shown = _UNITS.get(attribute, _same)

    def text(values: Mapping[str, Any], key: str) -> str:
        if key not in values:
            return "(none)"
        if values[key] is None:
            return "(unset)"
        told = redactor.value("" if attribute in _HARMLESS else key, shown(values[key]))
        return "(empty)" if told == "(none)" else told

    return [
        Change(f"{prefix}.{key}", text(old, key), text(new, key))
        for key in sorted({*old, *new})
        if (key in old) != (key in new) or old.get(key) != new.get(key)
    ]


def _same(value: Any) -> Any:
    return value


def _cpus(value: Any) -> Any:
    return f"{value / 1e9:g}" if value else value


def _bytes(value: Any) -> Any:
    if not value or value < 0:
        return value
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or value % 1024 or unit == "GiB":
            return f"{value}{unit}"
        value //= 1024
    return value


def _seconds(value: Any) -> Any:
    return value if value is None else f"{value}s"


def _ports(value: Any) -> Any:
    """Host addresses and ports behind a target; IPv6 in brackets."""
    if not isinstance(value, list):
        return value
    return [
        ":".join(part for part in (f"[{address}]" if ":" in address else address, port or "(any)") if part)
        for address, port in value
    ]


def _ulimit(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    soft, hard = value
    return soft if soft == hard else f"{soft}:{hard}"


_UNITS = {
    "stop_grace_period": _seconds,
    "ports": _ports,
    "ulimits": _ulimit,
    "cpus": _cpus,
    "mem_limit": _bytes,
    "mem_reservation": _bytes,
    "memswap_limit": _bytes,
    "shm_size": _bytes,
}


def short(digest: str) -> str:
    """A digest or id as shown: without its algorithm, the first twelve digits."""
    text = digest.partition(":")[2] or digest
    return text[:12] or "(none)"


def brief(digest: str) -> str:
    """A content digest as shown: four digits."""
    text = digest.partition(":")[2] or digest
    return f"{text[:4]}…" if text else "(none)"
