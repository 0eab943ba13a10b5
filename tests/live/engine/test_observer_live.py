"""The observer on a real Engine: what happens is seen, soon, and who did it."""

from __future__ import annotations

from typing import Any

from reconciler.engine.snapshot import cached_project, observe_project


async def test_a_killed_container_is_seen_by_its_event_without_listing_again(bench):
    container_id = await bench.run_container()
    await bench.until(lambda: _state(bench, container_id) == "running")
    calls: list[str] = []
    bench.engine._on_call = lambda operation, seconds, outcome: calls.append(operation)
    await bench.engine.call("kill", "POST", f"containers/{container_id}/kill")
    await bench.until(lambda: _state(bench, container_id) == "exited")
    assert "container.list" not in calls
    assert bench.observed.containers[container_id].exit_code == 137


async def test_what_another_hand_stopped_is_marked_until_it_starts_again(bench):
    container_id = await bench.run_container()
    await bench.until(lambda: _state(bench, container_id) == "running")
    await bench.engine.call("stop", "POST", f"containers/{container_id}/stop")
    await bench.until(
        lambda: _state(bench, container_id) == "exited" and _container(bench, container_id).stopped_by_hand
    )
    await bench.engine.call("start", "POST", f"containers/{container_id}/start")
    await bench.until(lambda: _state(bench, container_id) == "running")
    assert not _container(bench, container_id).stopped_by_hand


async def test_what_another_hand_stops_right_after_we_started_it_is_marked(bench):
    container_id = await bench.run_container()
    for operation in ("restart", "start"):
        with bench.observer.acting(container_id):
            await bench.engine.call(operation, "POST", f"containers/{container_id}/{operation}")
        await bench.until(lambda: _state(bench, container_id) == "running")
        await bench.engine.call("stop", "POST", f"containers/{container_id}/stop")
        await bench.until(
            lambda: _state(bench, container_id) == "exited" and _container(bench, container_id).stopped_by_hand
        )


async def test_what_we_stop_ourselves_is_not_marked(bench):
    container_id = await bench.run_container()
    await bench.until(lambda: _state(bench, container_id) == "running")
    with bench.observer.acting(container_id):
        await bench.engine.call("stop", "POST", f"containers/{container_id}/stop")
    await bench.until(lambda: _state(bench, container_id) == "exited")
    assert not _container(bench, container_id).stopped_by_hand


async def test_a_container_that_ends_by_itself_is_not_marked(bench):
    container_id = await bench.run_container(command=["sh", "-c", "exit 3"])
    await bench.until(lambda: _state(bench, container_id) == "exited")
    assert _container(bench, container_id).exit_code == 3
    assert not _container(bench, container_id).stopped_by_hand


async def test_a_removed_container_network_and_volume_are_forgotten(bench):
    label = {"com.docker.compose.project": bench.name}
    container_id = await bench.run_container()
    network = await bench.engine.call(
        "create", "POST", "networks/create", body={"Name": f"{bench.name}_n", "Labels": label}
    )
    await bench.engine.call("create", "POST", "volumes/create", body={"Name": f"{bench.name}_v", "Labels": label})
    await bench.until(
        lambda: (
            container_id in bench.observed.containers
            and network["Id"] in bench.observed.networks
            and f"{bench.name}_v" in bench.observed.volumes
        )
    )
    await bench.engine.call("remove", "DELETE", f"containers/{container_id}", params={"force": True})
    await bench.engine.call("remove", "DELETE", f"networks/{network['Id']}")
    await bench.engine.call("remove", "DELETE", f"volumes/{bench.name}_v")
    await bench.until(
        lambda: (
            container_id not in bench.observed.containers
            and network["Id"] not in bench.observed.networks
            and f"{bench.name}_v" not in bench.observed.volumes
        )
    )
    assert bench.name not in bench.observed.project_names()


async def test_a_connected_network_shows_on_the_container(bench):
    container_id = await bench.run_container()
    network = await bench.engine.call("create", "POST", "networks/create", body={"Name": f"{bench.name}_n"})
    try:
        await bench.engine.call(
            "connect", "POST", f"networks/{network['Id']}/connect", body={"Container": container_id}
        )
        await bench.until(lambda: f"{bench.name}_n" in _container(bench, container_id).networks)
    finally:
        await bench.engine.call("remove", "DELETE", f"containers/{container_id}", params={"force": True})
        await bench.engine.call("remove", "DELETE", f"networks/{network['Id']}")


async def test_the_cache_and_a_fresh_look_agree_and_looking_writes_nothing(bench):
    first = await bench.run_container()
    second = await bench.run_container()
    writes = bench.engine.writes
    await bench.until(lambda: _state(bench, first) == _state(bench, second) == "running")
    fresh = await observe_project(bench.engine, bench.observed, bench.name)
    cached = cached_project(bench.observed, bench.name)
    assert cached is not None
    assert fresh.containers == cached.containers
    assert [container.id for container in fresh.containers] == [first, second]
    assert fresh.containers[0].inspect["Config"]["Cmd"] == ["sleep", "600"]
    assert bench.engine.writes == writes


async def test_an_event_storm_costs_few_inspects(bench, monkeypatch):
    container_id = await bench.run_container()
    await bench.until(lambda: _state(bench, container_id) == "running")
    inspects: list[str] = []
    call = bench.engine.call

    async def counted(operation: str, method: str, path: str, **more: Any) -> Any:
        # Of this container alone: the Engine has others, and they have events, too.
        if operation == "container.inspect" and container_id in path:
            inspects.append(path)
        return await call(operation, method, path, **more)

    monkeypatch.setattr(bench.engine, "call", counted)
    await bench.engine.call(
        "rename", "POST", f"containers/{container_id}/rename", params={"name": f"{bench.name}-renamed"}
    )
    # A hundred events that come in one read of the stream.
    for _ in range(100):
        bench.observer._note_container(container_id, "rename", created=False)
    await bench.until(lambda: _container(bench, container_id).name == f"{bench.name}-renamed")
    assert 1 <= len(inspects) <= 3


def _container(bench, container_id):
    return bench.observed.containers[container_id]


def _state(bench, container_id):
    container = bench.observed.containers.get(container_id)
    return container.state if container else None
