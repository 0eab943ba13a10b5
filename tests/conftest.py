"""What every test can ask for. Anything that costs is made once a session, and only when asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose_oracle import Compose
from tests.support.docker_api import DockerApi
from tests.support.engine import PrivateEngine, keep_busybox, shared_engine
from tests.support.names import owned_project, unique_name
from tests.support.newer_engine import NEXT, NewerEngine, wanted
from tests.support.registry import Registry


def pytest_configure() -> None:
    """Property tests look at the same examples each time, however long one takes on a busy machine;
    HYPOTHESIS_PROFILE=long lets them look for longer, and at others each time."""
    from hypothesis import HealthCheck, settings

    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("suite", patient, derandomize=True)
    settings.register_profile("long", patient, max_examples=5_000)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests against the newer Engine run when one is wanted; else they are left out, not skipped."""
    if wanted():
        return
    left_out = [item for item in items if item.get_closest_marker("newer_engine")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The product runs on asyncio: aiodocker and Sanic do."""
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def _git_knows_nobody() -> None:
    """Git takes nothing from the developer's own configuration, and asks nobody."""
    os.environ.update(
        GIT_CONFIG_GLOBAL="/dev/null",
        GIT_CONFIG_NOSYSTEM="1",
        GIT_TERMINAL_PROMPT="0",
        GIT_AUTHOR_NAME="Test",
        GIT_AUTHOR_EMAIL="test@example.invalid",
        GIT_COMMITTER_NAME="Test",
        GIT_COMMITTER_EMAIL="test@example.invalid",
    )


@pytest.fixture(scope="session")
def engine() -> DockerApi:
    """The machine's Docker Engine, seen without any code of the product."""
    return shared_engine()


@pytest.fixture(autouse=True)
def _busybox_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests that remove projects with their images leave the shared one to the next test."""
    yield
    if "engine" in request.fixturenames:
        # Not through the fixture: folders may have one of that name that is not ours.
        keep_busybox(shared_engine())


@pytest.fixture
def project(engine: DockerApi) -> Iterator[str]:
    """A Compose project name of this test's own; what carries it is removed at the end."""
    with owned_project(engine) as name:
        yield name


@pytest.fixture
def name() -> str:
    return unique_name()


@pytest.fixture(scope="session")
def compose() -> Compose:
    """The real Docker Compose."""
    return Compose()


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """An image registry without authentication."""
    with Registry() as running:
        yield running


@pytest.fixture
def private_engine() -> Iterator[PrivateEngine]:
    """A Docker Engine that this test may stop, kill and freeze."""
    with PrivateEngine() as running:
        yield running


@pytest.fixture(scope="session")
def newer_engine() -> Iterator[NewerEngine]:
    """Debian 13's Docker Engine; mark the test `newer_engine`."""
    with NewerEngine(shared_engine()) as running:
        yield running


@pytest.fixture(scope="session")
def newest_engine() -> Iterator[NewerEngine]:
    """The Docker Engine of Debian's next release; mark the test `newer_engine`."""
    with NewerEngine(shared_engine(), NEXT) as running:
        yield running


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Compose files with what the real Compose makes of them: beside the checkout, or MOORED_CORPUS."""
    path = Path(os.environ.get("MOORED_CORPUS") or Path(__file__).resolve().parents[2] / "shared" / "corpus")
    assert path.is_dir(), f"no corpus at {path}: set MOORED_CORPUS"
    return path
