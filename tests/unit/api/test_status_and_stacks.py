from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from state.model import (
    Condition,
    ConditionType,
    Overrides,
    Removal,
    SourceKind,
    SourceSpec,
    Stack,
    StackKey,
)
from state.observed import EngineFacts, ObservedContext
from tests.unit.api.conftest import Kit, container

CHECKED = datetime(2026, 8, 22, 12, tzinfo=UTC)


async def fill(kit: Kit) -> str:
    spec = SourceSpec(SourceKind.GIT, "https://token:hidden@git.example/acme/shop.git", interval=60.0)
    source = await kit.store.ensure_source(spec, "git.example/acme/shop", "config")
    ready = Condition(ConditionType.READY, True, "Reconciled", "all is well", CHECKED)
    stacks = [
        Stack(
            StackKey("default", name), source.id, "git.example/acme/shop", "main", "c0ffee", {},
            {"services": {"web": {"environment": {"PASSWORD": "hidden"}}}}, f"hash-{name}",
        )
        for name in ("shop", "blog")
    ]  # fmt: skip
    await kit.store.apply_stacks(source.id, "c0ffee", stacks)
    await kit.store.update_stack(
        StackKey("default", "shop"), observed_generation=1, conditions=[ready], ready_revision="c0ffee"
    )
    await kit.store.update_source(
        source.id, conditions=[replace(ready, type=ConditionType.SOURCE_READY)], last_checked=CHECKED, failures=0
    )
    return source.id


async def test_status_shows_stacks_sources_and_contexts(kit: Kit) -> None:
    source_id = await fill(kit)
    await kit.store.set_overrides(StackKey("default", "shop"), Overrides(stopped=True, replicas={"web": 3}))
    kit.default.put_container(container("shop-job-1", "shop", "exited"))
    answer = await kit.get("/v1/api/status")
    content = answer.json()["content"]
    assert content["version"] == "1.2.3"
    blog, shop = content["stacks"]
    assert (blog["name"], blog["containers"], blog["conditions"]) == ("blog", {}, [])
    assert shop == {
        "name": "shop",
        "context": "default",
        "source": source_id,
        "repository": "git.example/acme/shop",
        "reference": "main",
        "revision": "c0ffee",
        "ready_revision": "c0ffee",
        "generation": 2,
        "observed_generation": 1,
        "deleting": False,
        "overrides": {"stopped": True, "removed": False, "replicas": {"web": 3}},
        "conditions": [
            {
                "type": "Ready",
                "status": True,
                "reason": "Reconciled",
                "message": "all is well",
                "since": "2026-08-22T12:00:00Z",
            }
        ],
        "containers": {"exited": 1, "running": 1},
    }
    (source,) = content["sources"]
    assert (source["repository"], source["interval"], source["origin"]) == ("git.example/acme/shop", 60, "config")
    assert source["last_checked"] == "2026-08-22T12:00:00Z"
    assert source["next_check"] == "2026-08-22T12:01:00Z"
    assert content["contexts"] == [
        {
            "name": "default",
            "connected": True,
            "synced": True,
            "containers": 2,
            "engine": {
                "version": "20.10.24",
                "api_version": "1.41",
                "os": "linux",
                "architecture": "amd64",
                "swarm_manager": False,
            },
        }
    ]


async def test_status_shows_no_secrets(kit: Kit) -> None:
    await fill(kit)
    assert "hidden" not in (await kit.get("/v1/api/status")).text


async def test_status_says_since_when_it_is_stale(kit: Kit) -> None:
    await fill(kit)
    kit.default.lost("connection refused", CHECKED + timedelta(seconds=1))
    content = (await kit.get("/v1/api/status")).json()["content"]
    assert content["stacks"][0]["stale_since"] == "2026-08-22T12:00:01Z"
    assert content["contexts"][0]["error"] == "connection refused"
    assert content["contexts"][0]["connected"] is False


async def test_status_of_one_stack(kit: Kit) -> None:
    await fill(kit)
    await kit.store.set_overrides(StackKey("default", "blog"), Overrides(removed=Removal("hash-blog")))
    content = (await kit.get("/v1/api/status?stack=blog")).json()["content"]
    assert [stack["name"] for stack in content["stacks"]] == ["blog"]
    assert content["stacks"][0]["overrides"]["removed"] is True
    assert len(content["sources"]) == 1
    nothing = (await kit.get("/v1/api/status?stack=nope")).json()["content"]
    assert (nothing["stacks"], nothing["sources"]) == ([], [])


CALLS = [
    ("GET", "/v1/api/stacks"),
    ("GET", "/v1/api/stack/shop"),
    ("DELETE", "/v1/api/stack/shop"),
    ("POST", "/v1/api/stack/shop/scale?replicas=2"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_off_a_swarm_manager_stacks_are_409(kit: Kit, method: str, path: str) -> None:
    answer = await kit.call(method, path)
    assert (answer.status_code, answer.json()["error"]) == (409, "not a swarm manager")
    assert answer.json()["content"].startswith("This node is not a swarm manager.")


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_on_a_manager_it_is_said_that_swarm_is_not_supported(kit: Kit, method: str, path: str) -> None:
    kit.default.found(EngineFacts("20.10.24", "1.41", swarm_manager=True))
    assert (await kit.call(method, path)).status_code == 501


async def test_with_an_engine_never_seen_stacks_are_500(kit: Kit) -> None:
    unseen = ObservedContext("default")
    unseen.lost("connection refused", CHECKED)
    kit.services.observed["default"] = unseen  # type: ignore[index]
    listed = (await kit.get("/v1/api/stacks")).json()
    assert (listed["error"], listed["content"]) == ("connection refused", "failed to get stacks")
    one = (await kit.get("/v1/api/stack/shop")).json()
    assert (one["error"], one["content"]) == ("failed to get stack: shop", "connection refused")


async def test_a_stack_action_looks_at_the_query_before_the_method(kit: Kit) -> None:
    answer = await kit.get("/v1/api/stack/shop/scale?replicas=many")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid parameter: replicas")
    assert (await kit.get("/v1/api/stack/shop/scale")).status_code == 405
