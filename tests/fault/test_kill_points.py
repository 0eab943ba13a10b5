"""kill -9 right after one certain call to the Engine, where no clock would hit it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import Answer, running_agent
from tests.support.docker_api import DockerApi, EngineError
from tests.support.repository import LocalRepository, service

POLITE = {"command": "sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'", "init": "false"}
"""A program that ends with 0 when it is told to stop, as many do."""


@pytest.fixture
def world(tmp_path: Path, engine: DockerApi, project: str) -> Iterator[World]:
    with running_agent(tmp_path / "agent") as agent:
        yield World(agent, LocalRepository(tmp_path / "repository"), engine, project)


def killed_after(world: World, call: str, ask: Callable[[], Answer]) -> None:
    """Ask for something, have the agent die in the middle of it, and see it end well after the next start."""
    world.agent.kill()
    world.agent.start(dies_after=call)
    answer = ask()
    assert answer.status == 202, answer
    world.agent.await_death()
    world.agent.start()
    run = world.agent.finished_run(answer.job_id)
    assert run["status"] == "succeeded", run


def poll(world: World) -> Callable[[], Answer]:
    return lambda: world.agent.poll(world.repository.url, wait=False)


def printed(world: World, name: str, *command: str) -> str:
    """What a command in a container writes."""
    body = {"Cmd": [*command], "AttachStdout": True, "Tty": True}
    made = world.engine.call("POST", f"/containers/{world.ids()[name]}/exec", body=body)
    output: bytes = world.engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False, "Tty": True})
    return output.decode()


def test_a_container_that_got_no_files_gets_them_before_it_is_started(world: World) -> None:
    config = "[{source: words, target: /words}]"
    world.commit(service("web", configs=config), more="configs: {words: {content: hello}}\n")
    killed_after(world, "container.create:1", poll(world))
    assert printed(world, "web-1", "cat", "/words") == "hello"
    world.assert_rests()


@pytest.mark.parametrize("call", ["container.stop:2", "network.remove:1", "network.create:1"])
def test_what_was_stopped_for_a_changed_network_runs_again(world: World, call: str) -> None:
    services = [service(name, networks="[inner]", **POLITE) for name in ("web", "db")]
    world.deploy(*services, more="networks: {inner: {labels: {a: b}}}\n")
    world.commit(*services, more="networks: {inner: {labels: {a: c}}}\n")
    killed_after(world, call, poll(world))
    assert world.running() == {"web-1", "db-1"}
    world.assert_rests()


def test_what_was_stopped_over_the_api_is_started_again(world: World) -> None:
    """After an interrupted stop, programs that end with 0 do not pass for done."""
    world.deploy(service("web", **POLITE), service("db", **POLITE))
    path = f"/v1/api/project/{world.project}"
    killed_after(world, "container.stop:2", lambda: world.agent.post(f"{path}/stop?wait=false"))
    assert world.running() == set()
    assert world.agent.post(f"{path}/start").status == 200
    assert world.running() == {"web-1", "db-1"}
    world.assert_rests()


@pytest.mark.parametrize("call", ["container.start:1", "exec.create:1", "exec.start:1"])
def test_interrupted_post_start_commands_are_carried_out(world: World, call: str) -> None:
    world.commit(service("web", post_start="[{command: ['sh', '-c', 'sleep 0.5; echo done > /mark']}]"))
    killed_after(world, call, poll(world))
    assert printed(world, "web-1", "cat", "/mark").strip() == "done"
    started = world.started()
    world.assert_rests()
    assert world.started() == started


def test_commands_that_were_carried_out_are_not_repeated(world: World) -> None:
    """Killed later in the same plan, while another container is made."""
    hooks = "[{command: ['sh', '-c', 'echo once >> /mark']}]"
    world.commit(service("db", post_start=hooks), service("web", depends_on="[db]"))
    killed_after(world, "container.start:2", poll(world))
    assert world.running() == {"db-1", "web-1"}
    assert printed(world, "db-1", "cat", "/mark").split() == ["once"]
    world.assert_rests()


def test_commands_are_not_owed_to_a_container_that_was_not_touched(world: World) -> None:
    """A commit was taken back while its deployment lay dead: what runs was never started anew."""
    hooks = "[{command: ['sh', '-c', 'echo once >> /mark']}]"
    world.deploy(service("web", post_start=hooks))
    world.commit(service("web", post_start=hooks, hostname="other"))
    world.agent.kill()
    world.agent.start(dies_after="container.create:1")
    answer = world.agent.poll(world.repository.url, wait=False)
    world.agent.await_death()
    world.commit(service("web", post_start=hooks))
    world.agent.start()
    assert world.agent.finished_run(answer.job_id)["status"] == "succeeded"
    world.agent.until(lambda: world.running() == {"web-1"}, 20, "the stack is as it was")
    assert printed(world, "web-1", "cat", "/mark").split() == ["once"]
    world.engine.call("POST", f"/containers/{world.ids()['web-1']}/restart", {"t": 0})
    world.assert_rests()
    assert printed(world, "web-1", "cat", "/mark").split() == ["once"]


def test_an_interrupted_removal_takes_the_anonymous_volumes_along(world: World) -> None:
    """They were handed on from container to container: nothing but these tells of them."""
    world.deploy(service("web", volumes="['/anon']"))
    world.deploy(service("web", volumes="['/anon']", hostname="second"))
    (mount,) = world.containers()[f"{world.project}-web-1"]["Mounts"]
    path = f"/v1/api/project/{world.project}?wait=false&timeout=1&images=false"
    killed_after(world, "container.remove:1", lambda: world.agent.delete(path))
    assert world.ids() == {}
    with pytest.raises(EngineError, match="no such volume"):
        world.engine.call("GET", f"/volumes/{mount['Name']}")
