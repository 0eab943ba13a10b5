"""Git sources: from a URL and a reference to files on disk.

    workspace = GitWorkspace(data_dir, credentials, options)
    source = workspace.source(spec)
    commit = await source.resolve()             # one `ls-remote`: what the reference means now
    checkout = await source.checkout(commit)    # the files, at a path that never changes
    ids = await source.object_ids(commit)       # git's hashes of them

A poll that finds the same commit ends after `resolve`. `checkout` of a commit that is in
the store needs no network, so the last good revision can be restored while the remote is
away.

Locks: one fetch at a time per store, one switch at a time per checkout; a fetch that
hangs delays no checkout of what is already there. Each host has its own few threads, so
a remote that hangs delays no other host's repositories. Every call has a deadline.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio

from reconciler.sources.claims import Claims, slug
from reconciler.sources.command import (
    Git,
    GitCommandFailed,
    Remote,
    Work,
    Workers,
    http_environment,
    local_environment,
)
from reconciler.sources.credentials import Credential, GitCredentials
from reconciler.sources.errors import (
    ReferenceNotFound,
    SourceError,
    StoreCorrupt,
    SubmoduleFailed,
)
from reconciler.sources.failures import classify, corrupt
from reconciler.sources.references import (
    Resolution,
    checked_reference,
    is_commit_id,
    may_be_short_id,
    not_found,
    parse_advertised,
    select,
    select_by_id,
)
from reconciler.sources.ssh import Ssh
from reconciler.sources.store import Commit, ObjectStore, TreeEntry, Wanted
from reconciler.sources.urls import GitURL, parse_git_url, relative_to
from reconciler.sources.worktree import FileState, WorkTree
from state.model import SourceSpec

_T = TypeVar("_T")

STORE_FOLDER = ".git-store"
MAX_SUBMODULE_DEPTH = 10
_TREES_KEPT = 8
_SOURCES_KEPT = 1024


@dataclass(frozen=True, slots=True)
class GitOptions:
    """How git is run. Times in seconds."""

    depth: int = 0
    """`GIT_CLONE_DEPTH`; 0: all of the history."""
    submodules: bool = True
    verify_tls: bool = True
    """`SKIP_TLS_VERIFICATION` off; submodules are always verified."""
    proxy: str = field(default="", repr=False)
    """`HTTP_PROXY`: for HTTP and HTTPS remotes, whatever `NO_PROXY` says."""
    known_hosts: tuple[Path, ...] = ()
    """Further files of SSH host keys."""
    resolve_timeout: float = 60.0
    fetch_timeout: float = 900.0
    connect_timeout: int = 20
    parallel_per_host: int = 4


@dataclass(frozen=True, slots=True)
class Checkout:
    """A commit on disk."""

    path: Path
    commit: str
    changed_files: frozenset[str] | None
    """Paths that differ from the commit that was complete here before; None: there was none."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a commit, submodules' included."""

    entries: tuple[TreeEntry, ...]
    folders: tuple[str, ...]
    """Submodules that are not checked out."""
    ids: Mapping[str, str]
    """Path -> object id."""
    executables: frozenset[str] = frozenset()
    """Paths of the executable files."""


