"""On newer Engines, too, what was deployed leaves nothing to do: the whole catalogue, and what
the machine's own Engine is too old for."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from tests.live.engine.catalogue import (
    Catalogue,
    asked_for,
    deploy_catalogue,
    nothing_is_left,
    observed_engine,
    short_name,
)
from tests.live.engine.conftest import Bench, remove_project
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
