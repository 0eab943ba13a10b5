"""An Engine that goes away, hangs, and comes back: an own dockerd, so that nobody else notices."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from reconciler.engine.client import Engine, open_engine
from reconciler.engine.endpoint import EngineEndpoint
from reconciler.engine.errors import EngineUnreachable
from reconciler.engine.observe import Observer
from reconciler.engine.snapshot import cached_project
from state.observed import LABEL_PROJECT, ObservedContext

IMAGE = "moored/busybox:1"


class OwnDaemon:
    """A dockerd with its own everything and no network of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> EngineEndpoint:
        return EngineEndpoint(host=f"unix://{self.socket}")

    async def start(self) -> None:
        folder = self.folder
        self.process = subprocess.Popen(
            [
                "dockerd",
                f"--data-root={folder}/data",
                f"--exec-root={folder}/exec",
                f"--pidfile={folder}/pid",
                f"--host=unix://{self.socket}",
                "--bridge=none",
                "--iptables=false",
                "--storage-driver=vfs",
            ],
            stdout=(folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        with anyio.fail_after(60):
            async with open_engine(self.endpoint, "own") as engine:
                while True:
                    try:
                        await engine.ping(5)
                        return
                    except EngineUnreachable:
                        assert self.process.poll() is None, (folder / "log").read_text()[-3000:]
                        await anyio.sleep(0.1)

    async def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            await anyio.to_thread.run_sync(self.process.wait)
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@pytest.fixture
async def daemon() -> AsyncIterator[OwnDaemon]:
    # A short path: a Unix socket's may have 107 characters only.
    folder = Path(tempfile.mkdtemp(prefix="mbt-"))
    daemon = OwnDaemon(folder)
    try:
        await daemon.start()
        yield daemon
    finally:
        with anyio.CancelScope(shield=True):
            await daemon.stop()
            subprocess.run(
                ["sh", "-c", f"awk '$2 ~ \"^{folder}\" {{print $2}}' /proc/mounts | xargs -r umount -l"], check=False
            )
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def seen(daemon: OwnDaemon) -> AsyncIterator[tuple[Engine, ObservedContext]]:
    observed = ObservedContext("own")
    async with open_engine(daemon.endpoint, "own") as engine:
        observer = Observer(engine, observed, ping_after=0.3, ping_deadline=1.0)
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
    saved = subprocess.run(["docker", "save", IMAGE], capture_output=True, check=True).stdout
    await engine.call("load", "POST", "images/load", data=saved, headers={"Content-Type": "application/x-tar"})
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


async def test_a_stopped_engine_leaves_a_stale_picture_and_is_found_again(daemon, seen):
    engine, observed = seen
    stays = await _container(engine, "p-stays", policy="always")
    ends = await _container(engine, "p-ends")
    await _until(observed, lambda: len(observed.project("p")) == 2 and _all_running(observed))
    await daemon.stop()
    await _until(observed, lambda: not observed.connected)
    assert observed.stale_since is not None
    assert {container.id for container in observed.project("p")} == {stays, ends}
    assert cached_project(observed, "p") is None
    assert "docker.sock" in observed.error or "event stream" in observed.error
    await daemon.start()
    await _until(observed, lambda: observed.connected)
    await _until(observed, lambda: observed.containers[stays].state == "running")
    # The Engine stopped it when it went down; no hand did.
    assert observed.containers[ends].state == "exited"
    assert not observed.containers[ends].stopped_by_hand
    assert observed.stale_since is None


async def test_what_happened_while_away_is_known_afterwards(daemon, seen):
    engine, observed = seen
    gone = await _container(engine, "p-gone")
    await _until(observed, lambda: gone in observed.containers)
    daemon.signal(signal.SIGSTOP)
    await _until(observed, lambda: not observed.connected)
    daemon.signal(signal.SIGCONT)
    # Not through the observed connection.
    async with open_engine(daemon.endpoint, "other") as other:
        await other.call("remove", "DELETE", f"containers/{gone}", params={"force": True})
    await _until(observed, lambda: observed.connected and gone not in observed.containers)


async def test_a_hanging_engine_is_noticed_and_calls_to_it_end(daemon, seen):
    engine, observed = seen
    daemon.signal(signal.SIGSTOP)
    began = time.monotonic()
    await _until(observed, lambda: not observed.connected)
    assert time.monotonic() - began < 5
    with pytest.raises(EngineUnreachable, match=r"within 0\.5 s"):
        await engine.call("info", "GET", "info", deadline=0.5)
    daemon.signal(signal.SIGCONT)
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
