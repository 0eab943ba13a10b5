"""What can go wrong between Moored and an Engine.

    EngineError
    ├── EngineUnreachable     no answer: refused, closed, timed out
    │   └── DeadlineExceeded  no answer in time
    ├── Refused               the Engine answered with an error; `status` and its own words
    │   ├── NotFound          404
    │   └── Conflict          409
    ├── UnsupportedEndpoint   we cannot speak to such an address
    ├── UnsupportedEngine     its API is too old or too new for us
    ├── PullFailed            an image could not be had from its registry
    ├── RegistryError         a registry did not tell a digest
    ├── BuildFailed           an image could not be built
    ├── HookFailed            a hook did not end with 0
    ├── WaitFailed            a service did not become what somebody waits for
    ├── WaitInterrupted       somebody has something to do with the stack before it did
    └── ActionFailed          an action cannot be carried out as planned

`EngineUnreachable` is worth another try without any change; a refusal mostly is not. The
Engine's own words are always kept: they are what a user can search for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class EngineError(Exception):
    """An Engine did not do what it was asked."""


class EngineUnreachable(EngineError):
    """The Engine does not answer."""

    def __init__(self, message: str, *, operation: str = "") -> None:
        super().__init__(f"{operation}: {message}" if operation else message)
        self.operation = operation


class DeadlineExceeded(EngineUnreachable):
    """The Engine did not answer in time."""


class Refused(EngineError):
    """The Engine answered with an error."""

    def __init__(self, status: int, message: str, *, operation: str = "") -> None:
        super().__init__(f"{operation}: {message}" if operation else message)
        self.status = status
        self.message = message
        self.operation = operation


class NotFound(Refused):
    """What was asked for does not exist."""


class Conflict(Refused):
    """What was asked for contradicts what is there."""


class UnsupportedEndpoint(EngineError):
    """The address of the Engine is not one we can speak to."""


class UnsupportedEngine(EngineError):
    """The Engine's API and ours have no version in common."""


class PullFailed(EngineError):
    """An image could not be pulled; names registry, configuration and credentials tried."""


class RegistryError(EngineError):
    """A registry could not tell the digest of an image."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class BuildFailed(EngineError):
    """An image could not be built; ends with the builder's last lines."""


class HookFailed(EngineError):
    """A lifecycle hook failed; ends with its last lines."""


class WaitFailed(EngineError):
    """A service failed, or was not ready in time, while somebody waited for it."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class WaitInterrupted(EngineError):
    """A wait gave way to somebody who has something to do with the stack."""


class ActionFailed(EngineError):
    """An action cannot be carried out as planned."""


def refused(status: int, message: str, operation: str) -> Refused:
    """The class of the tree for an Engine's error answer."""
    kind = {404: NotFound, 409: Conflict}.get(status, Refused)
    return kind(status, message.strip() or f"HTTP status {status}", operation=operation)


@contextmanager
def first_error() -> Iterator[None]:
    """Concurrent calls fail as one: raise the first of a group's errors instead of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors = leaves(group)
        first = next((error for error in errors if isinstance(error, EngineError)), errors[0])
        raise first from first.__cause__


def leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    """The errors of a group, its groups opened."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
