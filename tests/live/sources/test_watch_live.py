"""Commits to a repository on this machine are noticed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest

from reconciler.sources import watch_local
from tests.support.git_servers import run_git


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    run_git("init", "-q", "-b", "main", cwd=path)
    run_git("commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    return path


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
    noticed = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(watch_local, folder, noticed.set, interval=0.02))
        await anyio.sleep(0.1)
        assert not noticed.is_set()
        await anyio.to_thread.run_sync(lambda: run_git(*change, cwd=folder))
        with anyio.fail_after(3):
            await noticed.wait()
        tasks.cancel_scope.cancel()


async def test_a_nested_branch_that_exists_moves(folder: Path) -> None:
    run_git("checkout", "-q", "-b", "release/1.0", cwd=folder)
    noticed = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(watch_local, folder, noticed.set, interval=0.02))
        await anyio.sleep(0.1)
        await anyio.to_thread.run_sync(lambda: run_git("commit", "-q", "--allow-empty", "-m", "more", cwd=folder))
        with anyio.fail_after(3):
            await noticed.wait()
        tasks.cancel_scope.cancel()


async def test_a_linked_work_tree_and_a_bare_repository_are_watched(folder: Path, tmp_path: Path) -> None:
    run_git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"), cwd=folder)
    run_git("clone", "-q", "--bare", str(folder), str(tmp_path / "bare"))
    for path in (tmp_path / "side", tmp_path / "bare"):
        noticed = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(watch_local, path, noticed.set, interval=0.02))
            await anyio.sleep(0.1)
            await anyio.to_thread.run_sync(partial(run_git, "branch", f"new-{path.name}", cwd=path))
            with anyio.fail_after(3):
                await noticed.wait()
            tasks.cancel_scope.cancel()


async def test_a_repository_that_appears_later_is_noticed(tmp_path: Path) -> None:
    noticed = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(watch_local, tmp_path / "later", noticed.set, interval=0.02))
        await anyio.sleep(0.05)
        (tmp_path / "later").mkdir()
        await anyio.to_thread.run_sync(lambda: run_git("init", "-q", cwd=tmp_path / "later"))
        with anyio.fail_after(3):
            await noticed.wait()
        tasks.cancel_scope.cancel()
