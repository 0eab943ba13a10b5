"""What a deploy file can ask for: discovery, removal, other references and repositories, contexts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import running_agent
from tests.support.docker_api import DockerApi
from tests.support.git_servers import GitHTTPServer, run_git
from tests.support.repository import LocalRepository, compose, deploy_config, service


def projects(engine: DockerApi, prefix: str) -> dict[str, list[str]]:
    """Running containers by project, of projects whose name begins so."""
    found: dict[str, list[str]] = {}
    for item in engine.containers():
        name = item["Labels"].get("com.docker.compose.project", "")
        if name.startswith(prefix):
            found.setdefault(name, []).append(item["State"])
    return found


@pytest.fixture
def prefix(place: World) -> Iterator[str]:
    """Several projects of one test; the agent forgets those that begin with the test's name."""
    yield place.project
    for stack in place.agent.get("/v1/api/status").content["stacks"]:
        if stack["name"].startswith(place.project):
            place.agent.delete(f"/v1/api/project/{stack['name']}?timeout=0&images=false&context={stack['context']}")
    for name in projects(place.engine, place.project):
        place.engine.remove_project(name)


def discovery(**lines: str) -> str:
    return deploy_config("ignored", auto_discovery="{enabled: true, delete: true, remove_images: false}", **lines)


def test_discovered_stacks_come_and_go_with_their_folders(place: World, prefix: str) -> None:
    one, two = f"{prefix}-one", f"{prefix}-two"
    place.repository.commit(
        {
            ".doco-cd.yml": discovery(working_dir="apps"),
            f"apps/{one}/compose.yaml": compose(service("web", volumes="['data:/data']"), more="volumes: {data: {}}\n"),
            f"apps/{two}/compose.yaml": compose(service("web")),
        }
    )
    answer = place.agent.poll(place.repository.url)
    assert answer.status == 200, answer
    assert projects(place.engine, prefix) == {one: ["running"], two: ["running"]}

    # A folder that cannot be understood: nothing is removed, though another one is gone.
    place.repository.commit({f"apps/{one}/compose.yaml": None, f"apps/{two}/.doco-cd.yml": "name: [broken\n"})
    assert place.agent.poll(place.repository.url).status == 500
    assert projects(place.engine, prefix) == {one: ["running"], two: ["running"]}

    place.repository.commit({f"apps/{two}/.doco-cd.yml": None})
    answer = place.agent.poll(place.repository.url)
    assert answer.status == 200, answer
    assert projects(place.engine, prefix) == {two: ["running"]}
    assert place.agent.stack(one) is None
    volumes = [volume["Name"] for volume in place.engine.call("GET", "/volumes")["Volumes"]]
    assert f"{one}_data" in volumes, "volumes stay unless remove_volumes says otherwise"
    place.engine.call("DELETE", f"/volumes/{one}_data")

    # An empty listing is taken for a mistake.
    place.repository.commit({f"apps/{two}/compose.yaml": None, "apps/readme": "empty"})
    place.agent.poll(place.repository.url)
    assert projects(place.engine, prefix) == {two: ["running"]}


def test_destroy_takes_a_stack_away_and_without_it_the_stack_returns(place: World) -> None:
    place.deploy(service("web", volumes="['data:/data']"), more="volumes: {data: {}}\n")
    assert place.running() == {"web-1"}
    place.repository.commit(
        {".doco-cd.yml": deploy_config(place.project, destroy="{enabled: true, remove_images: false}")}
    )
    answer = place.agent.poll(place.repository.url)
    assert answer.status == 200, answer
    assert place.ids() == {}
    assert place.volumes() == set()
    assert place.agent.stack(place.project) is None
    assert place.agent.poll(place.repository.url).status == 200
    place.repository.commit({".doco-cd.yml": deploy_config(place.project)})
    assert place.agent.poll(place.repository.url).status == 200
    assert place.running() == {"web-1"}


