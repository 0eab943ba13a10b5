from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.listing import human_duration, status_text
from api.services import ApiOptions
from state.model import IntentKind, RunStatus, SourceKind, SourceSpec, Stack, StackKey, Trigger
from state.observed import LABEL_CONFIG_FILES, LABEL_CONFIG_HASH, EngineFacts, ObservedContext, PublishedPort
from state.store import Store
from tests.unit.api.conftest import Kit, container, failing


async def manage(store: Store, name: str, context: str = "default") -> None:
    """Let Moored manage a stack of this name."""
    source = await store.ensure_source(SourceSpec(SourceKind.GIT, f"https://x/{context}"), "git.example/shop", "config")
    stack = Stack(StackKey(context, name), source.id, "git.example/shop", "main", "c0ffee", {}, {}, "hash")
    await store.apply_stacks(source.id, "c0ffee", [stack])


def other_context(kit: Kit, name: str, *projects: str) -> ObservedContext:
    context = ObservedContext(name)
    context.found(EngineFacts("20.10.24", "1.41"))
    for project in projects:
        context.put_container(container(f"{project}-web-1", project))
    kit.services.observed[name] = context  # type: ignore[index]
    return context


def body(answer: httpx.Response) -> tuple[int, Any, Any]:
    return answer.status_code, answer.json().get("error"), answer.json()["content"]


async def test_projects_are_listed_as_compose_ls_does(kit: Kit) -> None:
    kit.default.put_container(container("shop-job-1", "shop", "exited"))
    kit.default.put_container(container("blog-web-1", "blog", "paused", labels={LABEL_CONFIG_FILES: "/a.yaml,/b.yaml"}))
    kit.default.put_container(container("old-web-1", "old", "exited"))
    running = await kit.get("/v1/api/projects")
    assert running.text == (
        '{"content":[{"ID":"blog","Name":"blog","Status":"paused(1)","ConfigFiles":"/a.yaml,/b.yaml","Reason":""},'
        '{"ID":"shop","Name":"shop","Status":"running(1)","ConfigFiles":"/data/shop/compose.yaml","Reason":""}],'
        f'"job_id":"{running.json()["job_id"]}"}}\n'
    )
    everything = (await kit.get("/v1/api/projects?all=T")).json()["content"]
    assert [(row["Name"], row["Status"]) for row in everything] == [
        ("blog", "paused(1)"),
        ("old", "exited(1)"),
        ("shop", "exited(1), running(1)"),
    ]


async def test_a_container_without_compose_labels_is_no_project(kit: Kit) -> None:
    bare = container("bare-web-1", "bare")
    kit.default.put_container(
        replace(bare, labels={key: value for key, value in bare.labels.items() if key != LABEL_CONFIG_HASH})
    )
    unnamed = container("half-web-1", "half")
    kit.default.put_container(
        replace(unnamed, labels={key: value for key, value in unnamed.labels.items() if key != LABEL_CONFIG_FILES})
    )
    rows = (await kit.get("/v1/api/projects")).json()["content"]
    assert [(row["Name"], row["ConfigFiles"]) for row in rows] == [("half", "N/A"), ("shop", "/data/shop/compose.yaml")]


@pytest.mark.parametrize("query", ["", "?all=true"])
async def test_no_projects_are_404(kit: Kit, query: str) -> None:
    kit.default.drop_container(next(iter(kit.default.containers)))
    assert body(await kit.get(f"/v1/api/projects{query}")) == (404, "no projects found", "")


async def test_an_engine_never_seen_is_500_with_its_cause(kit: Kit) -> None:
    unseen = ObservedContext("default")
    unseen.lost("connection refused", datetime.now(UTC))
    kit.services.observed["default"] = unseen  # type: ignore[index]
    assert body(await kit.get("/v1/api/projects")) == (500, "connection refused", "failed to get projects")
    assert body(await kit.get("/v1/api/project/Shop")) == (500, "failed to get project: Shop", "connection refused")


