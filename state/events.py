"""Live events of runs, for those who watch one while it happens.

Whoever carries out a run publishes what it does; any number of readers follow. Each run
has a ring of its newest events, kept in memory for the last runs only: the durable record
of a run is in the store, this is the film of it. Publishing never waits: a reader that falls
behind more than a ring loses the oldest events (it sees the gap in `seq`), nobody else
notices. A reader ends by itself after the `status` event that says the run has finished, or
when the run was pushed out by newer ones.

Sequence numbers of a run start at 1, so a reader that reconnects with the last `seq` it saw
misses nothing that is still there. After a restart of the process they start anew: a `seq`
beyond what was published is taken as 0.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from state.model import RunStatus
from state.watch import Watch

RunEventKind: TypeAlias = Literal["action", "log", "condition", "status"]


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened in a run.

    `data` by kind: status: `{"status": RunStatus value, ...}`; the others as their publisher
    documents them, JSON values only.
    """

    seq: int
    time: datetime
    kind: RunEventKind
    data: Mapping[str, Any]

    @property
    def last(self) -> bool:
        """Whether it says that the run has finished."""
        return self.kind == "status" and RunStatus(self.data["status"]).finished


@dataclass(slots=True)
class _Ring:
    events: deque[RunEvent]
    published: int = 0
    finished: bool = False
    evicted: bool = False


class EventHub:
    """The rings of the last runs. For the tasks of one event loop."""

    def __init__(self, *, events_per_run: int = 2000, runs: int = 100) -> None:
        self._events_per_run = events_per_run
        self._runs = runs
        self._rings: OrderedDict[str, _Ring] = OrderedDict()
        self._watch = Watch()

    def publish(self, job_id: str, kind: RunEventKind, data: Mapping[str, Any]) -> RunEvent:
        """Append an event to a run and wake its followers; never blocks."""
        ring = self._rings.get(job_id)
        if ring is None:
            ring = self._open(job_id)
        ring.published += 1
        event = RunEvent(ring.published, datetime.now(UTC), kind, data)
        ring.events.append(event)
        ring.finished = ring.finished or event.last
        self._watch.notify((job_id,))
        return event

    def knows(self, job_id: str) -> bool:
        """Whether there are events of this run."""
        return job_id in self._rings

    async def follow(self, job_id: str, after: int = 0) -> AsyncIterator[RunEvent]:
        """Events of a run with `seq` greater than `after`, as they happen, until it finishes.

        For a run without events yet it waits for the first; who must not wait (the run is
        known to have finished) asks `knows` before.
        """
        with self._watch.subscribe((job_id,)) as changed:
            while (ring := self._rings.get(job_id)) is None:
                await changed.wait()
            if after > ring.published:
                after = 0
            while True:
                for event in _newer(ring, after):
                    after = event.seq
                    yield event
                    if event.last:
                        return
                if ring.published > after:
                    continue
                if ring.finished or ring.evicted:
                    return
                await changed.wait()

    def _open(self, job_id: str) -> _Ring:
        while len(self._rings) >= self._runs:
            # The oldest that has finished, else the oldest.
            oldest = next((key for key, ring in self._rings.items() if ring.finished), None)
            evicted = oldest if oldest is not None else next(iter(self._rings))
            self._rings.pop(evicted).evicted = True
            self._watch.notify((evicted,))
        ring = self._rings[job_id] = _Ring(deque(maxlen=self._events_per_run))
        return ring


def _newer(ring: _Ring, after: int) -> list[RunEvent]:
    """A copy, because the ring moves on while a reader is busy."""
    if ring.published <= after:
        return []
    wanted = ring.published - after
    events = ring.events
    if wanted >= len(events):
        return list(events)
    return [events[index] for index in range(len(events) - wanted, len(events))]
