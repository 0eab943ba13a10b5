"""Seccomp profiles that services name: their text travels to the Engine, not their path.

`security_opt: seccomp=FILE` is read by the client, relative to the project's folder. Like
every file that a repository names it must lie in the repository.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator

from reconciler.compose.model import Project
from reconciler.deployments.content import ContentError, RepositoryFiles

_WORDS = frozenset({"", "unconfined", "builtin"})


def seccomp_profiles(project: Project, files: RepositoryFiles, digests: dict[str, dict[str, str]]) -> dict[str, str]:
    """Profile text by the name that the project uses; their digests are added to `digests`.

    Raises `ContentError` for one that is not there or lies outside the repository.
    """
    profiles: dict[str, str] = {}
    for service, value in _named(project):
        path = posixpath.normpath(posixpath.join(project.working_dir, value))
        where = f"services.{service}.security_opt: seccomp profile {value}"
        if files.relative(path) is None or files.escapes(path):
            raise ContentError(f"{where} lies outside the repository")
        if not files.exists(path):
            raise ContentError(f"{where}: the repository has no {files.relative(path)}")
        raw = files.read(path)
        try:
            profiles[value] = raw.decode()
        except UnicodeDecodeError as error:
            raise ContentError(f"{where}: expected JSON, found bytes that are no text") from error
        digests.setdefault(service, {})[f"seccomp:{value}"] = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
    return profiles


def _named(project: Project) -> Iterator[tuple[str, str]]:
    for name, service in sorted(project.services.items()):
        for option in service.get("security_opt") or ():
            for separator in ("=", ":"):
                key, found, value = str(option).partition(separator)
                if found and key == "seccomp":
                    if value not in _WORDS:
                        yield name, value
                    break
