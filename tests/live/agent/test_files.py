"""Files beside the Compose file: what changed reaches exactly its users, what others wrote stays."""

from __future__ import annotations

from pathlib import Path

from tests.live.agent.conftest import World
from tests.support.repository import compose, deploy_config, service


def inside(place: World, name: str, path: str) -> str:
    """A file as a container sees it."""
    container = place.ids()[name]
    body = {"AttachStdout": True, "AttachStderr": True, "Tty": True, "Cmd": ["cat", path]}
    made = place.engine.call("POST", f"/containers/{container}/exec", body=body)
    output = place.engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False, "Tty": True})
    return bytes(output).decode().strip()


def mount_source(place: World, name: str, target: str) -> Path:
    mounts = place.containers()[f"{place.project}-{name}"]["Mounts"]
    return Path(next(mount["Source"] for mount in mounts if mount["Destination"] == target))


def test_what_a_container_writes_below_the_checkout_stays(place: World) -> None:
    """Over syncs, a force push, a restart of the agent, and a recreation."""
    web = service("web", volumes="['./data:/data']")
    place.deploy(web, data__seed="tracked")
    place.run_in("web-1", "sh", "-c", "echo precious > /data/own; mkdir /data/deep; echo too > /data/deep/own")
    for number in range(3):
        place.repository.commit({"README.md": str(number), "data/seed": f"tracked {number}"})
        assert place.agent.poll(place.repository.url).status == 200
        assert inside(place, "web-1", "/data/own") == "precious"
        assert inside(place, "web-1", "/data/seed") == f"tracked {number}"
    # A force push to a history of its own, without the folder's tracked file.
    place.repository._git("checkout", "-q", "--orphan", "anew")
    place.repository._git("branch", "-q", "-M", "anew", "main")
    place.repository.commit({"data/seed": None, "data/other": "x"}, "anew")
    assert place.agent.poll(place.repository.url).status == 200
    place.agent.kill()
    place.agent.start()
    assert place.agent.poll(place.repository.url).status == 200
    assert inside(place, "web-1", "/data/own") == "precious"
    assert inside(place, "web-1", "/data/deep/own") == "too"


def test_a_mounted_file_keeps_its_inode_until_it_changes_and_then_its_users_see_it(place: World) -> None:
    web = service("web", volumes="['./app.conf:/etc/app.conf:ro']")
    other = service("other", volumes="['./other.conf:/etc/other.conf:ro']")
    files = {"app.conf": "one", "other.conf": "same"}
    place.deploy(web, other, **files)
    source = mount_source(place, "web-1", "/etc/app.conf")
    inode, ids = source.stat().st_ino, place.ids()
    place.repository.commit({"README.md": "words"})
    assert place.agent.poll(place.repository.url).status == 200
    assert source.stat().st_ino == inode
    assert place.ids() == ids
    place.deploy(web, other, **files | {"app.conf": "two"})
    assert mount_source(place, "web-1", "/etc/app.conf") == source, "the path depends on no revision"
    assert source.stat().st_ino == inode
    assert inside(place, "web-1", "/etc/app.conf") == "two"
    assert place.ids()["other-1"] == ids["other-1"]
    place.assert_rests()


def test_a_changed_file_deep_in_a_mounted_folder_recreates_its_users_alone(place: World) -> None:
    web = service("web", volumes="['./conf:/etc/conf:ro']")
    place.deploy(web, service("other"), conf__a__b="one")
    ids = place.ids()
    place.deploy(web, service("other"), conf__a__b="two")
    assert place.ids()["web-1"] != ids["web-1"]
    assert place.ids()["other-1"] == ids["other-1"]
    assert inside(place, "web-1", "/etc/conf/a/b") == "two"
    place.assert_rests()


def test_a_source_that_the_repository_does_not_have_is_refused(place: World) -> None:
    place.deploy(service("web"))
    ids = place.ids()
    answer = place.deploy(service("web", volumes="['./nothing.conf:/etc/app.conf']"))
    assert answer.status == 500, answer
    assert "nothing.conf" in answer.content
    assert "web" in answer.content
    assert place.ids() == ids
    assert place.running() == {"web-1"}
    assert place.condition("Degraded")["reason"] == "RenderFailed"
    assert place.deploy(service("web")).status == 200
    assert place.ids() == ids
    assert place.condition("Degraded") == {}


