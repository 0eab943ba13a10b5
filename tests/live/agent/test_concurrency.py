"""Many clients at once on the same projects: no server error, every job resolves, the end is right.

`MOORED_STORM` sets how many seconds it lasts (default 8): a long run uses the very same code.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

from tests.live.agent.conftest import World
from tests.support.agent import AgentProcess
from tests.support.docker_api import DockerApi
from tests.support.repository import LocalRepository, compose, deploy_config, service

SECONDS = float(os.environ.get("MOORED_STORM", "8"))
CLIENTS = 50
SEED = int(os.environ.get("MOORED_SEED", "20261125"))
READS = ("/v1/api/status", "/v1/api/projects?all=true", "/v1/api/runs", "/v1/api/project/{}", "/v1/health")
LEGITIMATE = {
    "read": {200, 404},
    "restart": {202, 404},
    "stop": {202, 404},
    "start": {202, 404},
    "remove": {202, 404},
    "poll": {202},
}
"""404: the project is removed at the moment. 429 and 503 are never legitimate here."""
ENOUGH = {"read": 101, "poll": 11, "restart": 11}
"""What makes a storm; on a slow machine it lasts until there was so much."""


class Storm:
    """What the clients were answered."""

    def __init__(self, agent: AgentProcess, projects: list[LocalRepository], names: list[str]) -> None:
        self.agent, self.repositories, self.names = agent, projects, names
        self.jobs: dict[str, list[str]] = {name: [] for name in names}
        self.polls: list[str] = []
        self.bad: list[str] = []
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enough(self) -> bool:
        return bool(self.bad) or all(self.counts[what] >= count for what, count in ENOUGH.items())

    def client(self, number: int, until: float) -> None:
        rng = random.Random(SEED + number)
        while time.monotonic() < until or not self.enough():
            index = rng.randrange(len(self.names))
            name = self.names[index]
            what = rng.choices(tuple(LEGITIMATE), (70, 6, 3, 5, 2, 6))[0]
            path = f"/v1/api/project/{name}"
            try:
                if what == "read":
                    answer = self.agent.request("GET", rng.choice(READS).format(name), timeout=120)
                elif what == "poll":
                    answer = self.agent.poll(self.repositories[index].url, wait=False)
                elif what == "remove":
                    answer = self.agent.delete(f"{path}?wait=false&timeout=0&images=false")
                else:
                    answer = self.agent.post(f"{path}/{what}?wait=false&timeout=0")
            except OSError as error:
                with self._lock:
                    self.bad.append(f"{what}: {error}")
                continue
            with self._lock:
                self.counts[what] += 1
                if answer.status not in LEGITIMATE[what]:
                    self.bad.append(f"{what}: {answer.status} {answer.body}")
                elif answer.status == 202:
                    (self.polls if what == "poll" else self.jobs[name]).append(answer.job_id)
            if what != "read":
                time.sleep(rng.uniform(3, 6))


def test_fifty_clients_on_three_projects(
    one_agent: AgentProcess, tmp_path: Path, engine: DockerApi, project: str
) -> None:
    agent = one_agent
    names = [f"{project}-{number}" for number in range(3)]
    repositories = [LocalRepository(tmp_path / name) for name in names]
    try:
        for name, repository in zip(names, repositories, strict=True):
            files = {".doco-cd.yml": deploy_config(name), "compose.yaml": compose(service("web"), service("db"))}
            repository.commit(dict(files.items()))
            assert agent.poll(repository.url).status == 200
        storm = Storm(agent, repositories, names)
        until = time.monotonic() + SECONDS
        clients = [threading.Thread(target=storm.client, args=(number, until)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(SECONDS + 600)
            assert not client.is_alive()
        assert storm.bad == []
        assert storm.enough()

        for name, jobs in storm.jobs.items():
            runs = sorted((agent.finished_run(job, 120) for job in jobs), key=lambda run: run["started_at"])
            for earlier, later in itertools.pairwise(runs):
                assert earlier["finished_at"] <= later["started_at"], f"commands of {name} overlap"
            failed = [run for run in runs if run["status"] != "succeeded"]
            assert failed == []
        polls = [agent.finished_run(job, 120) for job in storm.polls]
        assert [run for run in polls if run["status"] != "succeeded"] == []

        for name, repository in zip(names, repositories, strict=True):
            agent.post(f"/v1/api/project/{name}/start?timeout=5")
            assert agent.poll(repository.url).status == 200
            world = World(agent, repository, engine, name)
            assert world.running() == {"web-1", "db-1"}
            world.assert_rests()
    finally:
        for name in names:
            agent.delete(f"/v1/api/project/{name}?timeout=0&images=false")
            engine.remove_project(name)
