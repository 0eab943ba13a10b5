"""One sync of a repository works, one waits; who only waits for stacks lets a newer revision begin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from reconciler.controllers.rendering import SyncRequest
from reconciler.controllers.turns import Turns
from state.model import Source, SourceKind, SourceSpec


def asked(job: str, source_id: str = "s1") -> SyncRequest:
    spec = SourceSpec(kind=SourceKind.GIT, url="https://example.invalid/a.git")
    source = Source(id=source_id, spec=spec, repository="example.invalid/a", origin="api")
    return SyncRequest(source, jobs=[job], explicit=True)


@dataclass
class Desk:
    """What the turns are about: records who works, and lets the test say how that goes on."""

    revision: str = "one"
    waits: bool = True
    """Whether the stacks of whoever deploys only wait."""
    turns: Turns = field(init=False)
    begun: list[list[str]] = field(default_factory=list)
    ended: list[list[str]] = field(default_factory=list)
    ready: dict[str, anyio.Event] = field(default_factory=dict)
    _read: str = ""

    def __post_init__(self) -> None:
        self.turns = Turns(self._work, self._moved, patience=0.01)

    async def _work(self, request: SyncRequest) -> None:
        self.begun.append(list(request.jobs))
        self._read = revision = self.revision
        async with self.turns.waiting_for_stacks(request, lambda: self.waits):
            await self.ready.setdefault(revision, anyio.Event()).wait()
        self.ended.append(list(request.jobs))

    async def _moved(self, request: SyncRequest) -> bool:
        return self.revision != self._read

    def becomes_ready(self, revision: str) -> None:
        self.ready.setdefault(revision, anyio.Event()).set()


@asynccontextmanager
async def desk(**fields: object) -> AsyncIterator[Desk]:
    made = Desk(**fields)  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.turns.run, tasks)
        yield made
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.005)


async def test_who_asks_while_one_works_joins_the_waiting_one() -> None:
    async with desk(waits=False) as made:
        made.turns.ask(asked("first"))
        await until(lambda: made.begun == [["first"]])
        made.revision = "two"
        made.turns.ask(asked("second"))
        made.turns.ask(asked("third"))
        await anyio.sleep(0.1)
        assert made.begun == [["first"]], "its stacks are being worked on"
        made.becomes_ready("one")
        made.becomes_ready("two")
        await until(lambda: made.ended == [["first"], ["second", "third"]])


async def test_a_newer_revision_begins_while_an_older_one_only_waits() -> None:
    async with desk() as made:
        made.turns.ask(asked("first"))
        await until(lambda: made.begun == [["first"]])
        made.revision = "two"
        made.turns.ask(asked("second"))
        await until(lambda: made.begun == [["first"], ["second"]])
        made.becomes_ready("two")
        await until(lambda: made.ended == [["second"]])
        made.becomes_ready("one")
        await until(lambda: made.ended == [["second"], ["first"]])


async def test_who_asks_for_what_is_waited_for_already_waits_on() -> None:
    async with desk() as made:
        made.turns.ask(asked("first"))
        await until(lambda: made.begun == [["first"]])
        for job in ("second", "third"):
            made.turns.ask(asked(job))
            await anyio.sleep(0.05)
        assert made.begun == [["first"]]
        # What they waited for is known by then, so they find out by themselves.
        made.becomes_ready("one")
        await until(lambda: made.ended == [["first"], ["second", "third"]])


async def test_who_waits_on_is_served_by_a_newer_revision_too() -> None:
    async with desk() as made:
        made.turns.ask(asked("first"))
        await until(lambda: made.begun == [["first"]])
        made.turns.ask(asked("same"))
        await anyio.sleep(0.05)
        made.revision = "two"
        made.turns.ask(asked("push"))
        await until(lambda: made.begun == [["first"], ["same", "push"]])
        made.becomes_ready("two")
        made.becomes_ready("one")
        await until(lambda: len(made.ended) == 2)


async def test_draining_does_not_wait_for_who_only_waits() -> None:
    async with desk() as made:
        made.turns.ask(asked("first"))
        await until(lambda: made.begun == [["first"]])
        with anyio.fail_after(10):
            await made.turns.drain()
        assert not made.ended
