"""Commits to a repository on this machine are noticed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from reconciler.sources import local, watch_local
from tests.support.git_servers import run_git


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    run_git("init", "-q", "-b", "main", cwd=path)
    run_git("commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    age(path)
    return path


def age(path: Path) -> None:
    """All was long ago: what has only just changed is looked at twice."""
    for entry in path.rglob("*"):
        os.utime(entry, (1e9, 1e9))


@asynccontextmanager
async def noticing(path: Path) -> AsyncIterator[anyio.Event]:
    """Watch a repository; what happens inside must be noticed."""
    begun, noticed = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(watch_local, path, noticed.set, interval=0.02, begun=begun.set))
        await begun.wait()
        yield noticed
        with anyio.fail_after(60):
            await noticed.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "change",
    [
        ("commit", "-q", "--allow-empty", "-m", "next"),
        ("branch", "release/1.0/rc"),
        ("tag", "v1"),
        ("pack-refs", "--all"),
        ("checkout", "-q", "--detach"),
    ],
)
async def test_a_change_of_a_reference_is_noticed(folder: Path, change: tuple[str, ...]) -> None:
    async with noticing(folder) as noticed:
        await anyio.sleep(0.1)
        assert not noticed.is_set(), "nothing happened yet"
        await anyio.to_thread.run_sync(lambda: run_git(*change, cwd=folder))


async def test_a_nested_branch_that_exists_moves(folder: Path) -> None:
    run_git("checkout", "-q", "-b", "release/1.0", cwd=folder)
    age(folder)
    async with noticing(folder):
        await anyio.to_thread.run_sync(lambda: run_git("commit", "-q", "--allow-empty", "-m", "more", cwd=folder))


async def test_a_linked_work_tree_and_a_bare_repository_are_watched(folder: Path, tmp_path: Path) -> None:
    run_git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"), cwd=folder)
    run_git("clone", "-q", "--bare", str(folder), str(tmp_path / "bare"))
    age(tmp_path)
    for path in (tmp_path / "side", tmp_path / "bare"):
        async with noticing(path):
            await anyio.to_thread.run_sync(partial(run_git, "branch", f"new-{path.name}", cwd=path))


async def test_a_repository_that_appears_later_is_noticed(tmp_path: Path) -> None:
    async with noticing(tmp_path / "later"):
        (tmp_path / "later").mkdir()
        await anyio.to_thread.run_sync(lambda: run_git("init", "-q", cwd=tmp_path / "later"))


async def test_a_change_within_the_time_stamp_of_another_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = folder / ".git/refs/heads"
    async with noticing(folder) as noticed:
        await anyio.sleep(0.1)
        assert not noticed.is_set(), "all is long settled"
        run_git("branch", "other", cwd=folder)
    # As if it were the same moment for minutes.
    monkeypatch.setattr(local, "SETTLED_NS", 10**12)
    async with noticing(folder):
        moment = heads.stat().st_mtime_ns
        run_git("branch", "another", cwd=folder)
        os.utime(heads, ns=(moment, moment))
