"""One bare object store per repository: fetching into it, asking it.

A store belongs to the agent alone and holds objects, never a work tree, so it may be
thrown away and fetched anew at any time; checkouts do not notice. Only what is asked for
is fetched: the one reference, shallow if so configured. A shallow store is deepened in
place (twice, four times, entirely) when a commit lies beyond it, and a full store is
never cut.

Everything here is blocking and belongs to a `Work`. What was fetched is kept alive by
references below `refs/moored/`; their names are hashes, so that a branch `a` and a later
branch `a/b` never collide.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.sources.command import Git, GitCommandFailed, Remote, Work
from reconciler.sources.credentials import Credential
from reconciler.sources.errors import (
    CheckoutFailed,
    ReferenceNotFound,
    RevisionGone,
    StoreCorrupt,
    UnsafePath,
)
from reconciler.sources.failures import classify, corrupt

_WIDE = ("+refs/heads/*:refs/moored/all/heads/*", "+refs/tags/*:refs/moored/all/tags/*")
FULL_DEPTH = 2_147_483_647

LINK = 0o120000
GITLINK = 0o160000


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file of a commit."""

    path: str
    mode: int
    object_id: str
    store: ObjectStore
    """Where its content is: a submodule's files lie in the submodule's store."""

    @property
    def executable(self) -> bool:
        return self.mode == 0o100755


