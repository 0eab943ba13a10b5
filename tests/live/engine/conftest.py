"""The real Engine, a namespace of one's own on it, and an observer that feeds a cache."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.compose import DiskReader, LoadRequest, load_project
from reconciler.engine.client import Engine, filters, open_engine
from reconciler.engine.endpoint import EngineEndpoint
from reconciler.engine.errors import EngineError
from reconciler.engine.execute import ExecutionResult, Executor, Silent
from reconciler.engine.observe import Observer, observe_project
from reconciler.planner import plan
from reconciler.planner.model import Action, DesiredStack, Plan, Policy
from reconciler.planner.plan import after_partial
from state.model import StackKey
from state.observed import LABEL_PROJECT, ObservedContext
from tests.support.waiting import PATIENCE

IMAGE = "moored/busybox:1"


class Diary(Silent):
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: dict[str, str | None] = {}
        self.lines: list[str] = []

    async def started(self, action: Action) -> None:
        self.begun.append(action.id)

    async def finished(self, action: Action, error: str | None) -> None:
        self.ended[action.id] = error

    async def log(self, action: Action, line: str) -> None:
        self.lines.append(line)


@dataclass
class Bench:
    """One engine, its cache, and a project name that nobody else uses."""

    engine: Engine
    observed: ObservedContext
    observer: Observer
    name: str
    folder: Path
    created: list[str] = field(default_factory=list)
    diary: Diary = field(default_factory=Diary)
    environ: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict)
    """What containers became in place, which the agent keeps in its store."""

    def __post_init__(self) -> None:
        self.executor = Executor(self.engine, self.observed, self.observer, environ=self.environ)

    def desired(
        self, text: str, *, content: Mapping[str, Mapping[str, str]] | None = None, **policy: Any
    ) -> DesiredStack:
        """What the text of a Compose file wants."""
        (self.folder / "compose.yaml").write_text(text)
        request = LoadRequest(
            working_dir=str(self.folder),
            files=(str(self.folder / "compose.yaml"),),
            project_name=self.name,
            environment={"IMAGE": IMAGE, "SECRET_VALUE": "s3cr3t"},
        )
        project = load_project(request, DiskReader())
        return DesiredStack(
            key=StackKey("default", self.name), project=project, policy=Policy(**policy), content=content or {}
        )

    async def plan(self, desired: DesiredStack) -> Plan:
        if not desired.acknowledged_content:
            desired = replace(desired, acknowledged_content=self.acknowledged)
        return plan(desired, await observe_project(self.engine, self.observed, desired))

    async def apply(self, desired: DesiredStack) -> ExecutionResult:
        """Plan and execute, images first, until one full plan was carried out."""
        while True:
            next_plan = await self.plan(desired)
            result = await self.executor.execute(next_plan, desired, self.diary)
            for container, told in result.acknowledged.items():
                self.acknowledged.setdefault(container, {}).update(told)
            if not next_plan.partial or not result.ok:
                await observe_project(self.engine, self.observed, desired)
                return result
            desired = after_partial(desired)

    async def deploy(self, desired: DesiredStack) -> None:
        """Apply, and insist that it worked and that nothing is left to do."""
        result = await self.apply(desired)
        assert result.ok, result.message
        settled = replace(desired, policy=replace(desired.policy, force_recreate=False, images_done=True))
        again = await self.plan(settled)
        assert again.empty, [(action.id, [str(reason) for reason in action.reasons]) for action in again.actions]
        writes = self.engine.writes
        result = await self.executor.execute(again, settled, Silent())
        assert result.ok
        assert self.engine.writes == writes

    def container(self, service: str, number: int = 1) -> Any:
        """A container of the project, from the cache."""
        found = [c for c in self.observed.project(self.name) if c.service == service and c.number == number]
        assert len(found) == 1, f"{service} {number}: {[c.name for c in self.observed.project(self.name)]}"
        return found[0]

    async def run_in(self, container_id: str, *command: str) -> str:
        """What a command prints inside a container."""
        from reconciler.engine.output import demultiplex

        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        created = await self.engine.call("exec", "POST", f"containers/{container_id}/exec", body=body)
        async with self.engine.stream(
            "exec", "POST", f"exec/{created['Id']}/start", body={"Detach": False, "Tty": False}
        ) as response:
            return demultiplex(await response.read()).decode()

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
        with anyio.fail_after(PATIENCE * seconds), self.observed.watch.subscribe(()) as changed:
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
async def bench(engine: Engine, project_name: str, tmp_path: Path) -> AsyncIterator[Bench]:
    observed = ObservedContext("default")
    observer = Observer(engine, observed)
    bench = Bench(engine, observed, observer, project_name, tmp_path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(observer.run)
        try:
            await bench.until(lambda: observed.connected)
            yield bench
        finally:
            with anyio.CancelScope(shield=True):
                await remove_project(engine, project_name)
            tasks.cancel_scope.cancel()
