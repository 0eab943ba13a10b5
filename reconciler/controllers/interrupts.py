"""Who waits for the health of a stack, and who wants something of it before that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from state.model import StackKey


class Interrupts:
    """One bell for each stack whose health is awaited."""

    def __init__(self) -> None:
        self._bells: dict[StackKey, anyio.Event] = {}
        self._wanted: dict[StackKey, int] = {}
        """How many wait to hold a stack still."""
        self._stopping = False

    def ring(self, key: StackKey) -> None:
        """Somebody has something to do with the stack."""
        bell = self._bells.get(key)
        if bell is not None:
            bell.set()

    @contextmanager
    def wanted(self, key: StackKey) -> Iterator[None]:
        """Ring, and have nobody begin to wait for its health meanwhile."""
        self._wanted[key] = self._wanted.get(key, 0) + 1
        self.ring(key)
        try:
            yield
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key]

    def stop(self) -> None:
        """Ring for all, from now on."""
        self._stopping = True
        for bell in self._bells.values():
            bell.set()

    async def rung(self, key: StackKey) -> None:
        """Return when somebody rings; at once if somebody wants the stack already."""
        if self._stopping or self._wanted.get(key):
            return
        bell = self._bells[key] = anyio.Event()
        try:
            await bell.wait()
        finally:
            del self._bells[key]
