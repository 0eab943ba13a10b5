"""A Git repository becomes running containers, and stays that way."""

from __future__ import annotations

from pathlib import Path

from tests.live.agent.conftest import World
from tests.support.repository import compose, deploy_config, service


def test_a_push_is_deployed_and_a_second_look_does_nothing(world: World) -> None:
    answer = world.deploy(service("web"), service("worker"))
    assert answer.status == 200, answer
    assert answer.content == "poll jobs complete"
    assert world.running() == {"web-1", "worker-1"}
    world.assert_rests()


def test_only_the_changed_service_is_recreated_and_the_run_says_why(world: World) -> None:
    world.deploy(service("web"), service("worker"))
    before = world.ids()
    answer = world.deploy(service("web", environment="{GREETING: hello}"), service("worker"))
    assert answer.status == 200, answer
    after = world.ids()
    assert after["worker-1"] == before["worker-1"]
    assert after["web-1"] != before["web-1"]
    run = world.agent.run(answer.job_id)
    reasons = [
        change["field"] for action in run["actions"] for reason in action["reasons"] for change in reason["changes"]
    ]
    assert any("services.web.environment" in field for field in reasons), run["actions"]
    assert not any(action["target"].endswith("worker-1") for action in run["actions"])
    world.assert_rests()


def test_a_removed_service_is_removed(world: World) -> None:
    world.deploy(service("web"), service("worker"))
    answer = world.deploy(service("web"))
    assert answer.status == 200, answer
    assert set(world.ids()) == {"web-1"}
    world.assert_rests()


def test_scale_grows_and_shrinks_from_the_end(world: World) -> None:
    world.deploy(service("web"))
    first = world.ids()["web-1"]
    world.deploy(service("web", scale="3"))
    assert world.running() == {"web-1", "web-2", "web-3"}
    world.assert_rests()
    world.deploy(service("web", scale="1"))
    assert world.ids() == {"web-1": first}
    world.assert_rests()


def test_a_changed_file_recreates_its_users_alone(world: World) -> None:
    mounted = service("web", volumes='["./app.conf:/etc/app.conf:ro"]')
    world.deploy(mounted, service("worker"), **{"app.conf": "one"})
    before = world.ids()
    answer = world.deploy(mounted, service("worker"), **{"app.conf": "two"})
    assert answer.status == 200, answer
    after = world.ids()
    assert after["web-1"] != before["web-1"]
    assert after["worker-1"] == before["worker-1"]
    run = world.agent.run(answer.job_id)
    texts = [str(action["reasons"]) for action in run["actions"]]
    assert any("/etc/app.conf" in text and "content changed" in text for text in texts), texts
    world.assert_rests()


def test_a_commit_that_touches_nothing_of_a_stack_touches_no_container(world: World) -> None:
    world.deploy(service("web"))
    before, writes = world.ids(), world.writes()
    generation = world.agent.stack(world.project)
    assert generation is not None
    world.repository.commit({"README.md": "words"})
    answer = world.agent.poll(world.repository.url)
    assert answer.status == 200, answer
    stack = world.agent.stack(world.project)
    assert stack is not None
    assert (world.ids(), world.writes()) == (before, writes)
    assert stack["generation"] == generation["generation"]
    assert stack["revision"] == world.repository.head


def test_killed_removed_and_stopped_containers_come_back_and_say_why(world: World) -> None:
    world.deploy(service("web"), service("worker"), service("third"))
    ids = world.ids()
    world.engine.call("POST", f"/containers/{ids['web-1']}/kill")
    world.engine.call("DELETE", f"/containers/{ids['worker-1']}", {"force": 1})
    world.engine.call("POST", f"/containers/{ids['third-1']}/stop", {"t": 0})
    world.agent.until(lambda: world.running() == {"web-1", "worker-1", "third-1"}, 20, "all three run again")
    healed = world.ids()
    assert healed["web-1"] == ids["web-1"]
    assert healed["worker-1"] != ids["worker-1"]

    def explained() -> bool:
        listed = world.agent.get(f"/v1/api/runs?trigger=reconcile&stack={world.project}").content
        runs = [world.agent.run(run["job_id"]) for run in listed]
        texts = [str(run.get("actions")) for run in runs]
        # A container that runs need not have been told to the agent yet: its run is over then.
        return all(run["status"] != "running" for run in runs) and all(
            any(f"{world.project}-{name}-1" in text for text in texts) for name in ("web", "worker", "third")
        )

    world.agent.until(explained, 20, "a run explains each repair")
    world.assert_rests()


def test_a_syntax_error_leaves_everything_running_and_says_where(world: World) -> None:
    world.deploy(service("web"))
    before = world.ids()
    world.repository.commit({"compose.yaml": "services:\n  web:\n    image: moored/busybox:1\n    ports: 80\n"})
    answer = world.agent.poll(world.repository.url)
    assert answer.status == 500, answer
    assert answer.body["error"] == "1/1 poll jobs failed"
    assert "compose.yaml:4" in answer.content
    assert "services.web.ports" in answer.content
    assert world.ids() == before
    assert world.running() == {"web-1"}
    assert world.deploy(service("web")).status == 200
    assert world.ids() == before


