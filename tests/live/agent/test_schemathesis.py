"""Schemathesis against the real agent: all it can think up by the OpenAPI document, all its checks.

The agent works on a Docker Engine of its own, so whatever is asked to be removed is the
test's. One project is deployed there, for the requests that find something to act on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import HOOK_SECRET, KEY, AgentProcess, running_agent
from tests.support.engine import BUSYBOX, PrivateEngine
from tests.support.repository import LocalRepository, compose, deploy_config, service

EXAMPLES = 15
SEED = 1
DEADLINE = 900
"""Seconds; it takes about thirty."""

CONFIGURATION = f"""
seed = {SEED}

[auth.openapi.key]
api_key = "{KEY}"

# GitLab's is the one proof that does not depend on the body.
[auth.openapi.gitlab]
api_key = "{HOOK_SECRET}"

# By contract a run that was waited for and failed is a 500 (a pipeline's `curl --fail` must
# notice), and no schema can say which targets and references a repository has; nor which of
# its URLs and intervals are none (400). That no 500 comes from a fault is asserted below.
[[operations]]
include-path = "/v1/api/poll/run"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "500"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", "400", "401", "403", "404", "409", "5xx"]

# What a payload must hold depends on who sends it, which a header says. And by contract a call
# without any proof is a 400, not a 401.
[[operations]]
include-path = ["/v1/webhook", "/v1/webhook/{{target}}"]
checks.ignored_auth.enabled = false
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", "400", "401", "403", "404", "409", "5xx"]
"""


@pytest.fixture
def fuzzed_agent(tmp_path: Path, private_engine: PrivateEngine) -> Iterator[AgentProcess]:
    # Holds the image, which else goes with the first removal of the project and cannot be pulled again.
    keeper = {"Image": BUSYBOX, "Cmd": ["sleep", "3600"], "HostConfig": {"NetworkMode": "none"}}
    private_engine.api.call("POST", "/containers/create", {"name": "keeper"}, keeper)
    private_engine.api.call("POST", "/containers/keeper/start")
    with running_agent(tmp_path / "agent", DOCKER_HOST=private_engine.url, AUTH_FAILURE_LIMIT="1000000") as agent:
        yield agent


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path, fuzzed_agent: AgentProcess) -> None:
    repository = LocalRepository(tmp_path / "repository")
    repository.commit({".doco-cd.yml": deploy_config("fuzzed"), "compose.yaml": compose(service("web"))})
    assert fuzzed_agent.poll(repository.url).status == 200
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)

    ended = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={configuration}",
            "run",
            f"http://127.0.0.1:{fuzzed_agent.port}/v1/api/openapi.json",
            f"--header=x-api-key: {KEY}",
            "--continue-on-failure",
            f"--max-examples={EXAMPLES}",
            "--request-timeout=120",
            "--suppress-health-check=all",
            "--no-color",
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
            "MOORED_TEST_REPOSITORY": repository.url,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )

    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]
    assert [line for line in fuzzed_agent.logs() if "exception" in line or "Traceback" in str(line)] == []
    assert fuzzed_agent.get("/v1/health").status == 200
