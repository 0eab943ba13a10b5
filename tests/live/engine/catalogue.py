"""The catalogue's cases deployed by us, several side by side: names, ports and subnets are their own.

One observer serves all; a few at a time, because an Engine starts containers one after another
anyway. Each case is deployed once, planned again, looked at, and taken away at once.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.compose import DiskReader, LoadRequest, load_project
from reconciler.engine.client import open_engine
from reconciler.engine.endpoint import EngineEndpoint
from reconciler.engine.execute import ExecutionResult, Silent
from reconciler.engine.observe import Observer
from reconciler.planner import describe
from reconciler.planner.model import ActionKind, DesiredStack, Plan
from state.model import StackKey
from state.observed import EngineFacts, ObservedContext
from tests.live.engine.conftest import Bench, remove_project
from tests.support.engine_cases import EngineCase

AT_ONCE = 5

UNSTARTABLE = {
    "rich-entrypoint": "its program does not exist",
    "rich-entrypoint-empty": "its program does not exist",
    "privileged": "a machine without all capabilities",
    "blkio-rates": "a device of its own",
    "group-add": "a group the image lacks",
    "bind-propagation": "a shared mount",
    "hooks": "runs a command in a container that has ended",
    "depends-on": "waits for a container that has ended",
    "network-service": "joins a container that has ended",
    "ipc-pid-service": "joins a container that has ended",
    "namespace-scaled": "joins a container that has ended",
    "shop": "waits for a container that has ended",
}
"""Written to be created, not to run (the golden answers come from `up --no-start`), each with what
hinders it: only their creation is compared."""
SHORT_LIVED = {
    "rich-entrypoint", "rich-command", "ports-short", "ports-range", "ports-published-range", "ports-same-target",
    "ports-long", "ports-ipv6", "health-cmd-shell", "health-cmd", "health-none-string", "health-retries-zero",
    "two-services-networks",
}  # fmt: skip
"""The image's own command ends at once, though a service with a port or health check is to run on:
the next plan rightly starts it again, and does nothing else."""


def short_name(case: EngineCase) -> str:
    return case.name[4:]


@dataclass
class Deployed:
    """What came of one case."""

    name: str
    place: Path
    error: BaseException | None = None
    result: ExecutionResult = field(default_factory=ExecutionResult)
    again: Plan | None = None
    writes: int = 0
    """Calls that changed something while the second plan was carried out."""
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Container name -> inspect answer."""
    ids: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Catalogue:
    """All that were asked for, by name, and the Engine they ran on."""

    engine: EngineFacts
    deployed: dict[str, Deployed]


def asked_for(request: pytest.FixtureRequest) -> list[EngineCase]:
    """The cases that this session's selected tests of the module want."""
    return [
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and "case" in _parameters(item)
    ]


def _parameters(item: pytest.Function) -> dict[str, Any]:
    call = getattr(item, "callspec", None)
    return dict(call.params) if call is not None else {}


@asynccontextmanager
async def observed_engine(url: str = "") -> AsyncIterator[tuple[Any, ObservedContext, Observer]]:
    """An Engine, a cache of it, and an observer that feeds it."""
    async with open_engine(EngineEndpoint(url) if url else EngineEndpoint(), "default") as engine:
        observed = ObservedContext("default")
        observer = Observer(engine, observed)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(observer.run)
            with anyio.fail_after(60), observed.watch.subscribe(()) as changed:
                while not observed.connected:
                    await changed.wait()
            yield engine, observed, observer
            tasks.cancel_scope.cancel()


async def deploy_catalogue(cases: Iterable[EngineCase], root: Path, url: str = "") -> Catalogue:
    """Deploy all, a few side by side."""
    found: dict[str, Deployed] = {}
    async with observed_engine(url) as (engine, observed, observer):
        # The longest first, so that none of them is waited for alone.
        waiting = sorted(cases, key=lambda case: -len(case.expected["containers"]))

        async def work() -> None:
            while waiting:
                case = waiting.pop(0)
                name = f"mbt{secrets.token_hex(4)}"
                bench = Bench(engine, observed, observer, name, root / name)
                deployed = found[short_name(case)] = Deployed(name, bench.folder / "case")
                begun = time.monotonic()
                try:
                    await _deploy(bench, case, deployed)
                except Exception as error:  # Raised again by the test of this case.
                    deployed.error = error
                finally:
                    with anyio.CancelScope(shield=True):
                        await remove_project(engine, name)
                deployed.seconds = time.monotonic() - begun

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(work)
        assert observed.engine is not None
        return Catalogue(observed.engine, found)


async def _deploy(bench: Bench, case: EngineCase, deployed: Deployed) -> None:
    desired = case_desired(bench.name, case, deployed.place)
    deployed.result = await bench.apply(desired)
    settled = replace(desired, policy=replace(desired.policy, images_done=True))
    deployed.again = again = await bench.plan(settled)
    if again.empty:
        async with only_we_write(bench) as own:
            assert (await own.executor.execute(again, settled, Silent())).ok
            deployed.writes = own.engine.writes
    for container in bench.observed.project(bench.name):
        deployed.containers[container.name] = container.inspect
        deployed.ids[container.id] = container.name


@asynccontextmanager
async def only_we_write(bench: Bench) -> AsyncIterator[Bench]:
    """The bench with a connection of its own, so that its writes can be counted beside others'."""
    async with open_engine(bench.engine.endpoint, "default") as engine:
        yield Bench(engine, bench.observed, bench.observer, bench.name, bench.folder)


def case_desired(project: str, case: EngineCase, place: Path) -> DesiredStack:
    """A case laid out at a place, as the desired state of a project."""
    if not place.exists():
        shutil.copytree(case.folder, place, ignore=shutil.ignore_patterns("expected.json"))
    return DesiredStack(
        key=StackKey("default", project),
        project=load_project(LoadRequest(cwd=str(place), project_name=project), DiskReader()),
        seccomp_profiles={str(path): path.read_text() for path in place.glob("*.json")},
    )


def nothing_is_left(name: str, deployed: Deployed) -> None:
    """The first plan was carried out, and the second had nothing to do and did nothing."""
    if deployed.error is not None:
        raise deployed.error
    again = deployed.again
    assert again is not None
    to_start = {ActionKind.START_CONTAINER, ActionKind.WAIT_SERVICE}
    if name in UNSTARTABLE:
        assert {outcome.action.kind for outcome in deployed.result.failures} <= to_start, deployed.result.message
    else:
        assert deployed.result.ok, deployed.result.message
    if name in UNSTARTABLE or name in SHORT_LIVED:
        assert {action.kind for action in again.actions} <= to_start, describe(again)
    else:
        assert again.empty, describe(again)
    assert deployed.writes == 0
