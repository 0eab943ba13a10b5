"""kill -9 at any moment of a deployment loses nothing.

Each round pushes a revision, asks for it without waiting, kills the agent some time
later, starts it again and expects: the job id resolves, the right containers run under
their right names, nothing is doubled, half-renamed or orphaned; and all that without a
further poll. Moments are drawn from a seed; `MOORED_KILLS` sets how many (default 20), so
that a long run uses the very same code.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

from tests.support.agent import AgentProcess
from tests.support.docker_api import DockerApi
from tests.support.repository import LocalRepository, compose, deploy_config, service

KILLS = int(os.environ.get("MOORED_KILLS", "20"))
SEED = int(os.environ.get("MOORED_SEED", "20261125"))
LONGEST = 2.5
"""Seconds after the request within which the agent is killed; a deployment here takes about two."""


def revision(rng: random.Random, number: int) -> tuple[str, set[str]]:
    """A Compose file, and the containers it stands for."""
    web = rng.randint(1, 3)
    services = [service("web", scale=str(web), hostname=f"h{number}")]
    expected = {f"web-{index}" for index in range(1, web + 1)}
    services.append(service("db", volumes='["data:/data"]', environment=f"{{N: '{rng.randint(0, 2)}'}}"))
    services.append(service("api", hostname=f"a{number}", deploy="{update_config: {order: start-first}}"))
    expected |= {"db-1", "api-1"}
    if rng.random() < 0.5:
        services.append(service("extra", depends_on="[db]", networks="[inner]"))
        expected.add("extra-1")
        return compose(*services, more="volumes: {data: {}}\nnetworks: {inner: {}}\n"), expected
    return compose(*services, more="volumes: {data: {}}\n"), expected


def numberless(names: set[str]) -> list[str]:
    """Replica numbers may have gaps; how many of a service there are may not differ."""
    return sorted(name.rsplit("-", 1)[0] for name in names)


def explained(where: str, run: dict[str, object], agent: AgentProcess) -> str:
    """What a reader of a CI log needs: pytest shortens values, and the agent's folder is gone by then."""
    lines = [line for line in agent.log_path.read_text().splitlines() if '"level":"debug"' not in line]
    return "\n".join([where, json.dumps(run, indent=1), *lines[-60:]])


def test_killed_at_random_moments_it_always_ends_right(tmp_path: Path, engine: DockerApi, project: str) -> None:
    rng = random.Random(SEED)
    agent = AgentProcess(tmp_path / "agent")
    repository = LocalRepository(tmp_path / "repository")
    agent.start()
    try:
        for number in range(KILLS):
            text, expected = revision(rng, number)
            commit = repository.commit({".doco-cd.yml": deploy_config(project, timeout="30"), "compose.yaml": text})
            answer = agent.poll(repository.url, wait=False)
            assert answer.status == 202, answer
            moment = rng.uniform(0, LONGEST)
            time.sleep(moment)
            agent.kill()
            agent.start()
            where = f"kill {number} of seed {SEED}, {moment:.3f} s after the request"

            run = agent.finished_run(answer.job_id)
            assert run["status"] == "succeeded", explained(where, run, agent)
            containers = engine.containers(f"com.docker.compose.project={project}")
            names = {item["Names"][0].removeprefix(f"/{project}-") for item in containers}
            assert numberless(names) == numberless(expected), where
            assert all(item["State"] == "running" for item in containers), (where, containers)
            stack = agent.stack(project)
            assert stack is not None
            assert stack["revision"] == commit, where
            ready = next(c for c in stack["conditions"] if c["type"] == "Ready")
            assert ready["status"], (where, stack)
        writes = agent.metric("moored_engine_writes")
        assert agent.poll(repository.url).status == 200
        assert agent.metric("moored_engine_writes") == writes
    finally:
        agent.kill()
