"""What the services of a project mount from the repository, as digests.

A changed byte in a mounted file must recreate its users, and nothing else must. Git
already has a hash of every tracked file, so hashing a mounted folder costs nothing: its
digest covers the tracked files below it. Untracked files are what applications write
there; they never count. Paths outside the checkout belong to the host and are never
looked at.

A path of the repository that is not there is refused: the Engine would make an empty
folder of it, and the container would start with nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reconciler.compose.model import Model, Project
from reconciler.planner.builds import base_services, is_remote, named_contexts

ENCRYPTED_MARK = b"ENC[AES256_GCM,"


class ContentError(Exception):
    """A file that the project needs is missing or cannot be used; nothing was touched."""


@dataclass(frozen=True)
class RepositoryFiles:
    """The files of one checkout."""

    root: str
    """Absolute path of the checkout."""
    objects: Mapping[str, str]
    """Tracked path, relative to the root -> Git object id."""
    read: Callable[[str], bytes]
    """Read an absolute path."""
    exists: Callable[[str], bool]
    """Whether an absolute path exists on disk (tracked or not)."""
    resolve: Callable[[str], str]
    """The absolute path with its symbolic links followed."""
    executables: frozenset[str] = frozenset()
    """The tracked paths that are executable."""

    def escapes(self, path: str) -> bool:
        """Whether a path inside the checkout leads out of it through a symbolic link."""
        return self.relative(path) is not None and self._followed(path) is None

    def _followed(self, path: str) -> str | None:
        """Where a path inside the checkout leads, relative to the root; None: out of it."""
        root, resolved = self.resolve(self.root).rstrip("/"), self.resolve(path)
        if resolved == root:
            return ""
        return resolved[len(root) + 1 :] if resolved.startswith(root + "/") else None

    def relative(self, path: str) -> str | None:
        """The path relative to the root, or None outside of it."""
        root = self.root.rstrip("/")
        clean = posixpath.normpath(path)
        if clean == root:
            return ""
        return clean[len(root) + 1 :] if clean.startswith(root + "/") else None

    def below(self, relative: str) -> Iterable[tuple[str, str]]:
        """Tracked files at or below a path, with their object ids."""
        prefix = relative + "/" if relative else ""
        for path, object_id in self.objects.items():
            if path == relative or path.startswith(prefix):
                yield path, object_id

    def digest(self, path: str) -> str:
        """Digest of a file or folder of the repository; empty outside of it or when only
        untracked files are there. A link counts as what it leads to: that is what gets mounted."""
        relative = None if self.relative(path) is None else self._followed(path)
        if relative is None:
            return ""
        own = self.objects.get(relative)
        if own is not None:
            return own
        tracked = sorted(self.below(relative))
        if not tracked:
            return ""
        digest = hashlib.sha1(usedforsecurity=False)
        for name, object_id in tracked:
            digest.update(os.fsencode(f"{name[len(relative) :]}\0{object_id}\n"))
        return digest.hexdigest()

    def modes(self, path: str) -> str:
        """Which tracked files at or below a path are executable, one a line."""
        relative = None if self.relative(path) is None else self._followed(path)
        if relative is None:
            return ""
        prefix = relative + "/" if relative else ""
        found = (name for name in self.executables if name == relative or name.startswith(prefix))
        return "".join(f"{name[len(relative) :]}\n" for name in sorted(found))


def content_digests(
    project: Project, files: RepositoryFiles, *, key: bytes
) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """Digests by service, and warnings. `key` keys the digests of values that may be secret.

    Raises `ContentError` naming service, attribute and path.
    """
    digests: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for name, service in sorted(project.services.items()):
        found: dict[str, str] = {}
        for mount in service.get("volumes", ()):
            if mount.get("type") == "bind":
                _bind(name, mount, files, found, problems, warnings)
        for kind in ("config", "secret"):
            for reference in service.get(f"{kind}s", ()):
                _item(project, name, kind, reference["source"], files, found, problems, key)
        if "build" in service:
            _build(name, service["build"], files, found, problems)
        if found:
            digests[name] = found
    _follow_bases(project, digests)
    if problems:
        raise ContentError("\n".join(problems))
    return digests, tuple(warnings)


def _follow_bases(project: Project, digests: dict[str, dict[str, str]]) -> None:
    """An image that a build starts from is an input of it, and so is what that one is built from."""
    own = {name: found["build"] for name, found in digests.items() if "build" in found}

    def inputs(name: str, above: frozenset[str]) -> str:
        build = project.services[name]["build"]
        images = named_contexts(project, build)
        if not images or name in above:
            return own[name]
        digest = hashlib.sha1(f"{own[name]} {images}".encode(), usedforsecurity=False)
        for base in base_services(build):
            digest.update(f"\n{inputs(base, above | {name}) if base in own else ''}".encode())
        return digest.hexdigest()

    for name in own:
        digests[name]["build"] = inputs(name, frozenset())


def _bind(
    service: str,
    mount: Model,
    files: RepositoryFiles,
    found: dict[str, str],
    problems: list[str],
    warnings: list[str],
) -> None:
    source, target = str(mount.get("source", "")), str(mount.get("target", ""))
    relative = files.relative(source)
    if relative is None:
        return
    if files.escapes(source):
        problems.append(f"services.{service}.volumes: {relative} is a link that leads out of the repository")
        return
    read_only = bool(mount.get("read_only", False))
    digest = files.digest(source)
    if not digest and not files.exists(source):
        creates = (mount.get("bind") or {}).get("create_host_path", True)
        looks_like_file = bool(PurePosixPath(source).suffix)
        if read_only or looks_like_file or not creates:
            problems.append(
                f"services.{service}.volumes: {target}: the repository has no {relative or '.'}; add it, or mount a "
                "folder of the host by its absolute path"
            )
            return
        warnings.append(
            f"services.{service}.volumes: {relative} is not in the repository; an empty folder is made for {target}"
        )
    if digest:
        found[f"bind:{target}"] = digest
        if not read_only and relative not in files.objects:
            warnings.append(
                f"services.{service}.volumes: {target} is a writable mount of {relative or '.'} inside the checkout; "
                "tracked files in it are restored at each change"
            )


def _item(
    project: Project,
    service: str,
    kind: str,
    name: str,
    files: RepositoryFiles,
    found: dict[str, str],
    problems: list[str],
    key: bytes,
) -> None:
    definition: Model = (project.configs if kind == "config" else project.secrets).get(name, {})
    path = definition.get("file")
    value: bytes | None = None
    if path:
        if files.escapes(path):
            problems.append(f"{kind}s.{name}.file: {files.relative(path)} is a link that leads out of the repository")
            return
        digest = files.digest(path)
        if digest:
            found[f"{kind}:{name}"] = digest
        elif files.relative(path) is not None and not files.exists(path):
            problems.append(
                f"{kind}s.{name}.file: the repository has no {files.relative(path)} (used by service {service})"
            )
        if files.relative(path) is not None and files.exists(path) and ENCRYPTED_MARK in files.read(path):
            problems.append(f"{kind}s.{name}.file: {files.relative(path)} is encrypted and was not decrypted")
        return
    if "content" in definition:
        value = str(definition["content"]).encode()
    elif f"{kind}s.{name}" in project.secret_values:
        value = project.secret_values[f"{kind}s.{name}"].encode()
    elif definition.get("environment"):
        problems.append(
            f"{kind}s.{name}.environment: the variable {definition['environment']} is not set (used by service "
            f"{service})"
        )
    if value is not None:
        found[f"{kind}:{name}"] = hmac.new(key, value, hashlib.sha256).hexdigest()[:40]


def _build(
    service: str, build: Mapping[str, Any], files: RepositoryFiles, found: dict[str, str], problems: list[str]
) -> None:
    context = str(build.get("context", ""))
    if is_remote(context):
        return
    if files.relative(context) is None or files.escapes(context):
        problems.append(
            f"services.{service}.build.context: {context} lies outside the repository; only its own files are built"
        )
        return
    if not files.digest(context) and not files.exists(context):
        problems.append(f"services.{service}.build.context: the repository has no {files.relative(context)}")
        return
    parts = [context]
    parts += [str(path) for path in (build.get("additional_contexts") or {}).values() if not is_remote(str(path))]
    dockerfile = build.get("dockerfile")
    if dockerfile:
        parts.append(posixpath.join(context, str(dockerfile)))
    digest = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        digest.update(f"{files.digest(part)}\n".encode())
        # Unlike what is mounted, what is copied into an image keeps the mode it had.
        digest.update(os.fsencode(files.modes(part)))
    recipe = {name: build[name] for name in sorted(build) if name not in ("context", "additional_contexts")}
    digest.update(repr(recipe).encode())
    found["build"] = digest.hexdigest()
