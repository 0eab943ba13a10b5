"""The work queue's promises: once in the queue, one worker at a time, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.controllers.queue import WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    yield Clock()


def queue_with(clock: Clock, **options: float) -> WorkQueue[str]:
    return WorkQueue(clock=clock, jitter=lambda: 0.5, **options)


async def test_a_key_waits_only_once(clock: Clock) -> None:
    queue = queue_with(clock)
    for _ in range(5):
        queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_comes_again_when_done(clock: Clock) -> None:
    queue = queue_with(clock)
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert len(queue) == 1
    assert await queue.get() == "a"


async def test_keys_are_served_in_the_order_they_came(clock: Clock) -> None:
    queue = queue_with(clock)
    for key in ("a", "b", "a", "c"):
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


async def test_failures_back_off_exponentially_and_success_forgets(clock: Clock) -> None:
    queue = queue_with(clock, base_delay=1.0, max_delay=5.0)
    delays = []
    for _ in range(4):
        queue.add("a", now=False)
        clock.now += 100
        key = await queue.get()
        delays.append(queue.retry(key))
        queue.done(key)
    assert delays == [1.0, 2.0, 4.0, 5.0]
    clock.now += 100
    key = await queue.get()
    queue.forget(key)
    assert queue.retry(key) == 1.0


async def test_an_event_does_not_cut_a_back_off_short_but_a_person_does(clock: Clock) -> None:
    queue = queue_with(clock)
    queue.add("a")
    key = await queue.get()
    queue.retry(key)
    queue.done(key)
    queue.add("a")
    assert len(queue) == 0
    queue.add("a", now=True)
    assert await queue.get() == "a"


async def test_every_waiting_worker_is_woken() -> None:
    queue: WorkQueue[int] = WorkQueue()
    seen: list[int] = []
    all_seen = anyio.Event()

    async def work() -> None:
        while True:
            key = await queue.get()
            seen.append(key)
            queue.done(key)
            if len(seen) == 20:
                all_seen.set()

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        for key in range(20):
            queue.add(key)
        with anyio.fail_after(60):
            await all_seen.wait()
        tasks.cancel_scope.cancel()
    assert sorted(seen) == list(range(20))


async def test_a_delayed_key_comes_when_it_is_due() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("late", 0.05)
    queue.add("early")
    assert await queue.get() == "early"
    with anyio.fail_after(60):
        assert await queue.get() == "late"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.integers(0, 3)), max_size=60))
def test_no_add_is_lost_and_no_key_is_held_twice(steps: list[tuple[str, int]]) -> None:
    async def walk() -> None:
        queue: WorkQueue[int] = WorkQueue()
        held: list[int] = []
        owed: set[int] = set()
        for step, key in steps:
            if step == "add":
                queue.add(key)
                owed.add(key)
            elif step == "get" and len(queue):
                got = await queue.get()
                assert got not in held
                held.append(got)
                owed.discard(got)
            elif step == "done" and held:
                queue.done(held.pop(0))
        while held:
            queue.done(held.pop())
        rest = set()
        while len(queue):
            rest.add(await queue.get())
        assert owed <= rest

    anyio.run(walk)