class GitWorkspace:
    """All git sources below one data folder: their stores, locks and threads."""

    def __init__(self, data_dir: Path, credentials: GitCredentials, options: GitOptions | None = None) -> None:
        self.data_dir = data_dir
        self.credentials = credentials
        self.options = options if options is not None else GitOptions()
        folder = data_dir / STORE_FOLDER
        self._folder = folder
        self.git = Git(folder)
        self.claims = Claims(data_dir, folder)
        self.workers = Workers(self.options.parallel_per_host)
        self.ssh = Ssh(self.git, folder / "ssh", self.options.known_hosts, self.options.connect_timeout)
        self._locks: dict[Path, anyio.Lock] = {}
        self._sources: OrderedDict[tuple[str, str], GitSource] = OrderedDict()
        self._trees: OrderedDict[tuple[Path, str], Tree] = OrderedDict()

    def source(self, spec: SourceSpec) -> GitSource:
        """The source that a spec describes; raises `InvalidURL` or `ReferenceNotFound`.

        The same spec gives the same source, which remembers where its reference pointed.
        """
        key = (spec.url, spec.reference)
        found = self._sources.get(key)
        if found is None:
            found = self._sources[key] = GitSource(self, parse_git_url(spec.url), spec.reference)
            while len(self._sources) > _SOURCES_KEPT:
                self._sources.popitem(last=False)
        self._sources.move_to_end(key)
        return found

    def tree_of(self, store: ObjectStore, commit: str) -> Tree | None:
        """A tree read lately. Few are kept for all sources together: an idle one needs none."""
        found = self._trees.get((store.path, commit))
        if found is not None:
            self._trees.move_to_end((store.path, commit))
        return found

    def keep_tree(self, store: ObjectStore, commit: str, tree: Tree) -> None:
        self._trees[store.path, commit] = tree
        while len(self._trees) > _TREES_KEPT:
            self._trees.popitem(last=False)

    def forget_trees(self, store: ObjectStore) -> None:
        """Drop what was read from a store that turned out to be damaged."""
        for key in [key for key in self._trees if key[0] == store.path]:
            del self._trees[key]

    def store(self, url: GitURL, *, submodule: bool = False) -> ObjectStore:
        folder = self._folder / "modules" if submodule else self._folder
        return ObjectStore(self.git, folder / f"{slug(url.repository)}.git")

    def record(self, path: Path) -> Path:
        """Where the record of a checkout lies."""
        return self._folder / "records" / f"{slug(str(path.relative_to(self.data_dir)))}.json"

    def lock(self, path: Path) -> anyio.Lock:
        found = self._locks.get(path)
        if found is None:
            found = self._locks[path] = anyio.Lock()
        return found

    def remote(self, work: Work, url: GitURL, credential: Credential, *, submodule: bool = False) -> Remote:
        """What git needs to speak to a URL."""
        if url.local:
            return Remote(url, local_environment())
        if url.ssh:
            return Remote(url, self.ssh.environment(work, credential), credential.secrets)
        environment = http_environment(
            url,
            credential,
            verify_tls=submodule or self.options.verify_tls,
            proxy=self.options.proxy,
        )
        return Remote(url, environment, (*credential.secrets, *_proxy_secrets(self.options.proxy)))


def _proxy_secrets(proxy: str) -> tuple[str, ...]:
    match = re.search(r"://[^/@:]*:([^/@]+)@", proxy)
    return (match[1],) if match is not None else ()


