"""Only one agent works in a data folder; the next waits for it, and gives up in the end."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from reconciler.exclusive import FolderInUse, sole_user


async def test_a_second_one_gives_up_with_a_reason(tmp_path: Path) -> None:
    async with sole_user(tmp_path):
        with pytest.raises(FolderInUse, match=f"the data folder {tmp_path} is in use by another agent"):
            async with sole_user(tmp_path, patience=0):
                pytest.fail("two in one folder")


async def test_a_second_one_goes_on_when_the_first_has_left(tmp_path: Path) -> None:
    order: list[str] = []

    async def second() -> None:
        async with sole_user(tmp_path, patience=20):
            order.append("second")

    async with anyio.create_task_group() as tasks, sole_user(tmp_path):
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        order.append("first")
    assert order == ["first", "second"]


async def test_two_folders_do_not_disturb_each_other(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with sole_user(tmp_path), sole_user(tmp_path / "other", patience=0):
        pass
