"""What a person does over the API lasts: over polls, commits, restarts and crashes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.live.agent.conftest import World
from tests.support.repository import compose, deploy_config, service


def do(world: World, action: str, **query: object) -> None:
    arguments = "&".join(f"{name}={value}" for name, value in query.items())
    answer = world.agent.post(f"/v1/api/project/{world.project}/{action}?{arguments}")
    assert answer.status == 200, answer


def foreign(place: World, **more: Any) -> str:
    """A container of a project that Moored does not manage, created, and seen by the agent; its id."""
    labels = {"com.docker.compose.project": place.project, "com.docker.compose.service": "web"}
    labels |= {"com.docker.compose.container-number": "1", "com.docker.compose.oneoff": "False"}
    body = {"Image": "moored/busybox:1", "Labels": labels, **more}
    made = place.engine.call("POST", "/containers/create", {"name": f"{place.project}-web-1"}, body)
    path = f"/v1/api/project/{place.project}"
    place.agent.until(lambda: place.agent.get(path).status == 200, 20, "the project was seen")
    container: str = made["Id"]
    return container


def test_stopped_by_hand_stays_stopped_until_somebody_starts_it(place: World) -> None:
    place.deploy(service("web"), service("db"))
    do(place, "stop", timeout=1)
    assert place.running() == set()
    assert place.condition("Suspended")["reason"] == "Stopped"
    assert place.agent.poll(place.repository.url).status == 200
    assert place.running() == set()
    assert place.deploy(service("web", hostname="moved"), service("db")).status == 200
    assert place.running() == set()

    place.agent.kill()
    place.agent.start()
    assert place.agent.poll(place.repository.url).status == 200
    assert place.running() == set()
    assert place.condition("Suspended")["status"]
    stack = place.agent.stack(place.project)
    assert stack is not None
    assert stack["overrides"]["stopped"] is True, stack

    do(place, "start")
    assert place.running() == {"web-1", "db-1"}
    assert place.containers()[f"{place.project}-web-1"]["Config"]["Hostname"] == "moved"
    assert place.condition("Suspended") == {}
    place.assert_rests()


def test_restart_ends_a_stop_and_so_does_clearing_the_override(place: World) -> None:
    place.deploy(service("web"))
    do(place, "stop", timeout=1)
    do(place, "restart", timeout=1)
    assert place.running() == {"web-1"}
    do(place, "stop", timeout=1)
    answer = place.agent.delete(f"/v1/api/project/{place.project}/override")
    assert answer.status == 200, answer
    assert place.running() == {"web-1"}
    place.assert_rests()


def test_a_restart_restarts_each_container_once_and_changes_nothing_else(place: World) -> None:
    place.deploy(service("web", scale="2"), service("db"))
    before, ids = place.started(), place.ids()
    do(place, "restart", timeout=1)
    after = place.started()
    assert place.ids() == ids
    assert all(after[name] != before[name] for name in before)
    place.assert_rests()


def test_a_removed_project_stays_away_until_its_own_state_changes(place: World) -> None:
    """Commits of others, polls of the timer, webhooks and restarts do not bring it back."""
    place.commit(service("web"))
    place.agent.terminate()
    place.agent.start(POLL_CONFIG=f"- url: {place.repository.url}\n  interval: 10\n")
    place.agent.until(lambda: place.running() == {"web-1"}, 20, "the stack runs")
    answer = place.agent.delete(f"/v1/api/project/{place.project}?timeout=1&images=false")
    assert answer.status == 200, answer
    assert place.ids() == {}
    assert place.condition("Suspended")["reason"] == "Removed"

    def revision() -> str:
        stack = place.agent.stack(place.project)
        assert stack is not None
        return str(stack["revision"])

    head = place.repository.commit({"README.md": "words of others"})
    place.agent.until(lambda: revision() == head, 20, "the commit was seen")
    assert place.ids() == {}
    place.agent.kill()
    place.agent.start(POLL_CONFIG=f"- url: {place.repository.url}\n  interval: 10\n")
    head = place.repository.commit({"README.md": "more words"})
    place.agent.until(lambda: revision() == head, 20, "the commit was seen after a restart")
    assert place.ids() == {}

    place.commit(service("web", hostname="again"))
    place.agent.until(lambda: place.running() == {"web-1"}, 20, "its own change brings it back")
    place.agent.terminate()
    place.agent.start()


def test_a_removed_project_comes_back_by_an_explicit_poll_or_start(place: World) -> None:
    place.deploy(service("web"))
    for back in (
        lambda: place.agent.poll(place.repository.url),
        lambda: place.agent.post(f"/v1/api/project/{place.project}/start"),
    ):
        assert place.agent.delete(f"/v1/api/project/{place.project}?timeout=1&images=false").status == 200
        assert place.ids() == {}
        assert back().status == 200
        assert place.running() == {"web-1"}
    place.assert_rests()


def test_a_restart_does_not_bring_back_what_was_removed(place: World) -> None:
    place.deploy(service("web"))
    removal = place.agent.delete(f"/v1/api/project/{place.project}?timeout=1&images=false")
    stacks = place.agent.run(removal.job_id)["stacks"]
    assert [(stack["stack"], stack["status"]) for stack in stacks] == [(place.project, "succeeded")]
    answer = place.agent.post(f"/v1/api/project/{place.project}/restart")
    assert (answer.status, answer.body["error"]) == (404, f"project not found: {place.project}")
    assert place.running() == set()
    do(place, "start")
    assert place.running() == {"web-1"}


def test_removal_takes_volumes_unless_told_not_to_and_never_those_of_others(place: World) -> None:
    other = f"{place.project}-other"
    external = f"{place.project}-external"
    label = {"io.moored.test": place.project}
    for name in (other, external):
        place.engine.call("POST", "/volumes/create", body={"Name": name, "Labels": label})
    services = [service("web", volumes="['data:/data', 'outside:/outside']")]
    more = f"volumes:\n  data: {{}}\n  outside: {{external: true, name: {external}}}\n"
    assert place.deploy(*services, more=more).status == 200
    assert place.volumes() == {"data"}
    path = f"/v1/api/project/{place.project}?timeout=1&images=false"
    assert place.agent.delete(f"{path}&volumes=false").status == 200
    assert place.ids() == {}
    assert place.volumes() == {"data"}
    assert place.agent.poll(place.repository.url).status == 200
    answer = place.agent.delete(path)
    assert answer.status == 200, answer
    assert place.volumes() == set()
    run = place.agent.run(answer.job_id)
    assert any(action["target"] == f"{place.project}_data" for action in run["actions"]), run["actions"]
    left = {volume["Name"] for volume in place.engine.call("GET", "/volumes")["Volumes"]}
    assert {other, external} <= left


def test_a_restart_that_was_accepted_survives_kill_and_is_done_once(place: World) -> None:
    """The first container's stop takes its whole grace; the agent dies in the middle of it."""
    slow = service(
        "slow", command="""["sh", "-c", "trap '' TERM; sleep 3600"]""", stop_grace_period="3s", depends_on="[quick]"
    )
    assert place.deploy(service("quick"), slow).status == 200
    quick, slow_name = f"{place.project}-quick-1", f"{place.project}-slow-1"
    before = place.started()
    answer = place.agent.post(f"/v1/api/project/{place.project}/restart?wait=false&timeout=3")
    assert answer.status == 202, answer
    place.agent.until(lambda: place.started()[quick] != before[quick], 20, "the first one was restarted")
    restarted = place.started()[quick]
    place.agent.kill()
    place.agent.start()
    run = place.agent.finished_run(answer.job_id)
    assert run["status"] == "succeeded", run
    after = place.started()
    assert after[slow_name] != before[slow_name]
    assert after[quick] == restarted, "the one that had its restart was left alone"
    assert place.running() == {"quick-1", "slow-1"}
    place.assert_rests()


