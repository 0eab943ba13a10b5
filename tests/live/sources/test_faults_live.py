"""Remotes that misbehave: they end in time, with a clear error, and delay nobody else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import pytest

from reconciler.sources import GitCredentials, GitOptions, GitWorkspace
from reconciler.sources.errors import SourceTimeout, SourceUnreachable
from state.model import SourceKind, SourceSpec
from tests.live.sources.conftest import MakeSource
from tests.support.git_servers import Fault, GitHTTPServer


def git_processes(text: str) -> list[str]:
    """Command lines of running processes that mention `text`, this one's own aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line and "git" in line:
                found.append(line)
    return found


async def until_gone(text: str) -> None:
    with anyio.fail_after(30):
        while git_processes(text):
            await anyio.sleep(0.02)


async def test_a_hanging_remote_ends_by_its_deadline_with_all_its_processes(
    server: GitHTTPServer, source: MakeSource
) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    server.fault = Fault.HANG
    shop = source(repository.url, resolve_timeout=0.7)
    started = time.monotonic()
    with pytest.raises(SourceTimeout, match=r"acme/shop: git ls-remote: no answer within 0\.7 seconds"):
        await shop.resolve()
    assert time.monotonic() - started < 30
    await until_gone(f":{server.port}")
    server.recover()
    assert await source(repository.url).resolve() == repository.tip()


async def test_a_transfer_that_stalls_ends_and_leaves_the_store_usable(
    server: GitHTTPServer, source: MakeSource
) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": os.urandom(200_000)})
    shop = source(repository.url, fetch_timeout=1.5)
    commit = await shop.resolve()
    server.fault = Fault.HANG_MIDWAY
    with pytest.raises(SourceTimeout, match="git fetch: no answer within"):
        await shop.checkout(commit)
    await until_gone(f":{server.port}")
    server.recover()
    patient = source(repository.url)
    assert (await patient.checkout(await patient.resolve())).commit == commit


async def test_others_go_on_while_one_remote_hangs(server: GitHTTPServer, tmp_path: Path, data: Path) -> None:
    with GitHTTPServer(tmp_path) as other:
        workspace = GitWorkspace(data, GitCredentials(), GitOptions(resolve_timeout=300))
        hanging = [server.create_repo(f"acme/r{number}") for number in range(8)]
        healthy = other.create_repo("acme/fine")
        healthy.commit({"a": "1"})
        for repository in hanging:
            repository.commit({"a": "1"})
        checked_out = workspace.source(SourceSpec(SourceKind.GIT, hanging[0].url, "main"))
        commit = await checked_out.resolve()
        await checked_out.checkout(commit)
        server.fault = Fault.HANG

        async with anyio.create_task_group() as tasks:
            for repository in hanging:
                tasks.start_soon(workspace.source(SourceSpec(SourceKind.GIT, repository.url, "main")).resolve)
            with anyio.fail_after(60):
                while not server.hanging.is_set():
                    await anyio.sleep(0.01)
            with anyio.fail_after(60):
                fine = workspace.source(SourceSpec(SourceKind.GIT, healthy.url, "main"))
                assert (await fine.checkout(await fine.resolve())).commit == healthy.tip()
                assert (await checked_out.checkout(commit)).commit == commit, "what is on disk needs no remote"
            tasks.cancel_scope.cancel()
    await until_gone(f":{server.port}")


async def test_a_cancelled_fetch_is_gone_at_once_and_can_be_repeated(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": os.urandom(200_000)})
    shop = source(repository.url)
    commit = await shop.resolve()
    server.fault = Fault.HANG_MIDWAY
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shop.checkout, commit)
        with anyio.fail_after(60):
            while not server.hanging.is_set():
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    await until_gone(f":{server.port}")
    server.recover()
    assert (await shop.checkout(commit)).commit == commit


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [(Fault.RESET, 0, "acme/shop.git: "), (Fault.STATUS, 503, "the server answered with status 503")],
)
async def test_a_failing_server_is_unreachable(
    server: GitHTTPServer, source: MakeSource, fault: Fault, status: int, said: str
) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    server.fault, server.status = fault, status
    with pytest.raises(SourceUnreachable, match=said) as failed:
        await source(repository.url).resolve()
    assert failed.value.transient


async def test_nobody_listens(source: MakeSource, tmp_path: Path) -> None:
    with GitHTTPServer(tmp_path) as closed:
        url = closed.create_repo("acme/shop").url
    with pytest.raises(SourceUnreachable, match=r"acme/shop\.git: unable to access|Failed to connect"):
        await source(url).resolve()


async def test_a_slow_server_is_waited_for(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    server.fault, server.delay = Fault.SLOW, 0.3
    shop = source(repository.url)
    assert (await shop.checkout(await shop.resolve())).commit == commit
