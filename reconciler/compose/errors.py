"""Why a Compose project could not be loaded.

There is one exception, `ComposeError`, and it carries everything that was found wrong at the
stage that failed, not only the first thing: a person fixes a file in one go. A `Problem` names
the file, the place in it, the dotted path (`services.web.ports[1]`), what was found, what is
expected, and the nearest valid name where a word was misspelled.

Places are found late: the loader builds plain dictionaries (fast), and only when something is
wrong does `locate` parse the file a second time to learn the line and column of a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a Compose file or in what belongs to it."""

    message: str
    path: str = ""
    """Dotted, list positions in brackets: `services.web.ports[1]`; empty where no single value is to blame."""
    file: str = ""
    line: int = 0
    column: int = 0
    found: str = ""
    expected: str = ""
    hint: str = ""
    parts: tuple[str | int, ...] = field(default=(), repr=False, compare=False)
    """The path, not yet written as text; how the loader finds line and column."""

    def at(self, file: str, line: int, column: int) -> Problem:
        return replace(self, file=file, line=line, column=column)

    def __str__(self) -> str:
        where = self.file
        if where and self.line:
            where = f"{where}:{self.line}:{self.column}"
        text = self.message
        if self.hint:
            text = f"{text} ({self.hint})"
        return ": ".join(part for part in (where, self.path, text) if part)


class ComposeError(Exception):
    """The project cannot be loaded; `problems` says why, one entry for each thing to fix."""

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def problem_at(
    parts: tuple[str | int, ...], message: str, found: str = "", expected: str = "", hint: str = ""
) -> Problem:
    """A problem of the value at `parts`."""
    return Problem(message, path=dotted(parts), parts=parts, found=found, expected=expected, hint=hint)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the most similar known word, or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""


def dotted(parts: Iterable[str | int]) -> str:
    """`("services", "web", "ports", 1)` as people write it: `services.web.ports[1]`."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif text:
            text += f".{part}"
        else:
            text = part
    return text
