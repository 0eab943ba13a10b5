"""What is written down of a plan before it is carried out, and what is left of it afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconciler.controllers.notes import NotingProgress, forget_open, noted_after, noted_before
from reconciler.engine.execute import CANCELLED, FAILED, SUCCEEDED, ActionOutcome, ExecutionResult, Silent
from reconciler.planner import plan_down
from reconciler.planner.lifecycle import POST_START, STOPPED, TO_REMOVE, run_of, start_time
from state.store import open_store
from tests.support.values import stack
from tests.unit.planner.world import action, world

TEXT = "services: {web: {image: 'app:1', post_start: [{command: a}]}, db: {image: 'app:1'}}"


def test_a_replacement_notes_the_stop_and_the_commands_to_come() -> None:
    made = world(TEXT).deploys()
    seen = made.engine.observe(made.desired)
    web = next(container for container in seen.containers if container.service == "web")
    found = made.wants(TEXT.replace("'app:1', post", "'app:2', post")).plan()
    noted = noted_before({"other": {"k": "v"}}, found, seen)
    assert noted == {
        "other": {"k": "v"},
        web.id: {STOPPED: start_time(web)},
        POST_START: {"shop-web-1": run_of(web)},
    }


def test_a_first_start_owes_its_commands_from_then_on() -> None:
    made = world(TEXT)
    assert noted_before({}, made.plan(), made.engine.observe(made.desired)) == {POST_START: {"shop-web-1": ""}}


def test_what_containers_alone_tell_of_is_noted_before_they_go() -> None:
    made = world(TEXT).deploys()
    seen = made.engine.observe(made.desired)
    found = plan_down(made.desired.key, seen, project=None, volumes=True, images=True)
    noted = noted_before({}, found, seen)[TO_REMOVE]
    assert noted == {action(found, "remove-image").id: ""}
    changed = made.wants(TEXT.replace("app:1", "app:2")).plan()
    pruned = action(changed, "remove-image")
    assert noted_before({}, changed, seen)[TO_REMOVE] == {pruned.id: "app:1"}
    assert forget_open({TO_REMOVE: noted, "here": {}}) == {"here": {}}


def test_commands_that_are_due_stay_due_while_they_are_carried_out() -> None:
    """A second kill, in the middle of the second attempt."""
    made = world(TEXT).deploys()
    made.engine.acknowledged[POST_START] = {"shop-web-1": "before"}
    noted = noted_before(made.engine.acknowledged, made.plan(), made.engine.observe(made.desired))
    made.engine.acknowledged = noted
    assert action(made.plan(), "start-container").target == "shop-web-1"


def test_afterwards_only_what_was_done_is_known() -> None:
    made = world(TEXT).deploys()
    before = {"gone": {"k": "v"}, "here": {"k": "v"}, POST_START: {"shop-web-1": ""}}
    found = made.wants(TEXT.replace("'app:1', post", "'app:2', post")).plan()
    replaced = action(found, "replace-container")
    container = str(replaced.params["container"])
    failed = ExecutionResult((ActionOutcome(replaced, FAILED),), present=frozenset({"here", container}))
    assert noted_after(before, failed) == {"here": {"k": "v"}}
    done = replace(failed, outcomes=(ActionOutcome(replaced, SUCCEEDED),))
    assert noted_after(before, done) == {"here": {"k": "v"}, container: replaced.params["acknowledge"]}
    assert forget_open(before) == {"gone": {"k": "v"}, "here": {"k": "v"}}
    gave_way = replace(failed, outcomes=(ActionOutcome(replaced, CANCELLED),), interrupted=True)
    due = {POST_START: {"shop-web-1": "before"}}
    assert noted_after(before, gave_way, {**before, **due}) == {"here": {"k": "v"}, **due}


async def test_commands_are_crossed_out_one_by_one(tmp_path: Path) -> None:
    text = TEXT.replace("db: {image: 'app:1'", "db: {image: 'app:1', post_start: [{command: b}]")
    made = world(text)
    found = made.plan()
    async with open_store(f"sqlite:///{tmp_path}/moored.db") as store:
        (kept,) = await store.apply_stacks("s", "r", [stack()])
        noted = noted_before({}, found, made.engine.observe(made.desired))
        await store.update_stack(kept.key, acknowledged=noted)
        progress = NotingProgress(Silent(), store, replace(kept, acknowledged=noted))
        for target, error in (("shop-web-1", "it broke"), ("shop-db-1", None)):
            await progress.finished(action(found, "start-container", target), error)
        left = await store.get_stack(kept.key)
        assert left is not None
        assert left.acknowledged == progress.stack.acknowledged == {POST_START: {"shop-web-1": ""}}
        await progress.finished(action(found, "start-container", "shop-web-1"), None)
        assert progress.stack.acknowledged == {}