def test_changed_configs_and_env_files_recreate_their_users_alone(place: World) -> None:
    services = [
        service("filed", configs="[app]"),
        service("inline", configs="[inline]"),
        service("enved", env_file="[web.env]"),
        service("other"),
    ]

    def more(text: str) -> str:
        return f"configs:\n  app: {{file: ./app.conf}}\n  inline: {{content: '{text}'}}\n"

    files = {"app.conf": "one", "web.env": "A=1\n"}
    assert place.deploy(*services, more=more("one"), **files).status == 200
    assert inside(place, "filed-1", "/app") == "one"
    assert inside(place, "inline-1", "/inline") == "one"
    for changed, text, user in (
        ({"app.conf": "two"}, "one", "filed-1"),
        ({}, "two", "inline-1"),
        ({"web.env": "A=2\n"}, "two", "enved-1"),
    ):
        files |= changed
        ids = place.ids()
        answer = place.deploy(*services, more=more(text), **files)
        assert answer.status == 200, answer
        assert {name for name, id_ in place.ids().items() if id_ != ids[name]} == {user}
    assert inside(place, "filed-1", "/app") == "two"
    assert inside(place, "inline-1", "/inline") == "two"
    assert "A=2" in place.containers()[f"{place.project}-enved-1"]["Config"]["Env"]
    place.assert_rests()


def test_a_changed_dotenv_file_reaches_who_interpolates_it(place: World) -> None:
    services = [service("web", hostname="${NAME}"), service("other")]
    place.deploy(*services, **{".env": "NAME=first\n"})
    ids = place.ids()
    assert place.containers()[f"{place.project}-web-1"]["Config"]["Hostname"] == "first"
    place.deploy(*services, **{".env": "NAME=second\n"})
    assert place.containers()[f"{place.project}-web-1"]["Config"]["Hostname"] == "second"
    assert place.ids()["other-1"] == ids["other-1"]


def test_a_secret_of_the_deploy_environment_reaches_its_user_and_no_record(place: World) -> None:
    """A rotated value recreates only who uses it, and is nowhere to be read."""
    services = [service("web", secrets="[token]"), service("other")]
    more = "secrets:\n  token: {environment: TOKEN}\n"

    def deploy(value: str) -> str:
        place.repository.commit(
            {
                ".doco-cd.yml": deploy_config(place.project, environment=f"{{TOKEN: {value}}}"),
                "compose.yaml": compose(*services, more=more),
            }
        )
        answer = place.agent.poll(place.repository.url)
        assert answer.status == 200, answer
        return answer.job_id

    deploy("first-hidden-word")
    assert inside(place, "web-1", "/run/secrets/token") == "first-hidden-word"
    ids = place.ids()
    job = deploy("second-hidden-word")
    assert inside(place, "web-1", "/run/secrets/token") == "second-hidden-word"
    assert place.ids()["other-1"] == ids["other-1"]
    assert place.ids()["web-1"] != ids["web-1"]
    assert "hidden-word" not in str(place.agent.run(job))
    assert "hidden-word" not in str(place.agent.get("/v1/api/status").content)
    assert "hidden-word" not in place.agent.log_path.read_text()
    assert "hidden-word" not in str(place.containers())


def test_what_an_image_starts_from_is_an_input_of_it(place: World) -> None:
    """`additional_contexts: {base: "service:zbase"}`: a change of the base reaches whoever starts from it."""
    app = service("app", image="!reset null", build="{context: ./app, additional_contexts: {base: 'service:zbase'}}")
    base = service("zbase", image="!reset null", build="./base", scale="0")
    files = {
        "app__Dockerfile": "FROM base\nRUN cat /base.txt > /seen.txt\n",
        "base__Dockerfile": "FROM moored/busybox:1\nCOPY base.txt /\n",
        "base__base.txt": "one",
    }
    try:
        place.deploy(app, base, service("other"), **files)
        assert inside(place, "app-1", "/seen.txt") == "one"
        place.assert_rests()
        ids = place.ids()
        place.deploy(app, base, service("other"), **files | {"base__base.txt": "two"})
        assert inside(place, "app-1", "/seen.txt") == "two"
        assert place.ids()["other-1"] == ids["other-1"]
        place.assert_rests()
    finally:
        place.agent.delete(f"/v1/api/project/{place.project}?images=true")
