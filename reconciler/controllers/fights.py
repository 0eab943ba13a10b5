"""Noticing a fight: the same action again and again though nothing new is wanted.

A stack that needs the same actions round after round, with no new generation and without
ever resting in between, is either fought over by somebody else or misjudged by us. The
first rounds are repairs like any other. From then on it counts as a fight: it is marked
`Degraded/Fighting`, said once, and each further round comes later than the one before. It
is never given up, so the stack heals by itself when the other side rests; and it never
loops hot, however many events the other side makes.
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


@dataclass(frozen=True, slots=True)
class Round:
    """What the history says of a round that is about to be carried out."""

    number: int
    """How many alike there were in a row, this one included."""
    wait: float
    """Seconds to hold still first; then it is not counted yet. 0: go on."""

    @property
    def fight(self) -> bool:
        return self.number > ROUNDS


class FightWatch:
    """Counts rounds by stack."""

    def __init__(self) -> None:
        self._histories: dict[StackKey, _History] = {}

    def round(self, key: StackKey, generation: int, plan: Plan, now: float, *, asked: bool = False) -> Round:
        """Judge and count a round about to be carried out; who `asked` for it need not wait."""
        signature = frozenset((action.id, *(reason.code for reason in action.reasons)) for action in plan.actions)
        history = self._histories.get(key)
        if (
            history is None
            or history.generation != generation
            or history.signature != signature
            or now >= self._forgotten_at(history)
        ):
            self._histories[key] = _History(generation, signature, 1, now)
            return Round(1, 0.0)
        wait = history.last + self._delay(history.rounds + 1) - now
        if wait > 0 and not asked:
            return Round(history.rounds + 1, wait)
        history.rounds += 1
        history.last = now
        return Round(history.rounds, 0.0)

    def calm_in(self, key: StackKey, now: float) -> float:
        """Seconds until a fight counts as over; 0 when there is none."""
        history = self._histories.get(key)
        if history is None or history.rounds <= ROUNDS:
            return 0.0
        return max(0.0, self._forgotten_at(history) - now)

    def forget(self, key: StackKey) -> None:
        """The stack is gone or newly wanted."""
        self._histories.pop(key, None)

    @classmethod
    def _forgotten_at(cls, history: _History) -> float:
        return history.last + max(REST, 2 * cls._delay(history.rounds + 1))

    @staticmethod
    def _delay(rounds: int) -> float:
        """Seconds between the last round and the one of that number."""
        return 0.0 if rounds <= ROUNDS else min(SLOWEST, 2.0 ** (rounds - ROUNDS - 1))
