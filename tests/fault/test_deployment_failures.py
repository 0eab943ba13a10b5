"""Everything that can go wrong between a plan and a running stack: the error says what and why,
what is unaffected runs, and once the cause is gone the next deployment leaves nothing to do."""

from __future__ import annotations

import io
import json
import secrets
import socket
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.planner.model import DesiredStack, PlanError
from reconciler.planner.readiness import ReadyState
from tests.live.engine.catalogue import observed_engine
from tests.live.engine.conftest import Bench, remove_project
from tests.live.engine.test_images_live import BOB_SESAME
from tests.support.engine import BUSYBOX, PrivateEngine, shared_engine
from tests.support.ports import free_port
from tests.support.registry import Registry
from tests.support.waiting import wait_for

RUNS = "command: [sh, -c, \"trap 'exit 0' TERM; sleep 600 & wait\"]"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    shared_engine()
    async with _Bench("", tmp_path) as made:
        yield made


class _Bench:
    """A bench on the Engine of a URL."""

    def __init__(self, url: str, folder: Path) -> None:
        self._context = observed_engine(url)
        self._folder = folder

    async def __aenter__(self) -> Bench:
        engine, observed, observer = await self._context.__aenter__()
        self._bench = Bench(engine, observed, observer, f"mbt{secrets.token_hex(4)}", self._folder)
        return self._bench

    async def __aexit__(self, *error: Any) -> None:
        with anyio.CancelScope(shield=True):
            await remove_project(self._bench.engine, self._bench.name)
        await self._context.__aexit__(*error)


def _two(bench: Bench, web: str, more: str = "") -> DesiredStack:
    """A service that fails and one that has nothing to do with it."""
    side = f"{{image: {BUSYBOX}, {RUNS.replace('$', '$$')}}}"
    return bench.desired(f"services:\n  web: {{{web}}}\n  side: {side}\n{more}")


async def _fails(bench: Bench, desired: DesiredStack, *words: str) -> str:
    """The deployment fails with these words in its error; the other service runs all the same."""
    result = await bench.apply(desired)
    assert not result.ok
    for word in words:
        assert word in result.message, result.message
    assert bench.container("side").state == "running"
    return result.message


async def test_an_image_that_is_missing_and_not_to_be_pulled(bench: Bench) -> None:
    reference = f"moored-test/{bench.name}:1"
    desired = _two(bench, f"image: '{reference}', pull_policy: never, {RUNS}")
    with pytest.raises(PlanError, match=f"services.web.image: {reference} is not here and pull_policy says never"):
        await bench.apply(desired)
    assert not bench.observed.project(bench.name)
    await bench.engine.call("image.tag", "POST", f"images/{BUSYBOX}/tag", params={"repo": reference[:-2], "tag": "1"})
    try:
        await bench.deploy(desired)
    finally:
        await remove_project(bench.engine, bench.name)
        await bench.engine.call("image.remove", "DELETE", f"images/{reference}")


async def test_a_registry_that_wants_a_login(bench: Bench, tmp_path: Path) -> None:
    with Registry(htpasswd=BOB_SESAME, user="bob", password="sesame") as registry:
        reference = registry.push(shared_engine(), BUSYBOX, bench.name)
        await bench.engine.call("image.remove", "DELETE", f"images/{reference}")
        bench.environ["DOCKER_CONFIG"] = str(tmp_path / "docker")
        desired = _two(bench, f"image: '{reference}', {RUNS}")
        result = await bench.apply(desired)
        assert not result.ok
        for word in (reference, registry.address, "no credentials configured", str(tmp_path / "docker")):
            assert word in result.message, result.message
        (tmp_path / "docker").mkdir()
        auths = {registry.address: {"username": "bob", "password": "sesame"}}
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": auths}))
        try:
            await bench.deploy(desired)
        finally:
            await remove_project(bench.engine, bench.name)
            await bench.engine.call("image.remove", "DELETE", f"images/{reference}")


async def test_a_port_that_a_foreign_container_has(bench: Bench) -> None:
    port = free_port()
    body = {
        "Image": BUSYBOX,
        "Cmd": ["sleep", "600"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}},
    }
    name = f"{bench.name}-foreign"
    foreign = await bench.engine.call("create", "POST", "containers/create", params={"name": name}, body=body)
    try:
        await bench.engine.call("start", "POST", f"containers/{foreign['Id']}/start")
        desired = _two(bench, f"image: '{BUSYBOX}', {RUNS}, ports: ['127.0.0.1:{port}:80']")
        await _fails(bench, desired, f"{bench.name}-web-1 cannot be started", str(port), "already allocated")
        assert (await bench.engine.call("look", "GET", f"containers/{foreign['Id']}/json"))["State"]["Running"]
    finally:
        await bench.engine.call("remove", "DELETE", f"containers/{foreign['Id']}", params={"force": True})
    await bench.deploy(desired)


