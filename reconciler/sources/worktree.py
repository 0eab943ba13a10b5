"""A checkout that containers mount: switched file by file, never replaced.

A bind mount of a single file holds on to the file's inode, one of a folder to the
folder's. So a checkout's path never changes; a file whose content did not change is not
touched; a changed one is rewritten in place, with the same inode, so that whoever has it
open or mounted sees the new content; only a new file appears by rename. (In-place means
that a reader may catch a file half-written for a moment. The alternative, an atomic
replacement, would leave the mount with the old content for good.) A file that is being
executed, or that has further hard links, is replaced instead: rewriting it would change
something that is not ours, or is refused by the kernel.

What is not tracked is never deleted: applications keep data there. Where an untracked
file stands in the way of a tracked folder (or the other way round, non-empty), nothing
is overwritten and the error names it. Symbolic links are written as they are but never
followed: every path is opened folder by folder, so a link that an application planted
leads nowhere.

The record beside the object store says which commit is complete here, with the state of
each file at that time. It is written before the first change (naming what will be
written) and after the last one, so a crash in between costs the next checkout nothing but
a second look at the files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.sources.command import Git, Work
from reconciler.sources.errors import CheckoutConflict, CheckoutFailed, StoreCorrupt
from reconciler.sources.store import LINK, ObjectStore, TreeEntry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_VERSION = 1
_SETTLED_NS = 20_000_000
"""A file changed this shortly before it was recorded may change again within the same time stamp."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A tracked file as it was written."""

    mode: int
    object_id: str
    size: int = -1
    modified: int = 0
    changed: int = 0
    inode: int = 0
    """`size` -1: not known to be complete."""

    def as_json(self) -> list[Any]:
        return [self.mode, self.object_id, self.size, self.modified, self.changed, self.inode]


@dataclass(frozen=True)
class Record:
    """What is known about a checkout."""

    commit: str = ""
    """The commit that was complete last; empty: none ever."""
    complete: bool = False
    """Nothing was begun since."""
    files: Mapping[str, FileState] | None = None
    written: int = 0
    """When it was written, nanoseconds."""


def read_record(path: Path) -> Record:
    """The record at `path`; an unreadable one counts as none."""
    try:
        raw = json.loads(path.read_bytes())
        if raw["version"] != _VERSION:
            return Record()
        files = {name: FileState(*state) for name, state in raw["files"].items()}
        return Record(raw["commit"], raw["complete"], files, raw["written"])
    except (OSError, ValueError, KeyError, TypeError):
        return Record()


def write_record(path: Path, record: Record) -> None:
    """Write a record so that a power loss leaves the old or the new one."""
    raw = {
        "version": _VERSION,
        "commit": record.commit,
        "complete": record.complete,
        "written": time.time_ns(),
        "files": {name: state.as_json() for name, state in (record.files or {}).items()},
    }
    write_durably(path, json.dumps(raw, separators=(",", ":")).encode())


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file of ours atomically and durably."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class WorkTree:
    """One checkout. Blocking; one task at a time."""

    def __init__(self, git: Git, root: Path, record: Path) -> None:
        self.root = root
        self._git = git
        self._record = record

    def recorded(self) -> Record:
        return read_record(self._record)

    def switch(
        self,
        work: Work,
        commit: str,
        entries: Iterable[TreeEntry],
        folders: Iterable[str] = (),
        *,
        adopted: Mapping[str, FileState] | None = None,
    ) -> frozenset[str] | None:
        """Bring the checkout to `entries`, which are the files of `commit`.

        `folders` (submodules that are not checked out) are made; `adopted` are the files
        another tool tracked here before. Returns the paths whose content differs from the last
        complete commit, None if there was none.
        """
        record = self.recorded()
        known = dict(record.files if record.files is not None else adopted or {})
        wanted = {entry.path: entry for entry in entries}
        try:
            self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
            root = os.open(self.root, _FOLDER)
        except OSError as error:
            raise CheckoutFailed(f"cannot make the checkout {self.root}: {error.strerror}") from None
        try:
            return self._switch(work, root, commit, wanted, folders, known, record)
        except OSError as error:
            name = f" {error.filename}" if error.filename else ""
            raise CheckoutFailed(f"cannot write the checkout {self.root}{name}: {error.strerror}") from None
        finally:
            os.close(root)

    def _switch(
        self,
        work: Work,
        root: int,
        commit: str,
        wanted: Mapping[str, TreeEntry],
        folders: Iterable[str],
        known: dict[str, FileState],
        record: Record,
    ) -> frozenset[str] | None:
        gone = [path for path in known if path not in wanted]
        states: dict[str, FileState] = {}
        stale: list[TreeEntry] = []
        for path, entry in wanted.items():
            work.check()
            state = _unchanged(root, entry, known.get(path), record.written)
            if state is None:
                stale.append(entry)
            else:
                states[path] = state
        changed = _difference(record, wanted)
        if not gone and not stale and record.complete and record.commit == commit:
            _make_folders(root, folders)
            if states != known or any(_unsettled(state, record.written) for state in states.values()):
                write_record(self._record, Record(commit, True, states))
            return changed
        if gone or stale:
            begun = {path: FileState(entry.mode, entry.object_id) for path, entry in wanted.items()}
            write_record(self._record, Record(record.commit, False, {**begun, **known}))
        for path in gone:
            work.check()
            _remove(root, path)
        for entry, state in self._written(work, root, stale):
            states[entry.path] = state
        _make_folders(root, folders)
        for path in gone:
            _prune_folders(root, path)
        write_record(self._record, Record(commit, True, states))
        return changed

    def _written(self, work: Work, root: int, stale: list[TreeEntry]) -> Iterator[tuple[TreeEntry, FileState]]:
        by_store: dict[Path, list[TreeEntry]] = {}
        for entry in stale:
            by_store.setdefault(entry.store.path, []).append(entry)
        for group in by_store.values():
            with _Contents(self._git, work, group[0].store) as contents:
                for entry in group:
                    work.check()
                    contents.begin(entry.object_id)
                    yield entry, _write(root, entry, contents)


