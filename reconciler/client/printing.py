"""What a person or a script gets to see.

Answers go to standard output as a table, JSON or YAML; remarks and errors to standard error.
JSON and YAML are the API's own words, for scripts; tables are for eyes, and may change.
What comes from an agent may hold output of containers: control characters in it are made
visible instead of reaching the terminal.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

FORMATS = ("table", "json", "yaml")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CODES = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}
_COLOURS = {
    "yes": "green", "ready": "green", "succeeded": "green", "connected": "green", "ok": "green",
    "no": "red", "failed": "red", "FAILED": "red", "degraded": "red", "blocked": "red", "not ready": "red",
    "away": "red",
    "running": "yellow", "accepted": "yellow", "reconciling": "yellow", "deleting": "yellow",
    "skipped": "dim", "suspended": "dim", "stopped": "dim", "removed": "dim", "cancelled": "dim",
}  # fmt: skip


def visible(text: object) -> str:
    """`text` without anything a terminal would obey; line breaks and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text))


def one_line(text: object) -> str:
    """`text` on one line."""
    return " ".join(visible(text).split())


def colours_wanted(stream: TextIO, environ: Mapping[str, str]) -> bool:
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


@dataclass
class Printer:
    """Where a command writes, and how."""

    format: str = "table"
    colours: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)

    @property
    def for_eyes(self) -> bool:
        return self.format == "table"

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colours and colour else text

    def word(self, text: str) -> str:
        """A state, in its colour."""
        return self.paint(text, _COLOURS.get(text, ""))

    def line(self, text: str = "") -> None:
        print(text, file=self.out, flush=True)

    def progress(self, text: str) -> None:
        """Something that happens meanwhile: not part of an answer that a script reads."""
        print(text, file=self.out if self.for_eyes else self.err, flush=True)

    def remark(self, text: str) -> None:
        print(f"moored: {visible(text)}", file=self.err, flush=True)

    def data(self, value: Any) -> None:
        """A value as JSON or YAML."""
        if self.format == "yaml":
            import yaml

            print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="", file=self.out, flush=True)
        else:
            self.line(
                _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, indent=2, ensure_ascii=False))
            )

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]], *, indent: str = "") -> None:
        """Columns as wide as they need; on a terminal the last one is cut at its edge."""
        cells = [[one_line(cell) for cell in row] for row in rows]
        widths = [max(map(_width, column)) for column in zip(headers, *cells, strict=True)]
        room = self._room() - len(indent) - sum(widths[:-1]) - 2 * (len(widths) - 1)
        lines = [[self.paint(header, "bold") for header in headers], *([self.word(c) for c in row] for row in cells)]
        for plain, painted in zip([list(headers), *cells], lines, strict=True):
            padded = [
                text + " " * (width - _width(bare))
                for text, bare, width in zip(painted[:-1], plain[:-1], widths[:-1], strict=True)
            ]
            last = painted[-1] if _width(plain[-1]) <= max(room, 10) else _cut(plain[-1], max(room, 10))
            self.line((indent + "  ".join([*padded, last])).rstrip())

    def fields(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and values below each other; those without a value are left out."""
        shown = [(name, visible(value)) for name, value in pairs if value not in (None, "")]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            first, *more = value.splitlines() or [""]
            self.line(f"{self.paint(name, 'bold')}{' ' * (width - len(name))}  {self.word(first)}")
            for line in more:
                self.line(f"{' ' * width}  {line}")

    def _room(self) -> int:
        return shutil.get_terminal_size().columns if self.out.isatty() else sys.maxsize


def _width(text: str) -> int:
    """Columns a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _cut(text: str, width: int) -> str:
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def moment(text: str) -> datetime | None:
    """A time of the API."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def age(text: str, now: datetime | None = None) -> str:
    """How long ago a time of the API is, or how far ahead: `3m`, `in 20s`."""
    found = moment(text)
    if found is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - found).total_seconds()
    return short(seconds) if seconds >= 0 else f"in {short(-seconds)}"


def short(seconds: float) -> str:
    """A duration in its two largest units at most."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        return f"{whole // 60}m"
    if whole < 172_800:
        return f"{whole // 3600}h"
    return f"{whole // 86_400}d"


def lasted(start: str, end: str) -> str:
    """Seconds between two times of the API."""
    first, last = moment(start), moment(end)
    return f"{(last - first).total_seconds():.1f} s" if first is not None and last is not None else ""