async def test_a_port_that_a_process_has(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        desired = _two(bench, f"image: '{BUSYBOX}', {RUNS}, ports: ['127.0.0.1:{port}:80']")
        await _fails(bench, desired, f"{bench.name}-web-1 cannot be started", str(port), "address already in use")
    await bench.deploy(desired)


async def test_a_bind_source_that_is_missing(bench: Bench) -> None:
    volume = "{type: bind, source: ./absent, target: /here, bind: {create_host_path: false}}"
    desired = _two(bench, f"image: '{BUSYBOX}', {RUNS}, volumes: [{volume}]")
    place = bench.folder / "absent"
    await _fails(bench, desired, f"{bench.name}-web-1 cannot be created", str(place), "does not exist")
    assert not place.exists()
    place.mkdir()
    await bench.deploy(desired)


async def test_a_program_that_does_not_exist(bench: Bench) -> None:
    await _fails(
        bench,
        _two(bench, f"image: '{BUSYBOX}', command: [no-such-program]"),
        f"{bench.name}-web-1 cannot be started",
        '"no-such-program": executable file not found in $PATH',
    )
    await bench.deploy(_two(bench, f"image: '{BUSYBOX}', {RUNS}"))


async def test_a_health_check_that_fails(bench: Bench) -> None:
    check = "healthcheck: {test: [CMD, '%s'], interval: 200ms, retries: 2}"
    program = "command: [sh, -c, \"echo no database here; trap 'exit 0' TERM; sleep 600 & wait\"]"
    desired = _two(bench, f"image: '{BUSYBOX}', {program}, {check % 'false'}")
    assert (await bench.apply(desired)).ok
    found = await bench.executor.wait_ready(desired, 20)
    assert found.state is ReadyState.FAILED
    assert f"{bench.name}-web-1" in found.message
    assert "no database here" in found.message
    mended = _two(bench, f"image: '{BUSYBOX}', {program}, {check % 'true'}")
    await bench.deploy(mended)
    assert (await bench.executor.wait_ready(mended, 20)).state is ReadyState.READY


async def test_a_name_that_a_foreign_container_has(bench: Bench) -> None:
    name = f"{bench.name}-web-1"
    body = {"Image": BUSYBOX, "Cmd": ["sleep", "600"]}
    foreign = await bench.engine.call("create", "POST", "containers/create", params={"name": name}, body=body)
    try:
        await bench.until(lambda: foreign["Id"] in bench.observed.containers)
        desired = _two(bench, f"image: '{BUSYBOX}', {RUNS}")
        blocked = (await bench.plan(desired)).blocked
        assert [each.target for each in blocked] == [name]
        assert foreign["Id"][:12] in blocked[0].reason.message
        assert (await bench.apply(desired)).ok
        assert bench.container("side").state == "running"
        seen = await bench.engine.call("look", "GET", f"containers/{foreign['Id']}/json")
        assert (seen["Name"], seen["State"]["Status"]) == (f"/{name}", "created")
    finally:
        await bench.engine.call("remove", "DELETE", f"containers/{foreign['Id']}", params={"force": True})
    await bench.until(lambda: foreign["Id"] not in bench.observed.containers)
    await bench.deploy(desired)


async def test_no_addresses_are_left_for_a_network(tmp_path: Path) -> None:
    # One for the default bridge, one for a foreign network.
    with PrivateEngine("--default-address-pool", "base=10.213.0.0/24,size=25") as private:
        private.api.call("POST", "/networks/create", body={"Name": "foreign"})
        async with _Bench(private.url, tmp_path) as bench:
            side = f"side: {{image: {BUSYBOX}, {RUNS}, network_mode: none}}"
            desired = bench.desired(f"services:\n  web: {{image: '{BUSYBOX}', {RUNS}}}\n  {side}")
            await _fails(bench, desired, f"network {bench.name}_default cannot be created", "address pool")
            private.api.call("DELETE", "/networks/foreign")
            await bench.deploy(desired)


class _RegistryBeside:
    """A registry that only a private Engine can reach, with what another one stored."""

    def __init__(self, stored: Registry, private: PrivateEngine) -> None:
        self._stored, self._private = stored, private
        self._serving: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _RegistryBeside:
        config = str(self._stored.folder / "config.yml")
        command = [*self._private.inside, "docker-registry", "serve", config]
        self._serving = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        probe = f"import socket; socket.create_connection(('127.0.0.1', {self._stored.port}), 1)"
        wait_for(lambda: self._private.enter(sys.executable, "-c", probe).returncode == 0, "the registry listens")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._serving is not None
        self._serving.kill()
        self._serving.wait(timeout=10)


@pytest.fixture
def small_engine() -> Iterator[PrivateEngine]:
    """An Engine whose data lie on a disk of 24 MB."""
    private = PrivateEngine()
    data = private.folder / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(data)], check=True, timeout=10)
    with private:
        yield private


def _import_large() -> str:
    """An image that does not fit on the small disk."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("ballast")
        member.size = 40 << 20
        archive.addfile(member, io.BytesIO(secrets.token_bytes(member.size)))
    packed.seek(0)
    name = f"moored-test/large-{secrets.token_hex(4)}:1"
    shared_engine().import_tar(name, packed, timeout=60)
    return name


async def test_the_disk_is_full_while_an_image_is_pulled(small_engine: PrivateEngine, tmp_path: Path) -> None:
    host, large = shared_engine(), _import_large()
    with Registry() as registry:
        name = f"moored-{secrets.token_hex(4)}"
        references = [registry.push(host, large, name, "large"), registry.push(host, BUSYBOX, name, "small")]
        for reference in (large, *references):
            host.call("DELETE", f"/images/{reference}")
        registry.stop()
        with _RegistryBeside(registry, small_engine):
            async with _Bench(small_engine.url, tmp_path) as bench:
                result = await bench.apply(_two(bench, f"image: '{references[0]}', {RUNS}"))
                assert not result.ok
                assert "no space left on device" in result.message, result.message
                assert references[0] in result.message
                await bench.deploy(_two(bench, f"image: '{references[1]}', {RUNS}"))
