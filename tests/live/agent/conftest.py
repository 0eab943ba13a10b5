"""An agent and a repository for each test of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.docker_api import DockerApi
from tests.support.agent import AgentProcess, Answer, running_agent
from tests.support.repository import LocalRepository, compose, deploy_config


@dataclass
class World:
    """An agent, a repository it is told of by API polls, and the Engine seen from outside."""

    agent: AgentProcess
    repository: LocalRepository
    engine: DockerApi
    project: str

    def deploy(self, *services: str, more: str = "", **files: str) -> Answer:
        """Commit a Compose file and poll; the answer tells how it ended."""
        self.repository.commit(
            {".doco-cd.yml": deploy_config(self.project, timeout="30"), "compose.yaml": compose(*services, more=more)}
            | {name.replace("__", "/"): text for name, text in files.items()}
        )
        return self.agent.poll(self.repository.url)

    def containers(self) -> dict[str, dict[str, Any]]:
        """All containers of the project by name, inspected."""
        found = {}
        for item in self.engine.containers(f"com.docker.compose.project={self.project}"):
            inspected = self.engine.inspect(item["Id"])
            found[inspected["Name"].lstrip("/")] = inspected
        return found

    def ids(self) -> dict[str, str]:
        """Container ids by service and number."""
        return {name.removeprefix(f"{self.project}-"): c["Id"] for name, c in self.containers().items()}

    def running(self) -> set[str]:
        return {name.removeprefix(f"{self.project}-") for name, c in self.containers().items() if c["State"]["Running"]}

    def writes(self) -> float:
        """How many Engine calls of the agent changed something, ever."""
        return self.agent.metric("moored_engine_writes")

    def assert_rests(self) -> None:
        """A second look does nothing: not one Engine write, the same containers."""
        before, ids = self.writes(), self.ids()
        answer = self.agent.poll(self.repository.url)
        assert answer.status == 200, answer
        assert self.writes() == before
        assert self.ids() == ids


@pytest.fixture
def world(tmp_path: Path, engine: DockerApi, project: str) -> Iterator[World]:
    with running_agent(tmp_path / "agent") as agent:
        yield World(agent, LocalRepository(tmp_path / "repository"), engine, project)
