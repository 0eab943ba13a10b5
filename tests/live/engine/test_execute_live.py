"""Plans carried out on the real Engine; each deployment must leave nothing for the next plan."""

from __future__ import annotations

from dataclasses import replace

import anyio

from reconciler.engine.execute import Silent
from reconciler.planner import plan_down, plan_restart, plan_start, plan_stop
from reconciler.planner.readiness import ReadyState
from state.observed import LABEL_PROJECT

WEB = """
services:
  web:
    image: ${IMAGE}
    command: sleep 600
    stop_grace_period: 0s
"""


async def test_a_stack_is_deployed_and_the_next_plan_is_empty(bench):
    await bench.deploy(
        bench.desired(
            """
            services:
              db:
                image: ${IMAGE}
                command: sleep 600
                stop_grace_period: 0s
                volumes: [data:/data]
                healthcheck: {test: "true", interval: 1s}
              job:
                image: ${IMAGE}
                command: sh -c "exit 0"
                depends_on: {db: {condition: service_healthy}}
              web:
                image: ${IMAGE}
                command: sleep 600
                stop_grace_period: 0s
                networks: {default: {aliases: [www]}, back: {}}
                environment: {A: "1"}
                depends_on:
                  db: {condition: service_healthy}
                  job: {condition: service_completed_successfully}
            networks: {back: {}}
            volumes: {data: {}}
            """
        )
    )
    assert bench.container("web").state == "running"
    assert bench.container("job").state == "exited"
    begun = [entry for entry in bench.diary.begun if entry.startswith(("start", "wait"))]
    assert begun.index(f"start-container:{bench.name}-web-1") > begun.index(f"start-container:{bench.name}-job-1")
    networks = bench.container("web").networks
    assert networks == (f"{bench.name}_back", f"{bench.name}_default")


async def test_a_changed_service_is_replaced_and_only_it(bench):
    both = WEB + "  other:\n    image: ${IMAGE}\n    command: sleep 600\n    stop_grace_period: 0s\n"
    await bench.deploy(bench.desired(both))
    web, other = bench.container("web"), bench.container("other")
    await bench.deploy(bench.desired(both.replace("sleep 600", "sleep 601", 1)))
    assert bench.container("other").id == other.id
    assert bench.container("web").id != web.id
    assert bench.container("web").name == web.name
    assert bench.container("web").state == "running"
    assert len(bench.observed.project(bench.name)) == 2


async def test_replicas_come_and_go(bench):
    desired = bench.desired(WEB + "    scale: 3\n")
    await bench.deploy(desired)
    assert {container.number for container in bench.observed.project(bench.name)} == {1, 2, 3}
    first = bench.container("web", 1).id
    await bench.deploy(bench.desired(WEB))
    assert [container.id for container in bench.observed.project(bench.name)] == [first]


async def test_a_network_is_attached_in_place_or_by_replacement_and_then_is_there(bench):
    await bench.deploy(bench.desired(WEB))
    await bench.deploy(bench.desired(WEB + "    networks: [default, extra]\nnetworks: {extra: {}}\n"))
    assert f"{bench.name}_extra" in bench.container("web").networks


async def test_a_network_disconnected_by_hand_is_connected_again(bench):
    desired = bench.desired(WEB + "    networks: {default: {}, extra: {aliases: [x]}}\nnetworks: {extra: {}}\n")
    await bench.deploy(desired)
    container = bench.container("web")
    body = {"Container": container.id, "Force": True}
    await bench.engine.call("x", "POST", f"networks/{bench.name}_extra/disconnect", body=body)
    await bench.deploy(desired)
    assert f"{bench.name}_extra" in bench.container("web").networks


async def test_configs_and_secrets_by_content_are_copied_in_with_their_owner(bench):
    desired = bench.desired(
        WEB
        + """
    user: "1000:1000"
    configs:
      - {source: text, target: /etc/app/app.conf, uid: "103", gid: "104", mode: 0440}
    secrets: [token]
configs: {text: {content: "hello ${IMAGE}"}}
secrets: {token: {environment: SECRET_VALUE}}
"""
    )
    await bench.deploy(desired)
    container_id = bench.container("web").id
    assert await bench.run_in(container_id, "stat", "-c", "%u %g %a", "/etc/app/app.conf") == "103 104 440\n"
    assert await bench.run_in(container_id, "cat", "/run/secrets/token") == "s3cr3t"
    assert "s3cr3t" not in str(bench.container("web").inspect)
    assert not any("s3cr3t" in line for line in bench.diary.lines)


