"""The things we test with do what the tests believe."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.compose_oracle import Compose, ComposeFailed
from tests.support.docker_api import LABEL_PROJECT, DockerApi, EngineError, wait_project
from tests.support.engine import BUSYBOX, PrivateEngine
from tests.support.names import owned_project
from tests.support.newer_engine import NewerEngine
from tests.support.registry import Registry
from tests.support.waiting import wait_for

COMPOSE_FILE = f"""
services:
  web:
    image: {BUSYBOX}
    command: [httpd, -f, -p, "80"]
    stop_grace_period: 0s
    volumes: ["files:/files"]
volumes:
  files:
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "compose.yaml").write_text(COMPOSE_FILE)
    return tmp_path


def run_sleeper(api: DockerApi, name: str) -> str:
    body = {"Image": BUSYBOX, "Cmd": ["sleep", "300"], "StopTimeout": 0, "HostConfig": {"Init": False}}
    container: str = api.call("POST", "/containers/create", {"name": name}, body)["Id"]
    api.call("POST", f"/containers/{container}/start")
    return container


def test_nothing_of_a_project_stays_behind(engine: DockerApi, compose: Compose, folder: Path) -> None:
    with owned_project(engine) as project:
        compose.up(folder, project)
        wait_project(engine, project, 1, 20)
    label = {"filters": {"label": [f"{LABEL_PROJECT}={project}"]}}
    assert engine.containers(f"{LABEL_PROJECT}={project}") == []
    assert engine.call("GET", "/networks", label) == []
    assert not engine.call("GET", "/volumes", label)["Volumes"]


def test_waiting_for_a_project_says_what_was_seen(engine: DockerApi, project: str) -> None:
    with pytest.raises(TimeoutError, match=f"{project}: expected 1 ready containers within 0 s, saw no container"):
        wait_project(engine, project, 1, 0)


def test_compose_tells_how_a_file_loads_and_hashes(compose: Compose, folder: Path) -> None:
    loaded = compose.config(folder, project="shop")
    assert loaded["services"]["web"]["image"] == BUSYBOX
    assert list(compose.hashes(folder, project="shop")) == ["web"]


def test_compose_says_why_it_refuses(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: [1]}}")
    with pytest.raises(ComposeFailed, match=r"services\.web\.image must be a string"):
        compose.config(tmp_path, project="shop")


def test_an_image_goes_through_the_registry(engine: DockerApi, registry: Registry, name: str) -> None:
    reference = registry.push(engine, BUSYBOX, name, "7")
    try:
        assert registry.digest(name, "7").startswith("sha256:")
        registry.delete(name, "7")
        assert registry.request("GET", f"/v2/{name}/manifests/7")[0] == 404
    finally:
        engine.call("DELETE", f"/images/{reference}", {"noprune": 1})


def test_a_registry_keeps_what_it_has_over_an_outage() -> None:
    with Registry() as registry:
        config = registry.put_blob("files", b"{}")
        layer = registry.put_blob("files", b"content")
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": layer, "size": 7}],
        }
        digest = registry.put_manifest("files", "latest", manifest)
        registry.stop()
        with pytest.raises(OSError, match="refused"):
            registry.request("GET", "/v2/")
        registry.start()
        assert registry.digest("files", "latest") == digest


def test_a_private_engine_may_be_killed_and_frozen_and_shares_nothing(engine: DockerApi, name: str) -> None:
    bridges = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    with PrivateEngine("--live-restore") as private:
        container = run_sleeper(private.api, name)
        with pytest.raises(EngineError, match="404"):
            engine.inspect(container)

        private.kill()
        assert not private.api.answers()
        private.start()
        assert private.api.inspect(container)["State"]["Running"]

        private.freeze()
        with pytest.raises(TimeoutError):
            private.api.call("GET", "/_ping", timeout=0.3)
        private.thaw()
        assert private.api.answers()

        assert "docker0" in private.enter("ip", "link").stdout
        left_behind = private.folder
    assert not left_behind.exists()
    names = [line.split()[1] for line in bridges.splitlines() if "docker0" in line]
    now = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert all(link in now for link in names)


def test_nothing_of_a_killed_private_engine_goes_on() -> None:
    with PrivateEngine() as private:
        pid = private.api.inspect(run_sleeper(private.api, "sleeper"))["State"]["Pid"]
        private.kill()
        assert Path(f"/proc/{pid}").exists()
    wait_for(
        lambda: not Path(f"/proc/{pid}").exists() or "Z (zombie)" in Path(f"/proc/{pid}/status").read_text(), "gone"
    )
    assert not private.folder.exists()


@pytest.mark.newer_engine
def test_the_newer_engine_is_newer(engine: DockerApi, newer_engine: NewerEngine, name: str) -> None:
    def number(api: DockerApi) -> tuple[int, ...]:
        return tuple(int(part) for part in api.version()["ApiVersion"].split("."))

    assert number(newer_engine.api) >= (1, 44)
    container = run_sleeper(newer_engine.api, name)
    assert newer_engine.api.inspect(container)["State"]["Running"]
    with pytest.raises(EngineError, match="404"):
        engine.inspect(container)
