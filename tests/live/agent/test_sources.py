"""Repositories that are odd, gone for a while, moved, or claim what is another's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import AgentProcess, running_agent
from tests.support.docker_api import DockerApi
from tests.support.git_servers import Fault, GitHTTPServer
from tests.support.repository import LocalRepository, compose, deploy_config, service


def ready(agent: AgentProcess) -> dict[str, Any]:
    """`SourceReady` of the only source."""
    sources = agent.get("/v1/api/status").content["sources"]
    conditions = sources[0]["conditions"] if sources else []
    return next((item for item in conditions if item["type"] == "SourceReady"), {})


@contextmanager
def following(data: Path, url: str, **entry: Any) -> Iterator[AgentProcess]:
    """An agent that looks at one repository every ten seconds."""
    with running_agent(data, POLL_CONFIG=json.dumps([{"url": url, "interval": 10, "watch": False, **entry}])) as agent:
        yield agent


# --- whose stack it is ------------------------------------------------------------------------


def test_a_stack_of_another_repository_is_not_destroyed(place: World, tmp_path: Path) -> None:
    assert place.deploy(service("web")).status == 200
    other = LocalRepository(tmp_path / "other")
    other.commit({".doco-cd.yml": deploy_config(place.project, destroy="true")})
    answer = place.agent.poll(other.url)
    assert answer.status == 500
    assert "not managed by this repository" in answer.content
    assert place.running() == {"web-1"}
    assert place.condition("Degraded") == {}, "what another repository wants is no fault of the stack"


def test_a_stack_that_only_the_engine_knows_is_destroyed_by_its_repository_alone(place: World, tmp_path: Path) -> None:
    assert place.deploy(service("web", volumes="['data:/data']"), more="volumes: {data: {}}\n").status == 200
    place.agent.kill()
    for file in (place.agent.data / "mount").glob("moored.db*"):
        file.unlink()
    place.agent.start()
    other = LocalRepository(tmp_path / "other")
    other.commit({".doco-cd.yml": deploy_config(place.project, destroy="true")})
    answer = place.agent.poll(other.url)
    assert answer.status == 500
    assert "not managed by this repository" in answer.content
    assert place.running() == {"web-1"}
    place.repository.commit(
        {".doco-cd.yml": deploy_config(place.project, destroy="{enabled: true, remove_volumes: false}")}
    )
    assert place.agent.poll(place.repository.url).status == 200
    assert place.containers() == {}
    assert place.volumes() == {"data"}
    place.assert_rests()


def test_a_repository_that_moved_takes_its_stacks_along(tmp_path: Path, project: str, engine: DockerApi) -> None:
    here, there = LocalRepository(tmp_path / "here"), tmp_path / "there"
    here.commit({".doco-cd.yml": deploy_config(project), "compose.yaml": compose(service("web"))})
    with following(tmp_path / "agent", here.url) as agent:
        place = World(agent, here, engine, project)
        agent.until(lambda: place.running() == {"web-1"}, 20, "deployed")
        ids = place.ids()
        agent.kill()
        here.path.rename(there)
        agent.start(POLL_CONFIG=json.dumps([{"url": f"file://{there}", "interval": 10}]))

        def taken_over() -> bool:
            stack = agent.stack(project)
            return stack is not None and f"/{stack['repository']}" == str(there)

        agent.until(taken_over, 20, "the stack belongs to the new place")
        assert place.ids() == ids
        assert place.condition("Degraded") == {}


# --- what cannot be had, or read --------------------------------------------------------------


def test_a_deleted_branch_of_one_stack_does_not_keep_the_next_commit_out(place: World) -> None:
    repository = place.repository
    repository.commit({"compose.yaml": compose(service("web"))})
    repository._git("branch", "feature")
    repository.commit({".doco-cd.yml": deploy_config(place.project, reference="feature")})
    assert place.agent.poll(repository.url).status == 200
    repository._git("branch", "-D", "feature")
    answer = place.agent.poll(repository.url)
    assert answer.status == 500
    assert "feature" in answer.content
    assert place.running() == {"web-1"}
    answer = place.deploy(service("web"), service("two"))
    assert answer.status == 200, answer
    assert place.running() == {"web-1", "two-1"}


def test_another_repository_that_was_away_is_asked_again(tmp_path: Path, project: str, engine: DockerApi) -> None:
    with GitHTTPServer(tmp_path) as server:
        main, other = server.create_repo("acme/main"), server.create_repo("acme/other")
        other.commit({"compose.yaml": compose(service("web"))})
        main.commit({".doco-cd.yml": deploy_config(project, repository_url=other.url)})
        server.fault, server.fault_path = Fault.STATUS, "acme/other"
        with following(tmp_path / "agent", main.url, run_once=True) as agent:
            place = World(agent, LocalRepository(tmp_path / "none"), engine, project)
            agent.until(lambda: ready(agent).get("reason") == "RenderFailed", 20, "said why")
            server.recover()
            agent.until(lambda: place.running() == {"web-1"}, 30, "deployed")
            assert ready(agent)["status"] is True
            assert len([line for line in agent.logs() if line["msg"] == "deployment failed"]) == 1


@pytest.mark.parametrize("bad", ["name: [", "name: {project}\nworking_dir: nowhere\n"], ids=["file", "stack"])
def test_what_is_wrong_with_a_revision_is_said_once_and_stays_said(
    tmp_path: Path, project: str, engine: DockerApi, bad: str
) -> None:
    repository = LocalRepository(tmp_path / "repository")
    repository.commit({".doco-cd.yml": bad.format(project=project), "compose.yaml": compose(service("web"))})
    with following(tmp_path / "agent", repository.url, watch=True) as agent:
        place = World(agent, repository, engine, project)

        def polls() -> float:
            return agent.metric("doco_cd_polls_total")

        agent.until(lambda: polls() >= 1, 20, "polled")
        said = ready(agent)
        assert said["status"] is False
        lines = [line for line in agent.logs() if line["level"] != "debug"]
        agent.until(lambda: polls() >= 2, 40, "polled again")
        assert ready(agent) == said
        assert [line for line in agent.logs() if line["level"] != "debug"] == lines
        assert len(agent.get("/v1/api/runs").content) == 1
        place.commit(service("web"))
        agent.until(lambda: place.running() == {"web-1"}, 30, "deployed")
        assert ready(agent)["status"] is True


def test_a_stack_that_can_be_rendered_again_is_not_degraded_any_more(
    tmp_path: Path, project: str, engine: DockerApi
) -> None:
    """Also when it is as it was before, so that nothing is to be deployed."""
    repository = LocalRepository(tmp_path / "repository")
    repository.commit({".doco-cd.yml": deploy_config(project), "compose.yaml": compose(service("web"))})
    with following(tmp_path / "agent", repository.url, watch=True) as agent:
        place = World(agent, repository, engine, project)
        agent.until(lambda: place.condition("Ready").get("status") is True, 20, "deployed")
        for working_dir, degraded in (("nowhere", True), (".", False)):
            repository.commit({".doco-cd.yml": deploy_config(project, working_dir=working_dir)})
            agent.until(lambda degraded=degraded: bool(place.condition("Degraded")) is degraded, 30, "said")


@pytest.mark.parametrize("target", ["/etc/passwd", "nowhere"])
def test_a_deploy_file_that_leads_out_of_the_repository_is_not_read(place: World, target: str) -> None:
    link = place.repository.path / ".doco-cd.yml"
    link.symlink_to(target)
    place.repository.commit({"compose.yaml": compose(service("web"))})
    answer = place.agent.poll(place.repository.url)
    assert answer.status == 500
    assert "the deploy file is a link that leads" in answer.content
    assert "root:x" not in answer.content
    link.unlink()
    link.symlink_to("deploy/shop.yml")
    place.repository.commit({"deploy/shop.yml": deploy_config(place.project)})
    assert place.agent.poll(place.repository.url).status == 200


def test_names_that_are_no_text(place: World) -> None:
    """A mounted folder may hold any file; a folder that cannot become a stack is named."""
    root = os.fsencode(place.repository.path)
    for name, text in ((b"data/caf\xe9", "x"), (b"st\xe9ck/compose.yaml", compose(service("web")))):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    answer = place.deploy(service("web", volumes="['./data:/data:ro']"))
    assert answer.status == 200, answer
    answer = place.deploy(service("web"), config={"auto_discovery": "true"})
    assert answer.status == 500
    assert "st\ufffdck" in answer.content
    assert place.running() == {"web-1"}


# --- what counts as changed -------------------------------------------------------------------


def test_a_file_mounted_through_a_link_is_followed(place: World) -> None:
    (place.repository.path / "app.conf").symlink_to("conf/app.conf")
    web = service("web", volumes="['./app.conf:/etc/app.conf:ro']")
    assert place.deploy(web, service("other"), **{"conf/app.conf": "one"}).status == 200
    ids = place.ids()
    assert place.deploy(web, service("other"), **{"conf/app.conf": "two"}).status == 200
    assert place.ids()["web-1"] != ids["web-1"]
    assert place.ids()["other-1"] == ids["other-1"]
    place.assert_rests()


def test_a_data_folder_behind_a_link_holds_repositories_like_any(
    tmp_path: Path, project: str, engine: DockerApi
) -> None:
    repository, data = LocalRepository(tmp_path / "repository"), tmp_path / "agent" / "linked"
    (tmp_path / "agent" / "real").mkdir(parents=True)
    data.symlink_to("real")
    with running_agent(tmp_path / "agent", DATA_MOUNT_PATH=str(data), DATA_HOST_PATH=str(data)) as agent:
        place = World(agent, repository, engine, project)
        answer = place.deploy(service("web", volumes="['./app.conf:/etc/app.conf:ro']"), **{"app.conf": "one"})
        assert answer.status == 200, answer
        ids = place.ids()
        answer = place.deploy(service("web", volumes="['./app.conf:/etc/app.conf:ro']"), **{"app.conf": "two"})
        assert answer.status == 200, answer
        assert place.ids() != ids


def test_a_file_that_became_executable_is_built_anew(place: World) -> None:
    web = "  web:\n    build: ./app\n    init: true\n    stop_grace_period: 1s\n"
    files = {
        "app/Dockerfile": 'FROM moored/busybox:1\nCOPY run.sh /run.sh\nENTRYPOINT ["/run.sh"]\n',
        "app/run.sh": "#!/bin/sh\nexec sleep 3600\n",
    }
    assert place.deploy(web, **files).status == 500
    (place.repository.path / "app/run.sh").chmod(0o755)
    answer = place.deploy(web, **files)
    assert answer.status == 200, answer
    assert place.running() == {"web-1"}
    place.assert_rests()


def test_a_container_taken_off_its_network_right_after_a_deployment_is_put_back(place: World) -> None:
    assert place.deploy(service("web")).status == 200
    container, network = place.ids()["web-1"], f"{place.project}_default"
    place.engine.call("POST", f"/networks/{network}/disconnect", body={"Container": container})

    def connected() -> bool:
        return network in place.engine.inspect(container)["NetworkSettings"]["Networks"]

    place.agent.until(connected, 10, "connected again", soon=True)
