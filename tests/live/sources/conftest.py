from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.sources import GitCredentials, GitOptions, GitSource, GitWorkspace
from state.model import SourceKind, SourceSpec
from tests.support.git_servers import GitHTTPServer, GitSSHServer

MakeSource = Callable[..., GitSource]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHTTPServer]:
    with GitHTTPServer(tmp_path) as running:
        yield running


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[GitSSHServer]:
    with GitSSHServer(tmp_path) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def source(data: Path) -> MakeSource:
    """Makes a source with a workspace of its own on the test's data folder, as after a restart."""

    def make(
        url: str, reference: str = "main", *, credentials: GitCredentials | None = None, **options: Any
    ) -> GitSource:
        workspace = GitWorkspace(data, credentials or GitCredentials(), GitOptions(**options))
        return workspace.source(SourceSpec(SourceKind.GIT, url, reference))

    return make
