"""The Engine stops, dies or hangs under the agent: said clearly, and made up for without help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import AgentProcess, running_agent
from tests.support.engine import PrivateEngine
from tests.support.names import unique_name
from tests.support.repository import LocalRepository, service


@pytest.fixture(scope="module")
def breakable() -> Iterator[PrivateEngine]:
    with PrivateEngine() as running:
        yield running


@pytest.fixture
def broken(breakable: PrivateEngine, tmp_path: Path) -> Iterator[World]:
    """An agent on an Engine that the test may break."""
    with running_agent(tmp_path / "agent", DOCKER_HOST=breakable.url) as agent:
        world = World(agent, LocalRepository(tmp_path / "repository"), breakable.api, unique_name())
        yield world
        if not breakable.api.answers():
            breakable.start()
    breakable.api.remove_project(world.project)


def lost(agent: AgentProcess) -> bool:
    return agent.get("/v1/health").status == 503


def test_a_killed_engine_in_the_middle_of_a_deployment_is_waited_for(broken: World, breakable: PrivateEngine) -> None:
    services = [service(f"s{number}", depends_on=f"[s{number - 1}]" if number else "[]") for number in range(6)]
    broken.commit(*services)
    answer = broken.agent.poll(broken.repository.url, wait=False)
    assert answer.status == 202, answer
    broken.agent.until(lambda: len(broken.running()) >= 2, 30, "the deployment is under way")
    breakable.kill()
    broken.agent.until(lambda: lost(broken.agent), 20, "the loss is noticed")
    broken.agent.until(
        lambda: broken.condition("Ready").get("reason") == "ContextUnreachable", 20, "the stack says what it waits for"
    )
    assert "docker.sock" in broken.condition("Ready")["message"]
    assert broken.agent.run(answer.job_id)["status"] == "running"
    breakable.start()
    run = broken.agent.finished_run(answer.job_id)
    assert run["status"] == "succeeded", run
    assert broken.running() == {f"s{number}-1" for number in range(6)}
    assert broken.condition("Ready")["status"] is True
    broken.assert_rests()


def test_a_restart_of_the_engine_in_the_middle_of_a_deployment_ends_right(
    broken: World, breakable: PrivateEngine
) -> None:
    """An orderly restart stops all containers: nobody wanted that, so they run again."""
    assert broken.deploy(*(service(f"s{number}") for number in range(4))).status == 200
    broken.commit(*(service(f"s{number}", hostname="second") for number in range(4)))
    answer = broken.agent.poll(broken.repository.url, wait=False)
    broken.agent.until(
        lambda: any(c["Config"]["Hostname"] == "second" for c in broken.containers().values()), 30, "it began"
    )
    breakable.restart()
    run = broken.agent.finished_run(answer.job_id)
    assert run["status"] == "succeeded", run
    assert broken.running() == {f"s{number}-1" for number in range(4)}
    assert {c["Config"]["Hostname"] for c in broken.containers().values()} == {"second"}
    broken.assert_rests()


def test_while_the_engine_is_away_reads_answer_and_writes_are_kept(broken: World, breakable: PrivateEngine) -> None:
    agent = broken.agent
    assert broken.deploy(service("web")).status == 200
    assert agent.post(f"/v1/api/project/{broken.project}/stop?timeout=1").status == 200
    breakable.stop()
    agent.until(lambda: lost(agent), 20, "the loss is noticed")
    health = agent.get("/v1/health")
    assert (health.status, health.body["error"]) == (503, "failed to connect to docker host")
    assert "docker.sock" in health.content

    listed = agent.get("/v1/api/projects?all=true")
    assert listed.status == 200, listed
    assert [row["stale_since"] for row in listed.content if row["Name"] == broken.project] != [None], listed
    shown = agent.get(f"/v1/api/project/{broken.project}")
    assert shown.status == 200, shown
    assert agent.stack(broken.project) is not None

    jobs = []
    for action in ("start", "restart"):
        answer = agent.post(f"/v1/api/project/{broken.project}/{action}?wait=false")
        assert answer.status == 202, answer
        jobs.append(answer.job_id)
    broken.commit(service("web", hostname="later"))
    answer = agent.post("/v1/api/poll/run?wait=true&timeout=1", [{"url": broken.repository.url}])
    assert answer.status == 202, answer
    jobs.append(answer.job_id)

    breakable.start()
    runs = [agent.finished_run(job) for job in jobs]
    assert [run["status"] for run in runs] == ["succeeded"] * 3, runs
    assert broken.running() == {"web-1"}
    assert broken.containers()[f"{broken.project}-web-1"]["Config"]["Hostname"] == "later"
    agent.until(lambda: agent.get("/v1/health").status == 200, 20, "healthy again")


def test_stopped_by_hand_stays_stopped_over_a_restart_of_the_engine(broken: World, breakable: PrivateEngine) -> None:
    broken.deploy(service("web", restart="always"))
    assert broken.agent.post(f"/v1/api/project/{broken.project}/stop?timeout=1").status == 200
    breakable.restart()
    broken.agent.until(lambda: broken.agent.get("/v1/health").status == 200, 20, "the Engine is found")
    assert broken.agent.poll(broken.repository.url).status == 200
    assert broken.running() == set()
    assert broken.agent.post(f"/v1/api/project/{broken.project}/start").status == 200
    assert broken.running() == {"web-1"}


def test_an_agent_that_starts_before_its_engine_serves_and_catches_up(broken: World, breakable: PrivateEngine) -> None:
    broken.deploy(service("web"))
    broken.agent.kill()
    breakable.stop()
    broken.agent.start(wait=False)
    broken.agent.until(lambda: lost(broken.agent), 20, "it says that the Engine is away")
    assert broken.agent.stack(broken.project) is not None
    answer = broken.agent.poll(broken.repository.url, wait=False)
    assert answer.status == 202, answer
    breakable.start()
    assert broken.agent.finished_run(answer.job_id)["status"] == "succeeded"
    assert broken.running() == {"web-1"}


def test_a_frozen_engine_is_noticed_and_delays_no_read(broken: World, breakable: PrivateEngine) -> None:
    broken.deploy(service("web"))
    breakable.freeze()
    try:
        broken.commit(service("web", hostname="later"))
        answer = broken.agent.poll(broken.repository.url, wait=False)
        assert answer.status == 202
        for path in ("/v1/api/status", "/v1/api/projects", f"/v1/api/project/{broken.project}", "/v1/api/runs"):
            assert broken.agent.request("GET", path, timeout=10).status == 200, path
    finally:
        breakable.thaw()
    assert broken.agent.finished_run(answer.job_id)["status"] == "succeeded"
    assert broken.containers()[f"{broken.project}-web-1"]["Config"]["Hostname"] == "later"