def test_calls_on_a_foreign_project_act_once_and_leave_no_trace(place: World) -> None:
    container = foreign(place, Cmd=["sleep", "3600"], HostConfig={"Init": True})
    do(place, "start")
    do(place, "stop", timeout=1)
    assert place.running() == set()
    place.engine.call("POST", f"/containers/{container}/start")
    time.sleep(1)  # nobody shall do anything in this time
    assert place.running() == {"web-1"}
    assert place.agent.stack(place.project) is None


def test_what_is_left_of_a_foreign_project_can_be_removed(place: World) -> None:
    foreign(place, Cmd=["true"])
    labels = {"com.docker.compose.project": place.project, "com.docker.compose.volume": "data"}
    place.engine.call("POST", "/volumes/create", body={"Name": f"{place.project}_data", "Labels": labels})
    place.agent.until(lambda: place.volumes() == {"data"}, 10, "the volume is there")
    path = f"/v1/api/project/{place.project}"
    assert place.agent.delete(f"{path}?volumes=false&images=false&timeout=0").status == 200
    assert place.agent.get(path).status == 404
    assert place.volumes() == {"data"}
    assert place.agent.delete(f"{path}?images=false").status == 200
    assert place.volumes() == set()
    place.agent.until(lambda: place.agent.delete(path).status == 404, 10, "nothing is left")


STARTING = {"Test": ["CMD", "false"], "Interval": 10**9, "Retries": 1000}


def never_healthy(place: World) -> None:
    """A foreign project, stopped; its health check says nothing for long."""
    foreign(place, Cmd=["sleep", "3600"], HostConfig={"Init": True}, Healthcheck=STARTING)


def never_healthy_stack(place: World) -> None:
    """A managed one."""
    web = service("web", healthcheck='{test: ["CMD", "false"], interval: 1s, retries: 1000}')
    place.commit(web)
    job = place.agent.poll(place.repository.url, wait=False)
    assert job.status == 202, job
    place.agent.until(lambda: place.running() == {"web-1"}, 30, "it runs")
    do(place, "stop", timeout=1)