def test_two_references_of_one_repository_live_side_by_side(place: World, prefix: str) -> None:
    """One document per reference, of the same repository; each follows its own branch."""
    repository = place.repository
    repository.commit({"compose.yaml": compose(service("web", hostname="first"))})
    repository._git("branch", "stable")
    live, stable = f"{prefix}-live", f"{prefix}-stable"
    repository.commit(
        {
            ".doco-cd.yml": deploy_config(live) + "---\n" + deploy_config(stable, reference="refs/heads/stable"),
            "compose.yaml": compose(service("web", hostname="second")),
        }
    )
    answer = place.agent.poll(repository.url)
    assert answer.status == 200, answer

    def hostname(name: str) -> str:
        return str(place.engine.inspect(f"{name}-web-1")["Config"]["Hostname"])

    assert (hostname(live), hostname(stable)) == ("second", "first")
    repository._git("checkout", "-q", "stable")
    repository.commit({"compose.yaml": compose(service("web", hostname="third"))})
    repository._git("checkout", "-q", "main")
    assert place.agent.poll(repository.url).status == 200
    assert (hostname(live), hostname(stable)) == ("second", "third")


def test_a_document_may_deploy_from_another_repository(place: World, tmp_path: Path) -> None:
    with GitHTTPServer(tmp_path) as server:
        here, there = server.create_repo("acme/main"), server.create_repo("acme/app")
        there.commit({"compose.yaml": compose(service("web", hostname="there"))})
        here.commit({".doco-cd.yml": deploy_config(place.project, repository_url=there.url)})
        answer = place.agent.poll(here.url)
        assert answer.status == 200, answer
        assert place.containers()[f"{place.project}-web-1"]["Config"]["Hostname"] == "there"
        there.commit({"compose.yaml": compose(service("web", hostname="moved"))})
        assert place.agent.poll(here.url).status == 200
        assert place.containers()[f"{place.project}-web-1"]["Config"]["Hostname"] == "moved"


def test_env_files_of_both_repositories(place: World, tmp_path: Path) -> None:
    """Local ones lie at the root of the deploy file's repository, `remote:` ones beside the Compose file."""
    names = ("DOTENV", "LOCAL", "REMOTE", "WRITTEN")
    web = service("web", environment="{" + ", ".join(f"{name}: '${{{name}:-none}}'" for name in names) + "}")
    with GitHTTPServer(tmp_path) as server:
        here, there = server.create_repo("acme/main"), server.create_repo("acme/app")

        def lines(word: str, *names: str) -> str:
            return "".join(f"{name}={word}\n" for name in names)

        there.commit(
            {
                "stack/compose.yaml": compose(web),
                "stack/.env": lines("dotenv", *names),
                "stack/prod.env": lines("remote", *names[2:]),
            }
        )
        config = {
            "repository_url": there.url,
            "working_dir": "stack",
            "env_files": "['remote:prod.env', local.env]",
            "environment": "{WRITTEN: written}",
        }
        here.commit({".doco-cd.yml": deploy_config(place.project, **config), "local.env": lines("local", *names[1:])})
        answer = place.agent.poll(here.url)
        assert answer.status == 200, answer

        def seen() -> list[str]:
            environment = place.containers()[f"{place.project}-web-1"]["Config"]["Env"]
            return [line for line in environment if line.partition("=")[0] in names]

        assert sorted(seen()) == ["DOTENV=dotenv", "LOCAL=local", "REMOTE=remote", "WRITTEN=written"]
        here.commit({"local.env": lines("changed", "LOCAL")})
        assert place.agent.poll(here.url).status == 200
        assert "LOCAL=changed" in seen()
        here.commit({"local.env": None})
        answer = place.agent.poll(here.url)
        assert answer.status == 500
        assert "could not find local.env in the repository of the deploy file" in answer.content
        assert "LOCAL=changed" in seen()