async def test_a_successor_that_cannot_start_gives_way_to_its_predecessor(bench):
    await bench.deploy(bench.desired(WEB))
    before = bench.container("web")
    result = await bench.apply(bench.desired(WEB.replace("sleep 600", "/no/such/program")))
    assert not result.ok
    assert f"container {bench.name}-web-1 cannot be started" in result.message
    assert "/no/such/program" in result.message
    await bench.until(lambda: [c.id for c in bench.observed.project(bench.name)] == [before.id])
    await bench.until(lambda: bench.container("web").state == "running")
    assert bench.container("web").name == before.name
    assert any("was put back and started again" in warning for warning in result.warnings)


async def test_a_successor_that_cannot_be_created_leaves_its_predecessor_alone(bench):
    await bench.deploy(bench.desired(WEB))
    before = bench.container("web")
    result = await bench.apply(bench.desired(WEB + "    networks: {default: {ipv4_address: 10.9.8.7}}\n"))
    assert not result.ok
    await bench.observer._list()
    assert bench.container("web").id == before.id
    assert bench.container("web").started_at == before.started_at


async def test_what_a_kill_in_the_middle_of_a_replacement_leaves_is_repaired(bench):
    await bench.deploy(bench.desired(WEB))
    changed = bench.desired(WEB.replace("600", "601"))
    planned = await bench.plan(changed)

    class Killed(BaseException):
        pass

    # Each of these calls is the last one that the killed process manages to make.
    for last in ("container.create", "container.stop", "container.rename"):

        def die(operation: str, seconds: float, outcome: str, last: str = last) -> None:
            if operation == last:
                raise Killed

        bench.engine._on_call = die
        killed = False
        try:
            await bench.executor.execute(planned, changed, Silent())
        except BaseException as error:
            assert "Killed" in repr(error)
            killed = True
        assert killed, last
        bench.engine._on_call = None
        await bench.deploy(changed)
        assert bench.container("web").state == "running", last
        assert bench.container("web").name == f"{bench.name}-web-1", last
        assert len(bench.observed.project(bench.name)) == 1
        changed = bench.desired(WEB.replace("600", str(700 + len(last))))
        planned = await bench.plan(changed)


async def test_a_service_whose_dependency_fails_is_not_started_and_the_error_tells_why(bench):
    desired = bench.desired(
        """
        services:
          migrate:
            image: ${IMAGE}
            command: sh -c "echo cannot reach the database; exit 3"
          web:
            image: ${IMAGE}
            command: sleep 600
            stop_grace_period: 0s
            depends_on: {migrate: {condition: service_completed_successfully}}
          other:
            image: ${IMAGE}
            command: sleep 600
            stop_grace_period: 0s
        """
    )
    result = await bench.apply(desired)
    assert result.code == "WaitFailed"
    assert "service migrate is not completed" in result.message
    assert "exit code 3" in result.message
    assert "cannot reach the database" in result.message
    assert bench.container("web").state == "created"
    assert bench.container("other").state == "running"


async def test_waiting_for_a_service_ends_at_its_deadline(bench):
    desired = bench.desired(
        WEB.replace("web:", "db:")
        + """
    healthcheck: {test: "false", interval: 1s, retries: 100}
  web:
    image: ${IMAGE}
    command: sleep 600
    depends_on: {db: {condition: service_healthy}}
""",
        timeout=1.5,
    )
    result = await bench.apply(desired)
    assert "timeout waiting for dependencies" in result.message
    assert "health starting" in result.message


async def test_a_stack_is_ready_when_it_is_healthy(bench):
    desired = bench.desired(WEB + '    healthcheck: {test: "test -e /tmp/ok", interval: 0.2s, retries: 50}\n')
    await bench.apply(desired)

    async def heal() -> None:
        await bench.run_in(bench.container("web").id, "touch", "/tmp/ok")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(heal)
        ready = await bench.executor.wait_ready(desired, 20)
    assert ready.state is ReadyState.READY, ready.message


async def test_a_stack_that_does_not_get_healthy_in_time_says_what_it_last_said(bench):
    desired = bench.desired(
        WEB.replace("sleep 600", "sh -c 'echo still loading; sleep 600'")
        + '    healthcheck: {test: "false", interval: 5s}\n'
    )
    await bench.apply(desired)
    ready = await bench.executor.wait_ready(desired, 1)
    assert (ready.state, ready.code) == (ReadyState.FAILED, "Timeout")
    assert "application not healthy after 1s" in ready.message
    assert "still loading" in ready.message


async def test_a_crash_loop_is_not_ready(bench):
    desired = bench.desired(WEB.replace("sleep 600", "sh -c 'echo boom; exit 2'") + "    restart: always\n")
    await bench.apply(desired)
    ready = await bench.executor.wait_ready(desired, 20)
    assert (ready.state, ready.code) == (ReadyState.FAILED, "CrashLoop")
    assert "boom" in ready.message


