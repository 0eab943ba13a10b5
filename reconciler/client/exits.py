"""How a command ends: exit statuses, and the errors that lead to them.

    ClientError            something to say on standard error, and an exit status
    ├── Failed             the agent did not do it, could not, or does not know the name
    ├── Misused            arguments, configuration or request are wrong
    ├── Unreachable        no agent answers there, or it cannot work now
    ├── NotAuthorised      the key is missing or wrong
    └── WaitEnded          the wait is over, the work goes on

Scripts rely on the numbers; they are documented in `docs/cli.md` and never change meaning.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of the commands that ask an agent."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_AUTHORISED = 4
    WAIT_ENDED = 5
    INTERRUPTED = 130
    """128 + SIGINT, as shells count."""
    NO_READER = 141
    """128 + SIGPIPE: whoever read the output has gone."""


class ClientError(Exception):
    """Ends a command."""

    exit = Exit.FAILED


class Failed(ClientError):
    """The agent did not do it, could not, or does not know the name."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status, 0 when the answer itself was fine."""


class Misused(ClientError):
    """Arguments, configuration or request are wrong; nothing was done."""

    exit = Exit.USAGE


class Unreachable(ClientError):
    """No agent answers there, or it cannot work now."""

    exit = Exit.UNREACHABLE


class NotAuthorised(ClientError):
    """The key is missing or wrong."""

    exit = Exit.NOT_AUTHORISED


class WaitEnded(ClientError):
    """The wait is over before the outcome is known; the work goes on."""

    exit = Exit.WAIT_ENDED
