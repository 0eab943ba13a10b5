"""Noticing a fight: the same action again and again though nothing new is wanted.

A stack that needs the same action in round after round, with no new generation and
without ever resting in between, is either fought over by somebody else or misjudged by
us. After a few rounds it is marked `Degraded/Fighting`, said once, and looked at ever
more slowly; it never loops hot.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.planner.model import Plan
from state.model import StackKey

ROUNDS = 3
"""Rounds with the same actions that are still taken for repairs."""
REST = 60.0
"""Seconds in peace after which earlier rounds are forgotten."""
SLOWEST = 300.0


@dataclass(slots=True)
class _History:
    generation: int
    signature: frozenset[tuple[str, ...]]
    rounds: int
    last: float


class FightWatch:
    """Counts rounds by stack."""

    def __init__(self) -> None:
        self._histories: dict[StackKey, _History] = {}

    def round(self, key: StackKey, generation: int, plan: Plan, now: float) -> int:
        """Count a round about to be carried out; returns how many alike came in a row."""
        signature = frozenset((action.id, *(reason.code for reason in action.reasons)) for action in plan.actions)
        history = self._histories.get(key)
        if (
            history is None
            or history.generation != generation
            or history.signature != signature
            or now - history.last > max(REST, 2 * self._delay(history.rounds))
        ):
            history = self._histories[key] = _History(generation, signature, 0, now)
        history.rounds += 1
        history.last = now
        return history.rounds

    def delay(self, key: StackKey) -> float:
        """Seconds to hold still before the next round of a fight; 0 when there is none."""
        history = self._histories.get(key)
        return self._delay(history.rounds) if history is not None else 0.0

    def forget(self, key: StackKey) -> None:
        """The stack is gone or newly wanted."""
        self._histories.pop(key, None)

    @staticmethod
    def _delay(rounds: int) -> float:
        return 0.0 if rounds <= ROUNDS else min(SLOWEST, 5.0 * 2.0 ** (rounds - ROUNDS - 1))
