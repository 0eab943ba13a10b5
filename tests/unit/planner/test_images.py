"""Images come first, in a plan of their own; registries are asked only when it is time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.planner import after_partial, build_request, image_references, plan
from state.observed import ObservedProject
from tests.support.planning import OLD_ENGINE, image, stack
from tests.unit.planner.world import action, kinds, reasons, world

NOON = datetime(2026, 8, 22, 12, 0, tzinfo=UTC)
PULLED = replace(image("app:1"), digests=("app@sha256:1",), last_tagged=NOON)


def test_a_missing_image_is_pulled_in_a_plan_of_its_own() -> None:
    made = world("services: {web: {image: 'app:1'}, db: {image: 'app:1'}}", images={})
    made.engine.registry["app:1"] = image("app:1")
    found = made.plan()
    assert found.partial and kinds(found) == ["pull-image app:1"]
    assert found.actions[0].params == {"platform": "", "if_changed": False, "optional": False}
    made.deploys()


def test_an_image_that_is_not_needed_is_not_pulled() -> None:
    made = world("services: {web: {image: 'app:1'}}").deploys()
    del made.engine.images["app:1"]
    assert made.plan().empty
    assert kinds(world("services: {web: {image: 'app:1', scale: 0}}", images={}).plan()) == [
        "create-network shop_default"
    ]


def test_an_image_of_another_platform_counts_as_missing() -> None:
    made = world("services: {web: {image: 'app:1', platform: linux/arm64}}")
    assert kinds(made.plan()) == ["pull-image app:1"]
    assert made.plan().actions[0].params["platform"] == "linux/arm64"


def test_a_replacement_waits_for_its_image_while_the_old_container_serves() -> None:
    made = world("services: {web: {image: 'app:1'}}").deploys()
    made.engine.registry["new:1"] = image("new:1")
    made.wants("services: {web: {image: 'new:1'}}")
    assert kinds(made.plan()) == ["pull-image new:1"]
    assert made.engine.states() == {"shop-web-1": "running"}
    made.deploys()


def test_after_the_images_the_registry_is_not_asked_again() -> None:
    made = world("services: {web: {image: 'app:1'}}", images={"app:1": PULLED}).deploys().policy(force_image_pull=True)
    assert made.plan().partial
    desired = after_partial(made.desired)
    assert plan(desired, made.engine.observe(desired)).empty


ASKED = "pull-image"
TABLE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("", {}, {}, ""),
    ("", {"check_registry": True}, {}, ASKED),
    ("", {"force_image_pull": True}, {}, ASKED),
    ("", {"check_registry": True}, {"digests": ()}, ""),
    ("", {"check_registry": True}, {"digests": ("127.0.0.1:5000/app@sha256:1",)}, ""),
    ("always", {}, {}, ""),
    ("always", {"check_registry": True}, {}, ASKED),
    ("always", {"check_registry": True}, {"digests": ()}, ASKED),
    ("missing", {"check_registry": True}, {}, ""),
    ("if_not_present", {"check_registry": True}, {}, ""),
    ("missing", {"force_image_pull": True}, {}, ASKED),
    ("never", {"check_registry": True}, {}, ""),
    ("never", {"force_image_pull": True}, {}, ""),
    ("build", {"force_image_pull": True}, {}, ""),
    ("daily", {"check_registry": True}, {"now": NOON + timedelta(hours=23)}, ""),
    ("daily", {"check_registry": True}, {"now": NOON + timedelta(hours=25)}, ASKED),
    ("weekly", {"check_registry": True}, {"now": NOON + timedelta(days=6)}, ""),
    ("every_1h30m", {"check_registry": True}, {"now": NOON + timedelta(minutes=91)}, ASKED),
    ("every_1h30m", {"check_registry": True}, {"now": NOON + timedelta(minutes=89)}, ""),
]


@pytest.mark.parametrize(("rule", "policy", "facts", "kind"), TABLE)
def test_when_a_registry_is_asked(rule: str, policy: dict[str, Any], facts: dict[str, Any], kind: str) -> None:
    facts = dict(facts)
    now = facts.pop("now", None)
    tail = f", pull_policy: {rule}" if rule else ""
    made = world(f"services: {{web: {{image: 'app:1'{tail}}}}}", images={"app:1": PULLED}).deploys()
    made.policy(**policy)
    made.engine.images["app:1"] = replace(PULLED, **facts)
    found = plan(made.desired, made.engine.observe(made.desired), now=now)
    assert [each.kind for each in found.actions] == ([kind] if kind else [])
    for each in found.actions:
        assert each.params["if_changed"] and each.params["optional"]


def test_the_latest_tag_is_checked_even_where_missing_is_enough() -> None:
    latest = replace(PULLED, id="sha256:" + "7" * 64)
    made = world("services: {web: {image: app, pull_policy: missing}}", images={"app": latest}).deploys()
    assert kinds(made.policy(check_registry=True).plan()) == ["pull-image app"]


def test_a_digest_never_moves() -> None:
    reference = "app@sha256:" + "1" * 64
    made = world(f"services: {{web: {{image: '{reference}'}}}}", images={reference: PULLED}).deploys()
    assert made.policy(check_registry=True, force_image_pull=True).plan().empty


BUILT = "services: {web: {build: {context: .}, image: 'own:1'}}"


def test_a_service_with_build_is_built_and_never_pulled() -> None:
    made = world(BUILT, images={}, content={"web": {"build": "d1"}})
    assert kinds(made.plan()) == ["build-image own:1"]
    made.deploys()
    assert made.engine.images["own:1"].labels["io.moored.build"] == "d1"


def test_a_changed_build_context_builds_and_replaces() -> None:
    made = world(BUILT, images={}, content={"web": {"build": "aaaa1"}}).deploys()
    made.changes(content={"web": {"build": "bbbb2"}})
    found = made.plan()
    assert kinds(found) == ["build-image own:1"]
    assert "services.web.build: aaaa… → bbbb…" in reasons(found)
    made.deploys()


def test_an_image_built_by_somebody_else_is_built_at_the_next_deployment_only() -> None:
    made = world(BUILT, images={"own:1": image("own:1")}, content={"web": {"build": "d1"}}).deploys()
    assert made.plan().empty
    assert "it is not known what the present image was built from" in reasons(made.policy(check_registry=True).plan())


def test_an_image_built_by_somebody_else_that_runs_already_is_adopted_until_its_inputs_change() -> None:
    made = world(BUILT, images={"own:1": image("own:1")}, content={"web": {"build": "d1"}}).deploys()
    made.policy(check_registry=True)
    adopted = replace(made.desired, adopted_builds={"web": "d1"})
    assert plan(adopted, made.engine.observe(adopted)).empty
    changed = replace(adopted, content={"web": {"build": "d2"}})
    assert kinds(plan(changed, made.engine.observe(changed))) == ["build-image own:1"]


def test_pull_policy_build_builds_at_each_deployment() -> None:
    made = world(BUILT.replace("image:", "pull_policy: build, image:"), images={}).deploys()
    assert made.plan().empty
    assert kinds(made.policy(check_registry=True).plan()) == ["build-image own:1"]


def test_hooks_and_mounts_need_their_images_too() -> None:
    text = """
    services:
      web:
        image: 'app:1'
        pre_start: [{command: a, image: 'hook:1'}, {command: b}]
      own: {build: .}
    """
    desired = stack(text)
    assert image_references(desired.project) == ("app:1", "hook:1", "shop-own")
    found = plan(desired, ObservedProject(OLD_ENGINE, images={"app:1": image("app:1")}))
    assert sorted(kinds(found)) == ["build-image shop-own", "pull-image hook:1"]


def test_a_build_request_holds_all_that_was_asked_for() -> None:
    text = """
    services:
      web:
        image: 'own:1'
        platform: linux/amd64
        build:
          context: ./src
          dockerfile: docker/Dockerfile
          args: {A: '1', B: '2'}
          labels: {x: y}
          tags: ['own:extra', 'own:1']
          target: final
          extra_hosts: ['h=10.0.0.1']
          network: host
          no_cache: true
          pull: true
          cache_from: ['own:cache']
          shm_size: 1m
          ulimits: {nofile: 10}
    """
    desired = stack(text, content={"web": {"build": "d1"}})
    desired = replace(desired, policy=replace(desired.policy, build_args={"B": "3", "C": "4"}))
    request = build_request(desired, "web")
    assert request.context == "/srv/shop/src" and not request.remote
    assert request.dockerfile == "docker/Dockerfile" and request.dockerfile_inline == ""
    assert request.tags == ("own:1", "own:extra")
    assert request.args == {"A": "1", "B": "3", "C": "4"}
    assert request.labels["io.moored.build"] == "d1" and request.labels["x"] == "y"
    assert request.labels["com.docker.compose.service"] == "web"
    assert (request.target, request.network, request.platform) == ("final", "host", "linux/amd64")
    assert request.extra_hosts == ("h:10.0.0.1",) and request.cache_from == ("own:cache",)
    assert request.no_cache and request.pull and request.shm_size == 1 << 20
    assert request.ulimits == ({"Name": "nofile", "Soft": 10, "Hard": 10},)


@pytest.mark.parametrize(
    ("build", "context", "remote", "dockerfile", "inline"),
    [
        (
            "{context: 'https://git.example/a.git#main:sub'}",
            "https://git.example/a.git#main:sub",
            True,
            "Dockerfile",
            "",
        ),
        ("{context: ., dockerfile_inline: 'FROM x'}", "/srv/shop", False, "", "FROM x"),
        (".", "/srv/shop", False, "Dockerfile", ""),
    ],
)
def test_build_contexts(build: str, context: str, remote: bool, dockerfile: str, inline: str) -> None:
    request = build_request(stack(f"services: {{web: {{build: {build}}}}}"), "web")
    assert (request.context, request.remote, request.dockerfile, request.dockerfile_inline) == (
        context,
        remote,
        dockerfile,
        inline,
    )


def test_two_services_of_one_built_image_build_it_once() -> None:
    text = "services: {web: {build: ., image: 'own:1'}, worker: {image: 'own:1'}}"
    found = world(text, images={}).plan()
    assert action(found, "build-image").service == "web" and len(found.actions) == 1


LAYERED = """
services:
  app: {build: {context: ., additional_contexts: {base: "service:zbase", tool: "docker-image://tool:1"}}}
  zbase: {build: {context: ./base}}
"""


def test_an_image_is_built_after_those_it_starts_from() -> None:
    made = world(LAYERED, images={})
    found = made.plan()
    assert action(found, "build-image", "shop-app").needs == {"build-image:shop-zbase"}
    assert [(c.name, c.reference, c.built_here) for c in build_request(made.desired, "app").contexts] == [
        ("base", "shop-zbase", True),
        ("tool", "tool:1", False),
    ]
    made.deploys()


def test_what_an_image_starts_from_is_built_although_it_does_not_run() -> None:
    made = world(LAYERED.replace("{build: {context: ./base}}", "{scale: 0, build: {context: ./base}}"), images={})
    assert kinds(made.plan()) == ["build-image shop-zbase", "build-image shop-app"]
    made.deploys()
