"""Threads that work for a real-time event loop have real-time priority."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from sqlalchemy import make_url, text

from state.database import Database
from state.sqlite import connect
from state.urgency import own_urgency
from tests.support.real_time import real_time_allowed

WITH_REAL_TIME = pytest.mark.skipif(not real_time_allowed(), reason="real-time priority is not to be had here")


def _policy() -> int:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


@pytest.fixture
def real_time() -> Iterator[None]:
    """This thread with real-time priority, as the agent's loop has."""
    os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _adopted(adopt: Callable[[], None]) -> int:
    """The class of another thread that took this one's."""
    seen: list[int] = []
    thread = threading.Thread(target=lambda: (adopt(), seen.append(_policy())))
    thread.start()
    thread.join()
    return seen[0]


@WITH_REAL_TIME
@pytest.mark.usefixtures("real_time")
def test_a_thread_takes_real_time_from_the_loop() -> None:
    assert _adopted(own_urgency()) == os.SCHED_RR


def test_an_ordinary_loop_has_ordinary_threads() -> None:
    assert _adopted(own_urgency()) == os.SCHED_OTHER


@WITH_REAL_TIME
@pytest.mark.usefixtures("real_time")
def test_a_transaction_of_the_store_is_as_urgent_as_the_loop(tmp_path: Path) -> None:
    async def transact() -> tuple[int, int]:
        database = Database(connect(make_url(f"sqlite:///{tmp_path}/moored.db")))
        try:
            return (
                await database.write(lambda connection: connection.scalar(text("SELECT 0")) or _policy()),
                await database.read(lambda _: _policy()),
            )
        finally:
            await database.close()

    assert anyio.run(transact) == (os.SCHED_RR, os.SCHED_RR)