@pytest.mark.parametrize("make", [never_healthy, never_healthy_stack])
def test_a_start_fails_when_its_time_is_over_before_all_are_well(place: World, make: Callable[[World], None]) -> None:
    make(place)
    answer = place.agent.post(f"/v1/api/project/{place.project}/start?timeout=2")
    assert (answer.status, answer.body["error"]) == (500, "application not healthy after 2s")
    assert answer.content == "failed to start project"
    place.agent.until(lambda: place.running() == {"web-1"}, 20, "it is started all the same")


def healthy(place: World) -> None:
    check = {"Test": ["CMD", "true"], "Interval": 10**9}
    foreign(place, Cmd=["sleep", "3600"], HostConfig={"Init": True}, Healthcheck=check)
    do(place, "start")


def healthy_stack(place: World) -> None:
    place.deploy(service("web", healthcheck='{test: ["CMD", "true"], interval: 1s}'))


@pytest.mark.parametrize("make", [healthy, healthy_stack])
def test_a_start_of_what_was_paused_waits_for_its_next_check(place: World, make: Callable[[World], None]) -> None:
    """The Engine calls it unhealthy until then."""
    make(place)
    place.engine.call("POST", f"/containers/{place.project}-web-1/pause")
    do(place, "start")
    assert place.containers()[f"{place.project}-web-1"]["State"]["Health"]["Status"] == "healthy"


def test_a_start_of_what_ends_at_once_fails(place: World) -> None:
    foreign(place, Cmd=["false"])
    answer = place.agent.post(f"/v1/api/project/{place.project}/start?timeout=0")
    assert (answer.status, answer.body["error"]) == (500, f"container {place.project}-web-1 exited (1)")


def test_seconds_beyond_what_an_engine_counts_are_no_limit(place: World) -> None:
    place.deploy(service("web"))
    do(place, "restart", timeout=2**63 - 1)
    do(place, "stop", timeout=2**63 - 1)
    do(place, "start", timeout=-1)
    assert place.running() == {"web-1"}


def test_commands_of_one_project_follow_each_other(place: World) -> None:
    place.repository.commit({".doco-cd.yml": deploy_config(place.project), "compose.yaml": compose(service("web"))})
    assert place.agent.poll(place.repository.url).status == 200
    jobs = [
        # A second of grace; a start has longer to get well.
        place.agent.post(f"/v1/api/project/{place.project}/{action}?wait=false&timeout={seconds}").job_id
        for action, seconds in (("restart", 1), ("stop", 1), ("start", 120)) * 2
    ]
    runs = [place.agent.finished_run(job) for job in jobs]
    assert [run["status"] for run in runs] == ["succeeded"] * 6, runs
    for earlier, later in itertools.pairwise(runs):
        assert earlier["finished_at"] <= later["started_at"]
    assert place.running() == {"web-1"}


def test_an_image_goes_along_unless_somebody_else_uses_it(place: World) -> None:
    """The default takes images along; one in use is no reason to fail or to try again and again."""
    labels = {"io.moored.test": place.project}
    image = f"{place.project}-image:1"
    holder = place.engine.call(
        "POST", "/containers/create", body={"Image": "moored/busybox:1", "Cmd": ["true"], "Labels": labels}
    )
    place.engine.call(
        "POST", "/commit", {"container": holder["Id"], "repo": f"{place.project}-image", "tag": "1"}, {"Labels": labels}
    )
    user = place.engine.call("POST", "/containers/create", body={"Image": image, "Cmd": ["true"], "Labels": labels})
    web = service("web", image=image, command="sleep 3600")
    assert place.deploy(web).status == 200
    answer = place.agent.delete(f"/v1/api/project/{place.project}?timeout=1")
    assert answer.status == 200, answer
    assert place.ids() == {}
    assert place.engine.has_image(image)
    place.engine.call("DELETE", f"/containers/{user['Id']}")
    assert place.agent.poll(place.repository.url).status == 200
    assert place.running() == {"web-1"}
    assert place.agent.delete(f"/v1/api/project/{place.project}?timeout=1").status == 200
    assert not place.engine.has_image(image)


def test_who_wants_a_project_back_during_its_removal_gets_it_and_nothing_else_goes(place: World) -> None:
    """The stop takes its whole grace; a poll comes in the middle of it."""
    stubborn = service(
        "web", command="""["sh", "-c", "trap '' TERM; sleep 3600"]""", volumes="['data:/data']", stop_grace_period="3s"
    )
    assert place.deploy(stubborn, more="volumes: {data: {}}\n").status == 200
    path = f"/v1/api/project/{place.project}?wait=false&timeout=3&images=false&volumes=false"
    removal = place.agent.delete(path)
    assert removal.status == 202, removal

    def stopping() -> bool:
        actions = place.agent.run(removal.job_id).get("actions", [])
        return any(action["kind"] == "stop-container" for action in actions)

    place.agent.until(stopping, 20, "the removal has begun")
    assert place.agent.poll(place.repository.url).status == 200
    assert place.agent.finished_run(removal.job_id)["status"] == "succeeded"
    assert place.running() == {"web-1"}
    assert place.volumes() == {"data"}
    actions = place.agent.run(removal.job_id)["actions"]
    assert not any(action["kind"] in ("remove-image", "remove-volume") for action in actions), actions
    place.assert_rests()
