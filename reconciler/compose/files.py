"""The loader's own view of the file system: what it read, and what it has to say about it.

Wraps the `Reader` the caller gave: remembers every file that was read (and every optional one
that was not there), so that `Project.inputs` is complete and a problem can be located; collects
warnings; turns operating system errors into problems.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from .errors import ComposeError, Problem
from .model import InputFile, LoadWarning
from .reader import Reader
from .yamltree import locate

Path = tuple[str | int, ...]


class RemoteResolver(Protocol):
    """Brings what `include`, `extends` or `-f` name by a git or `oci://` reference onto disk."""

    def fetch(self, reference: str) -> str:
        """The absolute path of a local copy; raises `OSError` where there is none to be had."""
        ...


class Files:
    """One load's files and warnings."""

    def __init__(self, reader: Reader, stdin: bytes = b"", resolver: RemoteResolver | None = None) -> None:
        self.reader = reader
        self.resolver = resolver
        self.contents: dict[str, bytes] = {}
        self.absent: set[str] = set()
        self.sources: list[str] = []
        """Compose files in the order they were read: where to look for the place of a problem."""
        self.stdin = stdin
        self.odd_values = False
        """Whether any file holds dates or infinite numbers: validation is slower then."""
        self.warnings: list[LoadWarning] = []
        self._unlocated: list[tuple[int, Path]] = []

    def read(self, path: str) -> bytes:
        if path in self.contents:
            return self.contents[path]
        try:
            content = self.stdin if path == "-" else self.reader.read(path)
        except OSError as error:
            raise ComposeError(Problem(f"open {path}: {_reason(error)}", file=path)) from error
        self.contents[path] = content
        return content

    def source(self, path: str) -> bytes:
        """The content of a Compose file."""
        if path not in self.sources:
            self.sources.append(path)
        return self.read(path)

    def local(self, reference: str, remote: bool) -> str:
        """Where the file that `reference` names can be read."""
        if not remote:
            return reference
        if self.resolver is None:
            raise ComposeError(
                Problem(
                    f"cannot load {reference}: Compose files from git or a registry are not fetched while loading",
                    found=reference,
                    expected="a path inside the project",
                )
            )
        try:
            return self.resolver.fetch(reference)
        except OSError as error:
            raise ComposeError(Problem(f"cannot load {reference}: {_reason(error)}", found=reference)) from error

    def exists(self, path: str) -> bool:
        if path in self.contents or self.reader.exists(path):
            return True
        self.absent.add(path)
        return False

    def is_dir(self, path: str) -> bool:
        return self.reader.is_dir(path)

    def is_file(self, path: str) -> bool:
        return self.exists(path) and not self.is_dir(path)

    def inputs(self) -> tuple[InputFile, ...]:
        read = [
            InputFile(path, hashlib.sha256(content).hexdigest())
            for path, content in self.contents.items()
            if path != "-"
        ]
        missing = [InputFile(path, "") for path in self.absent if path not in self.contents]
        return tuple(sorted(read + missing, key=lambda item: item.path))

    # Warnings and problems

    def warn(self, message: str, path: Path = (), file: str = "") -> None:
        if path:
            self._unlocated.append((len(self.warnings), path))
        self.warnings.append(LoadWarning(message, file=file))

    def located_warnings(self) -> tuple[LoadWarning, ...]:
        for index, path in self._unlocated:
            problem = self.place(Problem("", parts=path), self.warnings[index].file)
            self.warnings[index] = replace(
                self.warnings[index], path=_dotted(path), file=problem.file, line=problem.line
            )
        self._unlocated.clear()
        return tuple(self.warnings)

    def place(self, problem: Problem, file: str = "") -> Problem:
        """The problem with the file, line and column that its path leads to."""
        if problem.line or not problem.parts:
            return problem if problem.file or not file else replace(problem, file=file)
        candidates: Iterable[str] = [file] if file else []
        candidates = [*candidates, *(source for source in reversed(self.sources) if source != file)]
        best, where = (0, 0, 0), file
        for candidate in candidates:
            if candidate not in self.contents:
                continue
            found = locate(self.contents[candidate], problem.parts)
            if found[2] > best[2]:
                best, where = found, candidate
            if best[2] == len(problem.parts):
                break
        if not best[2]:
            return replace(problem, file=problem.file or file or (self.sources[0] if self.sources else ""))
        return replace(problem, file=where, line=best[0], column=best[1])

    def fail(self, problems: Iterable[Problem], file: str = "") -> ComposeError:
        """The error that reports all of these, in the order in which a reader meets them."""
        placed = [self.place(problem, file) for problem in problems]
        placed.sort(key=lambda problem: (problem.file, problem.line, problem.column))
        return ComposeError(placed)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def _dotted(path: Path) -> str:
    from .errors import dotted

    return dotted(path)
