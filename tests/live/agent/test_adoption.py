"""Beside the real Docker Compose: each leaves alone what the other deployed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.live.agent.conftest import World
from tests.support.compose_oracle import Compose
from tests.support.repository import compose as compose_file
from tests.support.repository import deploy_config, service

SERVICES = (
    service("web", ports="['127.0.0.1::8080']", environment="{A: '1', B: two}", depends_on="[db]", scale="2"),
    service(
        "db", volumes="['data:/data']", networks="[inner, default]", healthcheck="{test: [CMD, 'true'], interval: 1s}"
    ),
    service("cfg", configs="[app]", labels="{own: label}", cap_add="[NET_ADMIN]", tmpfs="[/run]"),
)
MORE = "volumes: {data: {}}\nnetworks: {inner: {}}\nconfigs: {app: {content: 'text'}}\n"


def test_what_compose_deployed_is_taken_over_without_touching_it(
    place: World, compose: Compose, tmp_path: Path
) -> None:
    folder = tmp_path / "by-hand"
    folder.mkdir()
    (folder / "compose.yaml").write_text(compose_file(*SERVICES, more=MORE))
    compose.up(folder, place.project)
    before, started, writes = place.ids(), place.started(), place.writes()
    assert len(before) == 4
    answer = place.deploy(*SERVICES, more=MORE)
    assert answer.status == 200, answer
    assert (place.ids(), place.started()) == (before, started)
    assert place.writes() == writes
    assert place.condition("Ready")["status"] is True
    # From now on it is looked after.
    place.engine.call("POST", f"/containers/{before['db-1']}/kill")
    place.agent.until(lambda: "db-1" in place.running(), 20, "it is repaired")


def test_compose_sees_what_moored_deployed_and_leaves_it_alone(place: World, compose: Compose, tmp_path: Path) -> None:
    assert place.deploy(*SERVICES, more=MORE).status == 200
    before, started = place.ids(), place.started()
    listed = json.loads(compose.run("ls", "--format", "json", cwd=tmp_path).stdout)
    mine = [entry for entry in listed if entry["Name"] == place.project]
    assert [entry["Status"] for entry in mine] == ["running(4)"]
    config_file = Path(mine[0]["ConfigFiles"])
    assert config_file.read_text() == compose_file(*SERVICES, more=MORE)
    shown = compose.run("--project-name", place.project, "ps", "--format", "json", cwd=tmp_path).stdout
    assert {json.loads(line)["Service"] for line in shown.splitlines()} == {"web", "db", "cfg"}

    # From the very folder it was deployed from, as its labels name it.
    compose.up(config_file.parent, place.project)
    assert (place.ids(), place.started()) == (before, started)
    place.assert_rests()


def test_after_compose_recreated_one_service_by_hand_hardly_anything_is_done(
    place: World, compose: Compose, tmp_path: Path
) -> None:
    place.commit(service("web"), service("db"))
    assert place.agent.poll(place.repository.url).status == 200
    folder = tmp_path / "by-hand"
    folder.mkdir()
    shutil.copy(place.repository.path / "compose.yaml", folder)
    ids = place.ids()
    compose.up(folder, place.project, "--force-recreate", "--no-deps", "web")
    by_hand = place.ids()
    assert by_hand["web-1"] != ids["web-1"]
    assert place.agent.poll(place.repository.url).status == 200
    assert place.ids() == by_hand
    place.repository.commit({".doco-cd.yml": deploy_config(place.project, timeout="40")})
    assert place.agent.poll(place.repository.url).status == 200
    assert place.ids() == by_hand
    place.assert_rests()
