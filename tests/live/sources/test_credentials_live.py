"""Credentials reach the host they are for, and nothing else."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from reconciler.sources import DomainCredentials, GitCredentials
from reconciler.sources.errors import AuthenticationFailed, RepositoryNotFound, SourceError
from tests.live.sources.conftest import MakeSource
from tests.support.git_servers import Fault, GitHTTPServer

TOKEN = "tok-3f9a-secret"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[GitHTTPServer]:
    with GitHTTPServer(tmp_path, user="oauth2", password=TOKEN) as running:
        yield running


async def test_the_global_token_opens_a_private_repository(private: GitHTTPServer, source: MakeSource) -> None:
    repository = private.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    shop = source(repository.url, credentials=GitCredentials(token=TOKEN))
    assert (await shop.checkout(await shop.resolve())).commit == commit


async def test_a_domain_has_its_own_credentials(private: GitHTTPServer, source: MakeSource) -> None:
    private.user = "robot"
    repository = private.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    entry = DomainCredentials((f"127.0.0.1:{private.port}",), token=TOKEN, token_user="robot")
    shop = source(repository.url, credentials=GitCredentials(token="other", domains=(entry,)))
    assert await shop.resolve() == commit


async def test_credentials_in_the_url_work_and_are_shown_nowhere(
    private: GitHTTPServer, source: MakeSource, data: Path
) -> None:
    repository = private.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    url = repository.url.replace("http://", f"http://oauth2:{TOKEN}@")
    shop = source(url)
    assert (await shop.checkout(await shop.resolve())).commit == commit
    assert TOKEN not in shop.repository
    for file in data.rglob("*"):
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes(), file


async def test_without_or_with_wrong_credentials_the_error_says_what_is_missing(
    private: GitHTTPServer, source: MakeSource
) -> None:
    repository = private.create_repo("acme/shop")
    repository.commit({"a": "1"})
    with pytest.raises(AuthenticationFailed, match="none are set for 127"):
        await source(repository.url).resolve()
    with pytest.raises(AuthenticationFailed, match="does not accept the access token of user 'oauth2'") as refused:
        await source(repository.url, credentials=GitCredentials(token="wrong-token")).resolve()
    assert "wrong-token" not in str(refused.value)
    with pytest.raises(AuthenticationFailed) as refused:
        await source(repository.url.replace("http://", "http://u:wrong-token@")).resolve()
    assert "wrong-token" not in str(refused.value)


async def test_a_public_repository_never_sees_the_token(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    shop = source(repository.url, credentials=GitCredentials(token=TOKEN))
    await shop.checkout(await shop.resolve())
    assert {authorization for _, _, authorization in server.requests} == {""}


async def test_a_redirect_to_another_host_does_not_carry_the_token(
    private: GitHTTPServer, tmp_path: Path, source: MakeSource
) -> None:
    with GitHTTPServer(tmp_path, user="x", password="y") as other:
        repository = private.create_repo("acme/shop")
        repository.commit({"a": "1"})
        other.create_repo("acme/shop").commit({"a": "evil"})
        private.fault, private.redirect_to = Fault.REDIRECT, other.base
        with pytest.raises(SourceError):
            await source(repository.url, credentials=GitCredentials(token=TOKEN)).resolve()
        assert other.requests, "it was redirected"
        assert {authorization for _, _, authorization in other.requests} == {""}


async def test_a_token_limited_to_other_hosts_stays_at_home(private: GitHTTPServer, source: MakeSource) -> None:
    repository = private.create_repo("acme/shop")
    repository.commit({"a": "1"})
    with pytest.raises(AuthenticationFailed, match="none are set"):
        await source(
            repository.url, credentials=GitCredentials(token=TOKEN, token_hosts=("git.example.org",))
        ).resolve()
    assert {authorization for _, _, authorization in private.requests} == {""}


async def test_no_process_shows_the_token_nor_the_agents_secrets(
    private: GitHTTPServer, source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_SECRET", "api-secret-value")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    repository = private.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    private.fault, private.delay = Fault.SLOW, 60
    shop = source(repository.url.replace("http://", f"http://oauth2:{TOKEN}@"))
    lines: list[bytes] = []
    environments: list[bytes] = []
    done = anyio.Event()

    async def look() -> None:
        while not done.is_set():
            for entry in Path("/proc").iterdir():
                if not entry.name.isdigit() or int(entry.name) == os.getpid():
                    continue
                try:
                    line = (entry / "cmdline").read_bytes()
                    if f":{private.port}/acme".encode() in line:
                        lines.append(line)
                        environments.append((entry / "environ").read_bytes())
                except OSError:
                    continue
            if any(b"remote-http" in line for line in lines):
                # The helper that speaks HTTP was seen: the server need not hold it any longer.
                private.recover()
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        assert await shop.resolve() == commit
        done.set()
    assert any(b"remote-http" in line for line in lines)
    assert not any(TOKEN.encode() in line for line in lines)
    assert not any(b"api-secret-value" in environment for environment in environments if b"GIT_CONFIG" in environment)


async def test_a_submodule_on_another_host_gets_no_credentials_of_its_parent(
    private: GitHTTPServer, tmp_path: Path, source: MakeSource
) -> None:
    with GitHTTPServer(tmp_path, user="oauth2", password=TOKEN) as other:
        module = other.create_repo("evil/module")
        inner = module.commit({"m": "1"})
        repository = private.create_repo("acme/shop")
        repository.commit({"a": "1"}, submodules={"mod": (module.url, inner)})
        shop = source(repository.url, credentials=GitCredentials(token=TOKEN))
        with pytest.raises(SourceError, match=r"submodule mod: .*none are set for 127"):
            await shop.checkout(await shop.resolve())
        assert {authorization for _, _, authorization in other.requests} == {""}
        entry = DomainCredentials((f"127.0.0.1:{other.port}",), token=TOKEN)
        trusted = source(repository.url, credentials=GitCredentials(token=TOKEN, domains=(entry,)))
        checkout = await trusted.checkout(await trusted.resolve())
        assert (checkout.path / "mod/m").read_text() == "1"
        assert basic("oauth2", TOKEN) in {authorization for _, _, authorization in other.requests}


async def test_hooks_and_configuration_of_others_do_not_run(
    server: GitHTTPServer, source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    shop = source(repository.url)
    await shop.checkout(await shop.resolve())
    assert not marker.exists()


async def test_an_unknown_repository_hints_at_credentials(server: GitHTTPServer, source: MakeSource) -> None:
    with pytest.raises(RepositoryNotFound, match="or it is private: no credentials set"):
        await source(f"{server.base}/none/such.git").resolve()
