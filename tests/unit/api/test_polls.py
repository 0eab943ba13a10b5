from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest

from api.jsonbody import BadJson, decode
from api.services import ApiOptions
from state.model import IntentKind, RunStatus, Trigger
from tests.unit.api.conftest import LIMIT, Kit, failing, succeed

POLL = "/v1/api/poll/run"
ONE = [{"url": "https://git.example/acme/shop.git"}]


async def test_a_poll_becomes_an_intent_and_answers_with_its_outcome(kit: Kit) -> None:
    answer = await kit.post(
        POLL, json=[{**ONE[0], "reference": "main", "target": "prod", "deployments": [{"name": "x"}]}]
    )
    job_id = answer.json()["job_id"]
    assert answer.status_code == 200
    assert answer.text == f'{{"content":"poll jobs complete","job_id":"{job_id}"}}\n'
    (intent,) = kit.controller.seen
    assert (intent.id, intent.kind) == (job_id, IntentKind.POLL)
    (target,) = intent.payload["targets"]
    assert target["url"] == "https://git.example/acme/shop.git"
    assert (target["kind"], target["reference"], target["target"]) == ("git", "main", "prod")
    assert target["deployments"] == [{"name": "x"}]
    assert kit.controller.woken == 1


async def test_an_accepted_poll_has_a_running_run_with_its_repository_and_warnings(kit: Kit) -> None:
    kit.controller.outcome = None
    answer = await kit.post(f"{POLL}?wait=false", json=[{**ONE[0], "colour": "red"}])
    assert answer.status_code == 202
    assert answer.json()["content"] == "poll jobs started"
    run = await kit.run_of(answer)
    assert (run.trigger, run.status, run.repository) == (Trigger.POLL, RunStatus.RUNNING, "git.example/acme/shop")
    assert run.warnings == ('unknown key "colour" in poll configuration 0',)
    several = await kit.post(f"{POLL}?wait=0", json=[*ONE, {"url": "https://git.example/b.git"}])
    assert (await kit.run_of(several)).repository == "multiple"


async def test_a_failed_poll_says_which_target_and_why(kit: Kit) -> None:
    kit.controller.outcome = failing("1/2 poll jobs failed", "git.example/acme/shop: not found")
    answer = await kit.post(POLL, json=ONE)
    assert answer.status_code == 500
    assert answer.json()["error"] == "1/2 poll jobs failed"
    assert answer.json()["content"] == "git.example/acme/shop: not found"


async def test_a_timeout_bounds_the_wait_not_the_work(kit: Kit) -> None:
    kit.controller.outcome = None
    answer = await kit.post(f"{POLL}?timeout=0", json=ONE)
    assert (answer.status_code, answer.json()["content"]) == (202, "poll jobs started")
    assert [intent.id for intent in await kit.store.open_intents()] == [answer.json()["job_id"]]


async def test_the_answer_comes_when_the_run_finishes(kit: Kit) -> None:
    kit.controller.outcome = None
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await kit.post(POLL, json=ONE))

    async with anyio.create_task_group() as group:
        with kit.store.watch.subscribe(("intents",)) as changed:
            group.start_soon(ask)
            with anyio.fail_after(LIMIT):
                while not await kit.store.open_intents():
                    await changed.wait()
        assert not answers
        kit.controller.outcome = succeed
        await kit.controller.work()
    assert answers[0].status_code == 200


async def test_keys_match_in_any_case_and_null_is_absent(kit: Kit) -> None:
    body = '[{"URL": "https://git.example/a.git", "Reference": null, "Run_Once": true, "interval": "5m"}]'
    assert (await kit.post(POLL, content=body)).status_code == 200
    assert kit.controller.seen[0].payload["targets"][0]["reference"] == "refs/heads/main"


@pytest.mark.parametrize(
    "body",
    [
        '[{"url": "https://git.example/a.git",}]',
        '[{"url": "https://git.example/a.git"},]',
        '[{"url": "https://git.example/a.git", "deployments": [{"name": "a,]", },],},]\n',
        '[{"url": "https://git.example/a.git"}] and more',
        '[{"url": "x", "url": "https://git.example/a.git"}]',
    ],
)
async def test_bodies_that_are_taken(kit: Kit, body: str) -> None:
    answer = await kit.post(POLL, content=body)
    assert answer.status_code == 200, answer.text


