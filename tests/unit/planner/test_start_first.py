"""`deploy.update_config.order: start-first`: when it is followed, and what then waits for what."""

from __future__ import annotations

import pytest

from reconciler.planner import describe
from tests.support.model_engine import HEALTHY
from tests.unit.planner.world import action, kinds, needs, world

ORDER = "deploy: {update_config: {order: start-first}}"
WEB = f"services: {{web: {{image: 'app:1', {ORDER}}}}}"
REPLACED = ["replace-container shop-web-1", "start-container shop-web-1", "hand-over shop-web-1"]


def test_a_successor_is_made_started_and_handed_over_to() -> None:
    made = world(WEB).deploys()
    found = made.wants(WEB.replace("app:1", "app:2")).policy(prune_images=False).plan()
    assert kinds(found) == REPLACED
    assert needs(found, "hand-over:shop-web-1") == {"replace-container:shop-web-1", "start-container:shop-web-1"}
    assert "hand over to the successor of container shop-web-1" in describe(found)
    assert not found.warnings
    made.deploys()


def test_who_depends_on_it_waits_for_the_end_of_it() -> None:
    text = (
        f"services: {{web: {{image: 'app:1', healthcheck: {{test: x}}, {ORDER}}}, front: {{image: 'app:1', "
        "depends_on: {web: {condition: service_healthy, restart: true}}}}"
    )
    made = world(text, behaviour={"web": HEALTHY}).deploys()
    found = made.wants(text.replace("app:1", "app:2", 1)).plan()
    assert action(found, "restart-container", "shop-front-1").service == "front"
    assert "hand-over:shop-web-1" in needs(found, "restart-container:shop-front-1")
    made.deploys()


def test_a_former_network_goes_after_the_predecessor_that_uses_it() -> None:
    text = f"services: {{web: {{image: 'app:1', networks: [back], {ORDER}}}}}\nnetworks: {{back: {{}}}}"
    made = world(text).deploys()
    found = made.wants(text.replace("back: {}", "back: {name: renamed}").replace("app:1", "app:2")).plan()
    assert "hand-over:shop-web-1" in needs(found, "remove-network:shop_back")
    made.deploys()


def test_changing_the_order_alone_changes_nothing() -> None:
    made = world(WEB).deploys()
    assert made.wants(WEB.replace("start-first", "stop-first")).plan().empty


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("ports: ['8080:80']", "host port 8080 can be given to one container only"),
        ("network_mode: host", "network_mode host is shared with it"),
        ("networks: {default: {ipv4_address: 172.20.0.9}}", "its address on a network is fixed"),
        ("mac_address: '02:42:ac:11:00:09'", "its address on a network is fixed"),
        ("pre_start: [{command: [prepare]}]", "its pre_start hooks run while no container of it does"),
    ],
)
def test_what_cannot_be_shared_is_stopped_first_and_said(more: str, why: str) -> None:
    text = WEB.replace(ORDER, f"{ORDER}, {more}")
    made = world(text).deploys()
    found = made.wants(text.replace("app:1", "app:2")).plan()
    assert not [kind for kind in kinds(found) if kind.startswith("hand-over")]
    assert found.warnings == (
        f"services.web.deploy.update_config.order: start-first is not possible here, {why}: stopped first",
    )
    made.deploys()
    assert not made.plan().warnings


@pytest.mark.parametrize(
    ("lent", "why"),
    [
        ("network_mode: 'service:web'", "other services share its namespaces or volumes"),
        ("volumes_from: [web]", "other services share its namespaces or volumes"),
        ("network_mode: 'container:shop-web-1'", "others join it by its name"),
        ("volumes_from: ['container:shop-web-1']", "others join it by its name"),
    ],
)
def test_what_is_lent_is_stopped_first(lent: str, why: str) -> None:
    text = f"services: {{web: {{image: 'app:1', {ORDER}}}, side: {{image: 'app:1', {lent}}}}}"
    made = world(text).deploys()
    found = made.wants(text.replace("app:1", "app:2", 1)).plan()
    assert not [kind for kind in kinds(found) if kind.startswith("hand-over")]
    assert why in found.warnings[0]


@pytest.mark.parametrize("port", ["80", "8080-8089:80"])
def test_ports_that_the_engine_chooses_are_no_obstacle(port: str) -> None:
    text = WEB.replace(ORDER, f"{ORDER}, ports: ['{port}']")
    made = world(text).deploys()
    assert "hand-over shop-web-1" in kinds(made.wants(text.replace("app:1", "app:2")).plan())


def test_one_that_does_not_run_is_simply_replaced() -> None:
    made = world(WEB).deploys()
    for container in made.engine.containers.values():
        container["State"].update(Status="exited", ExitCode=1)
    found = made.wants(WEB.replace("app:1", "app:2")).policy(prune_images=False).plan()
    assert kinds(found) == REPLACED[:2]
    assert not found.warnings