def test_an_image_that_does_not_exist_fails_the_run_alone(world: World) -> None:
    world.deploy(service("web"))
    before = world.ids()
    answer = world.deploy(service("web", image="127.0.0.1:9/nothing:1"))
    assert answer.status == 500, answer
    assert "127.0.0.1:9/nothing:1" in answer.content
    assert world.ids() == before
    assert world.running() == {"web-1"}
    assert world.deploy(service("web", hostname="fixed")).status == 200
    assert world.running() == {"web-1"}
    assert world.ids() != before
    world.assert_rests()


def test_a_service_that_does_not_become_healthy_fails_the_run_with_its_last_words(world: World) -> None:
    answer = world.deploy(service("web", command='["sh", "-c", "echo nobody home; exit 3"]'))
    assert answer.status == 500, answer
    assert "web" in answer.content
    assert "3" in answer.content
    assert "nobody home" in answer.content
    stack = world.agent.stack(world.project)
    assert stack is not None
    ready = next(c for c in stack["conditions"] if c["type"] == "Ready")
    assert ready["status"] is False


def test_something_removed_while_the_agent_was_down_is_repaired_before_any_poll(world: World) -> None:
    world.deploy(service("web"), service("worker"))
    world.agent.kill()
    ids = world.ids()
    world.engine.call("DELETE", f"/containers/{ids['web-1']}", {"force": 1})
    world.engine.call("POST", f"/containers/{ids['worker-1']}/kill")
    world.agent.start()
    world.agent.until(lambda: world.running() == {"web-1", "worker-1"}, 20, "both run again")


def test_one_document_of_two_that_is_invalid_fails_the_file(world: World) -> None:
    world.deploy(service("web"))
    before = world.ids()
    world.repository.commit(
        {
            ".doco-cd.yml": deploy_config(world.project) + "---\nworking_dir: other\n",
            "compose.yaml": compose(service("web", hostname="changed")),
        }
    )
    answer = world.agent.poll(world.repository.url)
    assert answer.status == 500, answer
    assert ".doco-cd.yml" in answer.content
    assert "name" in answer.content
    assert world.ids() == before


def test_polls_of_the_configuration_follow_a_push(world: World) -> None:
    world.repository.commit({".doco-cd.yml": deploy_config(world.project), "compose.yaml": compose(service("web"))})
    world.agent.terminate()
    world.agent.start(POLL_CONFIG=f"- url: {world.repository.url}\n  interval: 10\n")
    world.agent.until(lambda: world.running() == {"web-1"}, 20, "the stack runs")
    before = world.ids()
    world.repository.commit({"compose.yaml": compose(service("web", hostname="second"))})
    world.agent.until(lambda: world.ids() not in (before, {}), 20, "the push arrives")


def test_an_explicit_poll_of_what_is_known_asks_the_engine_nothing(world: World) -> None:
    world.deploy(service("web"), service("worker"))
    world.assert_rests()

    def asked() -> float:
        # Pings come by themselves, so they must not be read at another moment than the rest.
        return world.agent.metric("moored_engine_call_seconds_count", without='operation="ping"')

    def asks_nothing() -> bool:
        calls, stack = asked(), world.agent.stack(world.project)
        answer = world.agent.poll(world.repository.url)
        assert answer.status == 200, answer
        assert world.agent.stack(world.project) == stack, "not a byte of the stack was written"
        return asked() == calls

    # Somebody else may have tagged or removed an image meanwhile: then it is worth a look.
    world.agent.until(asks_nothing, 20, "a poll that asks the Engine nothing")


def test_an_explicit_poll_of_what_is_known_still_repairs(world: World) -> None:
    world.deploy(service("web", restart="'no'"))
    world.agent.poll(world.repository.url)
    # As the agent cannot have undone it yet when it is asked, it must not believe what it knew.
    (container,) = world.ids().values()
    world.engine.call("POST", f"/containers/{container}/kill", {"signal": "KILL"})
    answer = world.agent.poll(world.repository.url)
    assert answer.status == 200, answer
    world.agent.until(lambda: world.running() == {"web-1"}, 20, "the container runs again")


def test_a_file_that_git_does_not_track_counts_at_an_explicit_poll(world: World) -> None:
    web = service("web", env_file="[{path: local.env, required: false}]")
    assert world.deploy(web).status == 200
    (container,) = world.containers().values()
    local = Path(container["Config"]["Labels"]["com.docker.compose.project.working_dir"]) / "local.env"
    for word in ("one", "two"):
        local.write_text(f"GREETING={word}\n")
        answer = world.agent.poll(world.repository.url)
        assert answer.status == 200, answer
        (container,) = world.containers().values()
        assert f"GREETING={word}" in container["Config"]["Env"]
        world.assert_rests()


def test_a_stack_to_be_recreated_at_each_request_is_recreated_at_each(world: World) -> None:
    world.deploy(service("web"), config={"force_recreate": "true"})
    seen = {world.ids()["web-1"]}
    for _ in range(2):
        answer = world.agent.poll(world.repository.url)
        assert answer.status == 200, answer
        seen.add(world.ids()["web-1"])
    assert len(seen) == 3
