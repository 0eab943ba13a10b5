"""What can be wrong with deploy configuration.

    DeployConfigError
    ├── ConfigFileNotFound   the repository has no deploy file of the names looked for
    └── InvalidDeployConfig  one or more `Problem`s in it; nothing of it is used

A `Problem` names file, line, column, document and key path, so that whoever wrote the
file finds the place; its text begins as Doco-CD's does, which is what people search for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong (or, as a warning, odd) and where."""

    message: str
    key: str = ""
    """Key path, for example `destroy.remove_images` or `compose_files[1]`."""
    file: str = ""
    line: int = 0
    column: int = 0
    document: int = 0
    """Counted from 1; 0: not a matter of a document."""
    wrong_type: bool = False
    """The value has the wrong kind: what a decoder refuses, before any rule is looked at."""

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place = f"{place}:{self.line}:{self.column}" if place else f"line {self.line}, column {self.column}"
        if self.document:
            place = f"{place}, document {self.document}" if place else f"document {self.document}"
        return f"{self.message} ({place})" if place else self.message


class DeployConfigError(Exception):
    """Deploy configuration cannot be used."""

    code: ClassVar[str] = "DeployConfigInvalid"


class ConfigFileNotFound(DeployConfigError):
    """The repository has no deploy configuration file."""

    code = "DeployConfigNotFound"


class InvalidDeployConfig(DeployConfigError):
    """Deploy configuration breaks its rules."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))
