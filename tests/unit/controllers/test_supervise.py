"""A loop that fails is started again; one that is cancelled is not."""

from __future__ import annotations

import anyio
import pytest

from reconciler.controllers import supervise as module
from reconciler.controllers.supervise import supervise


async def test_a_loop_that_fails_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    begun: list[int] = []
    healthy = anyio.Event()

    async def loop() -> None:
        begun.append(len(begun))
        if len(begun) < 4:
            raise ValueError(f"fault {len(begun)}")
        healthy.set()
        await anyio.sleep_forever()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervise, "loop", loop)
            await healthy.wait()
            tasks.cancel_scope.cancel()
    assert begun == [0, 1, 2, 3]


async def test_a_loop_that_returns_is_started_again_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    twice = anyio.Event()
    begun: list[int] = []

    async def loop() -> None:
        begun.append(1)
        if len(begun) == 2:
            twice.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervise, "loop", loop)
            await twice.wait()
            tasks.cancel_scope.cancel()
