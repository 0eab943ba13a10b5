"""A local repository is watched from before its first look on: no commit falls between the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest

from reconciler.controllers.rendering import SourceAccess
from reconciler.controllers.sources import SourceController
from state.model import Source, SourceKind, SourceSpec

SOURCE = Source("id", SourceSpec(SourceKind.GIT, "file:///srv/shop", interval=3600, watch=True), "srv/shop", "config")


async def order(watch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, events: list[str]) -> None:
    """Poll the source with this watch until it is looked at."""
    looked = anyio.Event()

    def look(self: SourceController, source: Source, **_: Any) -> None:
        events.append("look")
        looked.set()

    monkeypatch.setattr(SourceController, "request", look)
    anything = cast(Any, None)
    access = SourceAccess(anything, anything, anything, anything, watch, anything)
    controller = SourceController(
        store=anything, stacks=anything, jobs=anything, hub=anything, access=access, options=anything, metrics=anything
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(controller._poll, SOURCE, tasks)
        await looked.wait()
        tasks.cancel_scope.cancel()


async def test_the_first_look_comes_after_the_first_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    async def watch(spec: SourceSpec, notify: Callable[[], None], begun: Callable[[], None]) -> None:
        await anyio.wait_all_tasks_blocked()
        events.append("picture")
        begun()
        await anyio.sleep_forever()

    await order(watch, monkeypatch, events)
    assert events == ["picture", "look"]


async def test_a_watch_that_fails_keeps_nobody_from_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    async def watch(spec: SourceSpec, notify: Callable[[], None], begun: Callable[[], None]) -> None:
        raise ValueError("no picture")

    await order(watch, monkeypatch, events)
    assert events == ["look"]
