"""A revision that mends what is broken does not wait until the broken one has been given up.

All time limits here are far beyond what a test waits for: who waited for them would fail.
"""

from __future__ import annotations

import pytest

from tests.live.agent.conftest import World
from tests.support.repository import service

LONG = "900"
NEVER = "{test: ['CMD', 'false'], interval: 1s, start_period: 900s}"
HEALTHY = "{test: ['CMD', 'true'], interval: 1s}"
START_FIRST = "{update_config: {order: start-first}}"


def stuck(place: World, *services: str, until: str) -> str:
    """Push a revision that does not get ready; the job that waits for it, once its container runs."""
    place.commit(*services, config={"timeout": LONG})
    answer = place.agent.poll(place.repository.url, wait=False)
    assert answer.status == 202, answer
    place.agent.until(lambda: until in place.running(), 60, f"{until} runs")
    assert place.agent.run(answer.job_id)["status"] == "running"
    return answer.job_id


def mend(place: World, *services: str) -> str:
    commit = place.commit(*services, config={"timeout": LONG})
    answer = place.agent.poll(place.repository.url)
    assert answer.status == 200, answer
    stack = place.agent.stack(place.project)
    assert stack is not None
    assert stack["revision"] == commit
    assert place.condition("Ready")["status"] is True
    return answer.job_id


def assert_superseded(place: World, job: str) -> None:
    """It shares the outcome of what took its place, and says so."""
    run = place.agent.finished_run(job)
    assert run["status"] == "succeeded", run
    assert any("took its place" in warning for warning in run["warnings"]), run


def test_a_container_that_never_gets_healthy(place: World) -> None:
    first = stuck(place, service("web", healthcheck=NEVER), until="web-1")
    mended = mend(place, service("web", healthcheck=HEALTHY))
    assert_superseded(place, first)
    actions = place.agent.run(mended)["actions"]
    assert ("replace-container", "succeeded") in {(action["kind"], action["status"]) for action in actions}
    place.assert_rests()


def test_a_dependency_that_never_gets_healthy(place: World) -> None:
    web = service("web", depends_on="{db: {condition: service_healthy}}")
    first = stuck(place, service("db", healthcheck=NEVER), web, until="db-1")
    mend(place, service("db", healthcheck=HEALTHY), web)
    assert place.running() == {"db-1", "web-1"}
    assert_superseded(place, first)
    place.assert_rests()


def test_a_successor_that_never_gets_healthy(place: World) -> None:
    place.deploy(service("web", deploy=START_FIRST))
    serving = place.ids()["web-1"]
    place.commit(service("web", healthcheck=NEVER, deploy=START_FIRST), config={"timeout": LONG})
    first = place.agent.poll(place.repository.url, wait=False).job_id
    place.agent.until(lambda: len(place.running()) == 2, 60, "the successor runs beside its predecessor")
    assert place.ids()["web-1"] == serving
    mend(place, service("web", healthcheck=HEALTHY, deploy=START_FIRST))
    assert set(place.ids()) == {"web-1"}
    assert_superseded(place, first)
    place.assert_rests()


def test_asking_for_the_same_again_waits_for_the_same(place: World) -> None:
    # Healthy as soon as somebody says so.
    check = "{test: ['CMD', 'test', '-e', '/tmp/ready'], interval: 1s, start_period: 900s}"
    first = stuck(place, service("web", healthcheck=check), until="web-1")
    again = [place.agent.poll(place.repository.url, wait=False).job_id for _ in range(2)]
    place.run_in("web-1", "touch", "/tmp/ready")
    runs = [place.agent.finished_run(job) for job in (first, *again)]
    assert [run["status"] for run in runs] == ["succeeded"] * 3, runs
    assert not any(run.get("warnings") for run in runs), runs
    place.assert_rests()


def test_stop_does_not_wait_for_a_dependency(place: World) -> None:
    web = service("web", depends_on="{db: {condition: service_healthy}}")
    stuck(place, service("db", healthcheck=NEVER), web, until="db-1")
    answer = place.agent.post(f"/v1/api/project/{place.project}/stop")
    assert answer.status == 200, answer
    assert place.running() == set()
    place.assert_rests()


@pytest.mark.parametrize("health", ["service", "dependency"])
def test_ending_the_agent_does_not_wait_for_health(world: World, health: str) -> None:
    services = [service("db", healthcheck=NEVER)]
    if health == "dependency":
        services.append(service("web", depends_on="{db: {condition: service_healthy}}"))
    world.agent.terminate()
    world.agent.start(SHUTDOWN_TIMEOUT="15m")
    first = stuck(world, *services, until="db-1")
    assert world.agent.terminate() == 0
    world.agent.start()
    mend(world, service("db", healthcheck=HEALTHY))
    assert world.agent.finished_run(first)["status"] == "succeeded"