async def test_a_lost_engine_is_answered_for_from_what_was_seen_last(kit: Kit) -> None:
    kit.default.lost("connection refused", datetime(2026, 8, 22, tzinfo=UTC))
    for path in ("/v1/api/projects", "/v1/api/project/shop"):
        (row,) = (await kit.get(path)).json()["content"]
        assert row["stale_since"] == "2026-08-22T00:00:00Z"


async def test_a_project_is_shown_as_compose_ps_does(kit: Kit) -> None:
    kit.default.put_container(
        container(
            "shop-web-1", "shop", health="healthy", exit_code=7, mounts=("shop_data", "/etc"), local_volumes=1,
            ports=(PublishedPort("0.0.0.0", 443, 8443, "tcp"), PublishedPort("0.0.0.0", 80, 8080, "tcp")),
            networks=(), labels={"b": "<2>", "a": "1"},
        )
    )  # fmt: skip
    kit.default.put_container(container("shop-job-1", "shop", "exited", exit_code=3, health="unhealthy"))
    answer = await kit.get("/v1/api/project/SHOP")
    job, web = answer.json()["content"]
    assert list(web) == [
        "ID", "Name", "Names", "Image", "Command", "Project", "Service", "Created", "State", "Status", "Health",
        "ExitCode", "Publishers", "Labels", "Mounts", "Networks", "LocalVolumes",
    ]  # fmt: skip
    assert web["Names"] == ["/shop-web-1"]
    assert (web["State"], web["Status"], web["Health"], web["ExitCode"]) == (
        "running", "Up 3 minutes (healthy)", "healthy", 0,
    )  # fmt: skip
    assert web["Publishers"][0] == {"URL": "0.0.0.0", "TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp"}
    assert [port["TargetPort"] for port in web["Publishers"]] == [80, 443]
    assert (web["Mounts"], web["Networks"], web["LocalVolumes"]) == (["shop_data", "/etc"], None, 1)
    assert list(web["Labels"]) == sorted(web["Labels"])
    assert (job["Status"], job["ExitCode"], job["Health"]) == ("Exited (3) 5 seconds ago", 3, "")
    assert (job["Publishers"], job["Mounts"]) == ([], None)
    assert '"b":"\\u003c2\\u003e"' in answer.text


async def test_an_unknown_project_is_404_under_the_name_as_given(kit: Kit) -> None:
    for method in ("GET", "DELETE"):
        assert body(await kit.call(method, "/v1/api/project/NoPe")) == (404, "project not found: NoPe", "")


ACTIONS = [
    ("start", IntentKind.PROJECT_START, "project started: Shop"),
    ("stop", IntentKind.PROJECT_STOP, "project stopped: Shop"),
    ("restart", IntentKind.PROJECT_RESTART, "project restarted: Shop"),
]


@pytest.mark.parametrize(("action", "kind", "text"), ACTIONS)
async def test_an_action_becomes_an_intent_and_answers_with_its_outcome(
    kit: Kit, action: str, kind: IntentKind, text: str
) -> None:
    answer = await kit.post(f"/v1/api/project/Shop/{action}?timeout=7")
    assert body(answer) == (200, None, text)
    (intent,) = kit.controller.seen
    assert (intent.id, intent.kind) == (answer.json()["job_id"], kind)
    assert intent.payload == {"context": "default", "name": "shop", "timeout": 7}
    run = await kit.run_of(answer)
    assert run.trigger is Trigger.API
    assert [(outcome.stack, outcome.context) for outcome in run.stacks] == [("shop", "default")]
    assert [one.job_id for one in await kit.store.list_runs(triggers=[Trigger.API], stack="shop")] == [run.job_id]


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
async def test_a_failed_action_has_its_cause_in_error(kit: Kit, action: str) -> None:
    kit.controller.outcome = failing("application not healthy after 30s")
    answer = await kit.post(f"/v1/api/project/shop/{action}")
    assert body(answer) == (500, "application not healthy after 30s", f"failed to {action} project")


