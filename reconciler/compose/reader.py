"""The only door to the file system while a project is loaded.

Everything that loading reads (Compose files, included and extended ones, env files, label
files) goes through one `Reader`, so that it can be confined to a checkout, recorded, and
replaced in tests. `DiskReader(root)` refuses whatever lies outside `root` once symbolic links
are followed: a repository must not be able to make the agent read the host's files.
`MemoryReader` holds a few files in a dictionary.

Paths are absolute strings with `/` in them; errors are the usual `OSError`s, which the loader
turns into problems.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

MAX_FILE_BYTES = 16 * 1024 * 1024


class Reader(Protocol):
    """What the loader may ask about files."""

    def read(self, path: str) -> bytes: ...

    def exists(self, path: str) -> bool: ...

    def is_dir(self, path: str) -> bool: ...

    def is_link(self, path: str) -> bool: ...

    def resolve(self, path: str) -> str:
        """The path with all symbolic links followed."""
        ...


class OutsideRootError(PermissionError):
    """The file lies outside the folder that may be read."""


class TooLargeError(OSError):
    """The file is larger than a file of configuration can sensibly be."""


class DiskReader:
    """Reads real files, if wanted only those below `root`."""

    def __init__(self, root: str | None = None, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        self.root = None if root is None else Path(root).resolve()
        self.max_bytes = max_bytes

    def _allowed(self, path: str) -> bool:
        if self.root is None:
            return True
        try:
            real = Path(path).resolve()
        except (OSError, RuntimeError, ValueError):
            return False
        return real == self.root or self.root in real.parents

    def read(self, path: str) -> bytes:
        if not self._allowed(path):
            raise OutsideRootError(errno.EACCES, f"lies outside {self.root}, which is all that may be read", path)
        try:
            with Path(path).open("rb") as stream:
                content = stream.read(self.max_bytes + 1)
        except ValueError as error:
            raise OSError(errno.EINVAL, "invalid file name", path) from error
        if len(content) > self.max_bytes:
            raise TooLargeError(errno.EFBIG, f"is larger than {self.max_bytes} bytes", path)
        return content

    def exists(self, path: str) -> bool:
        return self._allowed(path) and _quietly(os.path.exists, path)

    def is_dir(self, path: str) -> bool:
        return self._allowed(path) and _quietly(os.path.isdir, path)

    def is_link(self, path: str) -> bool:
        return self._allowed(str(Path(path).parent)) and _quietly(os.path.islink, path)

    def resolve(self, path: str) -> str:
        try:
            return str(Path(path).resolve())
        except (OSError, RuntimeError, ValueError):
            return path


def _quietly(question: object, path: str) -> bool:
    try:
        return bool(question(path))  # type: ignore[operator]
    except ValueError:
        return False


class MemoryReader:
    """A handful of files by absolute path; folders exist where files lie in them."""

    def __init__(self, files: Mapping[str, bytes | str]) -> None:
        self.files = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}

    def read(self, path: str) -> bytes:
        if path in self.files:
            return self.files[path]
        if self.is_dir(path):
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        raise FileNotFoundError(errno.ENOENT, "no such file or directory", path)

    def exists(self, path: str) -> bool:
        return path in self.files or self.is_dir(path)

    def is_dir(self, path: str) -> bool:
        prefix = path.rstrip("/") + "/"
        return any(name.startswith(prefix) for name in self.files)

    def is_link(self, path: str) -> bool:
        return False

    def resolve(self, path: str) -> str:
        return path
