"""Who has something to do with a stack is heard by whoever is busy with it, in time or before."""

from __future__ import annotations

import anyio

from reconciler.controllers.interrupts import Interrupts
from state.model import StackKey

KEY = StackKey("default", "shop")
OTHER = StackKey("default", "other")


def nobody(key: StackKey) -> bool:
    return False


async def test_a_ring_is_heard_by_who_listens_to_that_stack() -> None:
    interrupts = Interrupts(nobody)
    with interrupts.listening(KEY) as bell, interrupts.listening(OTHER) as other:
        assert interrupts.heard(KEY)
        interrupts.ring(KEY)
        assert bell.is_set()
        assert not other.is_set()
    assert not interrupts.heard(KEY)


async def test_a_request_from_before_there_was_a_bell_is_heard() -> None:
    """Between the end of a plan and the wait for health nobody listens."""
    asked: set[StackKey] = set()
    interrupts = Interrupts(asked.__contains__)
    asked.add(KEY)
    interrupts.ring(KEY)
    with anyio.fail_after(10):
        await interrupts.rung(KEY)
    with interrupts.listening(OTHER) as other:
        assert not other.is_set()


async def test_who_wants_to_hold_a_stack_still_is_heard_by_who_begins_to_listen() -> None:
    interrupts = Interrupts(nobody)
    with interrupts.wanted(KEY), interrupts.listening(KEY) as bell:
        assert bell.is_set()
    with interrupts.listening(KEY) as bell:
        assert not bell.is_set()


async def test_at_the_end_everybody_is_rung_for() -> None:
    interrupts = Interrupts(nobody)
    with interrupts.listening(KEY) as bell:
        interrupts.stop()
        assert bell.is_set()
    with interrupts.listening(OTHER) as bell:
        assert bell.is_set()
