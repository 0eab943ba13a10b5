"""Taking down, stopping, starting, restarting from labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.planner import plan_down, plan_restart, plan_start, plan_stop
from state.model import DEFAULT_CONTEXT, StackKey
from state.observed import ObservedNetwork, ObservedProject, ObservedVolume
from tests.support.model_engine import HEALTHY
from tests.support.planning import image
from tests.unit.planner.world import World, action, kinds, needs, world

KEY = StackKey(DEFAULT_CONTEXT, "shop")
TEXT = """
services:
  web:
    image: 'app:1'
    depends_on: {db: {condition: service_healthy, restart: true}}
    networks: [a, ext]
    volumes: ['/anon']
  db: {build: ., healthcheck: {test: x}, networks: [a], volumes: ['data:/d', 'extvol:/e'], pre_stop: [{command: bye}]}
networks: {a: {}, ext: {external: true, name: outer}}
volumes: {data: {}, extvol: {external: true, name: keep}}
"""


def _world() -> World:
    made = world(TEXT, behaviour={"db": HEALTHY}, images={"app:1": image("app:1"), "shop-db": image("shop-db")})
    made.engine.networks["n" * 64] = {"Id": "n" * 64, "Name": "outer", "Labels": {}}
    made.engine.volumes["keep"] = {"Name": "keep", "Driver": "local", "Labels": {}, "Options": None}
    return made.deploys()


def _observed(made: World, **changes: Any) -> ObservedProject:
    return replace(made.engine.observe(made.desired), **changes)


def test_down_stops_dependents_first_and_removes_what_is_ours() -> None:
    made = _world()
    found = plan_down(KEY, _observed(made), project=made.desired.project, volumes=True, images=True)
    assert "stop-container:shop-web-1" in action(found, "stop-container", "shop-db-1").needs
    assert action(found, "stop-container", "shop-db-1").params["pre_stop"] is True
    assert {each for each in kinds(found) if "container" not in each} == {
        "remove-network shop_a",
        "remove-volume shop_data",
        "remove-image app:1",
        "remove-image shop-db",
    }
    assert {"remove-container:shop-web-1", "remove-container:shop-db-1"} <= needs(found, "remove-network:shop_a")
    assert action(found, "remove-container", "shop-db-1").params["volumes"] is True


def test_down_without_volumes_and_images_keeps_them() -> None:
    made = _world()
    found = plan_down(KEY, _observed(made), project=None, volumes=False, images=False)
    assert not {each.kind for each in found.actions} & {"remove-volume", "remove-image"}
    assert action(found, "remove-container", "shop-db-1").params["volumes"] is False


def test_down_from_labels_alone_does_the_same() -> None:
    made = _world()
    found = plan_down(KEY, _observed(made), project=None, volumes=True, images=False)
    assert {"remove-network shop_a", "remove-volume shop_data"} <= set(kinds(found))
    assert not {"remove-network outer", "remove-volume keep"} & set(kinds(found))
    assert "stop-container:shop-web-1" in action(found, "stop-container", "shop-db-1").needs


def test_down_with_local_images_removes_only_what_was_built_here() -> None:
    made = _world()
    found = plan_down(KEY, _observed(made), project=made.desired.project, volumes=False, images="local")
    assert [each.target for each in found.actions if each.kind == "remove-image"] == ["shop-db"]


def test_foreign_objects_of_the_same_name_are_never_removed() -> None:
    made = _world()
    networks = (ObservedNetwork("1" * 64, "shop_a", {}, "bridge", {}),)
    volumes = (ObservedVolume("shop_data", {"com.docker.compose.project": "other"}, "local", {}),)
    observed = _observed(made, networks=networks, volumes=volumes)
    found = plan_down(KEY, observed, project=made.desired.project, volumes=True, images=False)
    assert {each.kind for each in found.actions} == {"stop-container", "remove-container"}


def test_a_network_used_by_strangers_stays_with_a_warning() -> None:
    made = _world()
    observed = _observed(made)
    ids = {network.name: network.id for network in observed.networks}
    observed = _observed(made, network_users={ids["shop_a"]: ("stranger",)})
    found = plan_down(KEY, observed, project=None, volumes=False, images=False)
    assert "remove-network shop_a" not in kinds(found)
    assert "used by stranger" in found.warnings[0]


def test_an_anonymous_volume_that_was_handed_on_does_not_stay_behind() -> None:
    made = _world()
    made.policy(force_recreate=True)
    made.engine.apply(made.plan(), made.desired)
    name = next(m["Source"] for m in made.engine.named("shop-web-1")["Mounts"] if m["Destination"] == "/anon")
    found = plan_down(KEY, _observed(made), project=None, volumes=True, images=False)
    assert f"remove-volume {name}" in kinds(found)


def test_a_hook_container_left_behind_goes_before_its_service() -> None:
    made = _world()
    web = made.engine.named("shop-web-1")
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.hook": "pre_start",
    }
    made.engine.containers["h" * 64] = {
        **web,
        "Id": "h" * 64,
        "Name": "/left",
        "Config": {**web["Config"], "Labels": labels},
        "State": {"Status": "exited", "ExitCode": 1},
    }
    found = plan_down(KEY, _observed(made), project=None, volumes=True, images=False)
    assert "remove-container:left" in needs(found, "remove-container:shop-web-1")


def test_orphans_stay_where_only_the_file_counts() -> None:
    made = _world().wants("services: {web: {image: 'app:1'}}")
    observed = made.engine.observe(made.desired)
    found = plan_down(KEY, observed, project=made.desired.project, volumes=False, images=False, orphans=False)
    assert {each.target for each in found.actions if each.kind == "remove-container"} == {"shop-web-1"}
    assert "remove-network shop_a" not in kinds(found)


def test_stop_start_and_restart_follow_the_labels() -> None:
    made = _world()
    stopping = plan_stop(KEY, _observed(made), timeout=3)
    assert kinds(stopping) == ["stop-container shop-web-1", "stop-container shop-db-1"]
    assert stopping.actions[0].params["timeout"] == 3
    made.engine.apply(stopping, made.desired)
    assert plan_stop(KEY, _observed(made)).empty
    starting = plan_start(KEY, _observed(made), timeout=9)
    assert kinds(starting) == ["start-container shop-db-1", "wait-service db", "start-container shop-web-1"]
    assert action(starting, "wait-service").params["optional"] is True
    made.engine.apply(starting, made.desired)
    assert plan_start(KEY, _observed(made)).empty
    restarting = plan_restart(KEY, _observed(made), timeout=1)
    assert kinds(restarting) == ["restart-container shop-db-1", "restart-container shop-web-1"]
    assert action(restarting, "restart-container", "shop-web-1").needs == {"restart-container:shop-db-1"}


@pytest.mark.parametrize("state", ["dead", "removing"])
def test_what_is_going_away_is_not_restarted(state: str) -> None:
    made = _world()
    made.engine.named("shop-web-1")["State"]["Status"] = state
    assert kinds(plan_restart(KEY, _observed(made))) == ["restart-container shop-db-1"]
