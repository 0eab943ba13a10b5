"""Sources and stacks: identity, generations, overrides, and silence when nothing changes."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from state.model import Condition, ConditionType, Overrides, Removal, SourceKind, StackKey
from state.store import Store, source_id
from tests.support.values import NOON, later, source_spec, stack

READY = Condition(ConditionType.READY, True, "Ready", "all 3 containers run", NOON)
KEY = StackKey("default", "shop")


def test_the_id_of_a_source_depends_on_what_identifies_it_only() -> None:
    spec = source_spec(deployments=({"name": "a", "b": 1},))
    assert source_id(spec) == source_id(replace(spec, interval=5.0, watch=False, run_once=True))
    assert source_id(spec) == source_id(replace(spec, deployments=({"b": 1, "name": "a"},)))
    others = [
        replace(spec, kind=SourceKind.OCI),
        replace(spec, url="x"),
        replace(spec, reference="x"),
        replace(spec, target="x"),
        replace(spec, deployments=()),
    ]
    ids = {source_id(other) for other in (spec, *others)}
    assert len(ids) == 6 and all(len(one) == 16 and int(one, 16) >= 0 for one in ids)


async def test_a_source_is_made_once_and_comes_back_whole(store: Store) -> None:
    spec = source_spec(deployments=({"name": "a"},), interval=60.0, run_once=True, watch=False, target="prod")
    made = await store.ensure_source(spec, "git.example/acme/shop", "api")
    assert made.spec == spec and made.id == source_id(spec)
    assert await store.ensure_source(spec, "git.example/acme/shop", "api") == made
    assert await store.list_sources() == [made]
    await store.update_source(
        made.id, revision="abc", conditions=[READY], last_checked=later(1), last_success=later(2), failures=3
    )
    found = await store.get_source(made.id)
    assert found == replace(
        made, revision="abc", conditions=(READY,), last_checked=later(1), last_success=later(2), failures=3
    )
    await store.update_source(made.id, failures=0)
    found = await store.get_source(made.id)
    assert found is not None and (found.failures, found.revision) == (0, "abc")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("config", "api", "config"), ("api", "config", "config"), ("api", "webhook", "api"), ("webhook", "api", "api")],
)
async def test_a_stronger_origin_wins_with_its_settings(store: Store, before: str, after: str, expected: str) -> None:
    spec = source_spec()
    await store.ensure_source(replace(spec, interval=1.0), "r", before)
    found = await store.ensure_source(replace(spec, interval=2.0), "r", after)
    assert found.origin == expected
    assert found.spec.interval == (1.0 if expected == before else 2.0)


async def test_an_unknown_origin_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="config"):
        await store.ensure_source(source_spec(), "r", "nowhere")


async def test_sources_no_longer_configured_are_demoted(store: Store) -> None:
    kept = await store.ensure_source(source_spec("https://a"), "a", "config")
    gone = await store.ensure_source(source_spec("https://b"), "b", "config")
    hook = await store.ensure_source(source_spec("https://c"), "c", "webhook")
    await store.demote_sources([kept.id])
    assert {found.id: found.origin for found in await store.list_sources()} == {
        kept.id: "config",
        gone.id: "former",
        hook.id: "webhook",
    }
    await store.demote_sources([])
    found = await store.get_source(kept.id)
    assert found is not None and found.origin == "former"


async def test_applied_stacks_come_back_whole_in_the_order_given(store: Store) -> None:
    spec = source_spec()
    await store.ensure_source(spec, "r", "config")
    two = [stack("web", desired={"n": 1.5, "text": "ä\0"}, deleting=True, pending_recreate="x"), stack("db")]
    written = await store.apply_stacks(source_id(spec), "2" * 40, two)
    assert [one.key.name for one in written] == ["web", "db"]
    assert written[0] == replace(
        two[0], generation=1, created_at=written[0].created_at, updated_at=written[0].updated_at
    )
    assert await store.get_stack(StackKey("default", "web")) == written[0]
    assert await store.list_stacks() == [written[1], written[0]]
    source = await store.get_source(source_id(spec))
    assert source is not None and source.revision == "2" * 40


async def test_lists_can_leave_out_the_desired_state(store: Store) -> None:
    await store.apply_stacks("s", "r", [stack()])
    (slim,) = await store.list_stacks(desired=False)
    (whole,) = await store.list_stacks()
    assert slim == replace(whole, desired={}) and whole.desired


async def test_stacks_of_one_source_are_listed(store: Store) -> None:
    await store.apply_stacks("a", "r", [stack("one", source_id="a")])
    await store.apply_stacks("b", "r", [stack("two", source_id="b", context="remote")])
    assert [str(found.key) for found in await store.list_stacks("b")] == ["remote/two"]
    assert [str(found.key) for found in await store.list_stacks()] == ["one", "remote/two"]


async def test_a_new_hash_raises_the_generation_and_the_same_hash_does_not(store: Store) -> None:
    await store.apply_stacks("s", "r1", [stack(desired_hash="a")])
    await store.update_stack(KEY, observed_generation=1, conditions=[READY], ready_revision="r1")
    (same,) = await store.apply_stacks("s", "r2", [stack(desired_hash="a", revision="r2")])
    assert (same.generation, same.revision) == (1, "r2")
    (changed,) = await store.apply_stacks("s", "r3", [stack(desired_hash="b", revision="r3")])
    assert changed.generation == 2
    assert (changed.observed_generation, changed.conditions, changed.ready_revision) == (1, (READY,), "r1")


async def test_overrides_survive_new_desired_state_and_raise_the_generation_once(store: Store) -> None:
    await store.apply_stacks("s", "r", [stack(desired_hash="a")])
    wanted = Overrides(stopped=True, replicas={"web": 3})
    found = await store.set_overrides(KEY, wanted)
    assert found is not None and (found.overrides, found.generation) == (wanted, 2)
    again = await store.set_overrides(KEY, wanted)
    assert again is not None and again.generation == 2
    (applied,) = await store.apply_stacks("s", "r", [stack(desired_hash="b")])
    assert (applied.overrides, applied.generation) == (wanted, 3)
    cleared = await store.set_overrides(KEY, Overrides())
    assert cleared is not None and not cleared.overrides.any and cleared.generation == 4


async def test_a_removed_stack_stays_away_until_its_own_state_changes(store: Store) -> None:
    await store.apply_stacks("s", "r", [stack(desired_hash="a")])
    removed = Overrides(stopped=True, removed=Removal("a", volumes=False))
    await store.set_overrides(KEY, removed)
    (same,) = await store.apply_stacks("s", "r2", [stack(desired_hash="a", revision="r2")])
    assert same.overrides == removed
    (changed,) = await store.apply_stacks("s", "r3", [stack(desired_hash="b", revision="r3")])
    assert changed.overrides == Overrides(stopped=True) and changed.generation == 3


async def test_a_stack_begins_to_leave_and_comes_back_in_one_step_each(store: Store) -> None:
    """Between two steps a crash would leave it removed for ever, as if a person had done it."""
    await store.apply_stacks("s", "r", [stack(desired_hash="a")])
    removed = Overrides(stopped=True, removed=Removal("a"))
    leaving = await store.set_overrides(KEY, removed, deleting=True)
    assert leaving is not None and (leaving.overrides, leaving.deleting, leaving.generation) == (removed, True, 2)
    again = await store.set_overrides(KEY, removed, deleting=True)
    assert again == leaving
    (back,) = await store.apply_stacks("s", "r2", [stack(desired_hash="a", revision="r2")])
    assert (back.overrides, back.deleting, back.generation) == (Overrides(stopped=True), False, 3)


async def test_a_pending_recreation_is_kept_until_it_is_done(store: Store) -> None:
    await store.apply_stacks("s", "r", [stack(pending_recreate="r")])
    (kept,) = await store.apply_stacks("s", "r2", [stack(revision="r2")])
    assert kept.pending_recreate == "r"
    done = await store.update_stack(KEY, pending_recreate="")
    assert done is not None and done.pending_recreate == ""


async def test_what_containers_were_told_of_is_kept(store: Store) -> None:
    await store.apply_stacks("s", "r", [stack()])
    await store.update_stack(KEY, acknowledged={"c1": {"config/a": "123"}})
    (applied,) = await store.apply_stacks("s", "r2", [stack(desired_hash="b")])
    assert applied.acknowledged == {"c1": {"config/a": "123"}}


async def test_applying_the_same_again_writes_nothing_and_wakes_nobody(store: Store) -> None:
    await store.ensure_source(source_spec(), "r", "config")
    key = source_id(source_spec())
    (first,) = await store.apply_stacks(key, "r", [stack()])
    await store.update_stack(KEY, conditions=[READY])
    woken: list[object] = []
    with store.watch.listen((), woken.append):
        (again,) = await store.apply_stacks(key, "r", [stack()])
        await store.update_stack(KEY, conditions=[READY], observed_generation=0, deleting=False)
        await store.set_overrides(KEY, Overrides())
        await store.update_source(key, revision="r", failures=0)
        await store.ensure_source(source_spec(), "r", "config")
        await store.ensure_source(source_spec(), "r", "webhook")
        await store.delete_stack(StackKey("default", "none"))
    assert woken == []
    assert again.created_at == first.created_at


async def test_changes_wake_those_who_wait_for_that_stack_or_source(store: Store) -> None:
    key = source_id(source_spec())
    woken: list[object] = []
    with store.watch.listen((), woken.append):
        await store.ensure_source(source_spec(), "r", "config")
        await store.apply_stacks(key, "r", [stack()])
        await store.set_overrides(KEY, Overrides(stopped=True))
        await store.update_stack(KEY, deleting=True)
        await store.update_source(key, failures=1)
        await store.delete_stack(KEY)
    assert woken == [
        ("source", key),
        ("stack", KEY),
        ("source", key),
        ("stack", KEY),
        ("stack", KEY),
        ("source", key),
        ("stack", KEY),
    ]


async def test_a_stack_that_is_not_there(store: Store) -> None:
    assert await store.get_stack(KEY) is None
    assert await store.set_overrides(KEY, Overrides(stopped=True)) is None
    assert await store.update_stack(KEY, deleting=True) is None
    await store.update_source("none", failures=1)
    assert await store.list_stacks() == []


async def test_a_forgotten_stack_starts_anew(store: Store) -> None:
    await store.apply_stacks("s", "r", [stack()])
    await store.set_overrides(KEY, Overrides(stopped=True))
    await store.delete_stack(KEY)
    (again,) = await store.apply_stacks("s", "r", [stack()])
    assert (again.generation, again.overrides) == (1, Overrides())


async def test_all_stacks_of_a_revision_are_written_or_none(store: Store) -> None:
    class Unwritable:
        pass

    with pytest.raises(TypeError):
        await store.apply_stacks("s", "r", [stack("aaa"), stack("bbb", desired={"x": Unwritable()})])
    assert await store.list_stacks() == []
    await store.check()


async def test_concurrent_changes_of_one_stack_are_all_counted(store: Store) -> None:
    await store.apply_stacks("s", "r", [stack()])

    async def scale(number: int) -> None:
        await store.set_overrides(KEY, Overrides(replicas={"web": number}))

    async with anyio.create_task_group() as tasks:
        for number in range(1, 13):
            tasks.start_soon(scale, number)
            tasks.start_soon(store.update_stack, KEY)
    found = await store.get_stack(KEY)
    assert found is not None and found.generation == 13
