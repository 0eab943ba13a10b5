"""What is counted of the work on stacks, for Prometheus.

A deployment is any work on a stack that did something, whoever wanted it; one that repairs
what nobody asked for counts as drift as well. Drift that is only reported counts once, when
it is first seen. The names of stacks that are gone leave with them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from reconciler.planner.model import Plan
from state.metrics import Metrics
from state.model import Condition, ConditionType, Stack, StackKey


class StackCounts:
    """The counts of one stack controller."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._drifting: dict[StackKey, frozenset[str]] = {}

    @asynccontextmanager
    async def slot(self, slots: AbstractAsyncContextManager[Any], repository: str) -> AsyncIterator[None]:
        """Hold one of the slots; waiting counts as queued, holding as active."""
        queued = self._metrics.deployments_queued.labels(repository)
        active = self._metrics.deployments_active.labels(repository)
        queued.inc()
        try:
            await slots.__aenter__()
        finally:
            queued.dec()
        try:
            with active.track_inprogress():
                yield
        finally:
            await slots.__aexit__(None, None, None)

    def deployed(self, stack: Stack, seconds: float, *, drift: bool) -> None:
        labels = (stack.repository, stack.key.name)
        self._metrics.deployments.labels(*labels).inc()
        self._metrics.deployment_seconds.labels(*labels).observe(seconds)
        if drift:
            self._metrics.drift.labels(str(stack.key), "corrected").inc()

    def failed(self, stack: Stack, *, drift: bool) -> None:
        self._metrics.deployment_errors.labels(stack.repository, stack.key.name).inc()
        if drift:
            self._metrics.drift.labels(str(stack.key), "failed").inc()

    def left(self, key: StackKey, plan: Plan | None) -> None:
        """Note the drift that the stack's policy says to leave."""
        now = frozenset(item.target for item in plan.drift) if plan is not None else frozenset()
        new = now - self._drifting.get(key, frozenset())
        if new:
            self._metrics.drift.labels(str(key), "reported").inc(len(new))
        if now:
            self._drifting[key] = now
        else:
            self._drifting.pop(key, None)

    def ready(self, key: StackKey, conditions: Sequence[Condition]) -> None:
        is_ready = any(one.type is ConditionType.READY and one.status for one in conditions)
        self._metrics.stack_ready.labels(str(key)).set(is_ready)

    def gone(self, key: StackKey) -> None:
        self._drifting.pop(key, None)
        # Never was ready or unready, if it went before anybody looked.
        with suppress(KeyError):
            self._metrics.stack_ready.remove(str(key))
