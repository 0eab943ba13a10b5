from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from reconciler.client import following
from reconciler.client.configuration import Endpoint
from reconciler.client.connection import Agent
from reconciler.client.exits import Unreachable
from state.model import IntentKind
from tests.unit.api.conftest import LIMIT, SECRET, Kit, failing, succeed
from tests.unit.client.conftest import Ended, Moored

URL = "https://git.example/acme/shop.git"


async def test_a_poll_waits_for_its_outcome(kit: Kit, moored: Moored) -> None:
    answer = await moored("poll", URL, "--reference", "v1", "--target", "prod")
    assert answer.status == 0, answer.err
    (intent,) = kit.controller.seen
    assert intent.kind is IntentKind.POLL
    (target,) = intent.payload["targets"]
    assert (target["url"], target["reference"], target["target"]) == (URL, "v1", "prod")
    assert intent.idempotency_key
    assert "succeeded" in answer.out
    assert intent.id in answer.out


async def test_a_failed_poll_says_why_and_exits_1(kit: Kit, moored: Moored) -> None:
    kit.controller.outcome = failing("1/1 poll jobs failed", "git.example/acme/shop: no such reference")
    answer = await moored("poll", URL)
    assert answer.status == 1
    assert "git.example/acme/shop: no such reference" in answer.out
    answer = await moored("poll", URL, "-o", "json")
    assert (answer.status, answer.json["status"]) == (1, "failed")


async def test_an_invalid_poll_is_a_wrong_usage(kit: Kit, moored: Moored) -> None:
    answer = await moored("poll", "what")
    assert answer.status == 2
    assert "invalid Git URL" in answer.err
    assert kit.controller.seen == []


async def test_who_does_not_wait_gets_the_id(kit: Kit, moored: Moored) -> None:
    kit.controller.outcome = None
    answer = await moored("poll", URL, "--no-wait", "-o", "json")
    assert answer.status == 0
    assert answer.json["content"] == "poll jobs started"
    run = await kit.store.get_run(answer.json["job_id"])
    assert run is not None


async def test_a_wait_that_ends_says_how_to_go_on(kit: Kit, moored: Moored) -> None:
    kit.controller.outcome = None
    answer = await moored("poll", URL, "--timeout", "0.2")
    assert answer.status == 5
    (intent,) = await kit.store.open_intents()
    assert f"moored run {intent.id} --follow" in answer.err


@pytest.mark.parametrize(
    ("arguments", "kind", "payload"),
    [
        (["start", "shop"], IntentKind.PROJECT_START, {"timeout": 30}),
        (["stop", "shop", "--timeout", "-1"], IntentKind.PROJECT_STOP, {"timeout": -1}),
        (["restart", "shop", "--timeout", "0"], IntentKind.PROJECT_RESTART, {"timeout": 0}),
        (["remove", "shop"], IntentKind.PROJECT_REMOVE, {"volumes": False, "images": False}),
        (["remove", "shop", "--volumes", "--images"], IntentKind.PROJECT_REMOVE, {"volumes": True, "images": True}),
    ],
)
async def test_project_commands(
    kit: Kit, moored: Moored, arguments: list[str], kind: IntentKind, payload: dict[str, Any]
) -> None:
    answer = await moored(*arguments)
    assert answer.status == 0, answer.err
    (intent,) = kit.controller.seen
    assert intent.kind is kind
    assert {key: intent.payload[key] for key in payload} == payload
    assert intent.idempotency_key


async def test_an_unknown_project_is_not_found(kit: Kit, moored: Moored) -> None:
    answer = await moored("stop", "nope")
    assert (answer.status, answer.err) == (1, "moored: project not found: nope\n")


async def test_an_override_needs_a_stack(kit: Kit, moored: Moored) -> None:
    answer = await moored("override", "clear", "shop")
    assert answer.status == 1
    assert "the project is not managed by Moored" in answer.err


