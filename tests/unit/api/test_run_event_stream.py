from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest

from api.intents import ended, new_run
from api.routes import events
from state.ids import uuid7
from state.model import Run, RunAction, RunStatus, Trigger
from tests.unit.api.conftest import LIMIT, SECRET, Kit


class Reader:
    """Server-sent events as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, dict[str, Any], str]:
        """Kind, data and id of the next event; `comment` for a comment, `closed` at the end."""
        kind, identity, data = "", "", ""
        with anyio.fail_after(LIMIT):
            async for line in self._lines:
                if line.startswith(":"):
                    return "comment", {}, ""
                if not line:
                    if kind:
                        return kind, json.loads(data), identity
                    continue
                name, _, value = line.partition(": ")
                kind = value if name == "event" else kind
                data = value if name == "data" else data
                identity = value if name == "id" else identity
        return "closed", {}, ""


@asynccontextmanager
async def following(kit: Kit, job_id: str, **headers: str) -> AsyncIterator[Reader]:
    sent = {"x-api-key": SECRET, **headers}
    async with kit.client.stream("GET", f"/v1/api/run/{job_id}/events", headers=sent) as response:
        yield Reader(response)


async def running(kit: Kit, *actions: RunAction) -> Run:
    run = replace(new_run(uuid7(), Trigger.POLL, RunStatus.RUNNING, repository="git.example/shop"), actions=actions)
    await kit.store.put_run(run)
    return run


ACTION = RunAction("1", "create-container", "shop-web-1", "shop", "web", status="succeeded")


async def test_a_run_is_told_as_it_happens(kit: Kit) -> None:
    run = await running(kit)
    kit.services.hub.publish(run.job_id, "status", {"status": "running"})
    async with following(kit, run.job_id) as reader:
        assert reader.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reader.response.headers["cache-control"] == "no-cache"
        kind, data, identity = await reader.next()
        assert (kind, data["status"], identity) == ("status", "running", "1")
        kit.services.hub.publish(run.job_id, "log", {"message": "pulling <image>\nnow"})
        kind, data, identity = await reader.next()
        assert (kind, data["message"], identity) == ("log", "pulling <image>\nnow", "2")
        kit.services.hub.publish(run.job_id, "status", {"status": "succeeded"})
        await kit.store.finish(ended(run, RunStatus.SUCCEEDED, "done"))
        assert (await reader.next())[1]["status"] == "succeeded"
        assert (await reader.next())[0] == "closed"
    assert (await kit.get("/v1/health")).status_code == 200


async def test_a_reader_that_comes_again_misses_nothing_and_hears_nothing_twice(kit: Kit) -> None:
    run = await running(kit)
    for number in range(3):
        kit.services.hub.publish(run.job_id, "log", {"number": number})
    async with following(kit, run.job_id, **{"Last-Event-ID": "2"}) as reader:
        assert (await reader.next())[1]["number"] == 2


async def test_a_finished_run_is_replayed_from_the_store(kit: Kit) -> None:
    run = await running(kit, ACTION)
    await kit.store.finish(ended(run, RunStatus.FAILED, "broken", error="deployment failed", content="no such image"))
    async with following(kit, run.job_id) as reader:
        kind, data, identity = await reader.next()
        assert (kind, data["target"], identity) == ("action", "shop-web-1", "")
        kind, data, _ = await reader.next()
        assert (kind, data["status"], data["content"]) == ("status", "failed", "no such image")
        assert (await reader.next())[0] == "closed"


async def test_a_run_the_hub_never_hears_of_still_ends(kit: Kit) -> None:
    run = await running(kit, ACTION)
    async with following(kit, run.job_id) as reader:
        assert (await reader.next())[0] == "action"
        await kit.store.finish(ended(run, RunStatus.SUCCEEDED, "done"))
        kind, data, _ = await reader.next()
        assert (kind, data["status"]) == ("status", "succeeded")
        assert (await reader.next())[0] == "closed"


async def test_a_film_without_an_end_is_ended_by_the_store(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LAST_WORDS", 0.01)
    run = await running(kit)
    kit.services.hub.publish(run.job_id, "log", {"number": 1})
    async with following(kit, run.job_id) as reader:
        assert (await reader.next())[0] == "log"
        await kit.store.finish(ended(run, RunStatus.SUCCEEDED, "done"))
        assert (await reader.next())[1]["status"] == "succeeded"
        assert (await reader.next())[0] == "closed"


async def test_silence_is_broken_by_comments(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.01)
    run = await running(kit)
    async with following(kit, run.job_id) as reader:
        assert (await reader.next())[0] == "comment"


async def test_an_unknown_run_is_404_and_the_key_is_needed(kit: Kit) -> None:
    assert (await kit.get("/v1/api/run/nope/events")).json()["error"] == "run not found: nope"
    assert (await kit.get("/v1/api/run/nope/events", key=None)).status_code == 401


async def test_a_reader_that_goes_away_gives_its_slot_back(kit: Kit) -> None:
    run = await running(kit)
    kit.services.hub.publish(run.job_id, "log", {"number": 1})
    async with following(kit, run.job_id) as reader:
        await reader.next()
        assert kit.services.metrics.registry.get_sample_value("moored_waiting_requests") == 1
    with anyio.fail_after(LIMIT):
        while kit.services.metrics.registry.get_sample_value("moored_waiting_requests"):
            await kit.get("/v1/health", key=None)


async def test_clients_that_cut_their_connection_do_not_stop_the_server(kit: Kit) -> None:
    run = ended(await running(kit, *(replace(ACTION, id=str(n)) for n in range(5))), RunStatus.SUCCEEDED, "done")
    await kit.store.put_run(run)
    request = f"GET /v1/api/run/{run.job_id}/events HTTP/1.1\r\nHost: x\r\nx-api-key: {SECRET}\r\n\r\n".encode()
    for _ in range(50):
        with anyio.fail_after(LIMIT):
            async with await anyio.connect_tcp("127.0.0.1", kit.ports.http) as stream:
                await stream.send(request)
                seen = b""
                while b"event:" not in seen:
                    seen += await stream.receive(200)
    assert (await kit.get("/v1/health", key=None)).status_code in (200, 503)


async def test_times_are_those_of_the_events(kit: Kit) -> None:
    run = await running(kit)
    before = datetime.now(UTC)
    kit.services.hub.publish(run.job_id, "log", {"number": 1})
    async with following(kit, run.job_id) as reader:
        _, data, _ = await reader.next()
    assert datetime.fromisoformat(data["time"]) >= before
