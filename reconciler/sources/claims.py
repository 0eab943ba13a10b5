"""Who has which folder: the path of each (repository, reference) below the data folder.

The first reference of a repository gets `<data>/<host>/<owner>/<repo>`, which is where
Doco-CD had its only checkout, so containers it deployed keep their mounts. Every other
reference gets a folder of its own below `<data>/.worktrees/`. Paths are given out once
and written down, because containers mount what lies there. A repository whose folder
would lie inside another checkout (`group/app` and `group/app/web`, or names that differ
only in `:` and `_`) is moved to `.worktrees` as well.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.sources.errors import CheckoutFailed
from reconciler.sources.references import normal_name
from reconciler.sources.urls import GitURL
from reconciler.sources.worktree import write_durably

WORKTREES = ".worktrees"
_MAX_NAME = 120


@dataclass(frozen=True, slots=True)
class Claim:
    """A folder that was given out."""

    path: str
    """Relative to the data folder."""
    repository: str
    reference: str


class Claims:
    """The list of folders given out, in one file."""

    def __init__(self, data_dir: Path, folder: Path) -> None:
        self._data_dir = data_dir
        self._file = folder / "claims.json"
        self._lock = threading.Lock()

    def path_for(self, url: GitURL, reference: str) -> Path:
        """The checkout of a reference; claims it if it is new. Blocking."""
        reference = normal_name(reference)
        with self._exclusive():
            claims = self._read()
            for claim in claims:
                if (claim.repository, claim.reference) == (url.repository, reference):
                    return self._data_dir / claim.path
            first = not any(claim.repository == url.repository for claim in claims)
            path = url.folder
            if not first or path.startswith(".") or any(_overlap(claim.path, path) for claim in claims):
                path = f"{WORKTREES}/{url.folder.lstrip('.')}/{slug(reference)}"
                while any(_overlap(claim.path, path) for claim in claims):
                    path += "-"
            claims.append(Claim(path, url.repository, reference))
            self._write(claims)
            return self._data_dir / path

    def release(self, url: GitURL, reference: str) -> None:
        """Give a folder back; what lies in it stays. Blocking."""
        reference = normal_name(reference)
        with self._exclusive():
            claims = self._read()
            kept = [claim for claim in claims if (claim.repository, claim.reference) != (url.repository, reference)]
            if len(kept) != len(claims):
                self._write(kept)

    def all(self) -> tuple[Claim, ...]:
        """Every folder given out. Blocking."""
        with self._exclusive():
            return tuple(self._read())

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock:
            descriptor = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _read(self) -> list[Claim]:
        try:
            return [Claim(*item) for item in json.loads(self._file.read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            # Guessing could give a mounted folder to another reference.
            raise CheckoutFailed(f"cannot read {self._file}: {error}") from None

    def _write(self, claims: list[Claim]) -> None:
        content = json.dumps([[claim.path, claim.repository, claim.reference] for claim in claims], indent=0)
        try:
            write_durably(self._file, content.encode())
        except OSError as error:
            raise CheckoutFailed(f"cannot write {self._file}: {error.strerror}") from None


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


def slug(name: str) -> str:
    """A file name that tells what it stands for, and is unique."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:_MAX_NAME]
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:10]
    return f"{readable}-{digest}" if readable else digest