async def test_hooks_run_around_a_container_and_their_failure_is_told(bench):
    good = WEB + "    post_start: [{command: touch /tmp/started}]\n"
    await bench.deploy(bench.desired(good))
    assert "started" in await bench.run_in(bench.container("web").id, "ls", "/tmp")
    result = await bench.apply(
        bench.desired(WEB.replace("600", "601") + '    post_start: [{command: sh -c "echo went wrong; exit 4"}]\n')
    )
    assert result.code == "HookFailed"
    assert "exit code 4" in result.message
    assert "went wrong" in result.message


async def test_pre_start_containers_run_before_the_service_and_see_its_volumes(bench):
    desired = bench.desired(
        WEB
        + """
    volumes: [data:/data]
    pre_start:
      - {command: sh -c "echo prepared > /data/file"}
      - {command: sh -c "cat /data/file"}
volumes: {data: {}}
"""
    )
    await bench.deploy(desired)
    assert await bench.run_in(bench.container("web").id, "cat", "/data/file") == "prepared\n"
    assert "prepared" in bench.diary.lines
    assert len(bench.observed.project(bench.name)) == 1


async def test_a_failed_pre_start_container_stays_and_the_next_attempt_removes_it(bench):
    def text(code: int) -> str:
        return WEB + f'    pre_start: [{{command: sh -c "echo no schema; exit {code}"}}]\n'

    result = await bench.apply(bench.desired(text(5)))
    assert result.code == "HookFailed"
    assert "exit code 5" in result.message
    assert "no schema" in result.message
    await bench.until(lambda: any("hook" in str(c.labels) for c in bench.observed.project(bench.name)))
    await bench.deploy(bench.desired(text(0)))
    assert [container.service for container in bench.observed.project(bench.name)] == ["web"]
    assert bench.container("web").state == "running"


async def test_replicas_that_draw_from_one_port_range_all_get_a_port(bench):
    desired = bench.desired(WEB + '    scale: 4\n    ports: ["127.0.0.1:18100-18120:80"]\n')
    await bench.deploy(desired)
    ports = {port.public for c in bench.observed.project(bench.name) for port in c.ports}
    assert len(ports) == 4


async def test_a_project_is_stopped_started_restarted_and_taken_down_by_its_labels(bench):
    desired = bench.desired(WEB + "    volumes: [data:/data]\nvolumes: {data: {}}\n")
    await bench.deploy(desired)
    key = desired.key

    async def carry_out(make, **more):
        from reconciler.engine.observe import observe_project

        seen = await observe_project(bench.engine, bench.observed, bench.name)
        result = await bench.executor.execute(make(key, seen, **more), None, Silent())
        assert result.ok, result.message
        await observe_project(bench.engine, bench.observed, bench.name)

    await carry_out(plan_stop, timeout=0)
    assert bench.container("web").state == "exited"
    assert not bench.container("web").stopped_by_hand
    await carry_out(plan_start)
    assert bench.container("web").state == "running"
    before = bench.container("web").started_at
    await carry_out(plan_restart, timeout=0)
    assert bench.container("web").started_at > before
    await carry_out(plan_down, project=None, volumes=True, images=False)
    assert bench.observed.project(bench.name) == []
    assert f"{bench.name}_data" not in bench.observed.volumes
    assert not [n for n in bench.observed.networks.values() if n.labels.get(LABEL_PROJECT) == bench.name]


async def test_a_failed_build_stops_the_stack_before_anything_runs(bench):
    (bench.folder / "Dockerfile").write_text("FROM moored/busybox:1\nRUN echo nope; exit 9\n")
    result = await bench.apply(bench.desired("services: {web: {build: .}}"))
    assert result.code == "BuildFailed"
    assert "nope" in result.message
    assert bench.observed.project(bench.name) == []


async def test_a_service_is_built_and_then_runs(bench):
    (bench.folder / "Dockerfile").write_text("FROM moored/busybox:1\nCMD sleep 600\n")
    desired = bench.desired("services: {web: {build: ., stop_grace_period: 0s}}")
    try:
        await bench.deploy(desired)
        assert bench.container("web").image == f"{bench.name}-web"
        assert bench.container("web").state == "running"
    finally:
        seen = bench.container("web")
        await bench.engine.call("x", "DELETE", f"containers/{seen.id}", params={"force": True})
        await bench.engine.call("x", "DELETE", f"images/{bench.name}-web")


async def test_force_recreate_recreates_once(bench):
    desired = bench.desired(WEB)
    await bench.deploy(desired)
    before = bench.container("web").id
    await bench.deploy(replace(desired, policy=replace(desired.policy, force_recreate=True)))
    assert bench.container("web").id != before
