"""An agent and a repository for each test of the whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import AgentProcess, Answer, running_agent
from tests.support.docker_api import DockerApi, EngineError
from tests.support.repository import LocalRepository, compose, deploy_config


@dataclass
class World:
    """An agent, a repository it is told of by API polls, and the Engine seen from outside."""

    agent: AgentProcess
    repository: LocalRepository
    engine: DockerApi
    project: str

    def deploy(self, *services: str, more: str = "", config: dict[str, str] | None = None, **files: str) -> Answer:
        """Commit a Compose file and poll; the answer tells how it ended."""
        self.commit(*services, more=more, config=config, **files)
        return self.agent.poll(self.repository.url)

    def commit(self, *services: str, more: str = "", config: dict[str, str] | None = None, **files: str) -> str:
        """Commit a Compose file, files beside it (`__` in a name stands for `/`), and the deploy file."""
        return self.repository.commit(
            {
                ".doco-cd.yml": deploy_config(self.project, **{"timeout": "30"} | (config or {})),
                "compose.yaml": compose(*services, more=more),
            }
            | {name.replace("__", "/"): text for name, text in files.items()}
        )

    def containers(self) -> dict[str, dict[str, Any]]:
        """All containers of the project by name, inspected."""
        found = {}
        for item in self.engine.containers(f"com.docker.compose.project={self.project}"):
            with contextlib.suppress(EngineError):  # it went between the list and the look
                inspected = self.engine.inspect(item["Id"])
                found[inspected["Name"].lstrip("/")] = inspected
        return found

    def ids(self) -> dict[str, str]:
        """Container ids by service and number."""
        return {name.removeprefix(f"{self.project}-"): c["Id"] for name, c in self.containers().items()}

    def running(self) -> set[str]:
        return {name.removeprefix(f"{self.project}-") for name, c in self.containers().items() if c["State"]["Running"]}

    def run_in(self, name: str, *command: str) -> None:
        """Run a command in a container (service and number) to its end."""
        body = {"AttachStdout": True, "Cmd": list(command)}
        made = self.engine.call("POST", f"/containers/{self.ids()[name]}/exec", body=body)
        self.engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False})

    def started(self) -> dict[str, str]:
        """Since when each container runs."""
        return {name: c["State"]["StartedAt"] for name, c in self.containers().items()}

    def volumes(self) -> set[str]:
        """Names of the project's volumes, without the project."""
        label = {"filters": {"label": [f"com.docker.compose.project={self.project}"]}}
        found = self.engine.call("GET", "/volumes", label)["Volumes"] or []
        return {volume["Name"].removeprefix(f"{self.project}_") for volume in found}

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition of the stack; empty when it is not set."""
        stack = self.agent.stack(self.project)
        conditions = stack["conditions"] if stack else []
        return next((condition for condition in conditions if condition["type"] == kind), {})

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


@pytest.fixture(scope="module")
def one_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with running_agent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture
def place(one_agent: AgentProcess, tmp_path: Path, engine: DockerApi, project: str) -> Iterator[World]:
    """Like `world`, but the tests of a module share the agent."""
    yield World(one_agent, LocalRepository(tmp_path / "repository"), engine, project)
    if one_agent.process is None:
        one_agent.start()
    # Else the agent would bring back what the end of the test removes.
    for stack in one_agent.get("/v1/api/status").content["stacks"]:
        if stack["name"].startswith(project):
            one_agent.delete(f"/v1/api/project/{stack['name']}?timeout=0&images=false&context={stack['context']}")
