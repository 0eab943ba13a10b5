"""`GET /v1/api/status`: all that Moored manages, and how it is.

One answer for the command line and the dashboard: stacks with generation, conditions and
overrides, sources with when they were last reached and when they will be looked at next,
Docker contexts with since when they are stale. Everything comes from the store and the
observed state; no Engine is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from api import wire
from api.params import TIMEOUT, text
from api.routing import Call, Operation, Order, Route
from state.model import Condition, Source, Stack
from state.observed import ObservedContext


def conditions_json(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    return [
        {
            "type": condition.type.value,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "since": wire.timestamp(condition.since),
        }
        for condition in conditions
    ]


def stack_json(stack: Stack, context: ObservedContext | None) -> dict[str, Any]:
    """A stack's state, without its desired state: that holds secrets."""
    containers = context.project(stack.key.name) if context is not None else []
    removed = stack.overrides.removed
    shown: dict[str, Any] = {
        "name": stack.key.name,
        "context": stack.key.context,
        "source": stack.source_id,
        "repository": stack.repository,
        "reference": stack.reference,
        "revision": stack.revision,
        "ready_revision": stack.ready_revision,
        "generation": stack.generation,
        "observed_generation": stack.observed_generation,
        "deleting": stack.deleting,
        "overrides": {
            "stopped": stack.overrides.stopped,
            "removed": removed is not None,
            "replicas": dict(stack.overrides.replicas),
        },
        "conditions": conditions_json(stack.conditions),
        "containers": dict(sorted(Counter(container.state for container in containers).items())),
    }
    if context is not None and context.stale_since is not None:
        shown["stale_since"] = wire.timestamp(context.stale_since)
    return shown


def source_json(source: Source) -> dict[str, Any]:
    """A source's state; its URL may hold credentials and is not shown."""
    shown: dict[str, Any] = {
        "id": source.id,
        "kind": source.spec.kind.value,
        "repository": source.repository,
        "reference": source.spec.reference,
        "target": source.spec.target,
        "origin": source.origin,
        "interval": source.spec.interval,
        "revision": source.revision,
        "failures": source.failures,
        "conditions": conditions_json(source.conditions),
    }
    times: dict[str, datetime | None] = {
        "last_checked": source.last_checked,
        "last_success": source.last_success,
        "next_check": _next_check(source),
    }
    return {**shown, **{name: wire.timestamp(moment) for name, moment in times.items() if moment is not None}}


def _next_check(source: Source) -> datetime | None:
    """When its poll loop looks again, retries after failures aside."""
    spec = source.spec
    if source.origin != "config" or spec.run_once or spec.interval <= 0 or source.last_checked is None:
        return None
    return source.last_checked + timedelta(seconds=spec.interval)


def context_json(context: ObservedContext) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": context.name,
        "connected": context.connected,
        "synced": context.synced,
        "containers": len(context.containers),
    }
    if context.engine is not None:
        shown["engine"] = {
            "version": context.engine.version,
            "api_version": context.engine.api_version,
            "os": context.engine.os,
            "architecture": context.engine.architecture,
            "swarm_manager": context.engine.swarm_manager,
        }
    if context.error:
        shown["error"] = context.error
    if context.stale_since is not None:
        shown["stale_since"] = wire.timestamp(context.stale_since)
    return shown


async def get_status(call: Call) -> wire.Answer:
    services = call.services
    wanted = call.query["stack"]
    stacks = await services.store.list_stacks()
    sources = await services.store.list_sources()
    if wanted:
        stacks = [stack for stack in stacks if wanted in (stack.key.name, str(stack.key))]
        sources = [source for source in sources if any(stack.source_id == source.id for stack in stacks)]
    content = {
        "version": services.options.version,
        "stacks": [stack_json(stack, services.observed.get(stack.key.context)) for stack in stacks],
        "sources": [source_json(source) for source in sources],
        "contexts": [context_json(context) for context in services.observed.values()],
    }
    return wire.success(content, call.job_id)


ROUTES = (
    Route(
        "/v1/api/status",
        Order.METHOD_FIRST,
        {
            "GET": Operation(
                get_status,
                "All managed stacks, their sources and the Docker contexts",
                {200: "Status", 400: "Failure"},
                params=(text("stack", "Only this stack and its source."), TIMEOUT),
            )
        },
        tag="status",
        wrong_method="requires method: GET",
    ),
)
