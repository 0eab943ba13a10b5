"""What was changed in place is known afterwards: the way back is a change of the definition, and a
change by hand is one by hand, though the container's own label tells of its first day."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from reconciler.planner import describe, plan
from reconciler.planner.model import ActionKind, DesiredStack, DriftPolicy, Plan, Policy
from state.model import Overrides
from tests.support.model_engine import ModelEngine
from tests.support.planning import OLD_ENGINE, image, stack

IMAGES = {"app:1": image("app:1")}
CHANGES = {
    "limit": ("mem_limit: 32m", "mem_limit: 64m", ActionKind.UPDATE_CONTAINER),
    "policy": ("restart: always", "restart: unless-stopped", ActionKind.UPDATE_CONTAINER),
    "network": ("networks: [one]", "networks: [one, two]", ActionKind.CONNECT_NETWORK),
}


def _stack(attribute: str, drift: DriftPolicy = DriftPolicy.DETECT) -> DesiredStack:
    text = f"services: {{web: {{image: 'app:1', {attribute}}}}}\nnetworks: {{one: {{}}, two: {{}}}}"
    return stack(text, policy=Policy(drift=drift, retry_failed=False))


def _go(engine: ModelEngine, desired: DesiredStack) -> Plan:
    desired = replace(desired, acknowledged_content=engine.acknowledged)
    found = plan(desired, engine.observe(desired))
    assert not found.drift and not found.blocked, describe(found)
    assert engine.apply(found, desired, rng=random.Random(1))
    desired = replace(desired, acknowledged_content=engine.acknowledged)
    left = plan(desired, engine.observe(desired))
    assert left.empty and not left.drift, describe(left)
    return found


def _codes(found: Plan) -> set[str]:
    return {reason.code for action in found.actions if action.service for reason in action.reasons}


@pytest.mark.parametrize(("one", "other", "kind"), CHANGES.values(), ids=list(CHANGES))
def test_there_and_back_are_changes_of_the_definition(one: str, other: str, kind: ActionKind) -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES))
    _go(engine, _stack(one, DriftPolicy.CORRECT))
    before = set(engine.containers)
    there = _go(engine, _stack(other))
    assert kind in {action.kind for action in there.actions}
    back = _go(engine, _stack(one))
    assert not back.empty
    assert _codes(there) == _codes(back) == {"DefinitionChanged"}
    assert set(engine.containers) == before


def test_a_change_by_hand_after_a_change_in_place_is_drift() -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES))
    _go(engine, _stack("mem_limit: 32m", DriftPolicy.CORRECT))
    _go(engine, _stack("mem_limit: 64m"))
    container: dict[str, Any] = next(iter(engine.containers.values()))
    container["HostConfig"].update({"Memory": 48 << 20, "MemorySwap": 96 << 20})
    desired = replace(_stack("mem_limit: 64m"), acknowledged_content=engine.acknowledged)
    found = plan(desired, engine.observe(desired))
    assert found.empty
    assert [blocked.reason.code for blocked in found.drift] == ["Drift"]
    correcting = _stack("mem_limit: 64m", DriftPolicy.CORRECT)
    assert _codes(_go(engine, correcting)) == {"Drift"}


def test_another_container_name_makes_the_container_anew() -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES))
    _go(engine, _stack("container_name: old", DriftPolicy.CORRECT))
    found = _go(engine, _stack("container_name: new"))
    assert {action.kind for action in found.actions} == {ActionKind.REPLACE_CONTAINER, ActionKind.START_CONTAINER}
    assert str(found.actions[0].reasons[0].changes[0]) == "services.web.container_name: old → new"
    assert list(engine.states()) == ["new"]


def test_what_a_plan_stopped_is_started_again_though_it_ended_with_success() -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES))
    desired = _stack("command: [work]", DriftPolicy.CORRECT)
    _go(engine, desired)
    container: dict[str, Any] = next(iter(engine.containers.values()))
    stopping = _go(engine, replace(desired, overrides=Overrides(stopped=True)))
    assert [action.kind for action in stopping.actions] == [ActionKind.STOP_CONTAINER]
    container["State"]["ExitCode"] = 0
    started = _go(engine, desired)
    assert [action.kind for action in started.actions] == [ActionKind.START_CONTAINER]
    container["State"].update({"Status": "exited", "Running": False, "ExitCode": 0})
    container["State"]["StartedAt"] = "2026-09-01T12:00:00Z"
    assert _go(engine, desired).empty, "it ended by itself since: it is done"
