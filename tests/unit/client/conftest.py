"""The command line against the API as it runs: the same Sanic application, store and small controller
as the API's own tests, asked by `moored` in a thread beside the event loop."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import structlog

from reconciler.cli import main
from tests.unit.api.conftest import LIMIT, SECRET, Kit, default, kit, options, store

__all__ = ["Moored", "default", "kit", "moored", "options", "store"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Moored:
    """`moored`, with an environment of its own."""

    capture: Callable[[], tuple[str, str]]
    home: Path

    def now(self, *arguments: str) -> Ended:
        """Call it, blocking."""
        self.capture()
        status = main(list(arguments))
        return Ended(status, *self.capture())

    async def __call__(self, *arguments: str) -> Ended:
        with anyio.fail_after(LIMIT * 3):
            return await anyio.to_thread.run_sync(lambda: self.now(*arguments))

    @property
    def file(self) -> Path:
        return self.home / ".config" / "moored" / "config.yaml"

    def configure(self, text: str, mode: int = 0o600) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(text)
        self.file.chmod(mode)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Moored:
    """`moored` in an environment that names no agent."""
    for name in list(os.environ):
        if name.startswith(("MOORED_", "API_SECRET", "HTTP_")) or name in ("NO_COLOR", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def capture() -> tuple[str, str]:
        captured = capsys.readouterr()
        return captured.out, captured.err

    return Moored(capture, tmp_path / "home")


@pytest.fixture(autouse=True)
def _quiet_api() -> Iterator[None]:
    """The API's log goes to standard output while nothing configures it: into what `moored` prints."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture
def moored(bare: Moored, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> Moored:
    """`moored` that knows the running API from its environment."""
    monkeypatch.setenv("MOORED_SERVER", f"http://127.0.0.1:{kit.ports.http}")
    monkeypatch.setenv("MOORED_API_KEY", SECRET)
    return bare
