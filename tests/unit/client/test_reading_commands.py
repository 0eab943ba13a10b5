from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from api.intents import ended, new_run
from reconciler.client.reading import stack_state
from state.ids import uuid7
from state.model import Change, Reason, Run, RunAction, RunStatus, StackOutcome, Trigger
from tests.unit.api.conftest import Kit, container
from tests.unit.api.test_status_and_stacks import fill
from tests.unit.client.conftest import Moored

MOMENT = datetime(2026, 8, 22, 12, tzinfo=UTC)


async def past_run(kit: Kit, status: RunStatus = RunStatus.SUCCEEDED, **fields: Any) -> Run:
    action = RunAction(
        "1", "replace-container", "shop-web-1", "shop", "web",
        (Reason("changed", "", (Change("services.web.image", "nginx:1.27", "nginx:1.28"),)),),
        "succeeded", MOMENT, MOMENT,
    )  # fmt: skip
    stacks = (StackOutcome("shop", "default", status, "all running"),)
    run = new_run(uuid7(), Trigger.POLL, RunStatus.RUNNING, repository="git.example/shop", stacks=stacks)
    run = ended(replace(run, actions=(action,)), status, "poll jobs complete", **fields)
    await kit.store.put_run(run)
    return run


async def test_status_is_one_page_for_eyes(kit: Kit, moored: Moored) -> None:
    await fill(kit)
    answer = await moored("status")
    assert answer.status == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("moored 1.2.3 at http://127.0.0.1:")
    shop = next(line for line in lines if line.startswith("shop"))
    assert shop.split()[:5] == ["shop", "default", "ready", "1", "c0ffee"]
    assert "1 running" in shop
    assert "all is well" in shop
    assert any(line.startswith("blog") and "unknown" in line and "0 of 1" in line for line in lines)
    assert any(line.startswith("git.example/acme/shop") and "yes" in line for line in lines)
    assert any(line.startswith("default") and "connected" in line and "20.10.24" in line for line in lines)
    assert "\x1b" not in answer.out
    assert "hidden" not in answer.out


async def test_status_of_one_stack_and_of_none(kit: Kit, moored: Moored) -> None:
    await fill(kit)
    answer = await moored("status", "shop", "-o", "json")
    assert [stack["name"] for stack in answer.json["stacks"]] == ["shop"]
    answer = await moored("status", "nope")
    assert (answer.status, answer.out, answer.err) == (1, "", "moored: stack not found: nope\n")


async def test_status_check_tells_by_its_exit_status(kit: Kit, moored: Moored) -> None:
    await fill(kit)
    assert (await moored("status", "shop", "--check")).status == 0
    assert (await moored("status", "blog", "--check")).status == 1
    kit.default.lost("no route to host", MOMENT)
    assert (await moored("status", "shop", "--check")).status == 1


@pytest.mark.parametrize(
    ("conditions", "overrides", "word"),
    [
        ({"Ready": True}, {}, "ready"),
        ({"Ready": False}, {}, "not ready"),
        ({}, {}, "unknown"),
        ({"Ready": False, "Reconciling": True}, {}, "reconciling"),
        ({"Ready": False, "Degraded": True, "Reconciling": True}, {}, "degraded"),
        ({"Blocked": True}, {}, "blocked"),
        ({"Ready": True}, {"stopped": True}, "stopped"),
        ({"Ready": True}, {"removed": True}, "removed"),
    ],
)
def test_the_word_for_a_stack(conditions: dict[str, bool], overrides: dict[str, bool], word: str) -> None:
    stack = {
        "conditions": [{"type": kind, "status": value} for kind, value in conditions.items()],
        "overrides": {"stopped": False, "removed": False, **overrides},
        "deleting": False,
    }
    assert stack_state(stack)[0] == word


async def test_stacks(kit: Kit, moored: Moored) -> None:
    answer = await moored("stacks")
    assert (answer.status, answer.out, answer.err) == (0, "", "moored: no stacks\n")
    await fill(kit)
    answer = await moored("stacks")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["STACK", "blog", "shop"]
    answer = await moored("stacks", "--output", "yaml")
    assert [stack["name"] for stack in yaml.safe_load(answer.out)] == ["blog", "shop"]


async def test_projects_and_their_containers(kit: Kit, moored: Moored) -> None:
    kit.default.put_container(container("old-web-1", "old", "exited"))
    answer = await moored("projects")
    assert answer.out.splitlines()[1].split() == ["shop", "default", "running(1)", "/data/shop/compose.yaml"]
    answer = await moored("projects", "--all")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["NAME", "old", "shop"]
    answer = await moored("project", "shop")
    assert answer.out.splitlines()[1].split()[:5] == ["shop-web-1", "web", "Up", "3", "minutes"]
    answer = await moored("project", "shop", "-o", "json")
    assert answer.json[0]["Name"] == "shop-web-1"
    answer = await moored("project", "nope")
    assert (answer.status, answer.err) == (1, "moored: project not found: nope\n")


async def test_no_projects_are_no_fault(kit: Kit, moored: Moored) -> None:
    kit.default.drop_container(container("shop-web-1", "shop").id)
    answer = await moored("projects", "-o", "json")
    assert (answer.status, answer.json) == (0, [])


async def test_runs_are_filtered_and_paged(kit: Kit, moored: Moored) -> None:
    assert (await moored("runs")).err == "moored: no runs\n"
    first = await past_run(kit)
    second = await past_run(kit, RunStatus.FAILED)
    answer = await moored("runs")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["RUN", second.job_id, first.job_id]
    assert "git.example/shop" in answer.out
    answer = await moored("runs", "--status", "failed", "--trigger", "poll", "--stack", "shop", "-o", "json")
    assert [run["job_id"] for run in answer.json] == [second.job_id]
    answer = await moored("runs", "--limit", "1", "--before", second.job_id, "-o", "json")
    assert [run["job_id"] for run in answer.json] == [first.job_id]
    answer = await moored("runs", "--before", "nope")
    assert (answer.status, answer.err) == (1, "moored: run not found: nope\n")


async def test_a_run_says_what_was_done_and_why(kit: Kit, moored: Moored) -> None:
    run = await past_run(kit, RunStatus.FAILED, error="1/1 poll jobs failed", content="shop: no such image")
    answer = await moored("run", run.job_id)
    assert answer.status == 0, answer.err
    assert "services.web.image: nginx:1.27 → nginx:1.28" in answer.out
    assert "shop: no such image" in answer.out
    answer = await moored("run", "nope")
    assert (answer.status, answer.err) == (1, "moored: run not found: nope\n")


async def test_following_a_finished_run_replays_it_and_ends_as_it_did(kit: Kit, moored: Moored) -> None:
    run = await past_run(kit, RunStatus.FAILED, error="broken")
    answer = await moored("run", run.job_id, "--follow")
    assert answer.status == 1
    assert "ok  replace-container shop-web-1  0.0 s  services.web.image: nginx:1.27 → nginx:1.28" in answer.out
    assert "broken" in answer.out


async def test_what_containers_print_cannot_steer_the_terminal(kit: Kit, moored: Moored) -> None:
    run = await past_run(kit, RunStatus.FAILED, error="last line: \x1b]0;owned\x07 \u202egnp.exe")
    for command in (["run", run.job_id], ["run", run.job_id, "--follow"], ["runs", "-o", "json"]):
        answer = await moored(*command)
        assert not {"\x1b", "\x07", "\u202e"} & set(answer.out), command
    assert (await moored("run", run.job_id, "-o", "json")).json["error"] == run.error