async def test_a_failed_removal_has_its_cause_in_content(kit: Kit) -> None:
    kit.controller.outcome = failing("failed to remove project", "network has active endpoints")
    answer = await kit.delete("/v1/api/project/shop")
    assert body(answer) == (500, "failed to remove project: shop", "network has active endpoints")


async def test_removal_takes_volumes_and_images_unless_told_otherwise(kit: Kit) -> None:
    assert body(await kit.delete("/v1/api/project/shop")) == (200, None, "project removed: shop")
    await kit.delete("/v1/api/project/shop?volumes=false&images=F&timeout=-1")
    common = {"context": "default", "name": "shop"}
    assert [intent.payload for intent in kit.controller.seen] == [
        {**common, "timeout": 30, "volumes": True, "images": True},
        {**common, "timeout": -1, "volumes": False, "images": False},
    ]
    assert {intent.kind for intent in kit.controller.seen} == {IntentKind.PROJECT_REMOVE}


@pytest.mark.parametrize("query", ["volumes=x", "images=yes", "timeout=soon", "wait=maybe"])
async def test_a_bad_value_removes_nothing(kit: Kit, query: str) -> None:
    answer = await kit.delete(f"/v1/api/project/shop?{query}")
    name = query.partition("=")[0]
    assert (answer.status_code, answer.json()["error"]) == (400, f"invalid parameter: {name}")
    assert answer.text.count("\n") == 1
    assert not kit.controller.seen


async def test_not_waiting_is_202(kit: Kit) -> None:
    kit.controller.outcome = None
    assert body(await kit.post("/v1/api/project/shop/stop?wait=false")) == (202, None, "project stop accepted: shop")
    assert body(await kit.delete("/v1/api/project/shop?wait=false")) == (202, None, "project removal accepted: shop")


class TestNoGrace:
    @pytest.fixture
    def options(self, options: ApiOptions) -> ApiOptions:
        return replace(options, action_grace=0.01)

    async def test_an_action_that_takes_longer_was_accepted(self, kit: Kit) -> None:
        kit.controller.outcome = None
        kit.default.lost("connection refused", datetime.now(UTC))
        answer = await kit.post("/v1/api/project/shop/stop?timeout=0")
        assert body(answer) == (202, None, "project stop accepted: shop")
        assert [intent.id for intent in await kit.store.open_intents()] == [answer.json()["job_id"]]


async def test_a_repeated_key_acts_once(kit: Kit) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await kit.post("/v1/api/project/shop/restart", headers=headers)
    second = await kit.post("/v1/api/project/shop/restart", headers=headers)
    assert first.text == second.text
    assert len(kit.controller.seen) == 1
    assert (await kit.post("/v1/api/project/shop/stop", headers=headers)).status_code == 409


async def test_a_repeated_removal_is_answered_alike_when_the_project_is_gone(kit: Kit) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await kit.delete("/v1/api/project/shop", headers=headers)
    assert first.status_code == 200
    kit.default.drop_container(next(iter(kit.default.containers)))
    assert (await kit.delete("/v1/api/project/Shop", headers=headers)).text == first.text.replace("shop", "Shop")
    assert len(kit.controller.seen) == 1
    assert (await kit.delete("/v1/api/project/shop?volumes=false", headers=headers)).status_code == 409
    assert (await kit.delete("/v1/api/project/other", headers=headers)).status_code == 404
    assert (await kit.delete("/v1/api/project/shop")).status_code == 404


async def test_a_managed_stack_without_containers_can_be_acted_on(kit: Kit) -> None:
    await manage(kit.store, "gone")
    assert body(await kit.post("/v1/api/project/gone/start")) == (200, None, "project started: gone")
    assert (await kit.run_of(await kit.post("/v1/api/project/gone/stop"))).repository == "git.example/shop"