def test_a_stack_discovered_at_the_root_of_another_repository_is_named_after_it(place: World, tmp_path: Path) -> None:
    with GitHTTPServer(tmp_path) as server:
        here, there = server.create_repo(f"acme/{place.project}-here"), server.create_repo(f"acme/{place.project}")
        there.commit({"compose.yaml": compose(service("web"))})
        here.commit({".doco-cd.yml": f"repository_url: {there.url}\nauto_discovery: true\n"})
        answer = place.agent.poll(here.url)
        assert answer.status == 200, answer
        assert place.running() == {"web-1"}


def test_git_depth_bounds_what_is_fetched(place: World, tmp_path: Path) -> None:
    """Of another repository, and of the own one where it is known before (inline deployments)."""

    def history(name: str) -> int:
        (store,) = (place.agent.data / "mount" / ".git-store").glob(f"*{name}*.git")
        return int(run_git("rev-list", "--count", "--all", cwd=store))

    with GitHTTPServer(tmp_path) as server:
        here, there = server.create_repo("acme/depth-main"), server.create_repo("acme/depth-app")
        for number in range(5):
            here.commit({"readme": str(number)})
            there.commit({"compose.yaml": compose(service("web", hostname=f"h{number}"))})
        here.commit({".doco-cd.yml": deploy_config(place.project, repository_url=there.url, git_depth="2")})
        answer = place.agent.poll(here.url)
        assert answer.status == 200, answer
        assert (history("depth-main"), history("depth-app")) == (6, 2)
        assert place.agent.run(answer.job_id).get("warnings", []) == []
        own = server.create_repo("acme/depth-own")
        for number in range(5):
            own.commit({"compose.yaml": compose(service("web", hostname=f"h{number}"))})
        inline = [{"name": f"{place.project}-own", "git_depth": 1}]
        assert place.agent.poll(own.url, deployments=inline).status == 200
        assert history("depth-own") == 1
        place.agent.delete(f"/v1/api/project/{place.project}-own?timeout=0&images=false")


def test_forced_recreation_comes_with_each_revision_not_with_each_poll(tmp_path: Path, place: World) -> None:
    place.commit(service("web"), config={"force_recreate": "true"})
    entry = {"url": place.repository.url, "interval": 10}
    with running_agent(tmp_path / "agent", POLL_CONFIG=json.dumps([entry])) as agent:

        def replaced() -> int:
            return len([line for line in agent.logs() if line.get("action") == "replace-container"])

        def polls() -> float:
            return agent.metric("doco_cd_polls_total")

        agent.until(lambda: place.running() == {"web-1"}, 20, "deployed")
        place.repository.commit({"readme": "touches no stack"})
        agent.until(lambda: replaced() == 1, 30, "recreated")
        count = polls()
        agent.until(lambda: polls() > count + 1, 40, "polled again")
        assert replaced() == 1


def test_a_taken_container_name_is_said_soon(place: World, prefix: str) -> None:
    assert place.deploy(service("web", container_name=f"{prefix}-name")).status == 200
    place.repository.commit({".doco-cd.yml": deploy_config(f"{prefix}-other", timeout="600")})
    answer = place.agent.poll(place.repository.url)
    assert answer.status == 500
    assert f"the name {prefix}-name is held by container" in answer.content
    stack = place.agent.stack(f"{prefix}-other")
    assert stack is not None
    assert "NameTaken" in [condition["reason"] for condition in stack["conditions"]]


def test_a_stack_takes_the_container_name_of_one_that_is_destroyed_beside_it(place: World, prefix: str) -> None:
    assert place.deploy(service("web", container_name=f"{prefix}-name")).status == 200
    gone = deploy_config(place.project, destroy="{enabled: true, remove_images: false}")
    place.repository.commit({".doco-cd.yml": f"{deploy_config(f'{prefix}-other')}---\n{gone}"})
    answer = place.agent.poll(place.repository.url)
    assert answer.status == 200, answer
    assert projects(place.engine, prefix) == {f"{prefix}-other": ["running"]}


