"""What Prometheus is told of work on stacks, as the whole agent counts it."""

from __future__ import annotations

from tests.live.agent.conftest import World
from tests.support.repository import service


def test_deployments_drift_and_readiness_are_counted(world: World) -> None:
    agent, stack = world.agent, world.project
    assert world.deploy(service("web")).status == 200
    assert agent.metric("doco_cd_deployments_total", deployment=world.project) == 1
    assert agent.metric("doco_cd_deployment_duration_seconds_count", deployment=world.project) == 1
    assert agent.metric("moored_stack_ready", stack=stack) == 1
    assert agent.metric("moored_drift_total", stack=stack) == 0
    assert agent.metric("moored_event_lag_seconds_count") > 0
    assert agent.metric("moored_store_seconds_count", operation="put_runs") > 0

    world.engine.call("DELETE", f"/containers/{world.project}-web-1", {"force": True})
    agent.until(lambda: agent.metric("moored_drift_total", stack=stack, outcome="corrected") == 1, 20, "drift counted")
    assert agent.metric("doco_cd_deployments_total", deployment=world.project) == 2

    assert world.deploy(service("web", image="moored/absent:1", pull_policy="never")).status == 500
    assert agent.metric("doco_cd_deployment_errors_total", deployment=world.project) >= 1
    assert agent.metric("moored_stack_ready", stack=stack) == 0
    assert agent.metric("doco_cd_deployments_active") == agent.metric("doco_cd_deployments_queued") == 0

    assert agent.delete(f"/v1/api/project/{world.project}?images=false").status == 200
    assert agent.metric("moored_drift_total", stack=stack) == 1
