"""What a kill in the middle of a plan leaves behind, and what the next plan makes of it."""

from __future__ import annotations

from copy import deepcopy

import pytest

from reconciler.planner import plan_down
from reconciler.planner.lifecycle import POST_START, TO_REMOVE, run_of
from reconciler.planner.model import DriftPolicy
from tests.unit.planner.world import World, action, kinds, reasons, world

ANONYMOUS = "a" * 64
OLD = f"sha256:{'b' * 64}"
WEB = "services: {web: {image: 'app:1'}}"
HOOKED = "services: {web: {image: 'app:1', post_start: [{command: a}]}}"
PREPARED = "services: {web: {image: 'app:1', pre_start: [{command: a}]}}"
INNER = "{{services: {{web: {{image: 'app:1', networks: [a]}}}}, networks: {{a: {{labels: {{x: '{}'}}}}}}}}"


def test_a_container_that_never_ran_gets_its_files_again_before_its_start() -> None:
    """Whoever made it may have been killed before they were copied in: nothing tells."""
    made = world(WEB)
    first = made.plan()
    made.engine.apply(first, made.desired, steps=len([a for a in first.actions if a.kind != "start-container"]))
    assert made.engine.states() == {"shop-web-1": "created"}
    found = made.plan()
    assert kinds(found) == ["start-container shop-web-1"]
    assert action(found, "start-container").params["inject"] is True
    made.deploys()


def test_what_a_plan_stopped_before_it_broke_off_is_not_taken_for_done() -> None:
    """A program that ends with 0 when it is stopped, taken from its network and never given back."""
    made = world(INNER.format(1)).deploys()
    made.engine.stop_code = 0
    made.wants(INNER.format(2))
    made.engine.apply(made.plan(), made.desired, steps=2)
    assert made.engine.states() == {"shop-web-1": "exited"}
    made.engine.networks.clear()
    found = made.plan()
    assert "network shop_a is made anew" in reasons(found, "replace-container")
    assert "start-container shop-web-1" in kinds(found)
    made.deploys()


def test_a_replacement_broken_off_twice_is_still_known_to_have_been_running() -> None:
    """The second time its successor is cleared away: nothing but the note tells that it ran."""
    made = world(WEB).deploys()
    made.engine.stop_code = 0
    made.wants(WEB.replace("'}", "', hostname: b}"))
    made.engine.apply(made.plan(), made.desired, steps=2)
    assert sorted(made.engine.states().values()) == ["created", "exited"]
    back = made.wants(WEB).plan()
    made.engine.apply(back, made.desired, steps=1)
    assert made.engine.states() == {"shop-web-1": "exited"}
    assert kinds(made.plan()) == ["start-container shop-web-1"]
    made.deploys()


def test_an_image_whose_last_container_is_gone_is_still_pruned() -> None:
    made = world(WEB).deploys()
    old = made.engine.images["app:1"].id
    made.wants(WEB.replace("app:1", "app:2")).deploys()
    made.engine.acknowledged[TO_REMOVE] = {f"remove-image:{old}": "app:1", "remove-image:app:2": "app:2"}
    assert kinds(made.plan()) == [f"remove-image {old}"]
    assert made.policy(prune_images=False).plan().empty
    # Wanted again meanwhile.
    made.policy(prune_images=True).wants(WEB)
    assert f"remove-image {old}" not in kinds(made.plan())


@pytest.mark.parametrize(
    ("volumes", "images", "goes"),
    [
        (True, True, [f"remove-image {OLD}", f"remove-volume {ANONYMOUS}"]),
        (False, "local", []),
        (True, "local", [f"remove-volume {ANONYMOUS}"]),
    ],
)
def test_a_removal_broken_off_takes_along_what_only_containers_told_of(
    volumes: bool, images: bool | str, goes: list[str]
) -> None:
    made = world(WEB)
    owed = {f"remove-volume:{ANONYMOUS}": "", "remove-volume:precious": "", f"remove-image:{OLD}": "app:1"}
    seen = made.engine.observe(made.desired)
    found = plan_down(made.desired.key, seen, project=None, volumes=volumes, images=images, owed=owed)
    assert sorted(kinds(found)) == goes
    assert all(each.params["optional"] for each in found.actions)


def started(text: str) -> tuple[World, str]:
    made = world(text).deploys()
    (container,) = made.engine.observe(made.desired).containers
    return made, run_of(container)


@pytest.mark.parametrize("before", ["", "another@2026-08-22T12:00:00+00:00"])
def test_commands_that_may_be_due_are_carried_out_by_another_start(before: str) -> None:
    made, _ = started(HOOKED)
    made.policy(drift=DriftPolicy.OFF)
    made.engine.acknowledged[POST_START] = {"shop-web-1": before}
    found = made.plan()
    assert kinds(found) == ["start-container shop-web-1"]
    assert action(found, "start-container").params["post_start"] is True
    assert "post_start commands may not have been carried out" in reasons(found)


def test_commands_are_not_due_of_a_container_that_still_runs_as_before() -> None:
    made, run = started(HOOKED)
    made.engine.acknowledged[POST_START] = {"shop-web-1": run, "shop-other-1": ""}
    assert made.plan().empty


def test_commands_that_are_no_longer_wanted_are_not_due() -> None:
    made, _ = started(WEB)
    made.engine.acknowledged[POST_START] = {"shop-web-1": ""}
    assert made.plan().empty


@pytest.mark.parametrize(
    ("text", "state", "goes"),
    [
        (WEB, "running", True),
        (WEB, "exited", True),
        (PREPARED, "exited", True),
        (PREPARED, "created", True),
        (PREPARED, "running", False),
    ],
)
def test_pre_start_containers_left_behind_go(text: str, state: str, goes: bool) -> None:
    """Also when nothing runs in their place; one that is at work may be of a Compose at work."""
    made = world(text).deploys()
    hook = deepcopy(made.engine.named("shop-web-1"))
    hook.update(Id="f" * 64, Name="/odd_name", State={"Status": state, "ExitCode": 0})
    hook["Config"]["Labels"]["com.docker.compose.hook"] = "pre_start"
    made.engine.containers[hook["Id"]] = hook
    assert ("remove-container odd_name" in kinds(made.plan())) is goes
    if goes:
        made.deploys()
        assert made.engine.states() == {"shop-web-1": "running"}