# --- reading objects ----------------------------------------------------------------------


class _Contents:
    """`git cat-file --batch` as a stream of one object after the other."""

    def __init__(self, git: Git, work: Work, store: ObjectStore) -> None:
        self._git = git
        self._work = work
        self._store = store
        self.left = 0

    def __enter__(self) -> _Contents:
        self._process = self._git.start(
            self._work, ["cat-file", "--batch"], git_dir=self._store.path, stdin=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._git.finish(self._work, self._process)

    def begin(self, object_id: str) -> None:
        """Ask for a blob; its content follows by `read`."""
        try:
            self._process.stdin.write(object_id.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._damaged(object_id) from None
        head = self._process.stdout.readline().split()
        if len(head) != 3 or head[1] != b"blob":
            raise self._damaged(object_id)
        self.left = int(head[2])

    def read(self) -> bytes:
        """The next piece; empty at the end."""
        if self.left == 0:
            self._process.stdout.read(1)
            self.left = -1
        if self.left < 0:
            return b""
        piece = bytes(self._process.stdout.read(min(self.left, _CHUNK)))
        if not piece:
            raise self._damaged("an object")
        self.left -= len(piece)
        return piece

    def whole(self) -> bytes:
        return b"".join(iter(self.read, b""))

    def _damaged(self, object_id: str) -> StoreCorrupt:
        self._work.check()
        return StoreCorrupt(f"the object store {self._store.path.name} lacks {object_id}", self._store.path)


# --- files --------------------------------------------------------------------------------


@contextmanager
def _parent(root: int, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The folder of `path`, opened without following a link, and the last name.

    With `make`, missing folders are made and links in their place removed. Raises
    `CheckoutConflict` if another file stands there, `FileNotFoundError` without `make`.
    """
    *folders, name = path.split("/")
    current, opened = root, []
    try:
        for index, folder in enumerate(folders):
            try:
                following = os.open(folder, _FOLDER, dir_fd=current)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                    raise
                if not make:
                    raise FileNotFoundError(errno.ENOENT, "not there", path) from None
                _clear_for_folder(current, folder, "/".join(folders[: index + 1]))
                os.mkdir(folder, 0o755, dir_fd=current)
                following = os.open(folder, _FOLDER, dir_fd=current)
                os.fchmod(following, 0o755)
            opened.append(following)
            current = following
        yield current, name
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _clear_for_folder(parent: int, name: str, path: str) -> None:
    found = _stat(parent, name)
    if found is None:
        return
    if not stat.S_ISLNK(found.st_mode):
        raise CheckoutConflict(f"{path} is a folder in the repository, but an untracked file stands there")
    os.unlink(name, dir_fd=parent)


def _stat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _state(entry: TreeEntry, found: os.stat_result) -> FileState:
    return FileState(entry.mode, entry.object_id, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _unsettled(state: FileState, written: int) -> bool:
    return max(state.modified, state.changed) >= written - _SETTLED_NS


def _unchanged(root: int, entry: TreeEntry, known: FileState | None, written: int) -> FileState | None:
    """The file's state if it already is what it should be, else None."""
    try:
        with _parent(root, entry.path) as (parent, name):
            found = _stat(parent, name)
            if found is None:
                return None
            state = _state(entry, found)
            if entry.mode == LINK:
                right = stat.S_ISLNK(found.st_mode)
            else:
                right = stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o100) == entry.executable
            if not right:
                return None
            if state == known and not _unsettled(state, written):
                return state
            return state if _hash(parent, name, found, len(entry.object_id)) == entry.object_id else None
    except FileNotFoundError:
        return None


def _hash(parent: int, name: str, found: os.stat_result, id_length: int) -> str:
    """The git object id of what is on disk."""
    digest = hashlib.sha1(usedforsecurity=False) if id_length == 40 else hashlib.sha256()
    if stat.S_ISLNK(found.st_mode):
        target = os.fsencode(os.readlink(name, dir_fd=parent))
        digest.update(b"blob %d\0" % len(target) + target)
        return digest.hexdigest()
    digest.update(b"blob %d\0" % found.st_size)
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _write(root: int, entry: TreeEntry, contents: _Contents) -> FileState:
    with _parent(root, entry.path, make=True) as (parent, name):
        found = _stat(parent, name)
        if found is not None and stat.S_ISDIR(found.st_mode):
            _remove_empty_folders(parent, name, entry.path)
            found = None
        if entry.mode == LINK:
            _replace_link(parent, name, contents.whole())
        elif found is not None and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            _rewrite(parent, name, entry, contents)
        else:
            _replace(parent, name, entry, contents)
        final = _stat(parent, name)
        if final is None:
            raise CheckoutConflict(f"{entry.path} was removed while it was written")
        return _state(entry, final)


def _rewrite(parent: int, name: str, entry: TreeEntry, contents: _Contents) -> None:
    """New content into the same inode."""
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ETXTBSY, errno.EACCES, errno.EPERM):
            raise
        _replace(parent, name, entry, contents)
        return
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        _copy(contents, file)
        file.truncate()
        mode = os.fstat(file.fileno()).st_mode
        if bool(mode & 0o100) != entry.executable:
            os.fchmod(file.fileno(), (mode | 0o111) & 0o777 if entry.executable else mode & 0o666)


def _replace(parent: int, name: str, entry: TreeEntry, contents: _Contents) -> None:
    """A new inode, by rename."""
    part = f".{name[:80]}.moored-part"
    with suppress(FileNotFoundError):
        os.unlink(part, dir_fd=parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(part, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            _copy(contents, file)
            os.fchmod(file.fileno(), 0o755 if entry.executable else 0o644)
        os.replace(part, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=parent)
        raise


def _copy(contents: _Contents, file: Any) -> None:
    while piece := contents.read():
        rest = memoryview(piece)
        while rest:
            rest = rest[file.write(rest) :]


def _replace_link(parent: int, name: str, target: bytes) -> None:
    part = f".{name[:80]}.moored-part"
    with suppress(FileNotFoundError):
        os.unlink(part, dir_fd=parent)
    os.symlink(target, os.fsencode(part), dir_fd=parent)
    os.replace(part, name, src_dir_fd=parent, dst_dir_fd=parent)


def _remove_empty_folders(parent: int, name: str, path: str) -> None:
    """Remove a folder that holds nothing but empty folders; raises `CheckoutConflict` else."""
    descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        with os.scandir(descriptor) as listing:
            names = [item.name for item in listing]
        for item in names:
            found = _stat(descriptor, item)
            if found is None:
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise CheckoutConflict(
                    f"{path} is a file in the repository, but a folder with untracked files stands there: {path}/{item}"
                )
            _remove_empty_folders(descriptor, item, f"{path}/{item}")
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


def _remove(root: int, path: str) -> None:
    """Remove a file that is tracked no more; a folder in its place is somebody else's."""
    with suppress(FileNotFoundError), _parent(root, path) as (parent, name):
        found = _stat(parent, name)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)


def _prune_folders(root: int, path: str) -> None:
    """Remove the folders of a removed file as far as they are empty."""
    folder = path.rpartition("/")[0]
    while folder:
        try:
            with _parent(root, folder) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.rpartition("/")[0]


def _make_folders(root: int, folders: Iterable[str]) -> None:
    for folder in folders:
        with _parent(root, f"{folder}/.", make=True):
            pass


def _difference(record: Record, wanted: Mapping[str, TreeEntry]) -> frozenset[str] | None:
    """Paths that differ between the last complete commit and `wanted`."""
    if not record.commit or record.files is None:
        return None
    before = {path: (state.mode, state.object_id) for path, state in record.files.items() if state.size >= 0}
    after = {path: (entry.mode, entry.object_id) for path, entry in wanted.items()}
    return frozenset(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