@dataclass(frozen=True, slots=True)
class Commit:
    """One line of a log."""

    hash: str
    subject: str
    author: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a fetch is for."""

    commit: str
    reference: str = ""
    """Its full name on the remote; empty: found by its id only."""
    pinned: bool = False
    """Configured as a commit id: it must be reachable from a branch or tag of the remote."""
    depth: int = 0
    """0: all of the history."""


class ObjectStore:
    """The bare store in one folder. Blocking; its callers hold `exclusive` while they fetch."""

    def __init__(self, git: Git, path: Path) -> None:
        self.path = path
        self._git = git

    # --- asking -----------------------------------------------------------------------
    @property
    def exists(self) -> bool:
        return (self.path / "HEAD").is_file()

    @property
    def shallow(self) -> bool:
        return (self.path / "shallow").is_file()

    def ask(self, work: Work, *arguments: str) -> bytes:
        """Run git on the store; raises `GitCommandFailed`."""
        return self._git.run(work, arguments, git_dir=self.path)

    def has_commit(self, work: Work, commit: str) -> bool:
        if not self.exists:
            return False
        try:
            self.ask(work, "cat-file", "-e", f"{commit}^{{commit}}")
        except GitCommandFailed:
            return False
        return True

    def reachable(self, work: Work, commit: str) -> bool:
        """Whether a fetched branch or tag contains the commit."""
        try:
            found = self.ask(
                work, "for-each-ref", "--count=1", f"--contains={commit}", "refs/moored/all", "refs/moored/tips"
            )
        except GitCommandFailed:
            return False
        return bool(found.strip())

    def expand(self, work: Work, prefix: str) -> str:
        """The full id of the one commit whose id begins so; empty if there is none.

        Raises `ReferenceNotFound` when there are several.
        """
        if not self.exists:
            return ""
        try:
            return self.ask(work, "rev-parse", "--verify", "--quiet", f"{prefix}^{{commit}}").decode().strip()
        except GitCommandFailed as error:
            if "ambiguous" in error.stderr:
                raise ReferenceNotFound(f"the abbreviated commit id {prefix} is ambiguous: write more of it") from None
            return ""

    def entries(self, work: Work, commit: str, prefix: str = "") -> tuple[list[TreeEntry], list[TreeEntry]]:
        """Files and gitlinks of a commit, their paths below `prefix`."""
        files: list[TreeEntry] = []
        links: list[TreeEntry] = []
        for line in self.ask(work, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
            if not line:
                continue
            head, _, name = line.partition(b"\t")
            mode, _, object_id = head.decode().split(" ")
            path = _checked_path(prefix, os.fsdecode(name))
            entry = TreeEntry(path, int(mode, 8), object_id, self)
            (links if entry.mode == GITLINK else files).append(entry)
        return files, links

    def submodule_urls(self, work: Work, commit: str) -> dict[str, str]:
        """Path -> URL as `.gitmodules` of the commit says."""
        try:
            output = self.ask(work, "config", "--blob", f"{commit}:.gitmodules", "--list", "-z")
        except GitCommandFailed:
            return {}
        paths: dict[str, str] = {}
        urls: dict[str, str] = {}
        for item in output.split(b"\0"):
            key, _, value = os.fsdecode(item).partition("\n")
            section, _, name = key.rpartition(".")
            if name == "path":
                paths[section] = value.strip("/")
            elif name == "url":
                urls[section] = value
        return {path: urls[section] for section, path in paths.items() if section in urls}

    def log(self, work: Work, old: str, new: str, limit: int) -> tuple[Commit, ...]:
        """The commits after `old` up to `new`, newest first."""
        if not self.has_commit(work, old) or not self.has_commit(work, new):
            return ()
        output = self.ask(
            work,
            "log",
            "--no-show-signature",
            f"--max-count={limit}",
            "--format=%H%x1f%s%x1f%an",
            "-z",
            f"{old}..{new}",
        )
        commits = []
        for record in output.decode(errors="replace").split("\0"):
            parts = record.strip("\n").split("\x1f")
            if len(parts) == 3:
                commits.append(Commit(*parts))
        return tuple(commits)

    # --- fetching ---------------------------------------------------------------------
    @contextmanager
    def exclusive(self, work: Work) -> Iterator[None]:
        """Hold the store against other processes that share the data folder."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    work.check()
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def ensure(
        self, work: Work, remote: Remote, credential: Credential, wanted: Wanted, *, missing: bool = False
    ) -> None:
        """Have the commit in the store, fetching and repairing as needed. Call it `exclusive`ly.
        `missing`: it was just looked for in vain."""
        try:
            self._ensure(work, remote, wanted, missing=missing)
        except GitCommandFailed as error:
            if error.command == "init" or (error.command == "fetch" and not corrupt(error)):
                raise classify(error, remote.url, credential) from None
            # A question to the store itself that fails means that the store is damaged.
            self.renew(work, remote, credential, wanted)

    def renew(self, work: Work, remote: Remote, credential: Credential, wanted: Wanted) -> None:
        """Fetch everything anew beside a damaged store, then put it in its place."""
        fresh = ObjectStore(self._git, self.path.with_name(self.path.name + ".new"))
        shutil.rmtree(fresh.path, ignore_errors=True)
        try:
            fresh._ensure(work, remote, wanted)
        except GitCommandFailed as error:
            if corrupt(error):
                raise StoreCorrupt(f"{remote.url}: fetched anew and damaged again: {error}") from None
            raise classify(error, remote.url, credential) from None
        old = self.path.with_name(self.path.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if self.path.exists():
            self.path.rename(old)
        fresh.path.rename(self.path)
        shutil.rmtree(old, ignore_errors=True)

    def _ensure(self, work: Work, remote: Remote, wanted: Wanted, *, missing: bool = False) -> None:
        if self._create(work, len(wanted.commit)) or missing or not self.has_commit(work, wanted.commit):
            self._fetch_commit(work, remote, wanted)
        if wanted.pinned and not self.reachable(work, wanted.commit):
            # Servers hand out commits of forks and of deleted branches too: those are not this repository's.
            self._fetch(work, remote, _WIDE, depth=0)
            if not self.reachable(work, wanted.commit):
                raise ReferenceNotFound(
                    f"invalid reference, should be a tag or a branch: {wanted.commit} is no commit of any branch or tag"
                )

    def _create(self, work: Work, id_length: int) -> bool:
        """Make the store; whether it was not there."""
        if self.exists:
            return False
        part = self.path.with_name(self.path.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
        kind = "sha256" if id_length == 64 else "sha1"
        try:
            part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._git.run(work, ["init", "--quiet", "--bare", "--template=", f"--object-format={kind}", str(part)])
            part.rename(self.path)
        except OSError as error:
            raise CheckoutFailed(f"cannot make the object store {self.path}: {error.strerror}") from None
        return True

    def _fetch_commit(self, work: Work, remote: Remote, wanted: Wanted) -> None:
        depth = wanted.depth if wanted.depth and (self.shallow or not self._filled(work)) else 0
        specs = (f"+{wanted.reference}:{tip_name(wanted.reference)}",) if wanted.reference else _WIDE
        self._fetch(work, remote, specs, depth=depth)
        for times in (2, 4):
            if not depth or not self.shallow or self.has_commit(work, wanted.commit):
                break
            self._fetch(work, remote, specs, depth=depth * times)
        if self.shallow and (not wanted.depth or not self.has_commit(work, wanted.commit)):
            self._fetch(work, remote, specs, depth=FULL_DEPTH)
        if self.has_commit(work, wanted.commit):
            return
        if wanted.pinned:
            raise ReferenceNotFound(
                f"invalid reference, should be a tag or a branch: {wanted.commit} is no commit of any branch or tag"
            )
        self._fetch_by_id(work, remote, wanted)

    def _fetch_by_id(self, work: Work, remote: Remote, wanted: Wanted) -> None:
        """The reference moved away from a commit it just pointed to: servers mostly still have it."""
        try:
            self._fetch(
                work,
                remote,
                (f"+{wanted.commit}:refs/moored/kept/{wanted.commit}",),
                depth=wanted.depth if self.shallow else 0,
            )
        except GitCommandFailed:
            work.check()
        if not self.has_commit(work, wanted.commit):
            raise RevisionGone(f"{remote.url}: commit {wanted.commit[:12]} is not there any more (force push?)")

    def ensure_submodule(self, work: Work, remote: Remote, credential: Credential, commit: str) -> None:
        """Have a commit that the parent repository names. Call it `exclusive`ly.

        Which commit it is was decided by the parent, so any way to it will do: by id, and if
        the server does not allow that, everything.
        """
        try:
            try:
                self._fetch_submodule(work, remote, credential, commit)
            except GitCommandFailed as error:
                if error.command == "fetch" and not corrupt(error):
                    raise
                self.discard()
                self._fetch_submodule(work, remote, credential, commit)
        except GitCommandFailed as error:
            raise classify(error, remote.url, credential) from None

    def _fetch_submodule(self, work: Work, remote: Remote, credential: Credential, commit: str) -> None:
        self._create(work, len(commit))
        if self.has_commit(work, commit):
            return
        try:
            self._fetch(work, remote, (f"+{commit}:refs/moored/kept/{commit}",), depth=1)
        except GitCommandFailed as error:
            found = classify(error, remote.url, credential)
            if corrupt(error) or (not found.transient and found.code != "RepositoryNotFound"):
                raise
            self._fetch(work, remote, _WIDE, depth=FULL_DEPTH if self.shallow else 0)
        if not self.has_commit(work, commit):
            raise RevisionGone(f"{remote.url} has no commit {commit[:12]}")

    def discard(self) -> None:
        """Throw the store away; the next fetch makes it anew. Call it `exclusive`ly."""
        shutil.rmtree(self.path, ignore_errors=True)

    def fetch_all(self, work: Work, remote: Remote, credential: Credential, id_length: int) -> None:
        """All branches and tags with their history. Call it `exclusive`ly."""
        try:
            self._create(work, id_length)
            self._fetch(work, remote, _WIDE, depth=FULL_DEPTH if self.shallow else 0)
        except GitCommandFailed as error:
            raise classify(error, remote.url, credential) from None

    def keep(self, work: Work, name: str, commit: str) -> None:
        """Keep a deployed commit alive whatever happens to its branch."""
        reference = f"refs/moored/deployed/{_hashed(name)}"
        with suppress(OSError):
            if (self.path / reference).read_text().strip() == commit:
                return
        self.ask(work, "update-ref", reference, commit)

    def _filled(self, work: Work) -> bool:
        return bool(self.ask(work, "for-each-ref", "--count=1", "refs/moored").strip())

    def _fetch(self, work: Work, remote: Remote, specs: tuple[str, ...], *, depth: int) -> None:
        for stale in ("shallow.lock", "packed-refs.lock"):
            # Left by a killed git; the store is held exclusively.
            (self.path / stale).unlink(missing_ok=True)
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"]
        if specs == _WIDE:
            arguments.append("--prune")
        if depth:
            arguments.append("--unshallow" if depth == FULL_DEPTH else f"--depth={depth}")
        self._git.run(work, [*arguments, "--", remote.url.remote, *specs], remote=remote, git_dir=self.path)


def tip_name(reference: str) -> str:
    """Where the tip of a remote's reference is kept."""
    return f"refs/moored/tips/{_hashed(reference)}"


def _hashed(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _checked_path(prefix: str, name: str) -> str:
    parts = name.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise UnsafePath(f"the repository contains the path {name!r}, which would leave the checkout")
    return f"{prefix}{name}"
