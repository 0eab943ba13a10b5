"""Bursts of pushes: all are accepted, all resolve, the last one runs, and hardly any work is done twice."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import HOOK_SECRET, AgentProcess, Answer
from tests.support.git_servers import GitHTTPServer, Repository
from tests.support.repository import compose, deploy_config, service

PUSHES = 20


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Repository]:
    with GitHTTPServer(tmp_path) as server:
        yield server.create_repo("acme/shop")


def hook(agent: AgentProcess, remote: Repository, commit: str, *, ref: str = "refs/heads/main", **query: Any) -> Answer:
    """A push as GitHub tells of it, signed."""
    body = json.dumps(
        {
            "ref": ref,
            "after": commit,
            "before": "0" * 40,
            "repository": {
                "name": "shop",
                "full_name": "acme/shop",
                "clone_url": remote.url,
                "ssh_url": "",
                "html_url": remote.url,
                "private": False,
            },
        }
    ).encode()
    signature = hmac.new(HOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={signature}"}
    headers["Content-Type"] = "application/json"
    arguments = "&".join(f"{name}={value}" for name, value in query.items())
    return agent.post(f"/v1/webhook?{arguments}", body, headers=headers)


def push(remote: Repository, project: str, number: int, branch: str = "main", **config: str) -> str:
    return remote.commit(
        {
            ".doco-cd.yml": deploy_config(project, timeout="30", **config),
            "compose.yaml": compose(service("web", hostname=f"h{number}")),
        },
        branch=branch,
    )


def burst(place: World, remote: Repository, announce: Callable[[str], Answer]) -> None:
    """Pushes that follow each other as fast as they can: their commits are made before."""
    commits = [push(remote, place.project, number, branch="next") for number in range(PUSHES)]
    jobs = []
    for commit in commits:
        remote.set_branch("main", commit)
        answer = announce(commit)
        assert answer.status == 202, answer
        jobs.append(answer.job_id)
    assert_burst(place, jobs, commits[-1])


def assert_burst(place: World, jobs: list[str], last: str) -> None:
    runs = [place.agent.finished_run(job) for job in jobs]
    assert [run["status"] for run in runs] == ["succeeded"] * len(jobs), runs
    leaders = sorted((run for run in runs if not run.get("joined_job_id")), key=lambda run: run["started_at"])
    assert len(leaders) <= 4, [run["job_id"] for run in leaders]
    for earlier, later in itertools.pairwise(leaders):
        assert earlier["finished_at"] <= later["started_at"], "one at a time"
    assert {run.get("joined_job_id") for run in runs} - {None, ""} <= {run["job_id"] for run in leaders}
    assert place.containers()[f"{place.project}-web-1"]["Config"]["Hostname"] == f"h{PUSHES - 1}"
    stack = place.agent.stack(place.project)
    assert stack is not None
    assert stack["revision"] == last
    assert place.running() == {"web-1"}


def test_twenty_pushes_announced_by_polls(place: World, remote: Repository) -> None:
    burst(place, remote, lambda _: place.agent.poll(remote.url, wait=False))


def test_twenty_pushes_announced_by_webhooks(place: World, remote: Repository) -> None:
    burst(place, remote, lambda commit: hook(place.agent, remote, commit))


def test_a_webhook_filter_leaves_others_alone_and_a_poll_deploys_all(place: World, remote: Repository) -> None:
    commit = push(remote, place.project, 1, webhook_filter='"^refs/tags/.*"')
    answer = hook(place.agent, remote, commit, wait="true")
    assert answer.status in (200, 201), answer
    assert place.ids() == {}
    assert place.agent.poll(remote.url).status == 200
    assert place.running() == {"web-1"}


def test_a_webhook_of_other_changes_does_not_undo_a_removal(place: World, remote: Repository) -> None:
    push(remote, place.project, 1)
    assert place.agent.poll(remote.url).status == 200
    assert place.agent.delete(f"/v1/api/project/{place.project}?timeout=0&images=false").status == 200
    commit = remote.commit({"README.md": "words"})
    assert hook(place.agent, remote, commit, wait="true").status in (200, 201)
    assert place.ids() == {}
    commit = push(remote, place.project, 2)
    assert hook(place.agent, remote, commit, wait="true").status in (200, 201)
    assert place.running() == {"web-1"}


def test_ten_polls_after_one_change_recreate_one_service_once(place: World) -> None:
    services = [service("a"), service("b"), service("c")]
    place.deploy(*services)
    before = place.ids()
    place.commit(service("a", hostname="moved"), *services[1:])
    assert place.agent.poll(place.repository.url).status == 200
    changed, writes = place.ids(), place.writes()
    assert {name for name in changed if changed[name] != before[name]} == {"a-1"}
    for _ in range(9):
        assert place.agent.poll(place.repository.url).status == 200
    assert (place.ids(), place.writes()) == (changed, writes)
