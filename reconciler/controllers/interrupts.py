"""Who works on a stack or waits for its health, and who wants something of it before that is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from state.model import StackKey


class Interrupts:
    """One bell for each stack that somebody is busy with."""

    def __init__(self, asked: Callable[[StackKey], bool]) -> None:
        """`asked` tells whether somebody's request waits for the stack: who rang before there was a
        bell is not to be missed."""
        self._asked = asked
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

    @contextmanager
    def listening(self, key: StackKey) -> Iterator[anyio.Event]:
        """The bell of a stack; set already if somebody wants the stack."""
        bell = self._bells[key] = anyio.Event()
        if self._stopping or self._wanted.get(key) or self._asked(key):
            bell.set()
        try:
            yield bell
        finally:
            del self._bells[key]

    async def rung(self, key: StackKey) -> None:
        """Return when somebody rings; at once if somebody wants the stack already."""
        with self.listening(key) as bell:
            await bell.wait()

    def heard(self, key: StackKey) -> bool:
        """Whether whoever is busy with a stack would hear the bell."""
        return key in self._bells
