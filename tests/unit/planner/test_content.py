"""Content of mounted and copied files: recreated, ignored, or told by a signal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler.planner import container_spec, describe, file_content, plan
from reconciler.planner.model import DesiredStack, PlanError
from state.observed import ObservedProject
from tests.support.planning import OLD_ENGINE, project, stack
from tests.unit.planner.world import World, action, kinds, reasons, world

BASE = (
    "services: {{web: {{image: 'app:1', volumes: ['/srv/app.conf:/etc/app.conf'], labels: {{{}}}}}, "
    "db: {{image: 'app:1'}}}}"
)
KEY = "bind:/etc/app.conf"
IGNORE = "cd.doco.deployment.recreate.ignore: 'bindMounts: [/etc/app.conf]'"
SIGNAL = f"{IGNORE}, cd.doco.deployment.recreate.ignore.signal: SIGHUP"


def _deployed(labels: str, digest: str = "a1b2c3") -> World:
    return world(BASE.format(labels), content={"web": {KEY: digest}}).deploys()


def test_a_changed_file_recreates_only_its_users_and_says_which() -> None:
    made = _deployed("")
    found = made.changes(content={"web": {KEY: "c3d4e5"}}).plan()
    assert kinds(found) == ["replace-container shop-web-1", "start-container shop-web-1"]
    assert reasons(found, "replace-container") == "mounts bind:/etc/app.conf: content changed (a1b2… → c3d4…)"
    made.deploys()


def test_a_container_without_our_label_is_adopted_as_it_is() -> None:
    made = _deployed("")
    del made.engine.named("shop-web-1")["Config"]["Labels"]["io.moored.content"]
    assert made.changes(content={"web": {KEY: "c3d4e5"}}).plan().empty


def test_an_ignored_change_does_nothing() -> None:
    made = _deployed(IGNORE)
    assert made.changes(content={"web": {KEY: "c3d4e5"}}).plan().empty


def test_an_ignored_change_with_a_signal_is_told_once() -> None:
    made = _deployed(SIGNAL)
    before = made.engine.named("shop-web-1")["Id"]
    found = made.changes(content={"web": {KEY: "c3d4e5"}}).plan()
    assert kinds(found) == ["signal-container shop-web-1"]
    told = action(found, "signal-container")
    assert told.params == {"container": before, "signal": "SIGHUP", "inject": [], "acknowledge": {KEY: "c3d4e5"}}
    assert "recreation is ignored by label" in reasons(found)
    made.deploys()
    assert made.engine.named("shop-web-1")["Id"] == before
    found = made.changes(content={"web": {KEY: "e5f6a7"}}).plan()
    assert "content c3d4… → e5f6…" in reasons(found)
    made.deploys()


def test_a_stopped_container_learns_of_the_change_by_its_start() -> None:
    made = _deployed(SIGNAL)
    made.engine.stop_by_hand("shop-web-1")
    found = made.changes(content={"web": {KEY: "c3d4e5"}}).plan()
    assert kinds(found) == ["start-container shop-web-1"]
    assert found.actions[0].params["acknowledge"] == {KEY: "c3d4e5"}
    made.deploys()


def test_a_copied_config_is_copied_again_before_the_signal() -> None:
    text = (
        "services: {{web: {{image: 'app:1', configs: [app], labels: {{cd.doco.deployment.recreate.ignore: 'configs:', "
        "cd.doco.deployment.recreate.ignore.signal: HUP}}}}}}\nconfigs: {{app: {{content: '{}'}}}}"
    )
    made = world(text.format("one"), content={"web": {"config:app": "1111"}}).deploys()
    found = made.wants(text.format("two"), content={"web": {"config:app": "2222"}}).plan()
    assert action(found, "signal-container").params["inject"] == ["config:app"]
    made.deploys()


def test_a_change_that_is_not_ignored_recreates_in_spite_of_the_signal() -> None:
    made = world(BASE.format(SIGNAL), content={"web": {KEY: "1111", "config:x": "1111"}}).deploys()
    found = made.changes(content={"web": {KEY: "2222", "config:x": "2222"}}).plan()
    assert kinds(found) == ["replace-container shop-web-1", "start-container shop-web-1"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("cd.doco.deployment.recreate.ignore.signal: HUP", "needs cd.doco.deployment.recreate.ignore beside it"),
        ("cd.doco.deployment.recreate.ignore: ''", "is blank"),
        (IGNORE + ", cd.doco.deployment.recreate.ignore.signal: ' '", "is blank"),
        ("cd.doco.deployment.recreate.ignore: 'things: [a]'", "things is not supported"),
        ("cd.doco.deployment.recreate.ignore: 'configs: [a, a]'", "names an item twice"),
        ("cd.doco.deployment.recreate.ignore: '[a'", "is no YAML"),
        ("cd.doco.deployment.recreate.ignore: 'text'", "expected a map of scopes"),
    ],
)
def test_labels_that_make_no_sense_are_refused(labels: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        world(BASE.format(labels)).plan()


@pytest.mark.parametrize(
    "labels", ["cd.doco.deployment.recreate.ignore: '{}'", "cd.doco.deployment.recreate.ignore: 'volumes:'"]
)
def test_labels_without_effect_are_accepted(labels: str) -> None:
    made = _deployed(labels)
    assert "replace-container shop-web-1" in kinds(made.changes(content={"web": {KEY: "c3d4e5"}}).plan())


SECRETS = """
services:
  web:
    image: 'app:1'
    secrets:
      - source: pw
        mode: 0400
        uid: '7'
    configs: [{source: conf, target: /etc/conf}, {source: empty, target: /etc/empty}]
secrets: {pw: {environment: PW}}
configs: {conf: {content: hello}, empty: {content: ''}}
"""


def _with_secret(value: str = "swordfish", **fields: Any) -> DesiredStack:
    desired = stack("services: {web: {image: 'app:1'}}")
    return replace(desired, project=project(SECRETS, PW=value), **fields)


def test_copied_files_are_named_and_their_content_comes_apart() -> None:
    desired = _with_secret()
    spec = container_spec(desired, "web", 1, engine=OLD_ENGINE)
    secret, config = spec.files
    assert (secret.target, secret.mode, secret.uid, secret.keep_ids) == ("/run/secrets/pw", 0o400, 7, True)
    assert (config.target, config.mode, config.keep_ids, config.key) == ("/etc/conf", 0o444, False, "config:conf")
    assert file_content(desired, secret) == b"swordfish" and file_content(desired, config) == b"hello"
    assert "swordfish" not in json.dumps(spec.body) + repr(spec)


def test_no_secret_value_is_in_a_plan() -> None:
    desired = _with_secret(content={"web": {"secret:pw": "aaaa"}})
    found = plan(desired, ObservedProject(OLD_ENGINE, images={"app:1": None}))
    assert "swordfish" not in describe(found) + repr(found)


def test_another_place_or_right_of_a_copied_file_recreates() -> None:
    text = "services: {{web: {{image: 'app:1', configs: [{{source: c, target: {}}}]}}}}\nconfigs: {{c: {{content: x}}}}"
    made = world(text.format("/etc/a")).deploys()
    found = made.wants(text.format("/etc/b")).plan()
    assert "places and rights" in reasons(found, "replace-container")
    made.deploys()
