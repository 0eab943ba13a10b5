from __future__ import annotations

from datetime import UTC, datetime

import pytest

from state.errors import StoreUnavailable
from state.observed import ObservedContext
from tests.unit.api.conftest import Kit


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_health_needs_no_key_and_takes_any_method(kit: Kit, method: str) -> None:
    answer = await kit.call(method, "/v1/health", key=None)
    assert answer.status_code == 200
    assert answer.json()["content"] == "healthy"
    assert answer.text == f'{{"content":"healthy","job_id":"{answer.json()["job_id"]}"}}\n'
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not {"server", "alt-svc", "allow", "www-authenticate"} & set(answer.headers)


async def test_an_engine_that_is_not_heard_makes_health_503_with_its_cause(kit: Kit) -> None:
    kit.default.lost("dial unix /var/run/docker.sock: connection refused", datetime.now(UTC))
    answer = await kit.get("/v1/health", key=None)
    assert answer.status_code == 503
    assert answer.json()["error"] == "failed to connect to docker socket"
    assert answer.json()["content"] == "dial unix /var/run/docker.sock: connection refused"


async def test_a_remote_context_that_is_lost_leaves_moored_healthy(kit: Kit) -> None:
    kit.services.observed["far"] = ObservedContext("far")  # type: ignore[index]
    assert (await kit.get("/v1/health", key=None)).status_code == 200


async def test_a_store_that_cannot_be_written_makes_health_503(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full() -> None:
        raise StoreUnavailable("disk full")

    monkeypatch.setattr(kit.store, "check", full)
    answer = await kit.get("/v1/health", key=None)
    assert (answer.status_code, answer.json()["content"]) == (503, "disk full")


async def test_methods_that_nobody_knows_are_refused(kit: Kit) -> None:
    answer = await kit.call("QUERY", "/v1/health")
    assert answer.status_code == 405
    assert "TRACE" in answer.headers["allow"]
