"""Pulling from a real registry: with and without a login, and knowing when a tag moved."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from reconciler.engine.client import Engine
from reconciler.engine.credentials import find_credentials
from reconciler.engine.errors import PullFailed, RegistryError
from reconciler.engine.images import is_current, pull_if_changed, pull_image, remove_image
from reconciler.engine.reference import parse_reference
from reconciler.engine.registry import registry_digest
from reconciler.engine.snapshot import inspect_image
from state.observed import ObservedContext
from tests.support.ports import free_port

IMAGE = "moored/busybox:1"
BOB_SESAME = "bob:$2y$04$awAsWpLK91cXEKG5VWmLOOI3VVu.FWtmcHOiB00UcGtWSwBgXX0fu"
"""A line of `htpasswd -B`."""


@dataclass
class Registry:
    host: str
    engine: Engine
    auth: str = ""

    async def push(self, source: str, name: str) -> str:
        """Push a local image; returns the reference to pull."""
        repository, tag = f"{self.host}/{name.partition(':')[0]}", name.partition(":")[2] or "latest"
        await self.engine.call("tag", "POST", f"images/{source}/tag", params={"repo": repository, "tag": tag})
        header = base64.urlsafe_b64encode(json.dumps(_login(self.auth)).encode()).decode()
        params = {"tag": tag}
        async with self.engine.stream(
            "push", "POST", f"images/{repository}/push", params=params, headers={"X-Registry-Auth": header}
        ) as response:
            assert b'"error"' not in (text := await response.read()), text
        return f"{repository}:{tag}"


def _login(auth: str) -> dict[str, str]:
    user, _, password = auth.partition(":")
    return {"username": user, "password": password} if auth else {}


async def _serve(engine: Engine, folder: Path, htpasswd: str = "", auth: str = "") -> AsyncIterator[Registry]:
    port = free_port()
    config = (
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        config += f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "config.yml").write_text(config)
    process = await anyio.open_process(
        ["docker-registry", "serve", str(folder / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with anyio.fail_after(60):
            while True:
                try:
                    stream = await anyio.connect_tcp("127.0.0.1", port)
                except OSError:
                    await anyio.sleep(0.05)
                else:
                    await stream.aclose()
                    break
        yield Registry(f"127.0.0.1:{port}", engine, auth)
    finally:
        process.terminate()
        await process.wait()
        await process.aclose()


@pytest.fixture
async def registry(engine: Engine, tmp_path: Path) -> AsyncIterator[Registry]:
    async for registry in _serve(engine, tmp_path):
        yield registry


@pytest.fixture
async def guarded(engine: Engine, tmp_path: Path) -> AsyncIterator[Registry]:
    async for registry in _serve(engine, tmp_path, BOB_SESAME, "bob:sesame"):
        yield registry


@pytest.fixture
def observed() -> ObservedContext:
    return ObservedContext("default")


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def log(lines):
    async def log(line: str) -> None:
        lines.append(line)

    return log


async def _forget(engine: Engine, reference: str, observed: ObservedContext) -> None:
    await remove_image(engine, observed, reference)


async def test_an_image_is_pulled_and_its_steps_are_told(engine, registry, observed, log, lines, tmp_path):
    reference = await registry.push(IMAGE, "tool:1")
    await _forget(engine, reference, observed)
    image = await pull_image(engine, observed, reference, environ={"DOCKER_CONFIG": str(tmp_path)}, log=log)
    try:
        assert image.id == (await inspect_image(engine, IMAGE)).id
        assert observed.images[reference] == image
        assert any("Status: Downloaded newer image" in line or "Image is up to date" in line for line in lines)
    finally:
        await _forget(engine, reference, observed)


async def test_an_unknown_image_names_registry_and_cause(engine, registry, observed, log, tmp_path):
    reference = f"{registry.host}/nothing:1"
    with pytest.raises(PullFailed) as caught:
        await pull_image(engine, observed, reference, environ={"DOCKER_CONFIG": str(tmp_path)}, log=log)
    assert registry.host in str(caught.value)
    assert "manifest unknown" in str(caught.value)


async def test_a_moved_tag_is_noticed_by_its_digest_and_only_then_pulled(
    engine, registry, observed, log, lines, tmp_path, project_name
):
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    reference = await registry.push(IMAGE, "moving:1")
    first = f"{registry.host}/moving@{await registry_digest(engine, parse_reference(reference), environ)}"
    image = await inspect_image(engine, reference)
    assert await is_current(engine, reference, image, environ=environ)
    assert await pull_if_changed(engine, observed, reference, environ=environ, log=log) == ""
    assert lines == [f"{reference}: the registry has the same image"]
    created = await engine.call(
        "create", "POST", "containers/create", params={"name": project_name}, body={"Image": IMAGE, "Cmd": ["true"]}
    )
    other = f"{project_name}:2"
    try:
        await engine.call(
            "commit", "POST", "commit", params={"container": created["Id"], "repo": project_name, "tag": "2"}
        )
        await registry.push(other, "moving:1")
        # Locally the tag is what it was; only the registry has moved on.
        await engine.call("tag", "POST", f"images/{IMAGE}/tag", params={"repo": f"{registry.host}/moving", "tag": "1"})
        stale = await inspect_image(engine, reference)
        assert not await is_current(engine, reference, stale, environ=environ)
        await pull_if_changed(engine, observed, reference, environ=environ, log=log)
        assert (await inspect_image(engine, reference)).id == (await inspect_image(engine, other)).id
    finally:
        await engine.call("remove", "DELETE", f"containers/{created['Id']}", params={"force": True})
        await _forget(engine, reference, observed)
        await _forget(engine, other, observed)
        # The image keeps the name that it was pushed under, though its tag has moved on.
        await _forget(engine, first, observed)


async def test_a_registry_that_is_away_is_a_warning_while_the_image_is_there(engine, observed, log, project_name):
    reference = f"127.0.0.1:1/{project_name}:1"
    await engine.call("tag", "POST", f"images/{IMAGE}/tag", params={"repo": reference.rpartition(":")[0], "tag": "1"})
    try:
        warning = await pull_if_changed(engine, observed, reference, environ={}, log=log)
        assert "the local image is used" in warning
        assert "127.0.0.1:1" in warning
    finally:
        await _forget(engine, reference, observed)
    with pytest.raises((PullFailed, RegistryError)):
        await pull_if_changed(engine, observed, reference, environ={}, log=log)


async def test_credentials_are_read_anew_at_each_pull(engine, guarded, observed, log, tmp_path):
    environ = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    reference = await guarded.push(IMAGE, "private:1")
    await _forget(engine, reference, observed)
    with pytest.raises(PullFailed) as caught:
        await pull_image(engine, observed, reference, environ=environ, log=log)
    assert str(tmp_path / "docker" / "config.json") in str(caught.value)
    assert f"no credentials configured for registry: {guarded.host}" in str(caught.value)
    (tmp_path / "docker").mkdir()
    auth = base64.b64encode(b"bob:sesame").decode()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {guarded.host: {"auth": auth}}}))
    try:
        image = await pull_image(engine, observed, reference, environ=environ, log=log)
        assert await is_current(engine, reference, image, environ=environ)
        digest = await registry_digest(engine, parse_reference(reference), environ)
        assert any(known.endswith(digest) for known in image.digests)
    finally:
        await _forget(engine, reference, observed)


async def test_a_wrong_password_is_told_without_being_shown(engine, guarded, observed, log, tmp_path):
    reference = await guarded.push(IMAGE, "private:2")
    await _forget(engine, reference, observed)
    auth = base64.b64encode(b"bob:wrong-secret").decode()
    environ = {
        "DOCKER_CONFIG": str(tmp_path),
        "DOCKER_AUTH_CONFIG": json.dumps({"auths": {guarded.host: {"auth": auth}}}),
    }
    with pytest.raises(PullFailed) as caught:
        await pull_image(engine, observed, reference, environ=environ, log=log)
    assert f"credentials for {guarded.host} came from DOCKER_AUTH_CONFIG" in str(caught.value)
    assert "wrong-secret" not in str(caught.value)
    assert auth not in str(caught.value)


async def test_a_credential_helper_is_asked(tmp_path):
    helper = tmp_path / "docker-credential-fake"
    helper.write_text(
        '#!/bin/sh\nread host\n[ "$host" = registry.example:5000 ] || { echo "credentials not found"; exit 1; }\n'
        'echo "{\\"Username\\": \\"bob\\", \\"Secret\\": \\"sesame\\"}"\n'
    )
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(
        json.dumps({"credHelpers": {"registry.example:5000": "fake", "other.example": "absent"}})
    )
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    found = await find_credentials("registry.example:5000", environ)
    assert (found.username, found.password, found.mechanism) == ("bob", "sesame", "docker-credential-fake")
    assert "sesame" not in repr(found)
    missing = await find_credentials("other.example", environ)
    assert not missing.known
    assert "missing helper binary: docker-credential-absent" in missing.hint()
