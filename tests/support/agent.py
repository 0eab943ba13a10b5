"""Runs the real agent as its users do: a process with an environment, spoken to over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE

KEY = "test-key"
HOOK_SECRET = "test-hook"
START_DEADLINE = 20.0
DIES_AFTER = "MOORED_DIES_AFTER"
"""What `dying_agent` reads."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def content(self) -> Any:
        return self.body["content"]

    @property
    def job_id(self) -> str:
        job_id: str = self.body["job_id"]
        return job_id


@dataclass
class AgentProcess:
    """One agent with a data folder of its own. Start, kill and start it again as you like."""

    data: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    own_session: bool = False
    """Start it as a service manager does, not as a child of this terminal."""

    @property
    def log_path(self) -> Path:
        return self.data / "agent.log"

    def start(self, *, wait: bool = True, dies_after: str = "", **environment: str) -> None:
        """Start the process; with `wait` until it answers that it is healthy. `dies_after`: the call
        to the Engine that it does not survive (`tests.support.dying_agent`)."""
        self.data.mkdir(parents=True, exist_ok=True)
        values = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.data),
            "DATA_MOUNT_PATH": str(self.data / "mount"),
            "DATA_HOST_PATH": str(self.data / "mount"),
            "HTTP_PORT": str(self.port),
            "METRICS_PORT": str(self.metrics_port),
            "HTTP_BIND": "127.0.0.1",
            "METRICS_BIND": "127.0.0.1",
            "API_SECRET": KEY,
            "WEBHOOK_SECRET": HOOK_SECRET,
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
            **self.environment,
            **environment,
        }
        if "DOCKER_HOST" in os.environ:
            values.setdefault("DOCKER_HOST", os.environ["DOCKER_HOST"])
        command = ["reconciler.cli", "run"]
        if dies_after:
            values[DIES_AFTER] = dies_after
            command = ["tests.support.dying_agent"]
        (self.data / "mount").mkdir(exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=values,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).resolve().parents[2],
                start_new_session=self.own_session,
            )
        if wait:
            self.wait_healthy()

    def wait_healthy(self, deadline: float = START_DEADLINE) -> None:
        self.until(lambda: self.get("/v1/health").status == 200, deadline, "the agent is healthy")

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)

    def await_death(self) -> None:
        """Wait until it has died by itself."""
        assert self.process is not None
        assert self.process.wait(60) == -signal.SIGKILL
        self.process = None

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        return self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> int:
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        status = self.process.wait(180)
        self.process = None
        return status

    def request(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, timeout: float = 600.0
    ) -> Answer:
        """One request with the API key; an error status is an answer, a dead agent an OSError."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=data,
            method=method,
            headers={"x-api-key": KEY, **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return _answer(response.status, response.read(), dict(response.headers))
        except urllib.error.HTTPError as error:
            return _answer(error.code, error.read(), dict(error.headers))

    def get(self, path: str) -> Answer:
        try:
            return self.request("GET", path, timeout=60)
        except OSError:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the agent ended:\n{self.log_path.read_text()[-4000:]}") from None
            return Answer(0, None, {})

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.request("POST", path, body, **options)

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)

    def poll(self, url: str, *, wait: bool = True, **target: Any) -> Answer:
        """POST /v1/api/poll/run of one target."""
        return self.post(f"/v1/api/poll/run?wait={str(wait).lower()}", [{"url": url, **target}])

    def run(self, job_id: str) -> dict[str, Any]:
        answer = self.get(f"/v1/api/run/{job_id}")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.content
        return found

    def finished_run(self, job_id: str, deadline: float = 60.0) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def done() -> bool:
            answer = self.get(f"/v1/api/run/{job_id}")
            if answer.status != 200:
                return False
            found.clear()
            found.update(answer.content)
            return found["status"] in ("succeeded", "failed", "skipped")

        self.until(done, deadline, f"run {job_id} has finished")
        return found

    def stack(self, name: str) -> dict[str, Any] | None:
        """One stack out of the status."""
        answer = self.get("/v1/api/status")
        assert answer.status == 200, answer
        return next((stack for stack in answer.content["stacks"] if stack["name"] == name), None)

    def logs(self) -> list[dict[str, Any]]:
        """All log lines so far, parsed."""
        lines = []
        for line in self.log_path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return lines

    def metric(self, name: str, *, without: str = "", **labels: str) -> float:
        """The value of a metric, 0 if there is none yet; `without`: a label (`key="value"`) of those
        that do not count."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60) as response:
            text = response.read().decode()
        total = 0.0
        for line in text.splitlines():
            if without and without in line:
                continue
            if line.split("{")[0].split(" ")[0] == name and all(
                f'{key}="{value}"' in line for key, value in labels.items()
            ):
                total += float(line.rsplit(" ", 1)[1])
        return total

    @staticmethod
    def until(condition: Callable[[], bool], deadline: float, what: str, *, soon: bool = False) -> None:
        """Wait until a condition of the outside world holds. `soon`: that it comes within the
        deadline is what is tested, so there is no patience with a slow machine."""
        seconds = deadline if soon else PATIENCE * deadline
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:g} s: {what}")
            time.sleep(0.05)


def _answer(status: int, data: bytes, headers: dict[str, str]) -> Answer:
    try:
        body = json.loads(data)
    except ValueError:
        body = data.decode(errors="replace")
    return Answer(status, body, {name.lower(): value for name, value in headers.items()})


@contextlib.contextmanager
def running_agent(data: Path, **environment: str) -> Iterator[AgentProcess]:
    """An agent that is up, and is gone afterwards."""
    agent = AgentProcess(data, dict(environment))
    agent.start()
    try:
        yield agent
    finally:
        agent.kill()
