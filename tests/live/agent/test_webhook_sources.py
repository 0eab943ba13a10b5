"""Webhooks of private repositories: which address is cloned, and what is said without credentials."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.agent.conftest import World
from tests.support.agent import HOOK_SECRET, Answer
from tests.support.git_servers import GitHTTPServer, GitSSHServer
from tests.support.repository import compose, deploy_config, service


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[GitSSHServer]:
    with GitSSHServer(tmp_path / "sshd") as server:
        yield server


def push(world: World, commit: str = "1" * 40, **repository: Any) -> Answer:
    """A push as GitHub tells of it, waited for."""
    about = {"name": "shop", "full_name": "acme/shop", "html_url": "http://127.0.0.1/acme/shop", **repository}
    payload = {"ref": "refs/heads/main", "before": "0" * 40, "after": commit, "repository": about}
    body = json.dumps(payload).encode()
    signature = hmac.new(HOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={signature}"}
    return world.agent.post("/v1/webhook?wait=true", body, headers=headers)


def files(project: str) -> dict[str, str]:
    return {".doco-cd.yml": deploy_config(project, timeout="30"), "compose.yaml": compose(service("web"))}


def test_with_an_ssh_key_the_ssh_address_is_cloned(world: World, ssh_server: GitSSHServer) -> None:
    """A deploy key is all that opens it: nobody listens at the clone URL."""
    repository = ssh_server.create_repo("acme/shop")
    commit = repository.commit(files(world.project))
    world.agent.terminate()
    world.agent.start(SSH_PRIVATE_KEY=ssh_server.client_key)
    closed = "http://127.0.0.1:1/acme/shop.git"
    answer = push(world, commit, clone_url=closed, ssh_url=repository.url, private=True)
    assert (answer.status, answer.body["content"]) == (201, "job completed successfully")
    assert world.running() == {"web-1"}
    # Whatever else stands there is no SSH address and chooses nothing.
    answer = push(world, clone_url=closed, ssh_url=f"file://{repository.path}", private=True)
    assert (answer.status, answer.content) == (500, "missing access token")


def test_a_stack_keeps_its_repository_when_the_ssh_address_has_another_name(
    world: World, ssh_server: GitSSHServer, tmp_path: Path
) -> None:
    """It would count as another repository's otherwise, and be refused."""
    ssh = ssh_server.create_repo("acme/shop")
    world.agent.terminate()
    world.agent.start(SSH_PRIVATE_KEY=ssh_server.client_key)
    with GitHTTPServer(tmp_path) as server:
        repository = server.create_repo("acme/shop")
        repository.commit(files(world.project))
        assert world.agent.poll(repository.url).status == 200
        answer = push(world, clone_url=repository.url, ssh_url=ssh.url, private=False)
        assert answer.status == 201, answer


def test_a_private_repository_without_credentials_is_not_even_asked_for(world: World, tmp_path: Path) -> None:
    with GitHTTPServer(tmp_path) as server:
        repository = server.create_repo("acme/shop")
        repository.commit(files(world.project))
        answer = push(world, clone_url=repository.url, private=True)
        assert (answer.status, answer.body["error"]) == (500, "failed to clone repository")
        assert answer.content == "missing access token"
        run = world.agent.run(answer.job_id)
        assert run["message"] == "failed to clone repository: missing access token"
        world.agent.terminate()
        world.agent.start(GIT_ACCESS_TOKEN="token")
        assert push(world, clone_url=repository.url, private=True).status == 201


def test_a_name_that_would_leave_the_data_folder_is_the_senders_fault(world: World) -> None:
    answer = push(world, clone_url="http://127.0.0.1:1/acme/../../etc", private=False)
    assert (answer.status, answer.body["error"]) == (400, "invalid repository name")