async def test_half_a_surrogate_pair_becomes_a_replacement_character(kit: Kit) -> None:
    body = r'[{"url": "https://git.example/a.git", "reference": "\ud83d\ude00 \ud800", "target": "\\ud800"}]'
    assert (await kit.post(POLL, content=body)).status_code == 200
    target = kit.controller.seen[0].payload["targets"][0]
    assert (target["reference"], target["target"]) == ("\U0001f600 \ufffd", r"\ud800")


DECODING = "failed to decode json in body"
REFUSED: list[tuple[str, str, str]] = [
    ("", DECODING, "EOF"),
    (" \n", DECODING, "EOF"),
    ("{", DECODING, "line 1, column 2: expecting property name enclosed in double quotes"),
    ('[\n  {"url": nope}\n]', DECODING, "line 2, column 11: expecting value"),
    ("[,]", DECODING, "line 1, column 2: expecting value"),
    ('[{"url": "https://git.example/a.git"},,]', DECODING, "line 1, column 39: expecting value"),
    ("\ufeff[]", DECODING, "line 1, column 1: expecting value"),
    ("[NaN]", DECODING, "NaN is not JSON"),
    ("[" * 100_000, DECODING, "the value is nested too deeply"),
    ('[{"deployments": [' + '{"a":' * 200 + "1" + "}" * 200 + "]}]", DECODING, "the value is nested too deeply"),
    ('{"url": "x"}', DECODING, "expected an array of poll configurations, found object"),
    ("[5]", DECODING, "poll configuration 0: expected object, found number"),
    ('[{"url": 5}]', DECODING, 'key "url" of poll configuration 0: expected string, found number'),
    ('[{"interval": true}]', DECODING, 'key "interval" of poll configuration 0: expected number or string, found bool'),
    ('[{"run_once": "true"}]', DECODING, 'key "run_once" of poll configuration 0: expected bool, found string'),
    ('[{"deployments": {}}]', DECODING, 'key "deployments" of poll configuration 0: expected array, found object'),
    ('[{"deployments": [1]}]', DECODING, 'key "deployments[0]" of poll configuration 0: expected object, found number'),
    ("[]", "no poll configuration provided in request body", ""),
    ("null", "no poll configuration provided in request body", ""),
    ("[null]", "invalid poll configuration at index 0", "key not found: url"),
    (json.dumps([*ONE, {"url": ""}]), "invalid poll configuration at index 1", "key not found: url"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "error", "content"), REFUSED, ids=[repr(row[0][:30]) for row in REFUSED])
async def test_what_is_refused_is_named_and_leaves_a_failed_run(kit: Kit, body: str, error: str, content: str) -> None:
    answer = await kit.post(POLL, content=body.encode())
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["content"]) == (error, content)
    run = await kit.run_of(answer)
    assert (run.trigger, run.status) == (Trigger.POLL, RunStatus.FAILED)
    assert run.message == (f"{error}: {content}" if content else error)
    assert run.finished_at is not None
    assert not kit.controller.seen


async def test_a_bad_query_value_does_nothing(kit: Kit) -> None:
    for query in ("wait=maybe", "timeout=1.5", "timeout=1e3"):
        answer = await kit.post(f"{POLL}?{query}", json=ONE)
        assert answer.status_code == 400
        assert answer.text.count("\n") == 1
    assert not kit.controller.seen


class TestSmallPayloads:
    @pytest.fixture
    def options(self, options: ApiOptions) -> ApiOptions:
        return replace(options, max_payload_size=100)

    async def test_a_body_that_is_too_large_is_413(self, kit: Kit) -> None:
        answer = await kit.post(POLL, json=[{"url": "https://git.example/" + "a" * 100}])
        assert answer.status_code == 413
        assert answer.json()["error"] == "http: request body too large"
        assert "MAX_PAYLOAD_SIZE" in answer.json()["content"]
        assert (await kit.run_of(answer)).status is RunStatus.FAILED
        assert (await kit.post(POLL, json=ONE)).status_code == 200

    async def test_so_is_one_that_does_not_tell_its_size(self, kit: Kit) -> None:
        async def chunks() -> Any:
            for _ in range(20):
                yield b"x" * 10

        assert (await kit.post(POLL, content=chunks())).status_code == 413

    async def test_the_key_is_checked_before_a_large_body_is_taken_in(self, kit: Kit) -> None:
        assert (await kit.post(POLL, key=None, content=b"x" * 200_000)).status_code == 401


