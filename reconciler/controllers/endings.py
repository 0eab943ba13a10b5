"""How one look at a stack can end other than well: each says when to look again, and what to answer."""

from __future__ import annotations


class Wait(Exception):
    """The reconcile cannot go on now; something else will wake the key."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Connecting(Exception):
    """The Engine was not asked yet: soon after a start, that says nothing about a stack."""


class Later(Exception):
    """It is not time yet to act; nothing is wrong that was not said before."""

    def __init__(self, delay: float, message: str) -> None:
        super().__init__(message)
        self.delay = delay


class Interrupted(Exception):
    """Waiting for health gave way to somebody who has something to do with the stack, or something
    else is wanted of it than when the work began. It is taken up again at once."""


class Failed(Exception):
    """The reconcile failed; it is tried again later."""

    def __init__(self, reason: str, message: str, *, delay: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.delay = delay
