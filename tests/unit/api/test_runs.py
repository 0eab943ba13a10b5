from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api import wire
from state.ids import uuid7
from state.model import Change, Reason, Run, RunAction, RunStatus, StackOutcome, Trigger
from state.store import Store
from tests.unit.api.conftest import Kit

START = datetime(2026, 8, 22, 17, 2, 54, 123450, tzinfo=UTC)


def run(number: int = 0, **changes: Any) -> Run:
    moment = START + timedelta(seconds=number)
    values: dict[str, Any] = {
        "job_id": uuid7(),
        "trigger": Trigger.WEBHOOK,
        "status": RunStatus.SUCCEEDED,
        "created_at": moment,
        "updated_at": moment,
        **changes,
    }
    return Run(**values)


async def put(store: Store, *runs: Run) -> None:
    for one in runs:
        await store.put_run(one)


async def ids(kit: Kit, query: str) -> list[str]:
    answer = await kit.get(f"/v1/api/runs?{query}")
    assert answer.status_code == 200, answer.text
    return [one["job_id"] for one in answer.json()["content"]]


async def test_a_run_has_doco_cds_keys_in_their_order_and_leaves_empty_ones_out(kit: Kit) -> None:
    full = run(
        repository="acme/shop", target="prod", revision="refs/heads/main (ebe8)", message="job completed successfully",
        started_at=START, finished_at=START,
    )  # fmt: skip
    await put(kit.store, full)
    answer = await kit.get(f"/v1/api/run/{full.job_id}")
    assert answer.text == (
        f'{{"content":{{"job_id":"{full.job_id}","trigger":"webhook","status":"succeeded","repository":"acme/shop",'
        '"target":"prod","revision":"refs/heads/main (ebe8)","message":"job completed successfully",'
        '"created_at":"2026-08-22T17:02:54.12345Z","started_at":"2026-08-22T17:02:54.12345Z",'
        '"finished_at":"2026-08-22T17:02:54.12345Z","updated_at":"2026-08-22T17:02:54.12345Z"},'
        f'"job_id":"{answer.json()["job_id"]}"}}\n'
    )
    assert answer.json()["job_id"] != full.job_id


async def test_a_run_tells_what_moored_knows_beyond(kit: Kit) -> None:
    reason = Reason("ImageChanged", "the image changed", (Change("services.web.image", "nginx:1", "nginx:2"),))
    action = RunAction(
        "1", "recreate-container", "shop-web-1", "shop", "web", (reason,), "failed", START, START, "no such image"
    )
    failed = run(
        status=RunStatus.FAILED, error="deployment failed", content="shop: no such image", code="ImageMissing",
        joined="other", warnings=('unknown key "colour"',), actions=(action,),
        stacks=(StackOutcome("shop", status=RunStatus.FAILED, message="no such image", generation=3),),
    )  # fmt: skip
    await put(kit.store, failed)
    shown = (await kit.get(f"/v1/api/run/{failed.job_id}")).json()["content"]
    assert shown["error"] == "deployment failed"
    assert shown["content"] == "shop: no such image"
    assert shown["joined_job_id"] == "other"
    assert shown["warnings"] == ['unknown key "colour"']
    assert shown["stacks"] == [
        {"stack": "shop", "context": "default", "status": "failed", "message": "no such image", "generation": 3}
    ]
    assert shown["actions"][0]["reasons"][0]["changes"] == [
        {"field": "services.web.image", "from": "nginx:1", "to": "nginx:2"}
    ]
    assert shown["actions"][0]["error"] == "no such image"
    listed = (await kit.get("/v1/api/runs")).json()["content"][0]
    assert "actions" not in listed


async def test_runs_are_listed_newest_first_and_only_of_the_known_triggers(kit: Kit) -> None:
    runs = [run(number, trigger=trigger) for number, trigger in enumerate(Trigger)]
    await put(kit.store, *runs)
    known = [one.job_id for one in runs if one.trigger in (Trigger.WEBHOOK, Trigger.POLL, Trigger.SCHEDULED_JOB)]
    assert await ids(kit, "") == list(reversed(known))
    for one in runs:
        assert await ids(kit, f"trigger={one.trigger.value}") == [one.job_id]
    assert await ids(kit, "trigger=%20POLL%20") == [runs[1].job_id]


async def test_runs_are_filtered_and_paged(kit: Kit) -> None:
    runs = [run(number) for number in range(5)]
    runs[1] = replace(runs[1], status=RunStatus.FAILED, stacks=(StackOutcome("shop"),))
    await put(kit.store, *runs)
    newest_first = [one.job_id for one in reversed(runs)]
    assert await ids(kit, "limit=2") == newest_first[:2]
    assert await ids(kit, f"limit=2&before={newest_first[1]}") == newest_first[2:4]
    assert await ids(kit, "limit=%203%20") == newest_first[:3]
    assert await ids(kit, "limit=100000") == newest_first
    assert await ids(kit, "status=Failed") == [runs[1].job_id]
    assert await ids(kit, "stack=shop") == [runs[1].job_id]
    assert await ids(kit, "status=&trigger=&limit=&colour=red") == newest_first


STATUSES = "valid status values: accepted, running, succeeded, failed, skipped"
BAD = [
    ("limit=0", "invalid parameter: limit", "'limit' parameter must be a positive integer"),
    ("limit=-1", "invalid parameter: limit", "'limit' parameter must be a positive integer"),
    ("limit=1_0", "invalid parameter: limit", "'limit' parameter must be a positive integer"),
    ("limit=99999999999999999999", "invalid parameter: limit", "'limit' parameter must be a positive integer"),
    ("limit=abc&limit=3", "invalid parameter: limit", "'limit' parameter must be a positive integer"),
    (
        "status=done",
        "invalid deployment run status",
        "valid status values: accepted, running, succeeded, failed, skipped",
    ),
    ("trigger=cron", "invalid deployment run trigger", "valid trigger values: webhook, poll, scheduled_job"),
    ("timeout=soon", "invalid parameter: timeout", "'timeout' parameter must be a integer"),
]


@pytest.mark.parametrize(("query", "error", "content"), BAD)
async def test_bad_values_are_named(kit: Kit, query: str, error: str, content: str) -> None:
    answer = await kit.get(f"/v1/api/runs?{query}")
    assert answer.status_code == 400
    assert answer.text == f'{{"error":"{error}","content":"{content}","job_id":"{answer.json()["job_id"]}"}}\n'


async def test_paging_behind_an_unknown_run_is_404(kit: Kit) -> None:
    answer = await kit.get("/v1/api/runs?before=nope")
    assert (answer.status_code, answer.json()["error"]) == (404, "run not found: nope")


async def test_an_unknown_run_is_404(kit: Kit) -> None:
    answer = await kit.get("/v1/api/run/no%20such%20run")
    assert (answer.status_code, answer.json()["error"]) == (404, "run not found: no such run")


@pytest.mark.parametrize(
    ("microsecond", "text"),
    [(0, "2026-08-22T17:02:54Z"), (100000, "2026-08-22T17:02:54.1Z"), (1, "2026-08-22T17:02:54.000001Z")],
)
def test_times_lose_trailing_zeros(microsecond: int, text: str) -> None:
    assert wire.timestamp(START.replace(microsecond=microsecond)) == text


def test_json_is_escaped_as_go_does() -> None:
    assert wire.encode({"a": "<&>\u2028ä\ud800\x07\n"}) == (
        '{"a":"\\u003c\\u0026\\u003e\\u2028ä?\\u0007\\n"}\n'.encode()
    )