class TestFewWaits:
    @pytest.fixture
    def options(self, options: ApiOptions) -> ApiOptions:
        return replace(options, max_concurrent_waits=0)

    async def test_a_wait_too_many_is_refused_before_anything_is_written(self, kit: Kit) -> None:
        answer = await kit.post(POLL, json=ONE)
        assert answer.status_code == 503
        assert answer.json()["error"] == "too many waiting requests"
        assert answer.headers["retry-after"] == "5"
        assert not await kit.store.list_runs()
        assert (await kit.post(f"{POLL}?wait=false", json=ONE)).status_code == 202


async def test_a_repeated_idempotency_key_is_done_once_and_answered_alike(kit: Kit) -> None:
    headers = {"Idempotency-Key": "deploy-42"}
    first = await kit.post(POLL, json=ONE, headers=headers)
    second = await kit.post(POLL, json=ONE, headers=headers)
    assert (first.status_code, first.text) == (second.status_code, second.text)
    assert len(kit.controller.seen) == 1
    assert kit.controller.woken == 1


async def test_an_idempotency_key_belongs_to_one_request(kit: Kit) -> None:
    headers = {"Idempotency-Key": "deploy-42"}
    await kit.post(POLL, json=ONE, headers=headers)
    other = await kit.post(POLL, json=[{"url": "https://git.example/other.git"}], headers=headers)
    assert (other.status_code, other.json()["error"]) == (409, "idempotency key already used")
    too_long = await kit.post(POLL, json=ONE, headers={"Idempotency-Key": "x" * 256})
    assert too_long.status_code == 400


async def test_a_store_that_cannot_be_written_is_503_and_nothing_was_done(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from state.errors import StoreUnavailable

    async def full(*_: Any) -> None:
        raise StoreUnavailable("the store is not available: disk full")

    monkeypatch.setattr(kit.store, "accept", full)
    answer = await kit.post(POLL, json=ONE)
    assert answer.status_code == 503
    assert answer.json()["error"] == "state store unavailable"
    assert "disk full" in answer.json()["content"]
    assert kit.controller.woken == 0


async def test_a_caller_that_goes_away_cancels_nothing(kit: Kit) -> None:
    kit.controller.outcome = None
    body = json.dumps(ONE)
    with kit.store.watch.subscribe(("intents",)) as changed:
        async with await anyio.connect_tcp("127.0.0.1", kit.ports.http) as stream:
            head = f"POST {POLL} HTTP/1.1\r\nHost: x\r\nx-api-key: kit-secret\r\nContent-Length: {len(body)}\r\n\r\n"
            await stream.send(head.encode() + body.encode())
            with anyio.fail_after(LIMIT):
                while not (intents := await kit.store.open_intents()):
                    await changed.wait()
    kit.controller.outcome = succeed
    await kit.controller.work()
    run = await kit.store.get_run(intents[0].id)
    assert run is not None
    assert run.status is RunStatus.SUCCEEDED
    assert (await kit.get("/v1/health")).status_code == 200


def test_only_trailing_commas_are_forgiven() -> None:
    assert decode(b'{"a": [1, 2,], "b": ",]",}', trailing_commas=True, trailing_text=False) == {"a": [1, 2], "b": ",]"}
    for body in (b"[1,,]", b"[,]", b"{,}", b'{"a":,}', b"[1 2,]", b'["a,]', b",", b"[1,2}"):
        with pytest.raises(BadJson):
            decode(body, trailing_commas=True, trailing_text=False)
    with pytest.raises(BadJson):
        decode(b"[1,]", trailing_commas=False, trailing_text=False)
