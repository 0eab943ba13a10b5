"""The data folder's disk is full: nothing is accepted that could get lost, nothing that runs is touched."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import AgentProcess
from tests.support.docker_api import DockerApi
from tests.support.repository import LocalRepository, service


class SmallDisk:
    """A file system of a few megabytes that can be filled up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(path)], check=True, timeout=10)

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Leave not one byte."""
        with self.ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size):
                        pass

    def free(self) -> None:
        self.ballast.unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=False, timeout=10)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "agent" / "mount")
    yield made
    made.unmount()


@pytest.fixture
def world(disk: SmallDisk, tmp_path: Path, engine: DockerApi, project: str) -> Iterator[World]:
    agent = AgentProcess(tmp_path / "agent")
    agent.start()
    yield World(agent, LocalRepository(tmp_path / "repository"), engine, project)
    agent.kill()


def test_a_full_disk_refuses_intents_and_loses_none(world: World, disk: SmallDisk) -> None:
    agent, project = world.agent, world.project
    assert world.deploy(service("web"), service("db")).status == 200
    before, started = world.ids(), world.started()
    path = f"/v1/api/project/{project}"

    disk.fill()
    answer = agent.post(f"{path}/stop?wait=false&timeout=1")
    assert answer.status == 503, answer
    world.commit(service("web", hostname="later"), service("db"))
    answer = agent.poll(world.repository.url, wait=False)
    assert answer.status == 503, answer
    health = agent.get("/v1/health")
    assert health.status == 503, health
    assert "full" in health.content, health
    assert agent.get("/v1/api/status").status == 200
    assert agent.get(path).status == 200
    assert (world.ids(), world.started()) == (before, started)

    disk.free()
    agent.until(lambda: agent.get("/v1/health").status == 200, 20, "healthy again without a restart")
    assert world.running() == {"web-1", "db-1"}
    assert agent.poll(world.repository.url).status == 200
    assert world.containers()[f"{project}-web-1"]["Config"]["Hostname"] == "later"
    world.assert_rests()


def test_what_was_accepted_before_the_disk_filled_up_is_done_when_there_is_space(world: World, disk: SmallDisk) -> None:
    """The disk fills up in the middle of a deployment; the runs resolve, the agent lives."""
    agent = world.agent
    assert world.deploy(service("web"), service("db")).status == 200
    world.commit(service("web", hostname="later"), service("db", hostname="later"), **{"big.txt": "x" * 100_000})
    poll = agent.poll(world.repository.url, wait=False)
    restart = agent.post(f"/v1/api/project/{world.project}/restart?wait=false&timeout=1")
    assert (poll.status, restart.status) == (202, 202)
    disk.fill()
    agent.until(
        lambda: (
            any("store cannot be used" in line["msg"] or "command waits" in line["msg"] for line in agent.logs())
            or agent.get(f"/v1/api/run/{poll.job_id}").content["status"] in ("succeeded", "failed")
        ),
        20,
        "the full disk is met",
    )
    assert agent.process is not None
    assert agent.process.poll() is None
    disk.free()
    for job in (poll.job_id, restart.job_id):
        run = agent.finished_run(job)
        assert run["status"] in ("succeeded", "failed"), run
    assert agent.finished_run(restart.job_id)["status"] == "succeeded"
    assert agent.poll(world.repository.url).status == 200
    assert {c["Config"]["Hostname"] for c in world.containers().values()} == {"later"}
    assert world.running() == {"web-1", "db-1"}
    world.assert_rests()
