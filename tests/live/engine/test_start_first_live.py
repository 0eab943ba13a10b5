"""`update_config.order: start-first` on the real Engine: somebody serves at every moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from reconciler.engine import handover
from reconciler.engine.execute import Silent
from reconciler.planner.model import ActionKind

FIRST = """
services:
  web:
    image: ${IMAGE}
    command: sleep 600
    init: true
    stop_grace_period: 0s
    deploy: {update_config: {order: start-first}}
"""
HEALTHY = FIRST + '    healthcheck: {test: "true", interval: 1s}\n'


def _running(bench):
    return {c.id for c in bench.observed.project(bench.name) if c.service == "web" and c.state == "running"}


@pytest.mark.parametrize("text", [FIRST, HEALTHY], ids=["no health check", "health check"])
async def test_the_old_one_serves_until_the_new_one_does(bench, text):
    await bench.deploy(bench.desired(text))
    old = bench.container("web")
    seen: set[frozenset[str]] = set()

    async def watch() -> None:
        with bench.observed.watch.subscribe(()) as changed:
            while True:
                seen.add(frozenset(_running(bench)))
                await changed.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await bench.deploy(bench.desired(text.replace("sleep 600", "sleep 601")))
        tasks.cancel_scope.cancel()
    new = bench.container("web")
    assert new.id != old.id
    assert new.name == old.name
    assert len(bench.observed.project(bench.name)) == 1
    assert frozenset() not in seen
    assert frozenset({old.id, new.id}) in seen
    kinds = [entry.partition(":")[0] for entry in bench.diary.begun[-3:]]
    assert kinds == ["replace-container", "start-container", "hand-over"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FIRST + '    healthcheck: {test: "false", interval: 1s, retries: 1}\n', "its health check fails"),
        (FIRST.replace("sleep 600", "sh -c 'echo no database; exit 3'"), "does not stay up"),
        (FIRST.replace("sleep 600", "sh -c 'sleep 0.2; exit 1'") + "    restart: always\n", "does not stay up"),
        (FIRST.replace("sleep 600", "/no/such/program").replace("init: true", "init: false"), "cannot be started"),
    ],
    ids=["unhealthy", "exits", "exits again and again", "cannot start"],
)
async def test_a_successor_that_fails_costs_nothing(bench, monkeypatch, text, said):
    await bench.deploy(bench.desired(FIRST))
    before = bench.container("web")
    with monkeypatch.context() as patience:
        # On a busy machine a program may need half a second to its end.
        patience.setattr(handover, "PROOF", timedelta(seconds=2))
        result = await bench.apply(bench.desired(text))
    assert not result.ok
    assert said in result.message
    await bench.until(lambda: [c.id for c in bench.observed.project(bench.name)] == [before.id])
    after = bench.container("web")
    assert (after.name, after.state, after.started_at) == (before.name, "running", before.started_at)
    assert any("the previous one serves on" in warning for warning in result.warnings)
    # The commit that mends it finds nothing in its way.
    await bench.deploy(bench.desired(FIRST.replace("sleep 600", "sleep 602")))


async def test_each_replica_is_handed_over(bench):
    await bench.deploy(bench.desired(FIRST + "    scale: 3\n"))
    before = {c.name: c.id for c in bench.observed.project(bench.name)}
    await bench.deploy(bench.desired(FIRST.replace("sleep 600", "sleep 601") + "    scale: 3\n"))
    after = {c.name: c.id for c in bench.observed.project(bench.name)}
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


async def test_the_name_leads_to_the_successor(bench):
    await name_leads_to_the_successor(bench)


async def name_leads_to_the_successor(bench):
    """On this Engine, and on newer ones."""
    text = FIRST + "  asks:\n    image: ${IMAGE}\n    command: sleep 600\n    init: true\n"
    await bench.deploy(bench.desired(text))
    await bench.deploy(bench.desired(text.replace("sleep 600", "sleep 601", 1)))
    new = bench.container("web")
    (address,) = {e["IPAddress"] for e in new.inspect["NetworkSettings"]["Networks"].values()}
    for name in ("web", new.name):
        found = await bench.run_in(bench.container("asks").id, "ping", "-c", "1", "-W", "2", name)
        assert f"({address})" in found, found


async def test_killed_before_the_end_it_begins_anew(bench):
    await bench.deploy(bench.desired(FIRST))
    old = bench.container("web")
    desired = bench.desired(FIRST.replace("sleep 600", "sleep 601"))
    found = await bench.plan(desired)
    begun = replace(found, actions=tuple(a for a in found.actions if a.kind is not ActionKind.HAND_OVER))
    assert (await bench.executor.execute(begun, desired, Silent())).ok
    await bench.until(lambda: len(_running(bench)) == 2)
    (successor,) = _running(bench) - {old.id}
    await bench.deploy(desired)
    assert len(bench.observed.project(bench.name)) == 1
    assert bench.container("web").id not in (old.id, successor)
    assert bench.container("web").name == old.name
