"""On newer Engines, too, what was deployed leaves nothing to do: the whole catalogue, and what
the machine's own Engine is too old for."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from reconciler.planner import describe
from reconciler.planner.model import PlanError
from tests.live.engine.catalogue import (
    Catalogue,
    asked_for,
    deploy_catalogue,
    nothing_is_left,
    observed_engine,
    short_name,
)
from tests.live.engine.conftest import Bench, remove_project
from tests.live.engine.test_start_first_live import name_leads_to_the_successor
from tests.support.engine_cases import EngineCase, build_rich_image, engine_cases
from tests.support.newer_engine import NewerEngine

pytestmark = pytest.mark.newer_engine
CASES = list(engine_cases())


@pytest.fixture(scope="module", params=["newer_engine", "newest_engine"])
def an_engine(request: pytest.FixtureRequest) -> NewerEngine:
    found: NewerEngine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def catalogue(request: pytest.FixtureRequest, an_engine: NewerEngine) -> Catalogue:
    build_rich_image(an_engine.api)
    cases = {case.name: case for case in asked_for(request)}
    return anyio.run(deploy_catalogue, cases.values(), an_engine.folder, an_engine.url)


@pytest.mark.parametrize("case", CASES, ids=short_name)
def test_the_next_plan_is_empty(catalogue: Catalogue, case: EngineCase) -> None:
    nothing_is_left(short_name(case), catalogue.deployed[short_name(case)])


@pytest.fixture
async def bench(an_engine: NewerEngine) -> AsyncIterator[Bench]:
    name = f"mbt{secrets.token_hex(4)}"
    place = Path(an_engine.folder) / name
    place.mkdir()
    async with observed_engine(an_engine.url) as (engine, observed, observer):
        try:
            yield Bench(engine, observed, observer, name, place)
        finally:
            with anyio.CancelScope(shield=True):
                await remove_project(engine, name)


async def test_a_name_leads_to_a_successor_that_was_started_first(bench: Bench) -> None:
    await name_leads_to_the_successor(bench)


SINCE_1_44 = """
services:
  web:
    image: moored/busybox:1
    command: [sleep, "600"]
    init: true
    annotations: {a: b}
    mac_address: %(mac)s
    healthcheck: {test: "true", start_period: 20s, start_interval: %(interval)s}
    networks:
      back: {mac_address: "02:42:ac:11:65:44", aliases: [server]}
      default: {priority: 10}
    volumes:
      - {type: bind, source: ., target: /here, read_only: true, bind: {recursive: readonly, propagation: rprivate}}
networks: {back: {}}
"""


async def test_what_needs_api_1_44_converges_and_changes(bench: Bench) -> None:
    await bench.deploy(bench.desired(SINCE_1_44 % {"mac": "02:42:ac:11:65:43", "interval": "1s"}))
    found = bench.container("web").inspect
    endpoints = found["NetworkSettings"]["Networks"]
    assert endpoints[f"{bench.name}_default"]["MacAddress"] == "02:42:ac:11:65:43"
    assert endpoints[f"{bench.name}_back"]["MacAddress"] == "02:42:ac:11:65:44"
    assert found["Config"]["Healthcheck"]["StartInterval"] == 10**9
    assert found["HostConfig"]["Annotations"] == {"a": "b"}
    assert found["HostConfig"]["Mounts"][0]["BindOptions"]["ReadOnlyForceRecursive"] is True
    changed = bench.desired(SINCE_1_44 % {"mac": "02:42:ac:11:65:45", "interval": "2s"})
    told = describe(await bench.plan(changed))
    assert "healthcheck.start_interval: 1s → 2s" in told
    assert "services.web.mac_address: 02:42:ac:11:65:43 → 02:42:ac:11:65:45" in told
    await bench.deploy(changed)
    endpoints = bench.container("web").inspect["NetworkSettings"]["Networks"]
    assert endpoints[f"{bench.name}_default"]["MacAddress"] == "02:42:ac:11:65:45"


async def test_a_mac_address_alone_is_seen_to_come_change_and_go(bench: Bench) -> None:
    text = "services: {web: {image: 'moored/busybox:1', command: [sleep, '600'], init: true%s}}"

    async def live(mac: str) -> str:
        await bench.deploy(bench.desired(text % mac))
        found: str = bench.container("web").inspect["NetworkSettings"]["Networks"][f"{bench.name}_default"][
            "MacAddress"
        ]
        return found

    await live("")
    for mac in ("02:42:ac:11:65:43", "02:42:ac:11:65:45"):
        assert await live(f", mac_address: '{mac}'") == mac
    assert await live("") != mac


SUBPATH = """
services:
  seed:
    image: moored/busybox:1
    command: [sh, -c, "mkdir -p /all/one /all/two; echo first > /all/one/name; echo second > /all/two/name"]
    volumes: ["files:/all"]
  reader:
    image: moored/busybox:1
    command: [sleep, "600"]
    init: true
    depends_on: {seed: {condition: service_completed_successfully}}
    volumes: [{type: volume, source: files, target: /part, volume: {subpath: %s}}]
volumes: {files: {}}
"""


async def test_a_part_of_a_volume_is_mounted(bench: Bench) -> None:
    for part, name in (("one", "first"), ("two", "second")):
        await bench.deploy(bench.desired(SUBPATH % part))
        assert await bench.run_in(bench.container("reader").id, "cat", "/part/name") == f"{name}\n"


SINCE_1_48 = """
services:
  web:
    image: moored/busybox:1
    command: [sleep, "600"]
    init: true
    networks:
      default: {gw_priority: %d}
      back: {gw_priority: 5, interface_name: %s}
    volumes: [{type: image, source: "moored/busybox:1", target: /box, image: {subpath: bin}}]
networks: {back: {enable_ipv4: true}}
"""


async def test_what_needs_api_1_48_converges_or_is_refused_by_name(bench: Bench) -> None:
    first = bench.desired(SINCE_1_48 % (1, "inner0"))
    assert bench.observed.engine is not None
    if not bench.observed.engine.supports("1.49"):
        with pytest.raises(PlanError) as refused:
            await bench.plan(first)
        for part in ("networks.back.interface_name", "networks.back.gw_priority", "volumes[0].type image"):
            assert f"services.web.{part}: needs Engine API 1.4" in str(refused.value)
        return
    await bench.deploy(first)
    endpoints = bench.container("web").inspect["NetworkSettings"]["Networks"]
    assert endpoints[f"{bench.name}_back"]["GwPriority"] == 5
    assert "inner0" in await bench.run_in(bench.container("web").id, "ls", "/sys/class/net")
    assert "busybox" in await bench.run_in(bench.container("web").id, "ls", "/box")
    second = bench.desired(SINCE_1_48 % (9, "inner1"))
    told = describe(await bench.plan(second))
    assert "gw_priority 1 → 9" in told
    assert "driver_opts" in told
    await bench.deploy(second)
    assert "inner1" in await bench.run_in(bench.container("web").id, "ls", "/sys/class/net")


async def test_changes_in_place_stay_in_place(bench: Bench) -> None:
    text = "services: {web: {image: 'moored/busybox:1', command: [sleep, '600'], init: true, %s}}"
    await bench.deploy(bench.desired(text % "mem_limit: 32m, cpus: 0.5, restart: always"))
    before = bench.container("web").id
    for change in ("mem_limit: 64m, cpus: 0.25, restart: 'no'", "mem_limit: 32m, cpus: 0.5, restart: always"):
        await bench.deploy(bench.desired(text % change))
    assert bench.container("web").id == before
