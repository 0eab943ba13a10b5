"""Rounds of a fight: the first are quick, the others ever slower, and none is the last."""

from __future__ import annotations

import itertools

from reconciler.controllers.fights import REST, ROUNDS, SLOWEST, FightWatch
from reconciler.planner.model import Action, ActionKind, Plan
from state.model import Reason, StackKey

KEY = StackKey("default", "shop")


def plan(*targets: str) -> Plan:
    actions = tuple(
        Action(id=f"start:{target}", kind=ActionKind.START_CONTAINER, target=target, reasons=(Reason("Drift", "x"),))
        for target in targets
    )
    return Plan(key=KEY, actions=actions)


def test_an_opponent_that_never_rests_gets_ever_fewer_rounds() -> None:
    watch, now, acted = FightWatch(), 0.0, []
    while now < 3600:
        round_ = watch.round(KEY, 1, plan("web"), now)
        if not round_.wait:
            acted.append(now)
        now += 0.5
    assert len(acted) < 30
    gaps = [later - earlier for earlier, later in itertools.pairwise(acted)]
    assert gaps == sorted(gaps)
    assert max(gaps) <= SLOWEST + 1, "it is never given up"


def test_the_first_rounds_are_ordinary_repairs() -> None:
    watch = FightWatch()
    rounds = [watch.round(KEY, 1, plan("web"), number * 0.1) for number in range(ROUNDS)]
    assert [(round_.number, round_.wait, round_.fight) for round_ in rounds] == [
        (number + 1, 0.0, False) for number in range(ROUNDS)
    ]
    following = watch.round(KEY, 1, plan("web"), ROUNDS * 0.1)
    assert following.fight
    assert following.wait > 0


def test_rest_other_work_or_a_new_generation_ends_it() -> None:
    for generation, targets, pause in ((1, ["web"], REST + 1), (2, ["web"], 0.1), (1, ["db"], 0.1)):
        watch = FightWatch()
        for number in range(ROUNDS):
            watch.round(KEY, 1, plan("web"), number * 0.1)
        assert watch.round(KEY, generation, plan(*targets), ROUNDS * 0.1 + pause).number == 1


def test_who_asks_need_not_wait_but_is_counted() -> None:
    watch = FightWatch()
    for number in range(ROUNDS + 3):
        round_ = watch.round(KEY, 1, plan("web"), number * 0.1, asked=True)
        assert (round_.number, round_.wait) == (number + 1, 0.0)


def test_a_fight_calms_down() -> None:
    watch = FightWatch()
    assert watch.calm_in(KEY, 0.0) == 0.0
    for number in range(ROUNDS + 1):
        watch.round(KEY, 1, plan("web"), number * 0.1, asked=True)
    calm = watch.calm_in(KEY, 1.0)
    assert calm > 0
    assert watch.calm_in(KEY, 1.0 + calm) == 0.0
