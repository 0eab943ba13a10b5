"""The real Engine, a namespace of one's own on it, and an observer that feeds a cache."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from reconciler.engine.client import Engine, filters, open_engine
from reconciler.engine.endpoint import EngineEndpoint
from reconciler.engine.errors import EngineError
from reconciler.engine.observe import Observer
from state.observed import LABEL_PROJECT, ObservedContext

IMAGE = "moored/busybox:1"


@dataclass
class Bench:
    """One engine, its cache, and a project name that nobody else uses."""

    engine: Engine
    observed: ObservedContext
    observer: Observer
    name: str
    created: list[str] = field(default_factory=list)

    async def run_container(self, *, command: list[str] | None = None, **labels: str) -> str:
        """A running container of the project, without Compose's other labels."""
        body: dict[str, Any] = {
            "Image": IMAGE,
            "Cmd": command or ["sleep", "600"],
            "Labels": {LABEL_PROJECT: self.name, **labels},
            "StopTimeout": 0,
        }
        name = f"{self.name}-c{len(self.created)}"
        answer = await self.engine.call(
            "container.create", "POST", "containers/create", params={"name": name}, body=body
        )
        self.created.append(answer["Id"])
        await self.engine.call("container.start", "POST", f"containers/{answer['Id']}/start")
        return str(answer["Id"])

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait, woken by the cache alone, until `condition` holds."""
        with anyio.fail_after(seconds), self.observed.watch.subscribe(()) as changed:
            while not condition():
                await changed.wait()


async def remove_project(engine: Engine, name: str) -> None:
    """Everything that carries the project's label."""
    label = filters(label=f"{LABEL_PROJECT}={name}")
    for entry in await engine.call("list", "GET", "containers/json", params={"all": True, "filters": label}):
        await _quietly(engine.call("remove", "DELETE", f"containers/{entry['Id']}", params={"force": True, "v": True}))
    for entry in await engine.call("list", "GET", "networks", params={"filters": label}):
        await _quietly(engine.call("remove", "DELETE", f"networks/{entry['Id']}"))
    for entry in (await engine.call("list", "GET", "volumes", params={"filters": label}))["Volumes"] or ():
        await _quietly(engine.call("remove", "DELETE", f"volumes/{entry['Name']}", params={"force": True}))


async def _quietly(call: Awaitable[Any]) -> None:
    try:
        await call
    except EngineError:
        return


@pytest.fixture
def project_name() -> str:
    return f"mbt{secrets.token_hex(4)}"


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with open_engine(EngineEndpoint(), "default") as engine:
        yield engine


@pytest.fixture
async def bench(engine: Engine, project_name: str) -> AsyncIterator[Bench]:
    observed = ObservedContext("default")
    observer = Observer(engine, observed)
    bench = Bench(engine, observed, observer, project_name)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(observer.run)
        try:
            await bench.until(lambda: observed.connected)
            yield bench
        finally:
            with anyio.CancelScope(shield=True):
                await remove_project(engine, project_name)
            tasks.cancel_scope.cancel()
