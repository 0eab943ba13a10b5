"""`moored` as a person uses it: a process of its own beside the real agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.live.agent.conftest import World
from tests.support.agent import KEY
from tests.support.repository import service

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 180


STUBBORN = """["sh", "-c", "trap 'until test -e /go; do sleep 0.1; done; exit 0' TERM; sleep 3600 & wait"]"""
"""Its stop takes until somebody lets it go."""


def let_go(world: World) -> None:
    body = {"Cmd": ["touch", "/go"], "AttachStdout": True}
    made = world.engine.call("POST", f"/containers/{world.ids()['web-1']}/exec", body=body)
    world.engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False})


def environment(world: World) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(world.agent.data),
        "MOORED_SERVER": f"http://127.0.0.1:{world.agent.port}",
        "MOORED_API_KEY": KEY,
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "reconciler.cli", *arguments]


def moored(world: World, *arguments: str, status: int = 0) -> str:
    """What a command prints; it must end with `status`."""
    done = subprocess.run(
        command(*arguments), env=environment(world), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == status, done
    return done.stdout


def answer(world: World, *arguments: str) -> Any:
    return json.loads(moored(world, *arguments, "-o", "json"))


def first_words(text: str) -> Sequence[str]:
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def test_a_day_with_the_command_line(world: World) -> None:
    world.commit(service("web"), service("worker"))
    told = moored(world, "poll", world.repository.url)
    assert world.running() == {"web-1", "worker-1"}
    assert f"ok  start-container {world.project}-web-1" in told
    assert "succeeded" in told

    assert moored(world, "status", world.project, "--check")
    (stack,) = answer(world, "status", world.project)["stacks"]
    assert stack["containers"] == {"running": 2}
    assert world.project in first_words(moored(world, "stacks"))
    assert world.project in first_words(moored(world, "projects"))
    assert [row["Service"] for row in answer(world, "project", world.project)] == ["web", "worker"]

    told = moored(world, "stop", world.project, "--timeout", "1")
    assert world.running() == set()
    assert f"ok  stop-container {world.project}-web-1" in told
    # Stopped by a person: a poll does not start it again.
    moored(world, "poll", world.repository.url)
    assert world.running() == set()
    assert "stopped" in moored(world, "status", world.project)
    moored(world, "override", "clear", world.project)
    moored(world, "start", world.project)
    assert world.running() == {"web-1", "worker-1"}

    before = world.ids()
    moored(world, "restart", world.project, "--timeout", "1")
    assert world.ids() == before

    runs = answer(world, "runs", "--stack", world.project, "--trigger", "api")
    assert len(runs) == 4
    run = answer(world, "run", runs[-1]["job_id"])
    assert run["status"] == "succeeded"
    assert moored(world, "run", runs[-1]["job_id"], "--follow")

    moored(world, "remove", world.project, "--timeout", "1")
    assert world.ids() == {}
    moored(world, "project", world.project, status=1)


def test_a_failed_deployment_fails_the_command_and_says_why(world: World) -> None:
    world.commit(service("web", command="sh -c 'echo gone wrong; exit 3'", healthcheck='{test: ["CMD", "true"]}'))
    told = moored(world, "poll", world.repository.url, status=1)
    assert "failed" in told
    assert world.project in told


def test_a_change_is_explained_live(world: World) -> None:
    world.deploy(service("web"))
    world.commit(service("web", environment="{GREETING: hello}"))
    told = moored(world, "poll", world.repository.url)
    line = next(line for line in told.splitlines() if "replace-container" in line)
    assert "services.web.environment" in line


def test_ctrl_c_ends_the_wait_and_not_the_work(world: World) -> None:
    world.deploy(service("web", command=STUBBORN, init="false"))
    waiting = subprocess.Popen(
        command("stop", world.project, "--timeout", str(LIMIT)),
        # Who runs in the background of a shell ignores it, and so would all it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=environment(world),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found: list[dict[str, Any]] = []

    def accepted() -> bool:
        found[:] = world.agent.get("/v1/api/runs?trigger=api").content
        return bool(found)

    world.agent.until(accepted, LIMIT, "the stop is accepted")
    world.agent.until(lambda: world.agent.metric("moored_waiting_requests") > 0, LIMIT, "the command follows its run")
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=LIMIT)
    assert waiting.returncode == 130
    job_id = found[0]["job_id"]
    assert f"moored run {job_id} --follow" in err
    assert "Traceback" not in err
    assert world.running() == {"web-1"}
    let_go(world)
    moored(world, "run", job_id, "--follow")
    assert world.running() == set()


def test_a_restart_of_the_agent_is_waited_for(world: World) -> None:
    world.deploy(service("web", command=STUBBORN, init="false"))
    waiting = subprocess.Popen(
        command("stop", world.project, "--timeout", str(LIMIT), "--wait-timeout", str(LIMIT), "-o", "json"),
        env=environment(world),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    world.agent.until(lambda: world.agent.metric("moored_waiting_requests") > 0, LIMIT, "the command follows its run")
    world.agent.kill()
    world.agent.start()
    let_go(world)
    out, err = waiting.communicate(timeout=LIMIT)
    assert waiting.returncode == 0, err
    assert json.loads(out)["status"] == "succeeded"
    assert world.running() == set()