async def test_progress_comes_while_the_work_is_done(kit: Kit, moored: Moored) -> None:
    """The last event is published only after the first ones were printed."""
    kit.controller.outcome = None
    ended: list[Ended] = []

    async def poll() -> None:
        ended.append(await moored("poll", URL, "-o", "json"))

    async with anyio.create_task_group() as group:
        group.start_soon(poll)
        with anyio.fail_after(LIMIT):
            while not kit.controller.seen:
                await anyio.sleep(0.01)
        job_id = kit.controller.seen[0].id
        publish = kit.services.hub.publish
        action = {"id": "a", "kind": "pull-image", "target": "nginx:1.28", "reasons": []}
        publish(job_id, "action", {**action, "status": "running"})
        publish(job_id, "log", {"line": "layer 1 of 2"})
        publish(job_id, "action", {**action, "status": "failed", "error": "no such image"})
        run = await kit.store.get_run(job_id)
        assert run is not None
        await kit.store.finish(failing("1/1 poll jobs failed")(kit.controller.seen[0], run))
        publish(job_id, "status", {"status": "failed"})
    (answer,) = ended
    assert answer.status == 1
    assert answer.json["job_id"] == job_id
    first, log, last = answer.err.splitlines()
    assert first == "..  pull-image nginx:1.28"
    assert log == "   | layer 1 of 2"
    assert last.startswith("FAILED  pull-image nginx:1.28")
    assert last.endswith("no such image")


@contextmanager
def breaking(port: int, broken: int) -> Iterator[int]:
    """A way to `port` on which the answers of the first `broken` connections are lost."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def carry() -> None:
            count = 0
            while True:
                try:
                    near, _ = listening.accept()
                except OSError:
                    return
                count += 1
                with near, socket.create_connection(("127.0.0.1", port)) as far:
                    far.settimeout(LIMIT)
                    near.settimeout(LIMIT)
                    request = b""
                    while b"\r\n\r\n" not in request:
                        request += near.recv(65536)
                    head, _, body = request.partition(b"\r\n\r\n")
                    length = next(
                        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"content-length" in line.lower()),
                        0,
                    )
                    while len(body) < length:
                        body += near.recv(65536)
                    far.sendall(head + b"\r\n\r\n" + body)
                    answer = b"".join(iter(lambda: far.recv(65536), b""))
                    if count > broken:
                        near.sendall(answer)

        carrier = threading.Thread(target=carry, daemon=True)
        carrier.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    carrier.join(LIMIT)


async def test_a_lost_answer_does_not_do_the_work_twice(kit: Kit, moored: Moored) -> None:
    with breaking(kit.ports.http, 2) as port:
        answer = await moored("stop", "shop", "--no-wait", "--server", f"http://127.0.0.1:{port}", "-o", "json")
    assert answer.status == 0, answer.err
    (intent,) = kit.controller.seen
    assert intent.id == answer.json["job_id"]


async def test_a_connection_that_always_breaks_is_given_up(kit: Kit) -> None:
    with breaking(kit.ports.http, 100) as port:
        agent = Agent(_endpoint(port), recovery=0.3)
        with pytest.raises(Unreachable, match="closed before the answer"):
            await anyio.to_thread.run_sync(lambda: agent.get("/v1/api/status"))


async def test_a_stream_that_breaks_is_taken_up_again(
    kit: Kit, moored: Moored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look at the events is lost on the way; the record is asked and the film goes on."""
    monkeypatch.setattr(following, "PAUSE", 0.05)
    monkeypatch.setattr(following, "SILENCE", 0.2)
    kit.controller.outcome = None
    ended: list[Ended] = []

    async def poll() -> None:
        ended.append(await moored("poll", URL))

    async with anyio.create_task_group() as group:
        group.start_soon(poll)
        with anyio.fail_after(LIMIT):
            while not kit.controller.seen:
                await anyio.sleep(0.01)
        job_id = kit.controller.seen[0].id
        action = {"id": "a", "kind": "start-container", "target": "shop-web-1", "status": "succeeded"}
        kit.services.hub.publish(job_id, "action", action)
        # Longer than the silence after which a stream counts as broken.
        await anyio.sleep(0.5)
        kit.services.hub.publish(job_id, "action", {**action, "id": "b", "target": "shop-web-2"})
        run = await kit.store.get_run(job_id)
        assert run is not None
        await kit.store.finish(succeed(kit.controller.seen[0], run))
        kit.services.hub.publish(job_id, "status", {"status": "succeeded"})
    (answer,) = ended
    assert answer.status == 0, answer.err
    assert answer.out.count("shop-web-1") == 1
    assert answer.out.count("shop-web-2") == 1


def _endpoint(port: int) -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{port}", SECRET)
