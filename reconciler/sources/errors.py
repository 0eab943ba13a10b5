"""Everything that can go wrong with a source.

    SourceError
    ├── InvalidURL           what was given is no usable repository URL
    │   └── InvalidRepositoryName  its path would leave the folder of checkouts
    ├── SourceUnreachable    no connection, or the connection broke
    ├── SourceTimeout        the deadline passed; the git process group was killed
    ├── AuthenticationFailed the server refused the credentials, or wants some
    ├── HostKeyChanged       the SSH server shows another key than before
    ├── RepositoryNotFound   the server knows no such repository
    ├── RepositoryEmpty      it has no branches and no tags
    ├── ReferenceNotFound    it has no such branch, tag or commit
    ├── RevisionGone         the commit was there a moment ago (force push): resolve again
    ├── SubmoduleFailed      one of its submodules cannot be had
    ├── StoreCorrupt         the local object store is damaged and could not be repaired
    ├── CheckoutConflict     an untracked file stands where a tracked one must go
    ├── UnsafePath           a path in the repository would leave the checkout
    ├── CheckoutFailed       the disk refused (full, read-only, permissions)
    └── GitFailed            git failed in a way none of the above describes

`code` is the CamelCase word that conditions and metrics carry; the message is one short
sentence without credentials. `transient` says whether the next attempt may succeed
without anybody changing anything.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar


class SourceError(Exception):
    """A source could not be brought to a revision."""

    code: ClassVar[str] = "SourceFailed"
    transient: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        # A path in a repository may be any bytes; what is said goes into JSON and the store.
        message = os.fsencode(message).decode(errors="replace")
        super().__init__(message)
        self.message = message


class InvalidURL(SourceError):
    code = "InvalidURL"


class InvalidRepositoryName(InvalidURL):
    code = "InvalidRepositoryName"


class SourceUnreachable(SourceError):
    code = "Unreachable"
    transient = True


class SourceTimeout(SourceError):
    code = "Timeout"
    transient = True


class AuthenticationFailed(SourceError):
    code = "AuthFailed"


class HostKeyChanged(SourceError):
    code = "HostKeyChanged"


class RepositoryNotFound(SourceError):
    code = "RepositoryNotFound"


class RepositoryEmpty(SourceError):
    code = "RepositoryEmpty"


class ReferenceNotFound(SourceError):
    code = "ReferenceNotFound"


class RevisionGone(SourceError):
    code = "RevisionGone"
    transient = True


class SubmoduleFailed(SourceError):
    code = "SubmoduleFailed"


class StoreCorrupt(SourceError):
    code = "Corrupt"

    def __init__(self, message: str, store: Path | None = None) -> None:
        super().__init__(message)
        self.store = store
        """Which one, if it is known."""


class CheckoutConflict(SourceError):
    code = "CheckoutConflict"


class UnsafePath(SourceError):
    code = "UnsafePath"


class CheckoutFailed(SourceError):
    code = "CheckoutFailed"


class GitFailed(SourceError):
    code = "GitFailed"
    transient = True
