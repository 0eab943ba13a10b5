"""Wake-ups for those who wait for a change.

A `Watch` maps topics to waiters. A topic is a tuple such as `("run", job_id)`. Setting a
topic wakes everyone who waits on it or on a prefix of it; waiters then look again
(level-triggered), so a wake-up carries no data and may be spurious. Waiters register
before they look, so no change is missed:

    with watch.subscribe(("run", job_id)) as changed:
        while not (run := await store.get_run(job_id)).status.finished:
            await changed.wait()
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import anyio

Topic: TypeAlias = tuple[Hashable, ...]


class Changed:
    """A waiter's bell: remembers that it rang until somebody waited for it."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Return at once if it rang since the last call, else when it next rings."""
        await self._event.wait()
        self._event = anyio.Event()


class Watch:
    """Topics and their waiters. For the tasks of one event loop."""

    def __init__(self) -> None:
        self._waiters: dict[Topic, set[Changed]] = {}
        self._listeners: list[tuple[Topic, Callable[[Topic], None]]] = []

    def notify(self, topic: Topic) -> None:
        """Wake the waiters of `topic` and of each prefix of it."""
        for prefix, listener in tuple(self._listeners):
            if topic[: len(prefix)] == prefix:
                listener(topic)
        for length in range(len(topic), -1, -1):
            for waiter in self._waiters.get(topic[:length], ()):
                waiter.set()

    @contextmanager
    def subscribe(self, *topics: Topic) -> Iterator[Changed]:
        """Wait on any of `topics`; `()` is every topic."""
        changed = Changed()
        for topic in topics:
            self._waiters.setdefault(topic, set()).add(changed)
        try:
            yield changed
        finally:
            for topic in topics:
                waiters = self._waiters.get(topic)
                if waiters is not None:
                    waiters.discard(changed)
                    if not waiters:
                        del self._waiters[topic]

    @contextmanager
    def listen(self, prefix: Topic, listener: Callable[[Topic], None]) -> Iterator[None]:
        """Call `listener` with each topic below `prefix`, at once and in the notifier's task.

        For those who must know *what* changed, such as a work queue; it must not block.
        """
        entry = (prefix, listener)
        self._listeners.append(entry)
        try:
            yield
        finally:
            self._listeners.remove(entry)
