"""A recorded sequence of requests to the real Doco-CD, played against the agent.

Each answer must equal the recording, or what the recording says is wanted instead
(`ours`; a null there is not compared). Further keys are allowed, volatile values are
normalised on both sides. Steps about scheduled jobs are left out: jobs are not served yet.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import AgentProcess, Answer
from tests.support.docker_api import DockerApi
from tests.support.git_servers import GitHTTPServer

SECRET = "kit-secret"
ZERO = "0" * 40
COMPOSE = """\
services:
  web:
    image: moored/busybox:1
    command: httpd -f -p 8080
    init: true
  backup:
    image: moored/busybox:1
    command: "true"
    labels:
      cd.doco.job.enabled: "true"
      cd.doco.job.schedule: "0 3 * * *"
      cd.doco.job.execution_mode: one_off
  "off":
    image: moored/busybox:1
    command: "true"
    labels:
      cd.doco.job.enabled: "false"
"""
COMPOSE_2 = """\
services:
  web:
    image: moored/busybox:1
    command: httpd -f -p 8080
    init: true
    stop_grace_period: 1s
"""
VOLATILE_LABELS = (
    "com.docker.compose.config-hash",
    "cd.doco.metadata.version",
    "com.docker.compose.depends_on",
    "com.docker.compose.image",
)


@pytest.fixture
def sequence(corpus: Path) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = json.loads((corpus / "api" / "recorded.json").read_text())
    return steps


@pytest.fixture
def agent(tmp_path: Path, engine: DockerApi) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path / "agent", {"API_SECRET": SECRET, "WEBHOOK_SECRET": SECRET})
    agent.start()
    try:
        yield agent
    finally:
        agent.kill()
        for project in ("recorded", "second"):
            engine.remove_project(project)


def about_jobs(step: dict[str, Any]) -> bool:
    path = step["request"]["path"]
    return path.startswith(("/v1/api/job", "/v1/api/jobs")) or "scheduled_job" in path


def test_the_recorded_sequence(
    agent: AgentProcess, engine: DockerApi, sequence: list[dict[str, Any]], tmp_path: Path
) -> None:
    for project in ("recorded", "second"):
        assert not engine.containers(f"com.docker.compose.project={project}"), "left by somebody else"
    with GitHTTPServer(tmp_path / "git") as server:
        repository = server.create_repo("recorded.git")
        files = {".doco-cd.yml": "name: recorded\n", "compose.yaml": COMPOSE}
        commit = repository.commit(files)
        host = server.base.removeprefix("http://").rstrip("/")
        polled = ""
        wrong: list[str] = []
        for step in sequence:
            if about_jobs(step):
                continue
            if step["about"] == "poll: inline deployment, now there":
                commit = repository.commit({**files, "compose2.yaml": COMPOSE_2})
            after = ZERO if step["about"] == "hook: branch deleted" else commit
            body = fill(step["request"]["body"], host, commit, after)
            headers = {
                name: sign(value, name, body, step["about"]) for name, value in step["request"]["headers"].items()
            }
            path = step["request"]["path"].replace("$UUID", polled)
            answer = agent.request(step["request"]["method"], path, body, headers=headers)
            if step["about"] == "poll: deploys and waits":
                polled = answer.job_id
            expected = {**step["response"], **step.get("ours", {})}
            problem = difference(answer, expected, step, host, agent)
            if problem:
                wrong.append(f"{step['about']}: {problem}\n    {answer}")
        assert not wrong, "\n".join(wrong)


def fill(body: str | None, host: str, commit: str, after: str) -> bytes | None:
    if body is None:
        return None
    text = body.replace("$GIT", host)
    text = text.replace('"after": "$SHA"', f'"after": "{after}"')
    return text.replace("$SHA", commit).encode()


def sign(value: str, header: str, body: bytes | None, about: str) -> str:
    if value != "$SIGNED":
        return value
    key = b"wrong" if "wrong signature" in about else SECRET.encode()
    digest = hmac.new(key, body or b"", hashlib.sha256).hexdigest()
    return f"sha256={digest}" if header.lower() == "x-hub-signature-256" else digest


def difference(answer: Answer, expected: dict[str, Any], step: dict[str, Any], host: str, agent: AgentProcess) -> str:
    if answer.status != expected["status"]:
        return f"status {answer.status}, expected {expected['status']}"
    for name, value in expected.get("headers", {}).items():
        if answer.headers.get(name) != value:
            return f"header {name}: {answer.headers.get(name)!r}, expected {value!r}"
    if expected["body"] is None:
        recorded = step["response"]["body"].replace(":$UNIX", ':"$UNIX"')
        original = json.loads(recorded) if recorded.startswith("{") else {}
        if answer.status < 300:
            return missing_keys(original, answer.body, "")
        return "" if set(original) <= set(answer.body) else f"keys {sorted(answer.body)}"
    try:
        wanted = json.loads(expected["body"])
    except ValueError:
        return "" if str(answer.body) == expected["body"] else f"body {answer.body!r}"
    return unequal(wanted, normalise(answer.body, host, agent), "")


def missing_keys(wanted: Any, found: Any, where: str) -> str:
    """Every key of the recording is there, with a value of the same type."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"{where}: no object"
        for key, value in wanted.items():
            if key in VOLATILE_LABELS:
                continue
            if key not in found:
                return f"{where}.{key} is missing"
            problem = missing_keys(value, found[key], f"{where}.{key}")
            if problem:
                return problem
        return ""
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return f"{where}: {found!r} instead of {len(wanted)} items"
        problems = (missing_keys(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(wanted, found, strict=True)))
        return next((problem for problem in problems if problem), "")
    if isinstance(wanted, str) and wanted.startswith("$UNIX"):
        return ""
    return "" if isinstance(found, type(wanted)) or wanted is None else f"{where}: {found!r} instead of {wanted!r}"


def normalise(value: Any, host: str, agent: AgentProcess) -> Any:
    text = json.dumps(value)
    text = (
        text.replace(str(agent.data / "mount"), "$DATA").replace(host, "$GIT").replace(host.replace(":", "_"), "$GIT")
    )
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "$UUID", text)
    return json.loads(text)


def unequal(wanted: Any, found: Any, where: str) -> str:
    """The first difference; keys that only we have are no difference."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key not in found:
                return f"{where}.{key} is missing"
            problem = unequal(value, found[key], f"{where}.{key}")
            if problem:
                return problem
        return ""
    if isinstance(wanted, list) and isinstance(found, list):
        # Only the sequence's own projects are compared: others may live on the same Engine.
        if wanted and isinstance(wanted[0], dict) and "Name" in wanted[0]:
            found = [item for item in found if item["Name"] in ("recorded", "second")]
        if len(wanted) != len(found):
            return f"{where}: {len(found)} items instead of {len(wanted)}: {found!r}"
        problems = (unequal(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(wanted, found, strict=True)))
        return next((problem for problem in problems if problem), "")
    if wanted in ("$UUID", "$TIME") and isinstance(found, str):
        return ""
    return "" if wanted == found else f"{where}: {found!r} instead of {wanted!r}"
