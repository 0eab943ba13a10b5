"""An Engine that goes away, hangs, and comes back: a private one, so that nobody else notices."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest

from reconciler.engine.client import Engine, open_engine
from reconciler.engine.endpoint import EngineEndpoint
from reconciler.engine.errors import EngineUnreachable
from reconciler.engine.observe import Observer
from reconciler.engine.snapshot import cached_project
from state.observed import LABEL_PROJECT, ObservedContext
from tests.support.engine import PrivateEngine

IMAGE = "moored/busybox:1"


@pytest.fixture
async def seen(private_engine: PrivateEngine) -> AsyncIterator[tuple[Engine, ObservedContext]]:
    observed = ObservedContext("own")
    async with open_engine(EngineEndpoint(private_engine.url), "own") as engine:
        observer = Observer(engine, observed, ping_after=0.3, ping_deadline=2.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(observer.run)
            await _until(observed, lambda: observed.connected)
            yield engine, observed
            tasks.cancel_scope.cancel()


async def _until(observed: ObservedContext, condition, seconds: float = 40.0) -> None:
    with anyio.fail_after(seconds), observed.watch.subscribe(()) as changed:
        while not condition():
            await changed.wait()


async def _container(engine: Engine, name: str, *command: str, policy: str = "no") -> str:
    body = {
        "Image": IMAGE,
        "Cmd": list(command) or ["sleep", "600"],
        "Labels": {LABEL_PROJECT: "p"},
        "StopTimeout": 0,
        "HostConfig": {"NetworkMode": "none", "RestartPolicy": {"Name": policy}},
    }
    created = await engine.call("create", "POST", "containers/create", params={"name": name}, body=body)
    await engine.call("start", "POST", f"containers/{created['Id']}/start")
    return str(created["Id"])


async def test_a_stopped_engine_leaves_a_stale_picture_and_is_found_again(private_engine, seen):
    engine, observed = seen
    stays = await _container(engine, "p-stays", policy="always")
    ends = await _container(engine, "p-ends")
    await _until(observed, lambda: len(observed.project("p")) == 2 and _all_running(observed))
    await anyio.to_thread.run_sync(private_engine.stop)
    await _until(observed, lambda: not observed.connected)
    assert observed.stale_since is not None
    assert {container.id for container in observed.project("p")} == {stays, ends}
    assert cached_project(observed, "p") is None
    assert "docker.sock" in observed.error or "event stream" in observed.error
    await anyio.to_thread.run_sync(private_engine.start)
    await _until(observed, lambda: observed.connected)
    await _until(observed, lambda: observed.containers[stays].state == "running")
    # The Engine stopped it when it went down; no hand did.
    assert observed.containers[ends].state == "exited"
    assert not observed.containers[ends].stopped_by_hand
    assert observed.stale_since is None


async def test_what_happened_while_away_is_known_afterwards(private_engine, seen):
    engine, observed = seen
    gone = await _container(engine, "p-gone")
    await _until(observed, lambda: gone in observed.containers)
    private_engine.freeze()
    await _until(observed, lambda: not observed.connected)
    private_engine.thaw()
    # Not through the observed connection.
    async with open_engine(EngineEndpoint(private_engine.url), "other") as other:
        await other.call("remove", "DELETE", f"containers/{gone}", params={"force": True})
    await _until(observed, lambda: observed.connected and gone not in observed.containers)


async def test_a_hanging_engine_is_noticed_and_calls_to_it_end(private_engine, seen):
    engine, observed = seen
    private_engine.freeze()
    began = time.monotonic()
    await _until(observed, lambda: not observed.connected)
    assert time.monotonic() - began < 20
    with pytest.raises(EngineUnreachable, match=r"within 0\.5 s"):
        await engine.call("info", "GET", "info", deadline=0.5)
    private_engine.thaw()
    await _until(observed, lambda: observed.connected)


async def test_an_engine_may_be_away_when_it_is_opened(tmp_path):
    observed = ObservedContext("away")
    async with open_engine(EngineEndpoint(host=f"unix://{tmp_path}/none.sock"), "away") as engine:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Observer(engine, observed).run)
            await _until(observed, lambda: observed.error)
            tasks.cancel_scope.cancel()
        assert not observed.connected
        with pytest.raises(EngineUnreachable, match=r"none\.sock"):
            await engine.facts()


def _all_running(observed: ObservedContext) -> bool:
    return all(container.state == "running" for container in observed.project("p"))
