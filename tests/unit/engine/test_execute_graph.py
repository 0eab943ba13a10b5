"""The order of execution: needs, failures, options. The handlers stand in for an Engine."""

from __future__ import annotations

import anyio
import pytest

from reconciler.engine import execute
from reconciler.engine.errors import ActionFailed, EngineUnreachable
from reconciler.engine.execute import Executor, Silent
from reconciler.planner.model import Action, ActionKind, Plan
from state.model import StackKey
from state.observed import EngineFacts, ObservedContext

KEY = StackKey("default", "p")


def action(name: str, *needs: str, **params: object) -> Action:
    return Action(id=name, kind=ActionKind.PULL_IMAGE, target=name, needs=frozenset(needs), params=params)


class Recorder(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    async def started(self, action: Action) -> None:
        self.told.append(f"+{action.id}")

    async def finished(self, action: Action, error: str | None) -> None:
        self.told.append(f"-{action.id}{f' {error}' if error else ''}")


@pytest.fixture
def executor(monkeypatch):
    observed = ObservedContext("default")
    observed.found(EngineFacts(version="x", api_version="1.41"))
    handlers = {}
    monkeypatch.setattr(execute, "_HANDLERS", handlers)
    executor = Executor(engine=None, observed=observed, environ={})  # type: ignore[arg-type]

    def carry_out(handler):
        handlers[ActionKind.PULL_IMAGE] = handler
        return executor

    return carry_out


async def test_an_action_begins_when_its_own_needs_have_ended_not_all(executor):
    slow = anyio.Event()
    done: list[str] = []

    async def handler(work, action, log):
        if action.id == "slow":
            await slow.wait()
        done.append(action.id)
        if action.id == "after-quick":
            slow.set()

    plan = Plan(KEY, (action("after-quick", "quick"), action("quick"), action("slow"), action("last", "slow", "quick")))
    result = await executor(handler).execute(plan, None, Recorder())
    assert result.ok
    assert done == ["quick", "after-quick", "slow", "last"]


async def test_a_failure_stops_what_needs_it_and_nothing_else(executor):
    async def handler(work, action, log):
        if action.id == "broken":
            raise ActionFailed("no such thing")

    recorder = Recorder()
    plan = Plan(KEY, (action("broken"), action("child", "broken"), action("grandchild", "child"), action("other")))
    result = await executor(handler).execute(plan, None, recorder)
    assert not result.ok
    assert (result.code, result.message) == ("ActionFailed", "no such thing")
    assert [outcome.status for outcome in result.outcomes] == ["failed", "cancelled", "cancelled", "succeeded"]
    assert "+child" not in recorder.told
    assert "-broken no such thing" in recorder.told


async def test_an_optional_action_may_fail(executor):
    async def handler(work, action, log):
        if action.id == "maybe":
            raise ActionFailed("busy")

    plan = Plan(KEY, (action("maybe", optional=True), action("child", "maybe")))
    result = await executor(handler).execute(plan, None, Recorder())
    assert result.ok
    assert result.warnings == ("busy",)
    assert result.outcomes[1].status == "succeeded"


async def test_what_an_optional_action_needs_may_fail_too(executor):
    async def handler(work, action, log):
        if action.id == "broken":
            raise ActionFailed("no")

    plan = Plan(KEY, (action("broken"), action("maybe", "broken", optional=True), action("child", "maybe")))
    result = await executor(handler).execute(plan, None, Recorder())
    assert [outcome.status for outcome in result.outcomes] == ["failed", "cancelled", "succeeded"]


async def test_a_lost_engine_is_raised_and_not_mistaken_for_a_bad_stack(executor):
    async def handler(work, action, log):
        raise EngineUnreachable("gone")

    with pytest.raises(EngineUnreachable, match="gone"):
        await executor(handler).execute(Plan(KEY, (action("a"), action("b", "a"))), None, Recorder())


async def test_what_a_container_was_told_of_is_reported_only_when_it_was(executor):
    async def handler(work, action, log):
        if action.id == "b":
            raise ActionFailed("no")

    plan = Plan(
        KEY,
        (
            action("a", container="c1", acknowledge={"bind:/x": "d1"}),
            action("b", container="c2", acknowledge={"bind:/x": "d1"}),
        ),
    )
    result = await executor(handler).execute(plan, None, Recorder())
    assert result.acknowledged == {"c1": {"bind:/x": "d1"}}


async def test_a_plan_that_needs_what_it_does_not_hold_is_refused(executor):
    async def handler(work, action, log):
        raise AssertionError("must not be called")

    with pytest.raises(ActionFailed, match="needs absent"):
        await executor(handler).execute(Plan(KEY, (action("a", "absent"),)), None, Recorder())


def waits_for(name: str, *needs: str) -> Action:
    return Action(id=name, kind=ActionKind.WAIT_SERVICE, target=name, needs=frozenset(needs), params={})


async def test_a_wait_gives_way_and_takes_along_what_needs_it(executor, monkeypatch):
    rung, ended = anyio.Event(), anyio.Event()

    async def handler(work, action, log):
        if action.id == "slow":
            rung.set()
            await ended.wait()

    async def endless(work, action, log):
        await work.unless_interrupted(anyio.sleep_forever())

    carrying_out = executor(handler)
    monkeypatch.setitem(execute._HANDLERS, ActionKind.WAIT_SERVICE, endless)
    plan = Plan(KEY, (waits_for("db"), action("web", "db"), action("slow"), action("other", "slow")))
    results = []

    async def carry_out() -> None:
        results.append(await carrying_out.execute(plan, None, Recorder(), interrupt=rung))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(carry_out)
        await rung.wait()
        await anyio.wait_all_tasks_blocked()
        assert carrying_out.busy(KEY), "what is being done is done to its end"
        ended.set()
    (result,) = results
    assert result.ok and result.interrupted
    assert [outcome.status for outcome in result.outcomes] == ["cancelled", "cancelled", "succeeded", "succeeded"]
    assert not carrying_out.busy(KEY)


async def test_who_only_waits_is_not_busy(executor, monkeypatch):
    async def handler(work, action, log):
        return

    async def endless(work, action, log):
        await work.unless_interrupted(anyio.sleep_forever())

    carrying_out = executor(handler)
    monkeypatch.setitem(execute._HANDLERS, ActionKind.WAIT_SERVICE, endless)
    rung = anyio.Event()

    async def carry_out() -> None:
        await carrying_out.execute(Plan(KEY, (action("a"), waits_for("db", "a"))), None, Recorder(), interrupt=rung)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(carry_out)
        await anyio.wait_all_tasks_blocked()
        assert not carrying_out.busy(KEY)
        rung.set()