async def test_an_override_is_cleared_on_managed_stacks_only(kit: Kit) -> None:
    await manage(kit.store, "managed")
    assert body(await kit.delete("/v1/api/project/managed/override")) == (200, None, "override cleared: managed")
    assert kit.controller.seen[0].kind is IntentKind.OVERRIDE_CLEAR
    assert body(await kit.delete("/v1/api/project/shop/override"))[:2] == (404, "no override found: shop")
    assert body(await kit.delete("/v1/api/project/nope/override"))[:2] == (404, "project not found: nope")
    wrong = await kit.post("/v1/api/project/managed/override")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE")


async def test_the_local_context_wins_and_others_are_found(kit: Kit) -> None:
    other_context(kit, "far", "shop", "remote")
    await kit.post("/v1/api/project/shop/stop")
    await kit.post("/v1/api/project/remote/stop")
    await kit.post("/v1/api/project/shop/stop?context=far")
    assert [intent.payload["context"] for intent in kit.controller.seen] == ["default", "far", "far"]
    (row,) = (await kit.get("/v1/api/project/remote")).json()["content"]
    assert row["Context"] == "far"
    listed = (await kit.get("/v1/api/projects")).json()["content"]
    assert [(row["Name"], row.get("Context")) for row in listed] == [
        ("remote", "far"), ("shop", None), ("shop", "far"),
    ]  # fmt: skip
    assert body(await kit.post("/v1/api/project/remote/stop?context=default"))[0] == 404


async def test_a_name_on_several_remote_contexts_has_to_be_narrowed(kit: Kit) -> None:
    other_context(kit, "near", "twin")
    other_context(kit, "far", "twin")
    answer = await kit.post("/v1/api/project/twin/stop")
    assert body(answer) == (409, "project is on several docker contexts: twin", "choose with 'context': far, near")
    assert not kit.controller.seen


async def test_an_action_is_found_to_be_skipped_as_done(kit: Kit) -> None:
    kit.controller.outcome = lambda intent, run: replace(failing("")(intent, run), status=RunStatus.SKIPPED)
    assert body(await kit.post("/v1/api/project/shop/stop")) == (200, None, "project stopped: shop")


NOW = datetime(2026, 8, 22, 12, tzinfo=UTC)
STATES: list[tuple[dict[str, Any], str]] = [
    ({"state": "running"}, "Up 3 minutes"),
    ({"state": "running", "health": "starting"}, "Up 3 minutes (health: starting)"),
    ({"state": "running", "health": "unhealthy"}, "Up 3 minutes (unhealthy)"),
    ({"state": "paused"}, "Up 3 minutes (Paused)"),
    ({"state": "restarting", "exit_code": 1}, "Restarting (1) 10 seconds ago"),
    ({"state": "exited", "exit_code": 137}, "Exited (137) 10 seconds ago"),
    ({"state": "exited", "started_at": None}, "Created"),
    ({"state": "created"}, "Created"),
    ({"state": "dead"}, "Dead"),
    ({"state": "removing"}, "Removal In Progress"),
]


@pytest.mark.parametrize(("changes", "text"), STATES, ids=[row[1] for row in STATES])
def test_states_in_dockers_words(changes: dict[str, Any], text: str) -> None:
    values = {"started_at": NOW - timedelta(minutes=3), "finished_at": NOW - timedelta(seconds=10), **changes}
    assert status_text(container("x-web-1", "x", **values), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"), (1.9, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (119, "About a minute"), (120, "2 minutes"), (3599, "59 minutes"), (3600, "About an hour"),
        (5399, "About an hour"), (5400, "2 hours"), (47.4 * 3600, "47 hours"), (48 * 3600, "2 days"),
        (13 * 86400, "13 days"), (14 * 86400, "2 weeks"), (60 * 86400, "2 months"), (800 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_durations_in_dockers_words(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
