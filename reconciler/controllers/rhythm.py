"""When a poll loop looks next."""

from __future__ import annotations

import anyio

FIRST_RETRY = 5.0
"""Seconds after which a source that failed is looked at again; doubled each time, up to its interval."""


class Rhythm:
    """When a poll loop looks next: after its interval, sooner after a failure, or when told."""

    def __init__(self) -> None:
        self._bell = anyio.Event()
        self._ended: bool | None = None
        self._rung = False
        self._failures = 0

    def begin(self) -> None:
        self._ended = None
        self._rung = False

    def ring(self) -> None:
        """Look now."""
        self._rung = True
        self._bell.set()

    def ended(self, ok: bool) -> None:
        """A look has ended, well or not."""
        self._ended = ok
        self._failures = 0 if ok else self._failures + 1
        self._bell.set()

    async def next(self, interval: float, *, once: bool) -> bool:
        """Wait until it is time for another look; False: there will be none."""
        begun = anyio.current_time()
        while True:
            pause = FIRST_RETRY * 2.0 ** min(self._failures - 1, 10)
            if self._ended and once:
                return False
            if self._ended is False:
                due: float = begun + (pause if once else min(interval, pause))
            else:
                due = float("inf") if once else begun + interval
            if self._rung or due <= anyio.current_time():
                return True
            if self._bell.is_set():
                self._bell = anyio.Event()
                continue
            with anyio.move_on_at(due):
                await self._bell.wait()
