"""A keyed work queue: events enqueue keys, workers look again.

The semantics are those of Kubernetes' controllers. A key waits in the queue at most
once. While a worker holds a key, adding it again only marks it dirty; it is queued anew
when the worker is done, so nobody works on one key twice at a time and no event is
lost. Keys are handed out first come, first served. A failed key comes back after an
exponential delay with jitter; a success forgets the delay. Adding a key does not cut a
back-off short unless asked to: an event storm on a failing key must not make it hot.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import anyio

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """A queue of keys for the tasks of one event loop."""

    def __init__(
        self,
        *,
        base_delay: float = 1.0,
        max_delay: float = 300.0,
        clock: Callable[[], float] = anyio.current_time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._clock = clock
        self._jitter = jitter
        self._waiting: deque[K] = deque()
        self._queued: set[K] = set()
        self._working: set[K] = set()
        self._dirty: set[K] = set()
        self._later: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._bell = anyio.Event()
        self._idle = anyio.Event()
        self._draining = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K, *, now: bool = False) -> None:
        """Ask for `key` to be looked at. `now` also ends a back-off."""
        if now:
            self._later.pop(key, None)
            self._failures.pop(key, None)
        elif key in self._later and key in self._failures:
            return
        if key in self._working:
            self._dirty.add(key)
        elif key not in self._queued:
            self._later.pop(key, None)
            self._queued.add(key)
            self._waiting.append(key)
            self._bell.set()

    def add_after(self, key: K, delay: float) -> None:
        """Ask for `key` to be looked at in `delay` seconds, or earlier if it comes up earlier."""
        due = self._clock() + delay
        if key not in self._queued and due < self._later.get(key, float("inf")):
            self._later[key] = due
            self._bell.set()

    def retry(self, key: K) -> float:
        """Ask for `key` again after its back-off; returns the delay in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(self._max_delay, self._base_delay * 2.0 ** min(failures - 1, 30))
        delay *= 0.75 + 0.5 * self._jitter()
        self._later.pop(key, None)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """A success: the next failure starts with the shortest delay."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Take the next key; the caller must call `done` for it."""
        while True:
            self._promote()
            if self._waiting and not self._draining:
                key = self._waiting.popleft()
                self._queued.discard(key)
                self._working.add(key)
                return key
            if self._bell.is_set():
                self._bell = anyio.Event()
            next_due = min(self._later.values(), default=None)
            timeout = None if next_due is None else max(0.0, next_due - self._clock())
            with anyio.move_on_after(timeout):
                await self._bell.wait()

    def done(self, key: K) -> None:
        """The worker is through with `key`."""
        self._working.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)
        if not self._working:
            self._idle.set()
            self._idle = anyio.Event()

    async def drain(self) -> None:
        """Hand out nothing more, and return when no key is held."""
        self._draining = True
        while self._working:
            await self._idle.wait()

    def _promote(self) -> None:
        if not self._later:
            return
        now = self._clock()
        for key in [key for key, due in self._later.items() if due <= now]:
            del self._later[key]
            if key in self._working:
                self._dirty.add(key)
            elif key not in self._queued:
                self._queued.add(key)
                self._waiting.append(key)
