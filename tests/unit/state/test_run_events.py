"""The event hub: live events of runs for any number of readers."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from state.events import EventHub, RunEvent

FINISHED = {"status": "succeeded"}


async def collect(hub: EventHub, job_id: str, after: int = 0) -> list[RunEvent]:
    with anyio.fail_after(60):
        return [event async for event in hub.follow(job_id, after)]


def seqs(events: list[RunEvent]) -> list[int]:
    return [event.seq for event in events]


async def test_a_late_reader_gets_everything_in_order_and_ends() -> None:
    hub = EventHub()
    hub.publish("job", "status", {"status": "running"})
    hub.publish("job", "log", {"line": "hello"})
    hub.publish("job", "status", FINISHED)
    events = await collect(hub, "job")
    assert [(event.seq, event.kind, event.data) for event in events] == [
        (1, "status", {"status": "running"}),
        (2, "log", {"line": "hello"}),
        (3, "status", FINISHED),
    ]
    assert events[0].time <= events[2].time


async def test_readers_follow_as_it_happens() -> None:
    hub = EventHub()
    seen: list[list[Any]] = [[], []]

    async def read(into: list[Any]) -> None:
        async for event in hub.follow("job"):
            into += [event.data]

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, seen[0])
            tasks.start_soon(read, seen[1])
            for number in range(3):
                await anyio.wait_all_tasks_blocked()
                assert [len(one) for one in seen] == [number, number]
                hub.publish("job", "log", {"n": number})
            hub.publish("job", "status", FINISHED)
    assert seen[0] == seen[1] == [{"n": 0}, {"n": 1}, {"n": 2}, FINISHED]


async def test_a_reader_goes_on_behind_what_it_saw() -> None:
    hub = EventHub()
    for number in range(5):
        hub.publish("job", "log", {"n": number})
    hub.publish("job", "status", FINISHED)
    assert seqs(await collect(hub, "job", after=4)) == [5, 6]
    assert seqs(await collect(hub, "job", after=6)) == []


async def test_a_seq_from_before_a_restart_starts_anew() -> None:
    hub = EventHub()
    hub.publish("job", "status", FINISHED)
    assert seqs(await collect(hub, "job", after=500)) == [1]


async def test_a_slow_reader_loses_the_oldest_and_blocks_nobody() -> None:
    hub = EventHub(events_per_run=10)
    hub.publish("job", "log", {})
    reader = hub.follow("job")
    assert (await anext(reader)).seq == 1
    for _ in range(99):
        hub.publish("job", "log", {})
    hub.publish("job", "status", FINISHED)
    assert seqs([event async for event in reader]) == list(range(92, 102))


async def test_only_the_last_runs_are_kept_and_running_ones_preferred() -> None:
    hub = EventHub(runs=3)
    hub.publish("active", "log", {})
    hub.publish("done", "status", FINISHED)
    hub.publish("new", "log", {})
    hub.publish("newer", "log", {})
    assert [job for job in ("active", "done", "new", "newer") if hub.knows(job)] == ["active", "new", "newer"]


async def test_a_reader_of_a_run_that_is_pushed_out_ends() -> None:
    hub = EventHub(runs=1)
    hub.publish("old", "log", {})
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, hub, "old")
            await anyio.wait_all_tasks_blocked()
            hub.publish("new", "log", {})


async def test_a_reader_that_leaves_is_forgotten() -> None:
    hub = EventHub()
    hub.publish("job", "log", {})
    with anyio.move_on_after(0.02):
        async for _ in hub.follow("job"):
            pass
    assert hub._watch._waiters == {}


def test_a_status_that_is_none_is_an_error_of_the_publisher() -> None:
    with pytest.raises(ValueError, match="sideways"):
        EventHub().publish("job", "status", {"status": "sideways"})
