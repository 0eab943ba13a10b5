"""SIGTERM at a bad moment: an orderly end in time, and nothing lost for the next start."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import AgentProcess, running_agent
from tests.support.docker_api import DockerApi
from tests.support.git_servers import Fault, GitHTTPServer
from tests.support.repository import LocalRepository, compose, deploy_config, service

PATIENCE_AT_END = 90
"""Seconds the agent may take to end what it does: far more than it needs."""
IN_TIME = 30.0
"""Seconds within which it ends when nothing holds it up, on a busy machine too."""


@pytest.fixture
def world(tmp_path: Path, engine: DockerApi, project: str) -> Iterator[World]:
    with running_agent(tmp_path / "agent", SHUTDOWN_TIMEOUT=f"{PATIENCE_AT_END}s") as agent:
        yield World(agent, LocalRepository(tmp_path / "repository"), engine, project)


def terminate(world: World) -> None:
    begun = time.monotonic()
    assert world.agent.terminate() == 0
    assert time.monotonic() - begun < IN_TIME


def test_a_deployment_under_way_is_ended_in_order_and_completed_by_the_next_start(world: World) -> None:
    services = [service(f"s{number}", depends_on=f"[s{number - 1}]" if number else "[]") for number in range(6)]
    world.commit(*services)
    answer = world.agent.poll(world.repository.url, wait=False)
    world.agent.until(lambda: len(world.ids()) >= 1, 20, "it is under way")
    terminate(world)
    world.agent.start()
    run = world.agent.finished_run(answer.job_id)
    assert run["status"] == "succeeded", run
    assert world.running() == {f"s{number}-1" for number in range(6)}
    world.assert_rests()


def test_waiting_for_health_does_not_delay_the_end(world: World) -> None:
    """Health may take minutes; the job is taken up again and ends when the container is healthy."""
    check = "{test: ['CMD', 'test', '-e', '/healthy'], interval: 1s, retries: 100, start_period: 60s}"
    world.commit(service("web", healthcheck=check), config={"timeout": "60"})
    answer = world.agent.poll(world.repository.url, wait=False)
    world.agent.until(lambda: world.running() == {"web-1"}, 20, "it was started")
    terminate(world)
    world.agent.start()
    assert world.agent.run(answer.job_id)["status"] == "running"
    body = {"Cmd": ["touch", "/healthy"], "AttachStdout": True}
    made = world.engine.call("POST", f"/containers/{world.ids()['web-1']}/exec", body=body)
    world.engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False})
    assert world.agent.finished_run(answer.job_id)["status"] == "succeeded"


def test_a_hanging_git_server_does_not_delay_the_end(world: World, tmp_path: Path) -> None:
    with GitHTTPServer(tmp_path) as server:
        remote = server.create_repo("acme/shop")
        remote.commit({".doco-cd.yml": deploy_config(world.project), "compose.yaml": compose(service("web"))})
        server.fault = Fault.HANG
        answer = world.agent.poll(remote.url, wait=False)
        assert server.hanging.wait(60)
        terminate(world)
        server.recover()
        world.agent.start()
        assert world.agent.finished_run(answer.job_id)["status"] == "succeeded"
        assert world.running() == {"web-1"}


def test_waiting_callers_are_let_go_and_their_work_goes_on(world: World) -> None:
    world.commit(service("web"), service("db", depends_on="[web]"))
    ends: list[object] = []

    def ask() -> None:
        try:
            ends.append(world.agent.poll(world.repository.url))
        except OSError as error:
            ends.append(error)

    caller = threading.Thread(target=ask)
    caller.start()
    world.agent.until(lambda: len(world.ids()) >= 1, 20, "it is under way")
    terminate(world)
    caller.join(60)
    assert len(ends) == 1, "nobody hangs"
    world.agent.start()
    world.agent.until(lambda: world.running() == {"web-1", "db-1"}, 20, "the deployment is completed")
    runs = world.agent.get("/v1/api/runs?trigger=poll").content
    assert len(runs) == 1
    assert world.agent.finished_run(runs[0]["job_id"])["status"] == "succeeded"


def test_a_signal_while_starting_ends_it(world: World) -> None:
    world.agent.kill()
    for pause in (0.3, 0.6, 0.9, 1.2):
        world.agent.start(wait=False)
        time.sleep(pause)
        begun = time.monotonic()
        # Before its handlers are there, Python itself ends by the signal.
        assert world.agent.terminate() in (0, -15)
        assert time.monotonic() - begun < IN_TIME
    world.agent.start()


def test_a_second_agent_in_the_data_folder_waits_until_the_first_has_left(world: World) -> None:
    second = AgentProcess(world.agent.data, environment={"SHUTDOWN_TIMEOUT": "20s"})
    second.start(wait=False)
    try:
        said = "waiting for another agent to leave the data folder"
        second.until(lambda: said in second.log_path.read_text(), 20, "the second one waits")
        assert world.agent.get("/v1/health").status == 200
        world.agent.kill()
        second.wait_healthy()
    finally:
        second.kill()
