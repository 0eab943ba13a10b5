"""What is planned when something changes: stories of one change each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.planner import as_json, describe, plan
from reconciler.planner.model import DriftPolicy, PlanError
from state.model import Overrides, Removal
from tests.support.model_engine import DONE, FAILS, HEALTHY, RUNS
from tests.support.planning import NEW_ENGINE, image
from tests.unit.planner.world import IMAGES, action, kinds, needs, reasons, world

WEB = "services: {web: {image: 'app:1', ports: ['80:80']}}"
TWO = (
    "services: {web: {image: 'app:1', ports: ['80:80'], depends_on: [db]}, "
    "db: {image: 'app:1', healthcheck: {test: 'x'}}}"
)


def test_a_first_deployment_makes_everything_in_order() -> None:
    text = """
    services:
      web: {image: 'app:1', depends_on: {db: {condition: service_healthy}}, networks: [a], volumes: ['vol:/v']}
      db: {image: 'app:1', healthcheck: {test: 'x'}, networks: [a]}
    networks: {a: {}}
    volumes: {vol: {}}
    """
    made = world(text, behaviour={"db": HEALTHY})
    found = made.plan()
    assert sorted(kinds(found)) == [
        "create-container shop-db-1",
        "create-container shop-web-1",
        "create-network shop_a",
        "create-volume shop_vol",
        "start-container shop-db-1",
        "start-container shop-web-1",
        "wait-service db",
    ]
    assert action(found, "create-container", "shop-web-1").needs == {"create-network:shop_a", "create-volume:shop_vol"}
    assert "wait-service:db:service_healthy" in action(found, "start-container", "shop-web-1").needs
    assert action(found, "wait-service").needs == {"start-container:shop-db-1"}
    made.deploys()


def test_a_changed_image_reference_replaces_only_its_service() -> None:
    made = world(TWO, behaviour={"db": HEALTHY}).deploys()
    found = made.wants(TWO.replace("'app:1', ports", "'app:2', ports")).plan()
    assert kinds(found) == ["replace-container shop-web-1", "start-container shop-web-1"]
    assert "services.web.image: app:1 → app:2" in reasons(found, "replace-container")
    made.deploys()


def test_an_image_still_used_by_another_service_is_not_pruned() -> None:
    made = world(TWO, behaviour={"db": HEALTHY}).deploys()
    found = made.wants(TWO.replace("'app:1', ports", "'app:2', ports")).plan()
    assert "remove-image" not in {each.kind for each in found.actions}


def test_the_last_use_of_an_image_prunes_it_after_everything_else() -> None:
    made = world(WEB).deploys()
    found = made.wants(WEB.replace("app:1", "app:2")).plan()
    pruned = action(found, "remove-image")
    assert pruned.target == IMAGES["app:1"].id and pruned.params["optional"]
    assert pruned.needs == {each.id for each in found.actions} - {pruned.id}
    assert "remove-image" not in describe(made.policy(prune_images=False).plan())


def test_a_tag_that_moved_locally_is_a_change_with_its_reason() -> None:
    made = world(WEB).deploys()
    made.engine.images["app:1"] = image("app:1", "sha256:" + "e" * 64)
    found = made.plan()
    assert kinds(found)[:2] == ["replace-container shop-web-1", "start-container shop-web-1"]
    assert "app:1 is another image now" in reasons(found, "replace-container")
    assert "→ eeeeeeeeeeee" in reasons(found, "replace-container")
    made.deploys()


def test_a_changed_variable_names_its_key() -> None:
    made = world("services: {web: {image: 'app:1', environment: {LOG: info, DB_PASSWORD: swordfish}}}").deploys()
    made.wants("services: {web: {image: 'app:1', environment: {LOG: debug, DB_PASSWORD: trout-fish}}}")
    found = made.plan()
    text = describe(found)
    assert "services.web.environment.LOG: info → debug" in text
    assert "services.web.environment.DB_PASSWORD: (hidden) → (hidden)" in text
    assert "swordfish" not in text + str(as_json(found)) and "trout" not in text + str(as_json(found))


@pytest.mark.parametrize(
    ("before", "after", "update"),
    [
        ("restart: 'no'", "restart: always", {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}),
        ("restart: always", "restart: 'no'", {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}}),
        ("cpus: 1", "cpus: 0.5", {"NanoCpus": 500000000}),
        ("mem_limit: 64m", "mem_limit: 32m", {"Memory": 32 << 20, "MemorySwap": 64 << 20}),
        ("tty: false", "pids_limit: 10", {"PidsLimit": 10}),
        ("cpu_shares: 10", "cpu_shares: 20", {"CpuShares": 20}),
    ],
)
def test_limits_and_restart_policy_change_in_place(before: str, after: str, update: dict[str, Any]) -> None:
    made = world(f"services: {{web: {{image: 'app:1', {before}}}}}").deploys()
    found = made.wants(f"services: {{web: {{image: 'app:1', {after}}}}}").plan()
    assert kinds(found) == ["update-container shop-web-1"]
    assert found.actions[0].params["update"] == update
    made.deploys()


def test_a_limit_taken_away_needs_a_replacement() -> None:
    made = world("services: {web: {image: 'app:1', mem_limit: 64m}}").deploys()
    found = made.wants("services: {web: {image: 'app:1'}}").plan()
    assert kinds(found) == ["replace-container shop-web-1", "start-container shop-web-1"]
    assert "services.web.mem_limit: 64MiB → (none)" in reasons(found)
    made.deploys()


def test_networks_are_connected_and_disconnected_in_place() -> None:
    text = "services: {{web: {{image: 'app:1', networks: [{}]}}}}\nnetworks: {{a: {{}}, b: {{}}, c: {{}}}}"
    made = world(text.format("a, b")).deploys()
    found = made.wants(text.format("a, c")).plan()
    assert sorted(kinds(found)) == [
        "connect-network shop-web-1",
        "create-network shop_c",
        "disconnect-network shop-web-1",
    ]
    made.deploys()
    assert set(made.engine.named("shop-web-1")["NetworkSettings"]["Networks"]) == {"shop_a", "shop_c"}


def test_another_primary_network_needs_a_replacement() -> None:
    text = "services: {{web: {{image: 'app:1', networks: [{}]}}}}\nnetworks: {{a: {{}}, b: {{}}}}"
    made = world(text.format("b")).deploys()
    found = made.wants(text.format("a, b")).plan()
    assert "replace-container shop-web-1" in kinds(found)
    made.deploys()


def test_a_hand_connected_network_of_somebody_else_is_left() -> None:
    made = world(WEB).deploys()
    made.engine.named("shop-web-1")["NetworkSettings"]["Networks"]["proxy"] = {"NetworkID": "p" * 64, "Aliases": []}
    assert made.plan().empty


def test_an_attribute_that_shows_nowhere_recreates_nothing() -> None:
    made = world(WEB).deploys()
    changed = WEB.replace("ports", "x-owner: me, attach: false, post_start: [{command: hi}], ports")
    assert made.wants(changed).plan().empty


def test_scaling_up_takes_new_numbers_and_down_the_highest() -> None:
    text = "services: {{web: {{image: 'app:1', scale: {}}}}}"
    made = world(text.format(3)).deploys()
    del made.engine.containers[made.engine.named("shop-web-2")["Id"]]
    assert "create-container shop-web-4" in kinds(made.plan())
    made.deploys()
    found = made.wants(text.format(1)).plan()
    assert sorted(kinds(found)) == [
        "remove-container shop-web-3",
        "remove-container shop-web-4",
        "stop-container shop-web-3",
        "stop-container shop-web-4",
    ]
    made.deploys()


def test_obsolete_replicas_leave_first() -> None:
    made = world("services: {web: {image: 'app:1', scale: 2, environment: {A: '1'}}}").deploys()
    container = made.engine.named("shop-web-1")
    container["Config"]["Env"] = ["A=old"]
    container["Config"]["Labels"]["com.docker.compose.config-hash"] = "0" * 64
    found = made.wants("services: {web: {image: 'app:1', scale: 1, environment: {A: '1'}}}").plan()
    assert kinds(found) == ["stop-container shop-web-1", "remove-container shop-web-1"]


def test_an_override_of_replicas_scales() -> None:
    made = world(WEB.replace(", ports: ['80:80']", "")).deploys()
    found = made.changes(overrides=Overrides(replicas={"web": 2})).plan()
    assert kinds(found) == ["create-container shop-web-2", "start-container shop-web-2"]
    made.deploys()


def test_a_stopped_stack_stops_dependents_first_and_nothing_else_happens() -> None:
    made = world(TWO, behaviour={"db": HEALTHY}).deploys()
    made.wants(TWO.replace("app:1", "app:2")).changes(overrides=Overrides(stopped=True))
    found = made.plan()
    assert kinds(found) == ["stop-container shop-web-1", "stop-container shop-db-1"]
    assert "stop-container:shop-web-1" in action(found, "stop-container", "shop-db-1").needs
    made.deploys()


def test_a_removed_stack_is_taken_down_and_stays_away() -> None:
    made = world(TWO + "\nvolumes: {vol: {}}", behaviour={"db": HEALTHY}).deploys()
    made.changes(overrides=Overrides(removed=Removal("h", volumes=True, images=False)))
    assert "remove-network shop_default" in kinds(made.plan())
    made.deploys()
    assert not made.engine.containers and not made.engine.networks


def test_a_container_stopped_by_hand_is_started_again() -> None:
    made = world(WEB).deploys()
    made.engine.stop_by_hand("shop-web-1")
    found = made.plan()
    assert kinds(found) == ["start-container shop-web-1"]
    assert "drift" not in found.actions[0].id and "does not run, exit code 137" in reasons(found)
    made.deploys()


def test_drift_is_only_told_where_the_policy_says_so() -> None:
    made = (
        world("services: {web: {image: 'app:1', scale: 2, mem_limit: 64m}}").deploys().policy(drift=DriftPolicy.DETECT)
    )
    made.engine.stop_by_hand("shop-web-1")
    del made.engine.containers[made.engine.named("shop-web-2")["Id"]]
    made.engine.named("shop-web-1")["HostConfig"]["Memory"] = 7 << 20
    found = made.plan()
    assert found.empty
    assert {item.target for item in found.drift} == {"shop-web-1", "shop-web-2"}
    assert made.policy(retry_failed=True).plan().actions


def test_a_finished_job_is_not_run_again_until_its_definition_changes() -> None:
    text = (
        "services: {{job: {{image: 'app:1', command: [{}]}}, web: {{image: 'app:1', depends_on: {{job: "
        "{{condition: service_completed_successfully}}}}}}}}"
    )
    made = world(text.format("one"), behaviour={"job": DONE}).deploys()
    assert made.plan().empty
    found = made.wants(text.format("two")).plan()
    assert kinds(found) == ["replace-container shop-job-1", "start-container shop-job-1"]
    made.deploys()


def test_a_job_that_failed_by_itself_waits_for_an_explicit_retry() -> None:
    made = world("services: {job: {image: 'app:1'}}", behaviour={"job": FAILS})
    made.engine.apply(made.plan(), made.desired)
    assert made.plan().empty
    found = made.policy(retry_failed=True).plan()
    assert kinds(found) == ["start-container shop-job-1"]
    assert "ended with exit code 1" in reasons(found)


def test_who_requires_a_failed_job_is_blocked_and_says_so() -> None:
    text = (
        "services: {job: {image: 'app:1'}, web: {image: 'app:1', depends_on: {job: {condition: "
        "service_completed_successfully}}}}"
    )
    made = world(text, behaviour={"job": FAILS})
    made.engine.apply(made.plan(), made.desired)
    found = made.plan()
    assert found.empty
    (blocked,) = found.blocked
    assert blocked.target == "shop-web-1" and blocked.reason.code == "DependencyFailed"
    assert "container shop-job-1 exited with code 1" in blocked.reason.message


def test_an_optional_dependency_that_fails_holds_nobody_back() -> None:
    text = (
        "services: {job: {image: 'app:1'}, web: {image: 'app:1', depends_on: {job: {condition: "
        "service_completed_successfully, required: false}}}}"
    )
    made = world(text, behaviour={"job": FAILS})
    found = made.plan()
    assert action(found, "wait-service").params["optional"] is True
    made.engine.apply(found, made.desired)
    assert made.engine.states()["shop-web-1"] == "running"


def test_a_running_dependent_does_not_wait() -> None:
    made = world(TWO, behaviour={"db": HEALTHY}).deploys()
    made.engine.stop_by_hand("shop-db-1")
    assert kinds(made.plan()) == ["start-container shop-db-1"]


def test_restart_true_restarts_the_dependent_after_a_recreation() -> None:
    text = (
        "services: {{web: {{image: 'app:1', depends_on: {{db: {{condition: service_healthy, restart: "
        "true}}}}}}, db: {{image: '{}', healthcheck: {{test: 'x'}}}}}}"
    )
    made = world(text.format("app:1"), behaviour={"db": HEALTHY}).deploys()
    found = made.wants(text.format("app:2")).plan()
    restart = action(found, "restart-container")
    assert restart.target == "shop-web-1"
    assert {"replace-container:shop-db-1", "start-container:shop-db-1", "wait-service:db:service_healthy"} <= needs(
        found, restart.id
    )
    made.deploys()


def test_who_shares_the_network_of_a_restarted_dependent_is_restarted_after_it() -> None:
    text = (
        "services: {{db: {{image: '{}'}}, web: {{image: 'app:1', depends_on: {{db: {{condition: service_started, "
        "restart: true}}}}}}, side: {{image: 'app:1', network_mode: 'service:web'}}}}"
    )
    made = world(text.format("app:1")).deploys()
    found = made.wants(text.format("app:2")).plan()
    assert "restart-container:shop-web-1" in action(found, "restart-container", "shop-side-1").needs
    made.deploys()


def test_a_restart_lost_in_a_crash_is_made_up_for() -> None:
    text = (
        "services: {{web: {{image: 'app:1', depends_on: {{db: {{condition: service_started, restart: "
        "true}}}}}}, db: {{image: '{}'}}}}"
    )
    made = world(text.format("app:1")).deploys()
    made.wants(text.format("app:2"))
    found = made.plan()
    crash_before = [each for each in found.actions if each.kind not in ("restart-container", "remove-image")]
    made.engine.apply(replace(found, actions=tuple(crash_before)), made.desired)
    assert "restart-container shop-web-1" in kinds(made.plan())
    made.deploys()


def test_dependents_of_a_shared_network_namespace_are_recreated_with_it() -> None:
    text = "services: {{vpn: {{image: '{}'}}, app: {{image: 'app:1', network_mode: 'service:vpn'}}}}"
    made = world(text.format("app:1")).deploys()
    found = made.wants(text.format("app:2")).plan()
    assert {"replace-container shop-vpn-1", "replace-container shop-app-1"} <= set(kinds(found))
    assert "network namespace of vpn changed" in reasons(found, "replace-container", "shop-app-1")
    assert "start-container:shop-vpn-1" in needs(found, "replace-container:shop-app-1")
    made.deploys()
    vpn = made.engine.named("shop-vpn-1")["Id"]
    assert made.engine.named("shop-app-1")["HostConfig"]["NetworkMode"] == f"container:{vpn}"


def test_two_services_that_exchange_their_names_do_so_in_one_plan() -> None:
    text = "services: {{a: {{image: 'app:1', container_name: '{}'}}, b: {{image: 'app:1', container_name: '{}'}}}}"
    made = world(text.format("one", "two")).deploys()
    made.wants(text.format("two", "one")).deploys()
    assert set(made.engine.states()) == {"one", "two"}


def test_two_containers_whose_names_somebody_exchanged_get_them_back() -> None:
    made = world("services: {a: {image: 'app:1'}, b: {image: 'app:1'}}").deploys()
    one, other = made.engine.named("shop-a-1"), made.engine.named("shop-b-1")
    one["Name"], other["Name"] = other["Name"], one["Name"]
    made.deploys()
    assert made.engine.named("shop-a-1") is one


JOINED = (
    "services: {{vpn: {{image: '{}', container_name: vpn}}, app: {{image: 'app:1', network_mode: 'container:vpn'}}}}"
)


def test_who_joins_a_container_by_name_is_made_and_started_after_it() -> None:
    made = world("services: {zvpn: {image: 'app:1', container_name: vpn}, app: {image: 'app:1', pid: 'container:vpn'}}")
    found = made.plan()
    assert "create-container:vpn" in needs(found, "create-container:shop-app-1")
    assert "start-container:vpn" in needs(found, "start-container:shop-app-1")


def test_who_joins_a_container_by_name_that_was_started_anew_is_restarted() -> None:
    made = world(JOINED.format("app:1")).deploys()
    made.engine.stop_by_hand("vpn")
    found = made.plan()
    assert "start-container:vpn" in needs(found, "restart-container:shop-app-1")
    made.engine.start(made.engine.named("vpn"))
    assert kinds(made.plan()) == ["restart-container shop-app-1"]
    made.deploys()


def test_who_joins_a_container_by_name_is_recreated_with_it() -> None:
    made = world(JOINED.format("app:1")).deploys()
    del made.engine.containers[made.engine.named("vpn")["Id"]]
    assert "replace-container shop-app-1" in kinds(made.plan())
    made.deploys()
    found = made.wants(JOINED.format("app:2")).plan()
    assert "network namespace of vpn changed" in reasons(found, "replace-container", "shop-app-1")
    assert "start-container:vpn" in needs(found, "start-container:shop-app-1")
    made.deploys()


@pytest.mark.parametrize("running", [True, False])
def test_a_container_joined_by_name_that_somebody_made_anew_is_joined_again_once_it_runs(running: bool) -> None:
    made = world(JOINED.format("app:1")).deploys()
    observed = made.engine.observe(made.desired)
    vpn = replace(observed.named["vpn"], id="f" * 64, state="running" if running else "created")
    found = plan(made.desired, replace(observed, named={"vpn": vpn}))
    assert ("replace-container shop-app-1" in kinds(found)) is running
    gone = plan(made.desired, replace(observed, named={}))
    assert gone.empty, describe(gone)


def test_who_shares_a_namespace_that_was_started_anew_is_restarted() -> None:
    made = world("services: {vpn: {image: 'app:1'}, app: {image: 'app:1', network_mode: 'service:vpn'}}").deploys()
    made.engine.stop_by_hand("shop-vpn-1")
    made.engine.start(made.engine.named("shop-vpn-1"))
    found = made.plan()
    assert kinds(found) == ["restart-container shop-app-1"]
    made.deploys()


def test_a_namespace_that_is_handed_on_restarts_the_whole_chain_in_one_plan() -> None:
    text = (
        "services: {a: {image: 'app:1'}, b: {image: 'app:1', network_mode: 'service:a'}, "
        "c: {image: 'app:1', network_mode: 'service:b'}}"
    )
    made = world(text).deploys()
    made.engine.stop_by_hand("shop-a-1")
    found = made.plan()
    assert kinds(found) == ["start-container shop-a-1", "restart-container shop-b-1", "restart-container shop-c-1"]
    assert "restart-container:shop-b-1" in needs(found, "restart-container:shop-c-1")
    made.deploys()


def test_a_changed_network_is_made_anew_and_its_users_with_their_aliases() -> None:
    text = (
        "services: {{web: {{image: 'app:1', networks: {{a: {{aliases: [www]}}}}}}, db: {{image: 'app:1', "
        "networks: [a]}}}}\nnetworks: {{a: {}}}"
    )
    made = world(text.format("{}")).deploys()
    found = made.wants(text.format("{internal: true}")).plan()
    removed = action(found, "remove-network")
    assert {"stop-container:shop-web-1", "stop-container:shop-db-1"} <= needs(found, removed.id)
    assert "networks.a.internal: false → true" in reasons(found, "remove-network")
    assert action(found, "replace-container", "shop-web-1").needs >= {"create-network:shop_a"}
    made.deploys()
    assert "www" in made.engine.named("shop-web-1")["NetworkSettings"]["Networks"]["shop_a"]["Aliases"]


def test_a_changed_network_with_strangers_on_it_is_blocked() -> None:
    text = "services: {{web: {{image: 'app:1', networks: [a]}}}}\nnetworks: {{a: {}}}"
    made = world(text.format("{}")).deploys().wants(text.format("{internal: true}"))
    observed = made.engine.observe(made.desired)
    (network,) = observed.networks
    found = plan(made.desired, replace(observed, network_users={network.id: ("stranger",)}))
    assert found.empty
    assert "used by stranger" in found.blocked[0].reason.message


NAMED = "services: {{web: {{image: 'app:1', networks: [a, b]}}}}\nnetworks: {{a: {}, b: {{}}}}"


def test_a_renamed_network_is_followed_and_the_old_one_goes() -> None:
    made = world(NAMED.format("{}")).deploys()
    found = made.wants(NAMED.format("{name: other}")).plan()
    assert "replace-container:shop-web-1" in needs(found, "remove-network:shop_a")
    assert "networks.a.name: shop_a → other" in reasons(found, "remove-network")
    made.deploys()
    assert {network["Name"] for network in made.engine.networks.values()} == {"other", "shop_b"}


def test_a_renamed_network_of_the_same_subnet_waits_for_the_old_one_to_go() -> None:
    ipam = "ipam: {config: [{subnet: 10.9.0.0/16}]}"
    made = world(NAMED.format(f"{{{ipam}}}")).deploys()
    found = made.wants(NAMED.format(f"{{name: other, {ipam}}}")).plan()
    assert {"stop-container:shop-web-1", "remove-network:shop_a"} <= needs(found, "create-network:other")
    made.deploys()


@pytest.mark.parametrize(
    "pools",
    [
        "[{subnet: 10.9.0.0/16}]",
        "[{subnet: 10.9.0.0/16, gateway: 10.9.0.9, ip_range: 10.9.1.0/24, aux_addresses: {a: 10.9.0.3}}]",
        "[{subnet: 'fd00::/64'}, {subnet: 10.9.0.0/16}]",
    ],
)
def test_a_network_whose_subnet_is_no_longer_chosen_is_made_anew(pools: str) -> None:
    made = world(NAMED.format(f"{{ipam: {{config: {pools}}}}}")).deploys()
    for network in made.engine.networks.values():
        # As Engines do: their own order, and a gateway that nobody asked for.
        config = network["IPAM"]["Config"]
        config.sort(key=lambda pool: ":" in pool["Subnet"])
        config[0].setdefault("Gateway", "10.9.0.1")
    found = made.wants(NAMED.format("{}")).plan()
    assert "networks.a.ipam.config: " in reasons(found, "remove-network")
    made.deploys()


def test_a_network_of_an_unknown_hash_keeps_the_subnet_the_engine_chose() -> None:
    made = world(NAMED.format("{}")).deploys()
    for network in made.engine.networks.values():
        network["Labels"]["com.docker.compose.config-hash"] = "f" * 64
    assert made.plan().empty


def test_volumes_taken_from_another_service_to_read_only_are_noticed_though_the_hash_is_the_same() -> None:
    text = "services: {{data: {{image: 'app:1', volumes: ['/v']}}, web: {{image: 'app:1', volumes_from: ['{}']}}}}"
    made = world(text.format("data")).deploys()
    found = made.wants(text.format("data:ro")).plan()
    assert kinds(found) == ["replace-container shop-web-1", "start-container shop-web-1"]
    assert "services.web.volumes_from" in reasons(found, "replace-container")
    made.deploys()


def test_of_two_networks_with_one_name_the_used_one_counts_and_the_other_goes() -> None:
    made = world(NAMED.format("{}")).deploys()
    (used,) = (network for network in made.engine.networks.values() if network["Name"] == "shop_a")
    made.engine.networks["0" * 64] = {**used, "Id": "0" * 64}
    found = made.plan()
    assert [each.kind for each in found.actions] == ["remove-network"]
    assert found.actions[0].params["network_id"] == "0" * 64
    made.deploys()


def test_an_old_password_in_an_old_command_is_not_shown() -> None:
    text = "services: {{web: {{image: 'app:1', command: [run, '{0}'], environment: {{PASSWORD: '{0}'}}}}}}"
    made = world(text.format("old-fish")).deploys()
    shown = describe(made.wants(text.format("new-fish")).plan())
    assert "services.web.command" in shown and "-fish" not in shown


def test_a_changed_volume_is_blocked_and_the_rest_goes_on() -> None:
    text = "services: {{web: {{image: '{}', volumes: ['vol:/v']}}}}\nvolumes: {{vol: {}}}"
    made = world(text.format("app:1", "{}")).deploys()
    made.wants(text.format("app:2", "{driver_opts: {type: tmpfs, device: tmpfs}}"))
    found = made.plan()
    (blocked,) = found.blocked
    assert (blocked.target, blocked.reason.code) == ("shop_vol", "VolumeChanged")
    assert "replace-container shop-web-1" in kinds(found)
    assert "remove-volume" not in {each.kind for each in found.actions}


def test_a_changed_volume_is_made_anew_where_allowed() -> None:
    text = (
        "services: {{web: {{image: 'app:1', volumes: ['vol:/v']}}, side: {{image: 'app:1', volumes_from: "
        "[web]}}}}\nvolumes: {{vol: {}}}"
    )
    made = world(text.format("{}")).deploys()
    made.wants(text.format("{driver_opts: {type: tmpfs, device: tmpfs}}")).policy(recreate_volumes=True)
    found = made.plan()
    gone = needs(found, "remove-volume:shop_vol")
    assert "remove-container:shop-web-1" in gone
    made.deploys()
    assert made.engine.volumes["shop_vol"]["Options"] == {"type": "tmpfs", "device": "tmpfs"}
    assert set(made.engine.states()) == {"shop-web-1", "shop-side-1"}


def test_a_renamed_volume_moves_its_users_and_keeps_the_old_one() -> None:
    text = "services: {{web: {{image: 'app:1', volumes: ['vol:/v']}}}}\nvolumes: {{vol: {}}}"
    made = world(text.format("{}")).deploys()
    found = made.wants(text.format("{name: other}")).plan()
    assert "create-volume other" in kinds(found) and "replace-container shop-web-1" in kinds(found)
    made.deploys()
    assert set(made.engine.volumes) == {"shop_vol", "other"}


def test_a_missing_external_object_is_refused_before_anything_happens() -> None:
    text = (
        "services: {web: {image: 'app:1', networks: [n], volumes: ['vol:/v']}}\nnetworks: {n: {external: "
        "true}}\nvolumes: {vol: {external: true}}"
    )
    with pytest.raises(PlanError, match=r"networks\.n: external network n does not exist"):
        world(text).plan()


def test_orphans_go_unless_told_to_stay() -> None:
    made = world(TWO, behaviour={"db": HEALTHY}).deploys().wants(WEB)
    found = made.plan()
    assert {"stop-container shop-db-1", "remove-container shop-db-1"} <= set(kinds(found))
    kept = made.policy(remove_orphans=False).plan()
    assert "remove-container shop-db-1" not in kinds(kept)
    assert any("shop-db-1 is an orphan" in warning for warning in kept.warnings)
    made.policy(remove_orphans=True).deploys()


def test_services_of_other_profiles_are_no_orphans() -> None:
    made = world(TWO, behaviour={"db": HEALTHY}).deploys()
    made.wants(TWO.replace("healthcheck", "profiles: [x], healthcheck").replace(", depends_on: [db]", ""))
    assert "shop-db-1" not in str(kinds(made.plan()))


def test_a_container_of_an_image_built_by_compose_is_nobodys_orphan() -> None:
    made = world(WEB).deploys()
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "old",
        "com.docker.compose.version": "2",
    }
    stranger = {**made.engine.named("shop-web-1"), "Id": "5" * 64, "Name": "/by-hand"}
    made.engine.containers["5" * 64] = {**stranger, "Config": {**stranger["Config"], "Labels": labels}}
    assert made.plan().empty


def test_a_name_held_by_a_stranger_blocks_that_service_only() -> None:
    made = world("services: {web: {image: 'app:1', container_name: mine}, db: {image: 'app:1'}}")
    stranger = {"Id": "5" * 64, "Name": "/mine", "Config": {"Labels": {}}, "State": {"Status": "running"}}
    made.engine.containers["5" * 64] = stranger
    found = made.plan()
    (blocked,) = found.blocked
    assert blocked.reason.code == "NameTaken" and "555555555555" in blocked.reason.message
    assert "start-container shop-db-1" in kinds(found) and "web" not in {each.service for each in found.actions}


def test_a_name_that_moves_to_another_service_waits_for_its_holder() -> None:
    made = world("services: {old: {image: 'app:1', container_name: mine}}").deploys()
    made.wants("services: {new: {image: 'app:1', container_name: mine}}")
    found = made.plan()
    assert "remove-container:mine" in needs(found, "create-container:mine")
    made.deploys()


def test_a_port_that_moves_to_another_service_waits_for_its_holder() -> None:
    made = world("services: {old: {image: 'app:1', ports: ['8080:80']}}").deploys()
    made.engine.named("shop-old-1")["NetworkSettings"]["Ports"] = {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]
    }
    made.wants("services: {new: {image: 'app:1', ports: ['8080:80']}}")
    found = made.plan()
    assert "stop-container:shop-old-1" in needs(found, "start-container:shop-new-1")
    made.deploys()


def test_a_port_handed_to_a_dependency_stops_its_holder_first() -> None:
    before = "services: {front: {image: 'app:1', ports: ['8080:80']}, back: {image: 'app:1'}}"
    after = "services: {front: {image: 'app:1', depends_on: [back]}, back: {image: 'app:1', ports: ['8080:80']}}"
    made = world(before).deploys()
    made.engine.named("shop-front-1")["NetworkSettings"]["Ports"] = {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]
    }
    found = made.wants(after).plan()
    assert "stop-container:shop-front-1" in needs(found, "start-container:shop-back-1")
    assert "start-container:shop-back-1" in needs(found, "replace-container:shop-front-1")
    made.deploys()


def test_a_container_renamed_by_hand_gets_its_name_back() -> None:
    made = world(WEB).deploys()
    made.engine.named("shop-web-1")["Name"] = "/other"
    assert kinds(made.plan()) == ["rename-container shop-web-1"]
    made.deploys()


@pytest.mark.parametrize("name", ["shop_web_1"])
def test_names_of_compose_1_are_left(name: str) -> None:
    made = world(WEB).deploys()
    made.engine.named("shop-web-1")["Name"] = f"/{name}"
    assert made.plan().empty


def test_pre_start_hooks_run_one_after_the_other_before_the_first_start() -> None:
    text = "services: {web: {image: 'app:1', scale: 2, pre_start: [{command: a}, {command: b}]}}"
    found = world(text).plan()
    first, second = "run-hook:shop-web-1:pre_start.0", "run-hook:shop-web-1:pre_start.1"
    assert first in needs(found, second)
    for number in (1, 2):
        assert second in action(found, "start-container", f"shop-web-{number}").needs
    world(text).deploys()


def test_a_hook_waits_until_the_container_it_joins_has_its_name_again() -> None:
    text = "services: {a: {image: 'app:1'}, b: {image: 'app:1', volumes_from: [a], pre_start: [{command: [prepare]}]}}"
    made = world(text).deploys()
    made.engine.named("shop-a-1")["Name"] = "/by-hand"
    made.engine.stop_by_hand("shop-b-1")
    found = made.plan()
    assert "rename-container:shop-a-1" in needs(found, action(found, "run-hook").id)
    made.deploys()


def test_hooks_do_not_run_while_a_replica_is_up() -> None:
    text = "services: {{web: {{image: 'app:1', scale: {}, pre_start: [{{command: a}}]}}}}"
    made = world(text.format(1)).deploys()
    assert "run-hook" not in {each.kind for each in made.wants(text.format(2)).plan().actions}


def test_scheduled_jobs_are_created_and_not_started() -> None:
    made = world(
        "services: {job: {image: 'app:1', labels: {cd.doco.job.enabled: 'true', cd.doco.job.schedule: '@daily'}}}"
    )
    assert kinds(made.plan()) == ["create-network shop_default", "create-container shop-job-1"]
    made.deploys()


def test_a_service_held_by_a_job_is_not_started() -> None:
    made = world(WEB).deploys()
    made.engine.stop_by_hand("shop-web-1")
    assert made.changes(held_services=frozenset({"web"})).plan().empty


def test_force_recreate_replaces_everything() -> None:
    made = world(TWO, behaviour={"db": HEALTHY}).deploys()
    found = made.policy(force_recreate=True).plan()
    assert {"replace-container shop-web-1", "replace-container shop-db-1"} <= set(kinds(found))
    assert "force_recreate is set" in reasons(found, "replace-container")


def test_an_anonymous_volume_moves_on_and_a_dropped_bind_does_not() -> None:
    rich = {
        "app:1": image("app:1", Volumes={"/data": {}, "/conf": {}}),
        "app:2": image("app:2", Volumes={"/data": {}, "/conf": {}}),
    }
    text = "services: {{web: {{image: '{}', volumes: ['/anon'{}]}}}}"
    made = world(text.format("app:1", ", '/srv/conf:/conf'"), images=rich).deploys()
    before = {m["Destination"]: m["Source"] for m in made.engine.named("shop-web-1")["Mounts"]}
    made.wants(text.format("app:2", "")).deploys()
    after = {m["Destination"]: m["Source"] for m in made.engine.named("shop-web-1")["Mounts"]}
    assert (after["/anon"], after["/data"]) == (before["/anon"], before["/data"])
    assert after["/conf"] != "/srv/conf"


def test_deployments_on_a_new_engine_settle_too() -> None:
    world(TWO, behaviour={"db": HEALTHY, "web": RUNS}, facts=NEW_ENGINE).deploys()


def test_a_dead_container_is_removed_and_made_again() -> None:
    made = world(WEB).deploys()
    made.engine.named("shop-web-1")["State"]["Status"] = "dead"
    found = made.plan()
    assert "remove-container:shop-web-1" in {each.id for each in found.actions}
    assert any(each.kind == "create-container" for each in found.actions)
    made.deploys()


def test_a_plan_says_everything_as_text_and_as_json() -> None:
    found = world(TWO).plan()
    told = as_json(found)
    assert [each["id"] for each in told["actions"]] == [each.id for each in found.actions]
    assert told["stack"] == "shop" and told["empty"] is False
    assert all(each["reasons"] for each in told["actions"])
    for each in found.actions:
        assert each.target in describe(found)
    assert describe(world("services: {}").plan()) == "stack shop: nothing to do"


TWICE = "services: {web: {image: 'app:1', scale: 3}}"


def test_one_of_two_containers_of_one_number_goes_however_many_are_wanted() -> None:
    """What a kill leaves between the start of a successor and the removal of its predecessor, twice."""
    made = world(TWICE).deploys()
    changed = made.wants(TWICE.replace("scale", "hostname: other, scale"))
    change = changed.plan()
    first = replace(change, actions=tuple(a for a in change.actions if a.target == "shop-web-1"))
    made.engine.apply(first, made.desired, steps=4)
    assert sorted(made.engine.states()) == [
        "shop-web-1",
        next(name for name in made.engine.states() if name.startswith("shop-web-1.replaced-by-")),
        "shop-web-2",
        "shop-web-3",
    ]
    # One short: the parked one must not be counted in its place.
    del made.engine.containers[made.engine.named("shop-web-3")["Id"]]
    found = made.plan()
    assert not found.blocked
    assert "replacement of service web was never finished" in reasons(found, "remove-container")
    made.deploys()
    assert len(made.engine.states()) == 3


def test_on_the_way_back_the_parked_container_gets_its_name_and_runs_again() -> None:
    made = world(TWICE.replace("3", "1")).deploys()
    parked = made.engine.named("shop-web-1")["Id"]
    made.wants(TWICE.replace("scale: 3", "hostname: other"))
    made.engine.apply(made.plan(), made.desired, steps=4)
    found = made.wants(TWICE.replace("3", "1")).policy(drift=DriftPolicy.DETECT).plan()
    assert not found.drift and not found.blocked
    made.deploys()
    assert made.engine.named("shop-web-1")["Id"] == parked


def test_two_containers_that_share_a_number_without_us_are_told_apart_by_name() -> None:
    made = world(TWICE.replace("3", "2")).deploys()
    copy = dict(made.engine.named("shop-web-1"), Id="f" * 64, Name="/somebody-s-copy")
    made.engine.containers[copy["Id"]] = copy
    found = made.plan()
    assert kinds(found) == ["stop-container somebody-s-copy", "remove-container somebody-s-copy"]
    assert "another container of service web has number 1 too" in reasons(found, "remove-container")
    made.deploys()
