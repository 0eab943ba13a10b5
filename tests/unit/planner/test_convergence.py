"""Carrying a plan out leaves nothing to do: for any stack, any change, any crash in between.

Stacks are made by hypothesis out of services with random features and dependencies; the
model Engine carries the plans out, in any order their needs allow.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.planner import after_partial, describe, plan
from reconciler.planner.model import ActionKind, DesiredStack, Policy
from state.model import Overrides
from tests.support.model_engine import DONE, HEALTHY, RUNS, ModelEngine
from tests.support.planning import NEW_ENGINE, OLD_ENGINE, image, stack

NAMES = ("app", "base", "cache", "db", "edge")
IMAGES = {
    "one:1": image("one:1", Env=["A=1"], Cmd=["serve"]),
    "two:1": image("two:1", Volumes={"/data": {}, "/logs": {}}, ExposedPorts={"80/tcp": {}}),
    "own:1": image("own:1"),
}
ROUNDS = 12

_features = st.fixed_dictionaries(
    {"image": st.sampled_from(["one:1", "two:1"])},
    optional={
        "command": st.sampled_from([["a"], ["b", "c"]]),
        "environment": st.dictionaries(st.sampled_from(["K", "L"]), st.sampled_from(["1", "2"]), max_size=2),
        "restart": st.sampled_from(["always", "unless-stopped"]),
        "labels": st.just({"x": "y"}),
        "mem_limit": st.sampled_from(["32m", "64m"]),
        "cpus": st.sampled_from([0.5, 1]),
        "scale": st.sampled_from([0, 1, 2, 3]),
        "volumes": st.lists(st.sampled_from(["data:/data", "more:/more:ro", "/srv/x:/x", "/anon"]), unique=True),
        "networks": st.lists(st.sampled_from(["front", "back"]), unique=True, min_size=1).map(
            lambda keys: {key: {"aliases": [f"{key}-alias"]} for key in keys}
        ),
        "pre_start": st.just([{"command": ["prepare"]}]),
        "deploy": st.just({"update_config": {"order": "start-first"}}),
    },
)


@st.composite
def _services(draw: st.DrawFn) -> dict[str, Any]:
    names = sorted(draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=4)))
    services: dict[str, Any] = {}
    for position, name in enumerate(names):
        service = dict(draw(_features))
        before = names[:position]
        depends: bool = draw(st.booleans())
        if before and depends:
            needs: list[str] = draw(st.lists(st.sampled_from(before), unique=True, min_size=1))
            service["depends_on"] = {
                need: {
                    "condition": draw(
                        st.sampled_from(
                            {
                                HEALTHY: ["service_started", "service_healthy"],
                                DONE: ["service_started", "service_completed_successfully"],
                            }.get(services[need]["x-behaviour"], ["service_started"])
                        )
                    ),
                    "restart": draw(st.booleans()),
                }
                for need in needs
            }
        lenders = [other for other in before if services[other].get("scale", 1) > 0]
        sharing = draw(st.sampled_from(["", "", "network_mode", "volumes_from"])) if lenders else ""
        behaviour = draw(st.sampled_from([RUNS, RUNS, HEALTHY, DONE]))
        if sharing:
            target = draw(st.sampled_from(lenders))
            if sharing == "volumes_from":
                service["volumes_from"] = [target]
            elif services[target]["x-behaviour"] != DONE:
                service["network_mode"] = f"service:{target}"
                service.pop("networks", None)
        if behaviour == HEALTHY:
            service["healthcheck"] = {"test": ["CMD", "true"]}
        if behaviour == DONE:
            service.pop("restart", None)
            service.pop("pre_start", None)
        service["x-behaviour"] = behaviour
        # A container does something else only if it was made anew.
        service["environment"] = {**service.get("environment", {}), "BEHAVIOUR": behaviour}
        services[name] = service
    return services


@st.composite
def _stacks(draw: st.DrawFn) -> dict[str, Any]:
    network = draw(st.sampled_from([{}, {"internal": True}, {"labels": {"a": "b"}}, {"name": "renamed"}]))
    return {
        "services": draw(_services()),
        "networks": {"front": {}, "back": network},
        "volumes": {"data": {}, "more": draw(st.sampled_from([{}, {"name": "other"}]))},
    }


def _desired(document: dict[str, Any], **fields: Any) -> DesiredStack:
    return stack(yaml.safe_dump(document), policy=Policy(retry_failed=False), **fields)


def _behaviour(document: dict[str, Any]) -> dict[str, str]:
    return {name: service["x-behaviour"] for name, service in document["services"].items()}


def _settle(engine: ModelEngine, desired: DesiredStack, rng: random.Random) -> None:
    """One deployment: plan and apply, twice if images come first; then nothing is left."""
    first = plan(desired, engine.observe(desired))
    if first.partial:
        assert engine.apply(first, desired, rng=rng), describe(first)
        desired = after_partial(desired)
        first = plan(desired, engine.observe(desired))
        assert not first.partial
    assert not first.blocked, describe(first)
    assert engine.apply(first, desired, rng=rng), f"{describe(first)}\n{engine.states()}"
    _is_settled(engine, desired, describe(first))


def _is_settled(engine: ModelEngine, desired: DesiredStack, before: str = "") -> None:
    desired = replace(desired, acknowledged_content=engine.acknowledged)
    left = plan(desired, engine.observe(desired))
    assert left.empty and not left.drift, f"{describe(left)}\nafter\n{before}\n{engine.states()}"


def _recover(engine: ModelEngine, desired: DesiredStack, rng: random.Random) -> None:
    """Rounds until nothing is left: a crash may need more than one."""
    for _ in range(ROUNDS):
        desired = replace(desired, acknowledged_content=engine.acknowledged)
        now = plan(desired, engine.observe(desired))
        if now.empty:
            return
        engine.apply(now, after_partial(desired) if now.partial else desired, rng=rng)
    raise AssertionError(describe(plan(desired, engine.observe(desired))))


def _check_names(engine: ModelEngine, desired: DesiredStack) -> None:
    for name in engine.states():
        assert "_" not in name and ".replaced" not in name, f"temporary name left: {engine.states()}"


def _check_running(engine: ModelEngine, document: dict[str, Any]) -> None:
    running = {name for name, state in engine.states().items() if state == "running"}
    for name, service in document["services"].items():
        if engine.behaviour[name] != DONE:
            assert sum(1 for each in running if f"-{name}-" in each) == service.get("scale", 1), engine.states()


EXAMPLES = int(os.environ.get("MOORED_EXAMPLES", "25"))
_quick = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_seeds = st.integers(0, 1_000_000).map(random.Random)
_engines = st.sampled_from([OLD_ENGINE, NEW_ENGINE])
_stop_codes = st.sampled_from([0, 137])


@_quick
@given(_stacks(), _seeds, _engines)
def test_a_first_deployment_leaves_nothing_to_do(document: dict[str, Any], rng: random.Random, facts: Any) -> None:
    engine = ModelEngine(facts, registry=dict(IMAGES), behaviour=_behaviour(document))
    _settle(engine, _desired(document), rng)


@_quick
@given(_stacks(), _stacks(), _seeds)
def test_any_change_leaves_nothing_to_do(old: dict[str, Any], new: dict[str, Any], rng: random.Random) -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES), behaviour=_behaviour(old))
    _settle(engine, _desired(old), rng)
    engine.behaviour = _behaviour(new)
    _settle(engine, _desired(new), rng)
    _check_names(engine, _desired(new))


@_quick
@given(_stacks(), _stacks(), _seeds, st.integers(1, 25), _stop_codes)
def test_a_crash_at_any_step_is_repaired(
    old: dict[str, Any], new: dict[str, Any], rng: random.Random, steps: int, stop_code: int
) -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES), behaviour=_behaviour(old), stop_code=stop_code)
    _settle(engine, _desired(old), rng)
    desired = _desired(new)
    engine.behaviour = _behaviour(new)
    engine.apply(plan(desired, engine.observe(desired)), desired, rng=rng, steps=steps)
    _recover(engine, desired, rng)
    _check_names(engine, desired)
    wanted = sum(service.get("scale", 1) for service in new["services"].values())
    assert len(engine.containers) == wanted, engine.states()
    _check_running(engine, new)


@_quick
@given(_stacks(), _stacks(), _seeds, st.integers(1, 25), _stop_codes)
def test_a_crash_and_a_way_back_is_repaired(
    old: dict[str, Any], new: dict[str, Any], rng: random.Random, steps: int, stop_code: int
) -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES), behaviour=_behaviour(old), stop_code=stop_code)
    _settle(engine, _desired(old), rng)
    desired = _desired(new)
    engine.behaviour = _behaviour(new)
    engine.apply(plan(desired, engine.observe(desired)), desired, rng=rng, steps=steps)
    engine.behaviour = _behaviour(old)
    _recover(engine, _desired(old), rng)
    _check_names(engine, _desired(old))
    _check_running(engine, old)


@_quick
@given(_stacks(), _seeds, st.data())
def test_drift_is_undone_in_one_round(document: dict[str, Any], rng: random.Random, data: st.DataObject) -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES), behaviour=_behaviour(document))
    desired = _desired(document)
    _settle(engine, desired, rng)
    names = sorted(engine.states())
    for _ in range(2):
        if not names:
            break
        name = data.draw(st.sampled_from(names))
        if name not in engine.states():
            continue
        container = engine.named(name)
        match data.draw(st.sampled_from(["stop", "remove", "rename", "update", "disconnect", "pause"])):
            case "stop":
                engine.stop_by_hand(name)
            case "remove":
                del engine.containers[container["Id"]]
            case "rename":
                container["Name"] = f"/{name}-by-hand"
            case "update":
                container["HostConfig"].update({"Memory": 7 << 20, "RestartPolicy": {"Name": "on-failure"}})
            case "disconnect":
                networks = container["NetworkSettings"]["Networks"]
                if networks:
                    del networks[sorted(networks)[0]]
            case "pause" if container["State"]["Status"] == "running":
                container["State"]["Status"] = "paused"
            case _:
                continue
        names = sorted(engine.states())
    _settle(engine, desired, rng)


@_quick
@given(_stacks(), _seeds)
def test_a_stopped_stack_stays_stopped_and_comes_back(document: dict[str, Any], rng: random.Random) -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES), behaviour=_behaviour(document))
    desired = _desired(document)
    _settle(engine, desired, rng)
    before = set(engine.containers)
    _settle(engine, replace(desired, overrides=Overrides(stopped=True)), rng)
    assert "running" not in engine.states().values()
    assert set(engine.containers) == before
    _settle(engine, desired, rng)


@_quick
@given(_stacks(), _seeds)
def test_a_recreation_is_ordered_by_dependencies(document: dict[str, Any], rng: random.Random) -> None:
    engine = ModelEngine(OLD_ENGINE, images=dict(IMAGES), behaviour=_behaviour(document))
    desired = _desired(document)
    _settle(engine, desired, rng)
    engine.log.clear()
    forced = replace(desired, policy=replace(desired.policy, force_recreate=True))
    found = plan(forced, engine.observe(forced))
    assert {action.kind for action in found.actions} <= {
        ActionKind.REPLACE_CONTAINER,
        ActionKind.HAND_OVER,
        ActionKind.START_CONTAINER,
        ActionKind.WAIT_SERVICE,
        ActionKind.RUN_HOOK,
    }
    assert engine.apply(found, forced, rng=rng)
    position = {entry: index for index, entry in enumerate(engine.log)}
    for name, service in document["services"].items():
        for need in service.get("depends_on", {}):
            starts = [i for e, i in position.items() if e.startswith(f"start:shop-{need}-")]
            replaces = [i for e, i in position.items() if e.startswith(f"replace:shop-{name}-")]
            assert not starts or not replaces or max(starts) < min(replaces), engine.log
    _is_settled(engine, desired)
