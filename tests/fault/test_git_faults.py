"""A Git server that misbehaves: said clearly, delays nobody else, and is found again by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import running_agent
from tests.support.docker_api import DockerApi
from tests.support.git_servers import Fault, GitHTTPServer, Repository
from tests.support.repository import LocalRepository, compose, deploy_config, service


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHTTPServer]:
    with GitHTTPServer(tmp_path) as running:
        yield running


@pytest.fixture
def remote(server: GitHTTPServer) -> Repository:
    return server.create_repo("acme/shop")


@pytest.fixture
def world(tmp_path: Path, engine: DockerApi, project: str) -> Iterator[World]:
    with running_agent(tmp_path / "agent") as agent:
        yield World(agent, LocalRepository(tmp_path / "repository"), engine, project)


def push(remote: Repository, project: str, *services: str) -> str:
    return remote.commit({".doco-cd.yml": deploy_config(project, timeout="30"), "compose.yaml": compose(*services)})


def source(world: World, repository: str) -> dict[str, Any]:
    sources: list[dict[str, Any]] = world.agent.get("/v1/api/status").content["sources"]
    return next(source for source in sources if source["repository"].endswith(repository))


def source_ready(world: World, repository: str) -> dict[str, Any]:
    conditions = source(world, repository)["conditions"]
    return next((c for c in conditions if c["type"] == "SourceReady"), {})


@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault.RESET, "Unreachable"), (Fault.STATUS, "Unreachable"), (Fault.SLOW, "")]
)
def test_a_faulty_server_is_named_and_what_runs_goes_on(
    world: World, server: GitHTTPServer, remote: Repository, fault: Fault, reason: str
) -> None:
    push(remote, world.project, service("web"))
    assert world.agent.poll(remote.url).status == 200
    ids = world.ids()
    push(remote, world.project, service("web", hostname="second"))
    server.fault, server.status = fault, 500
    answer = world.agent.poll(remote.url)
    if reason:
        assert answer.status == 500, answer
        assert answer.body["error"] == "1/1 poll jobs failed"
        assert "acme/shop" in answer.content
        condition = source_ready(world, "acme/shop")
        assert condition["status"] is False
        assert condition["reason"] == reason, condition
        assert condition["message"]
        assert world.ids() == ids
        assert world.condition("Ready")["status"] is True
        server.recover()
        assert world.agent.poll(remote.url).status == 200
    else:
        assert answer.status == 200, answer
    assert source_ready(world, "acme/shop")["status"] is True
    assert world.containers()[f"{world.project}-web-1"]["Config"]["Hostname"] == "second"


def test_a_hanging_server_holds_up_nobody_else_and_its_job_resolves_later(
    world: World, server: GitHTTPServer, remote: Repository
) -> None:
    push(remote, f"{world.project}-far", service("web"))
    server.fault = Fault.HANG
    answer = world.agent.post("/v1/api/poll/run?wait=true&timeout=1", [{"url": remote.url}])
    assert answer.status == 202, answer
    assert server.hanging.wait(60)
    joined = world.agent.poll(remote.url, wait=False)
    assert world.deploy(service("near")).status == 200
    assert world.running() == {"near-1"}
    ids = world.ids()
    world.engine.call("POST", f"/containers/{ids['near-1']}/kill")
    world.agent.until(lambda: world.running() == {"near-1"}, 10, "drift elsewhere is repaired", soon=True)
    assert world.agent.run(answer.job_id)["status"] == "running"

    server.recover()
    first, second = (world.agent.finished_run(job) for job in (answer.job_id, joined.job_id))
    assert first["status"] == "failed", "the request that hung was broken off"
    assert second["status"] == "succeeded", second
    assert source_ready(world, "acme/shop")["status"] is True
    assert world.agent.delete(f"/v1/api/project/{world.project}-far?timeout=0&images=false").status == 200


def test_an_unreachable_remote_at_start_keeps_nobody_from_repairing_drift(
    world: World, server: GitHTTPServer, remote: Repository
) -> None:
    push(remote, world.project, service("web"), service("db"))
    polls = f"- url: {remote.url}\n  interval: 3600\n"
    world.agent.terminate()
    world.agent.start(POLL_CONFIG=polls)
    world.agent.until(lambda: world.running() == {"web-1", "db-1"}, 20, "both run")
    world.agent.kill()
    ids = world.ids()
    world.engine.call("DELETE", f"/containers/{ids['web-1']}", {"force": 1})
    world.engine.call("POST", f"/containers/{ids['db-1']}/kill")
    server.fault = Fault.RESET
    world.agent.start(POLL_CONFIG=polls)
    world.agent.until(lambda: world.running() == {"web-1", "db-1"}, 20, "both run again")
    world.agent.until(lambda: source_ready(world, "acme/shop").get("status") is False, 20, "the source says so")
    commit = push(remote, world.project, service("web"), service("db", hostname="second"))
    server.recover()
    # Long before its interval is over, and without anybody asking.
    world.agent.until(lambda: source(world, "acme/shop")["revision"] == commit, 20, "the source is tried again")
    world.agent.until(
        lambda: world.containers().get(f"{world.project}-db-1", {}).get("Config", {}).get("Hostname") == "second",
        20,
        "and what it brings is deployed",
    )
    errors = [line for line in world.agent.logs() if line["level"] == "error" and "poll" in line["msg"]]
    assert len(errors) <= 2, "said once, not at each attempt"


def test_a_force_push_is_followed(world: World, remote: Repository) -> None:
    push(remote, world.project, service("web"))
    assert world.agent.poll(remote.url).status == 200
    remote.commit(
        {".doco-cd.yml": deploy_config(world.project), "compose.yaml": compose(service("other"))}, orphan=True
    )
    assert world.agent.poll(remote.url).status == 200
    assert world.running() == {"other-1"}