def test_an_env_file_outside_the_repository_is_not_read(place: World, tmp_path: Path) -> None:
    for name in (tmp_path / "host.env", "link.env"):
        (tmp_path / "host.env").write_text("NAME=host\n")
        link = place.repository.path / "link.env"
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / "host.env")
        answer = place.deploy(service("web"), config={"env_files": f"['{name}']"})
        assert answer.status == 500
        assert f"env_files: {name} lies outside the repository" in answer.content


def test_a_secret_is_not_part_of_an_error(place: World) -> None:
    answer = place.deploy(
        service("web", ports="['${DB_PASSWORD}:80']"), config={"environment": "{DB_PASSWORD: hidden-word}"}
    )
    assert answer.status == 500
    assert "invalid hostPort: (hidden)" in answer.content
    assert "hidden-word" not in place.agent.log_path.read_text()


def test_an_unknown_context_fails_its_stack_alone(place: World, prefix: str) -> None:
    good, bad = f"{prefix}-good", f"{prefix}-bad"
    place.repository.commit(
        {
            ".doco-cd.yml": deploy_config(good) + "---\n" + deploy_config(bad, context="nowhere"),
            "compose.yaml": compose(service("web")),
        }
    )
    answer = place.agent.poll(place.repository.url)
    assert answer.status == 500, answer
    assert "nowhere" in answer.content
    assert projects(place.engine, prefix) == {good: ["running"]}
    stack = place.agent.stack(bad)
    assert stack is not None
    degraded = next(c for c in stack["conditions"] if c["type"] == "Degraded")
    assert degraded["reason"] == "UnknownContext"
    assert place.agent.get("/v1/health").status == 200


def test_a_name_that_belongs_to_another_repository_is_refused(place: World, tmp_path: Path) -> None:
    place.deploy(service("web"))
    ids = place.ids()
    other = LocalRepository(tmp_path / "other")
    other.commit({".doco-cd.yml": deploy_config(place.project), "compose.yaml": compose(service("mine"))})
    answer = place.agent.poll(other.url)
    assert answer.status == 500, answer
    assert "not managed by this repository" in answer.content
    assert place.ids() == ids
    assert place.condition("Ready")["status"] is True
    place.assert_rests()


def test_a_stack_that_hangs_does_not_hold_up_the_others_of_its_repository(place: World, prefix: str) -> None:
    """One never becomes healthy; the others run long before its time is over, and it can be stopped."""
    slow, quick = f"{prefix}-slow", f"{prefix}-quick"
    check = "{test: ['CMD', 'false'], interval: 1s, retries: 100, start_period: 60s}"
    place.repository.commit(
        {
            ".doco-cd.yml": deploy_config(slow, working_dir="slow", timeout="60")
            + "---\n"
            + deploy_config(quick, working_dir="quick"),
            "slow/compose.yaml": compose(service("web", healthcheck=check)),
            "quick/compose.yaml": compose(service("web")),
        }
    )
    answer = place.agent.poll(place.repository.url, wait=False)
    place.agent.until(lambda: projects(place.engine, prefix).get(quick) == ["running"], 15, "the other one runs")
    place.agent.until(lambda: projects(place.engine, prefix).get(slow) == ["running"], 15, "it was started")
    assert place.agent.run(answer.job_id)["status"] == "running"
    stopped = place.agent.post(f"/v1/api/project/{slow}/stop?timeout=1")
    assert stopped.status == 200, stopped
    assert projects(place.engine, prefix)[slow] == ["exited"]
    assert place.agent.finished_run(answer.job_id, 10)["status"] in ("succeeded", "failed")


def test_an_oci_source_is_refused_in_so_many_words(world: World) -> None:
    answer = world.agent.poll("127.0.0.1:1/shop/web:1", source="oci")
    assert answer.status == 500
    assert answer.content == "127.0.0.1:1/shop/web:1: source type 'oci' is not supported yet"