class GitSource:
    """One repository at one reference."""

    def __init__(self, workspace: GitWorkspace, url: GitURL, reference: str) -> None:
        self._workspace = workspace
        self.url = url
        self.reference = checked_reference(reference)
        self.repository = url.repository
        self._credential = workspace.credentials.for_url(url)
        self._store = workspace.store(url)
        self._resolved: Resolution | None = None

    @property
    def _host(self) -> str:
        return self.url.authority.lower() or "local"

    # --- resolving --------------------------------------------------------------------
    async def resolve(self, *, depth: int | None = None) -> str:
        """The commit the reference means now. Raises `SourceError`.

        A commit that is named by its id is fetched to tell; `depth` overrides `GIT_CLONE_DEPTH`.
        """
        options = self._workspace.options
        if is_commit_id(self.reference):
            commit = self.reference.lower()
            await self._provide(Wanted(commit, pinned=True, depth=self._depth(depth)))
            return commit
        what = f"{self.repository}: git ls-remote"
        resolution = await self._workspace.workers.run(self._host, options.resolve_timeout, what, self._look)
        if resolution is None:
            resolution = Resolution("", await self._resolve_short_id())
        self._resolved = resolution
        return resolution.commit

    def _look(self, work: Work) -> Resolution | None:
        """Ask the remote; None: it may be an abbreviated commit id."""
        narrow = ("--heads",) if self.reference.startswith("refs/heads/") else ()
        narrow = ("--tags",) if self.reference.startswith("refs/tags/") else narrow
        advertised = self._advertised(work, *narrow)
        found = select(advertised, self.reference)
        if found is None and narrow:
            advertised = self._advertised(work)
        if found is None and may_be_short_id(self.reference):
            found = select_by_id(advertised, self.reference)
            if found is None:
                return None
        if found is None:
            raise not_found(advertised, self.reference, last=self._resolved.commit if self._resolved else "")
        return found

    def _advertised(self, work: Work, *narrow: str) -> dict[str, str]:
        remote = self._workspace.remote(work, self.url, self._credential)
        arguments = ["ls-remote", "--quiet", *narrow, "--", self.url.remote]
        try:
            return parse_advertised(self._workspace.git.run(work, arguments, remote=remote))
        except GitCommandFailed as error:
            raise classify(error, self.url, self._credential) from None

    async def _resolve_short_id(self) -> str:
        """An abbreviated id that no tip has: look into the history."""

        def look(work: Work) -> str:
            commit = self._store.expand(work, self.reference)
            if commit and self._store.reachable(work, commit):
                return commit
            remote = self._workspace.remote(work, self.url, self._credential)
            with self._store.exclusive(work):
                self._store.fetch_all(work, remote, self._credential, 40)
            commit = self._store.expand(work, self.reference)
            if not commit or not self._store.reachable(work, commit):
                raise ReferenceNotFound(
                    f"invalid reference, should be a tag or a branch: {self.reference}; it is no commit id either"
                )
            return commit

        return await self._fetching(look)

    # --- fetching ---------------------------------------------------------------------
    async def _provide(self, wanted: Wanted, *, missing: bool = False) -> None:
        """Have a commit in the store. `missing`: it was just looked for in vain."""
        if self._workspace.lock(self._store.path).locked():
            missing = False  # whoever fetches now may bring it

        def provide(work: Work) -> None:
            if (
                not missing
                and self._store.has_commit(work, wanted.commit)
                and (not wanted.pinned or self._store.reachable(work, wanted.commit))
            ):
                return
            remote = self._workspace.remote(work, self.url, self._credential)
            with self._store.exclusive(work):
                self._store.ensure(work, remote, self._credential, wanted, missing=missing)

        await self._fetching(provide)

    async def _fetching(self, function: Callable[[Work], _T]) -> _T:
        async with self._workspace.lock(self._store.path):
            return await self._in_thread(function, "git fetch")

    async def _in_thread(self, function: Callable[[Work], _T], what: str) -> _T:
        seconds = self._workspace.options.fetch_timeout
        return await self._workspace.workers.run(self._host, seconds, f"{self.repository}: {what}", function)

    async def _has(self, commit: str) -> bool:
        return await self._on_disk(lambda work: self._store.has_commit(work, commit), "git cat-file")

    async def _on_disk(self, function: Callable[[Work], _T], what: str) -> _T:
        """Run what needs no network: not on the threads that a hanging remote may hold."""
        seconds = self._workspace.options.fetch_timeout
        return await self._workspace.workers.run("", seconds, f"{self.repository}: {what}", function)

    async def _have(self, commit: str, depth: int | None) -> None:
        if await self._has(commit):
            return
        resolved = self._resolved
        if resolved is None and not is_commit_id(self.reference):
            await self.resolve()
            resolved = self._resolved
        name = resolved.name if resolved is not None else ""
        pinned = is_commit_id(self.reference) and self.reference.lower() == commit
        wanted = Wanted(commit, reference=name, pinned=pinned, depth=self._depth(depth))
        await self._provide(wanted, missing=True)

    def _depth(self, depth: int | None) -> int:
        """How much history a fetch asks for; `git_depth` of a deployment does not concern local ones."""
        return self._workspace.options.depth if depth is None or self.url.local else depth

    # --- the files --------------------------------------------------------------------
    async def checkout(self, commit: str, *, depth: int | None = None) -> Checkout:
        """Bring the checkout of this reference to a commit. Raises `SourceError`.

        `depth` overrides `GIT_CLONE_DEPTH`. A damaged store is fetched anew, once.
        """
        try:
            return await self._checkout(commit, depth)
        except StoreCorrupt as error:
            if error.store is not None and error.store != self._store.path:
                await self._discard_submodule(error.store)
            else:
                await self._renew(commit, depth)
            return await self._checkout(commit, depth)

    async def _checkout(self, commit: str, depth: int | None) -> Checkout:
        if self._workspace.tree_of(self._store, commit) is None:
            await self._have(commit, depth)
        tree = await self.tree(commit)
        path = await self.path()
        async with self._workspace.lock(path):
            return await self._on_disk(lambda work: self._switch(work, path, commit, tree), "checkout")

    async def path(self) -> Path:
        """Where this reference is checked out."""
        return await self._on_disk(lambda _: self._workspace.claims.path_for(self.url, self.reference), "checkout")

    def _switch(self, work: Work, path: Path, commit: str, tree: Tree) -> Checkout:
        worktree = WorkTree(self._workspace.git, path, self._workspace.record(path))
        adopted = self._tracked_by_another_tool(work, path) if worktree.recorded().files is None else None
        changed = worktree.switch(work, commit, tree.entries, tree.folders, adopted=adopted)
        try:
            self._store.keep(work, str(path), commit)
        except GitCommandFailed as error:
            raise StoreCorrupt(str(error)) from None
        return Checkout(path, commit, changed)

    def _tracked_by_another_tool(self, work: Work, path: Path) -> dict[str, FileState] | None:
        """What Doco-CD had checked out here: files it tracked are not mistaken for somebody's data."""
        head = _head_of(path / ".git")
        if not head or not self._store.has_commit(work, head):
            return None
        files, _ = self._store.entries(work, head)
        return {entry.path: FileState(entry.mode, entry.object_id) for entry in files}

    async def _renew(self, commit: str, depth: int | None) -> None:
        """Replace a damaged store."""
        self._workspace.forget_trees(self._store)
        if self._resolved is None and not is_commit_id(self.reference):
            await self.resolve()
        name = self._resolved.name if self._resolved is not None else ""
        wanted = Wanted(
            commit,
            reference=name,
            pinned=is_commit_id(self.reference),
            depth=self._depth(depth),
        )

        def renew(work: Work) -> None:
            remote = self._workspace.remote(work, self.url, self._credential)
            with self._store.exclusive(work):
                self._store.renew(work, remote, self._credential, wanted)

        await self._fetching(renew)

    async def _discard_submodule(self, path: Path) -> None:
        """Throw a damaged store of a submodule away; the next checkout fetches it."""
        self._workspace.forget_trees(self._store)
        module = ObjectStore(self._workspace.git, path)

        def discard(work: Work) -> None:
            with module.exclusive(work):
                module.discard()

        async with self._workspace.lock(path):
            await self._on_disk(discard, "discarding a damaged submodule")

    # --- asking about a commit --------------------------------------------------------
    async def object_ids(self, commit: str) -> Mapping[str, str]:
        """Path -> git object id of every file of a commit, submodules' files included."""
        return (await self.tree(commit)).ids

    async def files(self, commit: str) -> frozenset[str]:
        """The plain files of a commit (no symbolic links)."""
        tree = await self.tree(commit)
        return frozenset(entry.path for entry in tree.entries if entry.mode in (0o100644, 0o100755))

    async def tree(self, commit: str) -> Tree:
        """The files of a commit that is in the store; submodules are fetched as needed."""
        found = self._workspace.tree_of(self._store, commit)
        if found is not None:
            return found
        try:
            files, links = await self._entries(self._store, commit)
        except GitCommandFailed as error:
            raise StoreCorrupt(f"{self.repository}: {error}") from None
        folders: list[str] = []
        if links and self._workspace.options.submodules:
            files = [*files, *await self._submodules(self._store, self.url, commit, links, folders, "", 1)]
        else:
            folders += [link.path for link in links]
        ids = {entry.path: entry.object_id for entry in files}
        executables = frozenset(entry.path for entry in files if entry.executable)
        tree = Tree(tuple(files), tuple(folders), ids, executables)
        self._workspace.keep_tree(self._store, commit, tree)
        return tree

    async def _entries(
        self, store: ObjectStore, commit: str, prefix: str = ""
    ) -> tuple[list[TreeEntry], list[TreeEntry]]:
        return await self._on_disk(lambda work: store.entries(work, commit, prefix), "git ls-tree")

    async def _submodules(
        self,
        store: ObjectStore,
        parent: GitURL,
        commit: str,
        links: list[TreeEntry],
        folders: list[str],
        prefix: str,
        level: int,
    ) -> list[TreeEntry]:
        """The files of submodules, recursively."""
        if level > MAX_SUBMODULE_DEPTH:
            raise SubmoduleFailed(f"submodules are nested deeper than {MAX_SUBMODULE_DEPTH} levels at {prefix}")
        urls = await self._on_disk(lambda work: store.submodule_urls(work, commit), "git config")
        found: list[TreeEntry] = []
        for link in links:
            inside = link.path.removeprefix(prefix)
            if inside not in urls:
                # A gitlink without an entry in .gitmodules: git leaves an empty folder, too.
                folders.append(link.path)
                continue
            try:
                url = relative_to(parent, urls[inside])
                if url.local and not parent.local:
                    raise SubmoduleFailed("it names a folder of this machine")
                module = self._workspace.store(url, submodule=True)
                await self._provide_submodule(module, url, link.object_id)
                files, inner = await self._entries(module, link.object_id, f"{link.path}/")
            except GitCommandFailed as error:
                raise StoreCorrupt(f"submodule {link.path}: {error}", module.path) from None
            except SourceError as error:
                raise SubmoduleFailed(f"submodule {link.path}: {error}") from None
            found += files
            if inner:
                found += await self._submodules(module, url, link.object_id, inner, folders, f"{link.path}/", level + 1)
        return found

    async def _provide_submodule(self, module: ObjectStore, url: GitURL, commit: str) -> None:
        if await self._on_disk(lambda work: module.has_commit(work, commit), "git cat-file"):
            return
        credential = self._workspace.credentials.for_url(url, parent=self.url)

        def provide(work: Work) -> None:
            remote = self._workspace.remote(work, url, credential, submodule=True)
            with module.exclusive(work):
                module.ensure_submodule(work, remote, credential, commit)

        async with self._workspace.lock(module.path):
            seconds = self._workspace.options.fetch_timeout
            host = url.authority.lower() or "local"
            await self._workspace.workers.run(host, seconds, f"{url.repository}: git fetch", provide)

    async def log(self, old: str, new: str, limit: int = 50) -> tuple[Commit, ...]:
        """The commits after `old` up to `new`, newest first; empty if one is not there any more."""

        def ask(work: Work) -> tuple[Commit, ...]:
            try:
                return self._store.log(work, old, new, limit)
            except GitCommandFailed as error:
                if corrupt(error):
                    raise StoreCorrupt(f"{self.repository}: {error}") from None
                return ()

        return await self._on_disk(ask, "git log")


def _head_of(folder: Path) -> str:
    """The commit a `.git` folder is at, read without git; empty if that is not plain to see."""
    try:
        head = (folder / "HEAD").read_text(errors="replace").strip()
        if not head.startswith("ref: "):
            return head if is_commit_id(head) else ""
        name = head.removeprefix("ref: ").strip()
        if ".." in name or name.startswith("/"):
            return ""
        loose = folder / name
        if loose.is_file():
            value = loose.read_text(errors="replace").strip()
            return value if is_commit_id(value) else ""
        for line in (folder / "packed-refs").read_text(errors="replace").splitlines():
            value, _, found = line.partition(" ")
            if found == name and is_commit_id(value):
                return value
    except OSError:
        return ""
    return ""
