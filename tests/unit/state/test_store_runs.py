"""Intents and runs: written together, found again, waited for, pruned."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import anyio
import pytest

from state.ids import uuid7
from state.model import Change, IntentKind, Reason, Run, RunAction, RunStatus, StackOutcome, Trigger
from state.store import Store, open_store
from tests.support.values import NOON, intent, later, run


async def test_an_accepted_intent_and_its_run_are_there(store: Store) -> None:
    asked = intent(payload={"targets": [{"url": "https://x", "emoji": "⚓", "nul": "\0"}]}, delivery="d-1")
    held, new = await store.accept(asked, run(asked.id))
    assert (held, new) == (asked, True)
    assert await store.get_intent(asked.id) == asked
    assert await store.get_run(asked.id) == run(asked.id)
    assert await store.open_intents() == [asked]


async def test_what_was_written_is_there_after_opening_again(store_url: str) -> None:
    asked = intent()
    async with open_store(store_url) as first:
        await first.accept(asked, run(asked.id))
        instance_id = first.instance_id
    async with open_store(store_url) as second:
        assert await second.get_intent(asked.id) == asked
        assert second.instance_id == instance_id


@pytest.mark.parametrize("field", ["idempotency_key", "delivery"])
async def test_the_same_key_is_accepted_once(store: Store, field: str) -> None:
    first = intent(**{field: "same"})
    await store.accept(first, run(first.id))
    second = intent(**{field: "same"})
    assert await store.accept(second, run(second.id)) == (first, False)
    assert await store.get_run(second.id) is None
    await store.finish(run(first.id, status=RunStatus.SUCCEEDED))
    held, new = await store.accept(intent(**{field: "same"}), run())
    assert (held.id, new) == (first.id, False), "also after it has finished"


async def test_intents_without_keys_are_all_new(store: Store) -> None:
    for _ in range(3):
        asked = intent()
        assert (await store.accept(asked, run(asked.id)))[1]
    assert len(await store.open_intents()) == 3


async def test_the_same_key_at_the_same_time_makes_one_intent(store: Store) -> None:
    answers = []

    async def ask() -> None:
        asked = intent(idempotency_key="click")
        answers.append(await store.accept(asked, run(asked.id)))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert [new for _, new in answers].count(True) == 1
    assert len({held.id for held, _ in answers}) == 1
    assert len(await store.list_runs()) == 1


async def test_an_intent_accepted_again_by_id_changes_nothing(store: Store) -> None:
    asked = intent()
    await store.accept(asked, run(asked.id))
    await store.put_run(run(asked.id, message="half way"))
    assert await store.accept(asked, run(asked.id)) == (asked, False)
    found = await store.get_run(asked.id)
    assert found is not None and found.message == "half way"


async def test_open_intents_come_in_the_order_they_were_asked_for(store: Store) -> None:
    asked = [intent(created_at=later(second), kind=IntentKind.PROJECT_STOP) for second in (3, 1, 2)]
    for one in asked:
        await store.accept(one, run(one.id))
    await store.finish(run(asked[2].id, status=RunStatus.SKIPPED))
    assert [found.id for found in await store.open_intents()] == [asked[1].id, asked[0].id]


async def test_progress_is_replaced(store: Store) -> None:
    asked = intent()
    await store.accept(asked, run(asked.id))
    await store.note_progress(asked.id, {"done": ["a"]})
    await store.note_progress(asked.id, {"done": ["a", "b"]})
    found = await store.get_intent(asked.id)
    assert found == replace(asked, progress={"done": ["a", "b"]})


def a_finished_run(job_id: str) -> Run:
    reasons = (Reason("ImageChanged", "the image differs", (Change("services.web.image", "nginx:1", "nginx:2"),)),)
    actions = (
        RunAction("web-2", "create", "web-2", "shop", "web", reasons, "succeeded", later(1), later(2)),
        RunAction("web-1", "remove", "web-1", "shop", "web", (), "failed", later(2), later(3), "no such container"),
    )
    return run(
        job_id,
        at=NOON,
        trigger=Trigger.WEBHOOK,
        status=RunStatus.FAILED,
        updated_at=later(4),
        repository="acme/shop",
        target="prod",
        revision="refs/heads/main (1111)",
        message="deployment failed: ⚓",
        error="deployment failed",
        content="web: no\ndb: no",
        code="ApplyFailed",
        started_at=later(1),
        finished_at=later(4),
        joined=uuid7(),
        warnings=("unknown key colour",),
        stacks=(StackOutcome("shop", "remote", RunStatus.FAILED, "no", 3), StackOutcome("db")),
        actions=actions,
    )


async def test_every_field_of_a_run_comes_back(store: Store) -> None:
    finished = a_finished_run(uuid7())
    await store.put_run(finished)
    assert await store.get_run(finished.job_id) == finished


async def test_listed_runs_lack_their_actions(store: Store) -> None:
    finished = a_finished_run(uuid7())
    await store.put_run(finished)
    assert await store.list_runs() == [replace(finished, actions=())]


async def test_finishing_a_run_finishes_its_intent(store: Store) -> None:
    asked = intent()
    await store.accept(asked, run(asked.id))
    await store.finish(run(asked.id, status=RunStatus.SUCCEEDED, finished_at=later(9)))
    assert await store.open_intents() == []
    found = await store.get_intent(asked.id)
    assert found is not None and found.finished_at == later(9)


async def test_an_end_without_a_time_gets_one(store: Store) -> None:
    await store.finish(run("job", status=RunStatus.FAILED))
    found = await store.get_run("job")
    assert found is not None and found.finished_at is not None


async def test_actions_are_replaced_by_id_and_keep_their_order(store: Store) -> None:
    await store.put_run(run("job"))
    await store.put_run_actions("job", [RunAction("b", "create", "b"), RunAction("a", "create", "a")])
    await store.put_run_actions(
        "job", [RunAction("a", "create", "a", status="succeeded"), RunAction("c", "start", "c")]
    )
    found = await store.get_run("job")
    assert found is not None
    assert [(action.id, action.status) for action in found.actions] == [
        ("b", "pending"),
        ("a", "succeeded"),
        ("c", "pending"),
    ]


async def test_writing_a_run_keeps_actions_written_before(store: Store) -> None:
    await store.put_run(run("job"))
    await store.put_run_actions("job", [RunAction("a", "create", "a", status="succeeded")])
    await store.put_run(run("job", message="on its way"))
    found = await store.get_run("job")
    assert found is not None and [action.id for action in found.actions] == ["a"]


async def test_what_was_under_way_is_cancelled_by_the_end(store: Store) -> None:
    await store.put_run(run("job"))
    states = ("pending", "running", "succeeded", "failed")
    await store.put_run_actions("job", [RunAction(state, "create", "x", status=state) for state in states])
    await store.finish(run("job", status=RunStatus.FAILED))
    found = await store.get_run("job")
    assert found is not None
    assert [action.status for action in found.actions] == ["cancelled", "cancelled", "succeeded", "failed"]


async def test_text_that_no_database_takes_is_stored_all_the_same(store: Store) -> None:
    nasty = "a\0b\ud800c"
    await store.finish(run("job", status=RunStatus.FAILED, message=nasty, warnings=(nasty,)))
    found = await store.get_run("job")
    assert found is not None and found.message == "a�b?c" and found.warnings == (nasty,)


async def test_runs_are_listed_newest_first_and_page_by_page(store: Store) -> None:
    ids = [f"job-{second:02}" for second in range(10)]
    for second, job_id in enumerate(ids):
        await store.put_run(run(job_id, at=later(second // 2)))  # two each at the same moment
    newest = list(reversed(ids))
    assert [found.job_id for found in await store.list_runs(limit=3)] == newest[:3]
    assert [found.job_id for found in await store.list_runs(limit=4, before=newest[2])] == newest[3:7]
    assert [found.job_id for found in await store.list_runs(before=newest[-1])] == []
    assert await store.list_runs(before="no such job") == []


async def test_runs_are_filtered_by_status_trigger_and_stack(store: Store) -> None:
    await store.put_run(run("a", status=RunStatus.FAILED, stacks=(StackOutcome("shop"),)))
    await store.put_run(run("b", stacks=(StackOutcome("shop", "remote"), StackOutcome("shopping"))))
    await store.put_run(run("c", trigger=Trigger.RECONCILE))
    await store.put_run_actions("c", [RunAction("x", "create", "x", stack="shop")])
    await store.put_run(run("d", trigger=Trigger.API, stacks=(StackOutcome("100%"),)))
    every = tuple(Trigger)

    async def listed(**filters: object) -> list[str]:
        return sorted(found.job_id for found in await store.list_runs(**filters))  # type: ignore[arg-type]

    assert await listed() == ["a", "b"]
    assert await listed(triggers=every) == ["a", "b", "c", "d"]
    assert await listed(status=RunStatus.FAILED) == ["a"]
    assert await listed(triggers=every, stack="shop") == ["a", "b", "c"]
    assert await listed(stack="remote/shop") == ["b"]
    assert await listed(stack="sho") == []
    assert await listed(triggers=every, stack="100%") == ["d"]
    assert await listed(triggers=every, stack="%") == []
    assert await listed(triggers=()) == []


async def test_unfinished_runs_are_those_accepted_or_running(store: Store) -> None:
    for status in RunStatus:
        await store.put_run(run(status.value, status=status))
    assert [found.job_id for found in await store.unfinished_runs()] == ["accepted", "running"]


async def test_a_waiter_is_woken_by_the_end(store: Store) -> None:
    await store.put_run(run("job"))
    ended = []

    async def wait() -> None:
        ended.append(await store.wait_run("job"))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await store.put_run(run("job", message="still running"))
            await anyio.wait_all_tasks_blocked()
            assert ended == []
            await store.finish(run("job", status=RunStatus.SUCCEEDED))
    assert [found.status for found in ended if found] == [RunStatus.SUCCEEDED] * 5


async def test_waiting_does_not_poll_nor_look_at_every_action(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put_run(run("job"))
    looked = 0
    row = store._row  # type: ignore[attr-defined]

    async def counted(*arguments: object) -> object:
        nonlocal looked
        found = await row(*arguments)
        looked += 1
        return found

    monkeypatch.setattr(store, "_row", counted)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.wait_run, "job")
        with anyio.fail_after(60):
            while not looked:
                await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()
        for number in range(5):
            await store.put_run_actions("job", [RunAction(str(number), "create", "x")])
        await store.finish(run("job", status=RunStatus.SUCCEEDED))
    assert looked == 2


async def test_waiting_ends_at_its_deadline_with_the_run_as_it_is(store: Store) -> None:
    await store.put_run(run("job", message="busy"))
    found = await store.wait_run("job", deadline=0.02)
    assert found is not None and found.message == "busy"


async def test_waiting_for_a_run_that_has_ended_or_never_was_returns_at_once(store: Store) -> None:
    await store.finish(run("job", status=RunStatus.SUCCEEDED))
    with anyio.fail_after(60):
        assert await store.wait_run("job") is not None
        assert await store.wait_run("none") is None


async def test_pruning_keeps_the_newest_of_each_trigger_and_all_that_run(store: Store) -> None:
    for second in range(6):
        await store.finish(run(f"poll-{second}", at=later(second), status=RunStatus.SUCCEEDED))
        await store.finish(run(f"hook-{second}", at=later(second), status=RunStatus.FAILED, trigger=Trigger.WEBHOOK))
    await store.put_run(run("old but active", at=later(-100)))
    await store.put_run_actions("poll-0", [RunAction("a", "create", "a")])
    assert await store.prune_runs(keep_per_trigger=2, max_age_seconds=1e9) == 8
    left = {found.job_id for found in await store.list_runs()}
    assert left == {"poll-4", "poll-5", "hook-4", "hook-5", "old but active"}


async def test_pruning_drops_what_is_too_old_with_its_intent(store: Store) -> None:
    for job_id, at in (("old", NOON.replace(year=2020)), ("new", datetime.now(UTC))):
        asked = intent(job_id, idempotency_key=job_id)
        await store.accept(asked, run(job_id, at=at))
        await store.finish(run(job_id, at=at, status=RunStatus.SUCCEEDED))
    open_one = intent("open")
    await store.accept(open_one, run("open", at=NOON.replace(year=2020)))
    assert await store.prune_runs(keep_per_trigger=100, max_age_seconds=3600) == 1
    assert await store.get_intent("old") is None
    assert await store.get_intent("new") is not None
    assert await store.get_intent("open") is not None


async def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="zone"):
        await store.put_run(run("job", at=NOON.replace(tzinfo=None)))


async def test_watchers_of_runs_and_intents_are_woken(store: Store) -> None:
    with store.watch.subscribe(("runs",)) as runs, store.watch.subscribe(("intents",)) as intents:
        asked = intent()
        await store.accept(asked, run(asked.id))
        with anyio.fail_after(60):
            await runs.wait()
            await intents.wait()


async def test_the_backlog_gives_each_intent_once_with_its_run(store: Store) -> None:
    asked = [intent(created_at=later(second)) for second in (2, 1, 3)]
    for one in asked:
        await store.accept(one, run(one.id))
    first = await store.backlog(frozenset())
    assert [found.id for found, _ in first.new] == [asked[1].id, asked[0].id, asked[2].id], "oldest first"
    assert all(found is not None and found.job_id == one.id for one, found in first.new)
    assert first.open == {one.id for one in asked}
    again = await store.backlog(first.open)
    assert (again.open, again.new) == (first.open, ())
    await store.finish(run(asked[0].id, status=RunStatus.SUCCEEDED))
    assert (await store.backlog(first.open)).open == {asked[1].id, asked[2].id}


async def test_a_backlog_of_more_than_a_statement_holds(store: Store) -> None:
    for number in range(520):
        one = intent(created_at=later(number))
        await store.accept(one, run(one.id))
    found = await store.backlog(frozenset())
    assert len(found.new) == 520
    moments = [one.created_at for one, _ in found.new]
    assert moments == sorted(moments)


async def test_runs_are_started_and_ended_together(store: Store) -> None:
    asked = [intent() for _ in range(3)]
    for one in asked:
        await store.accept(one, run(one.id))
    await store.put_run_actions(asked[0].id, [RunAction("a/1/x", "pull-image", "x", status="running")])
    await store.put_runs([run(one.id, status=RunStatus.RUNNING) for one in asked])
    await store.finish_all([run(one.id, status=RunStatus.SUCCEEDED, finished_at=later(9)) for one in asked[:2]])
    await store.finish_all([])
    assert [one.id for one in await store.open_intents()] == [asked[2].id]
    ended = await store.get_run(asked[0].id)
    assert ended is not None
    assert (ended.status, ended.finished_at) == (RunStatus.SUCCEEDED, later(9))
    assert [action.status for action in ended.actions] == ["cancelled"]
    left = await store.get_run(asked[2].id)
    assert left is not None
    assert left.status is RunStatus.RUNNING
