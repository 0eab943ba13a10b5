"""A thread that works for a real-time event loop works with real-time priority, and no longer."""

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
from state.urgency import Urgency
from tests.support.real_time import real_time_allowed

WITH_REAL_TIME = pytest.mark.skipif(not real_time_allowed(), reason="real-time priority is not to be had here")


def _policy() -> int:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


def _in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.fixture
def real_time() -> Iterator[None]:
    """This thread with real-time priority, as the agent's loop has."""
    os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@WITH_REAL_TIME
@pytest.mark.usefixtures("real_time")
def test_it_is_lent_and_given_back_also_after_an_error() -> None:
    urgency, seen = Urgency(), []

    def work() -> None:
        seen.append(_policy())
        with urgency.lent():
            seen.append(_policy())
        seen.append(_policy())
        with pytest.raises(ValueError, match="broken"), urgency.lent():
            raise ValueError("broken")
        seen.append(_policy())

    _in_a_thread(work)
    assert seen == [os.SCHED_OTHER, os.SCHED_RR, os.SCHED_OTHER, os.SCHED_OTHER]


def test_an_ordinary_loop_lends_nothing() -> None:
    urgency, seen = Urgency(), []

    def work() -> None:
        with urgency.lent():
            seen.append(_policy())

    _in_a_thread(work)
    assert seen == [os.SCHED_OTHER]


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

    assert anyio.run(transact) == (os.SCHED_RR, os.SCHED_OTHER)
