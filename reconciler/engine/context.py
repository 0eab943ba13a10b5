"""A build context: which files count, their digest, their archive.

The files of the context folder, less what `.dockerignore` names (a `NAME.dockerignore`
beside the Dockerfile comes first), sorted by path, owned by root: the same tree gives the
same archive and the same digest wherever it lies. An inline Dockerfile, or one outside
the context, travels under a name made of its own digest, so that it never hides a file.

Docker's ignore patterns differ from Git's: each is anchored at the root of the context, and
a later `!` pattern brings back what lies in an excluded folder.

Blocking; called in worker threads.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from reconciler.engine.errors import BuildFailed

if TYPE_CHECKING:
    from pathspec import PathSpec

CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class BuildContext:
    """A folder with the Dockerfile that applies to it."""

    folder: Path
    dockerfile: str
    """Its name inside the archive."""
    content: bytes | None
    """The Dockerfile's content if it is not a file of the folder."""
    ignore: PathSpec[Any] | None
    reopens: bool
    """Whether a `!` pattern may bring back files of an excluded folder."""

    def read_dockerfile(self) -> bytes:
        return (self.folder / self.dockerfile).read_bytes() if self.content is None else self.content

    def with_dockerfile(self, content: bytes) -> BuildContext:
        """The same folder with a Dockerfile that is none of its files."""
        return replace(self, content=content, dockerfile=_name_of(content))

    def excluded(self, path: str) -> bool:
        return (
            self.ignore is not None and path not in (self.dockerfile, ".dockerignore") and self.ignore.match_file(path)
        )


def open_context(folder: str, dockerfile: str = "Dockerfile", inline: str = "") -> BuildContext:
    """Find the Dockerfile and the ignore patterns of a context folder."""
    root = Path(folder)
    if not root.is_dir():
        raise BuildFailed(
            f'build context "{folder}": expected a folder, found {"a file" if root.exists() else "nothing"}'
        )
    content: bytes | None = None
    specific: Path | None = None
    if inline:
        content = inline.encode()
    else:
        file = Path(os.path.normpath(root / dockerfile))
        try:
            if file.is_relative_to(os.path.normpath(root)):
                if not file.is_file():
                    raise FileNotFoundError
                dockerfile = file.relative_to(os.path.normpath(root)).as_posix()
            else:
                content = file.read_bytes()
        except OSError as error:
            raise BuildFailed(f'Dockerfile "{file}" cannot be read: {error.strerror or "no such file"}') from error
        specific = file.with_name(f"{file.name}.dockerignore")
    if content is not None:
        dockerfile = _name_of(content)
    patterns = _read_patterns(specific) if specific is not None else None
    if patterns is None:
        patterns = _read_patterns(root / ".dockerignore") or []
    return BuildContext(
        folder=root,
        dockerfile=dockerfile,
        content=content,
        ignore=ignore_spec(patterns) if patterns else None,
        reopens=any(pattern.startswith("!") for pattern in patterns),
    )


def _name_of(content: bytes) -> str:
    return f".dockerfile.{hashlib.sha256(content).hexdigest()[:20]}"


def ignore_spec(patterns: list[str]) -> PathSpec[Any]:
    """Docker's patterns as a matcher of paths relative to the context."""
    from pathspec import PathSpec
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    return PathSpec.from_lines(GitIgnoreSpecPattern, [_git_pattern(pattern) for pattern in patterns])


def _git_pattern(pattern: str) -> str:
    negated = pattern.startswith("!")
    body = pattern[1:].strip() if negated else pattern
    body = posixpath.normpath(body).lstrip("/")
    while body.startswith("../"):
        body = body[3:]
    return f"{'!' if negated else ''}/{body}"


def _read_patterns(file: Path) -> list[str] | None:
    try:
        text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BuildFailed(f'"{file}" cannot be read: {error.strerror}') from error
    lines = (line.strip() for line in text.splitlines())
    return [
        line for line in lines if line and not line.startswith("#") and line.strip("!").strip() not in ("", ".", "/")
    ]


def walk(context: BuildContext) -> Iterator[tuple[str, os.stat_result]]:
    """Every entry that counts, parents first, sorted."""
    yield from _walk(context, "")


def _walk(context: BuildContext, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(context.folder / prefix) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{prefix}{entry.name}"
        excluded = context.excluded(path)
        details = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(details.st_mode):
            if not excluded:
                yield path, details
            if not excluded or context.reopens or context.dockerfile.startswith(f"{path}/"):
                yield from _walk(context, f"{path}/")
        elif not excluded and (stat.S_ISREG(details.st_mode) or stat.S_ISLNK(details.st_mode)):
            yield path, details


def context_digest(folder: str, dockerfile: str = "Dockerfile", inline: str = "") -> str:
    """SHA-256 of all that a build can see of the context: paths, rights, contents."""
    context = open_context(folder, dockerfile, inline)
    digest = hashlib.sha256()
    digest.update(f"{context.dockerfile}\0".encode())
    digest.update(hashlib.sha256(context.content or b"").digest())
    for path, details in walk(context):
        digest.update(
            f"{path}\0{stat.S_IFMT(details.st_mode) | details.st_mode & 0o7777:o}\0".encode("utf-8", "surrogateescape")
        )
        if stat.S_ISREG(details.st_mode):
            digest.update(_file_digest(context.folder / path))
        elif stat.S_ISLNK(details.st_mode):
            digest.update(os.fsencode((context.folder / path).readlink()))
    return digest.hexdigest()


def write_archive(context: BuildContext, out: IO[bytes], *, hide_dockerfile: bool = False) -> None:
    """The context as an uncompressed tar. `hide_dockerfile`: tell a builder that honours the
    archive's own `.dockerignore` to keep the travelling Dockerfile out of `COPY`."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, details in walk(context):
            if path == ".dockerignore" and context.content is not None and hide_dockerfile:
                continue
            _add(archive, context.folder, path, details)
        if context.content is not None:
            _add_bytes(archive, context.dockerfile, context.content)
            if hide_dockerfile:
                existing = context.folder / ".dockerignore"
                ignored = existing.read_bytes() if existing.is_file() else b""
                _add_bytes(archive, ".dockerignore", ignored + f"\n{context.dockerfile}\n.dockerignore\n".encode())


def _add(archive: tarfile.TarFile, folder: Path, path: str, details: os.stat_result) -> None:
    entry = tarfile.TarInfo(path)
    entry.mode = stat.S_IMODE(details.st_mode)
    entry.mtime = int(details.st_mtime)
    if stat.S_ISDIR(details.st_mode):
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    elif stat.S_ISLNK(details.st_mode):
        entry.type = tarfile.SYMTYPE
        entry.linkname = str((folder / path).readlink())
        archive.addfile(entry)
    else:
        entry.size = details.st_size
        try:
            with open(folder / path, "rb") as content:
                archive.addfile(entry, content)
        except OSError as error:
            raise BuildFailed(
                f'build context file "{folder / path}" cannot be read: {error.strerror or error}'
            ) from error


def _add_bytes(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.mode = 0o644
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _file_digest(path: Path) -> bytes:
    try:
        with open(path, "rb") as content:
            return hashlib.file_digest(content, "sha256").digest()
    except OSError as error:
        raise BuildFailed(f'build context file "{path}" cannot be read: {error.strerror}') from error
