"""What is counted, for Prometheus.

The metric objects live here, below both the API that serves them and the reconciler that
does most of the counting. `metrics()` is the set of this process; it is made at first use,
for importing the client library takes its time.

The first group has Doco-CD's names and labels, so that its dashboards and alerts go on
working; where Doco-CD counts something else than its help text says, the text says here
what is counted; what there is nothing of to count (scheduled jobs) is left out. The second
group is ours.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LONG_BUCKETS = (*BUCKETS, 30, 60, 120, 300, 600)
STACK_BUCKETS = (0.01, 0.05, 0.25, 1, 5, 10, 30, 120, 600)
"""Few, for there is such a row for each stack."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

_WHOLE_BOUND = re.compile(rb'(?<=[{,])le="([0-9]+)\.0"')
"""Bounds as Go writes them (`le="1"`): to Prometheus 2, `le="1.0"` is another series, and rules name them."""


class Metrics:
    """All metrics, in a registry of their own."""

    def __init__(self) -> None:
        import prometheus_client as prometheus

        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry: CollectorRegistry = prometheus.CollectorRegistry()
        registry = self.registry
        prometheus.ProcessCollector(registry=registry)
        prometheus.PlatformCollector(registry=registry)
        prometheus.GCCollector(registry=registry)

        def counter(name: str, about: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(name, about, labels, registry=registry)

        def gauge(name: str, about: str, *labels: str) -> prometheus.Gauge:
            return prometheus.Gauge(name, about, labels, registry=registry)

        def histogram(
            name: str, about: str, *labels: str, buckets: tuple[float, ...] = BUCKETS
        ) -> prometheus.Histogram:
            return prometheus.Histogram(name, about, labels, buckets=buckets, registry=registry)

        # Doco-CD's.
        self.info = gauge("doco_cd_info", "Application information", "version", "log_level", "start_time")
        self.polls = counter("doco_cd_polls_total", "Number of finished polls", "repository")
        self.poll_errors = counter("doco_cd_poll_errors_total", "Failed polling attempts", "repository")
        self.poll_seconds = histogram(
            "doco_cd_poll_duration_seconds", "Duration of polling operations in seconds", "repository"
        )
        self.webhook_requests = counter(
            "doco_cd_webhook_requests_total", "Number of webhooks whose deployment succeeded", "repository"
        )
        self.webhook_errors = counter(
            "doco_cd_webhook_errors_total", "Total number of errors in webhook processing", "repository"
        )
        self.webhook_seconds = histogram(
            "doco_cd_webhook_duration_seconds", "Duration of successful webhook processing in seconds", "repository"
        )
        self.deployments = counter(
            "doco_cd_deployments_total", "Number of successful stack deployments", "repository", "deployment"
        )
        self.deployment_errors = counter(
            "doco_cd_deployment_errors_total",
            "Total number of errors during deployments",
            "repository",
            "deployment",
        )
        self.deployment_seconds = histogram(
            "doco_cd_deployment_duration_seconds",
            "Duration of successful deployments in seconds",
            "repository",
            "deployment",
        )
        self.deployments_active = gauge(
            "doco_cd_deployments_active", "Number of currently active deployments", "repository"
        )
        self.deployments_queued = gauge(
            "doco_cd_deployments_queued", "Number of deployments that wait for a free slot", "repository"
        )
        # Ours.
        self.queue_depth = gauge("moored_queue_depth", "Keys waiting to be reconciled", "queue")
        self.reconcile_seconds = histogram(
            "moored_reconcile_duration_seconds",
            "Duration of reconciles of a stack in seconds",
            "stack",
            buckets=STACK_BUCKETS,
        )
        self.reconcile_results = counter(
            "moored_reconcile_results_total",
            "Finished reconciles by result (succeeded, failed, unchanged)",
            "stack",
            "result",
        )
        self.drift = counter(
            "moored_drift_total", "Drift found, by stack and what was done about it", "stack", "outcome"
        )
        self.engine_call_seconds = histogram(
            "moored_engine_call_seconds", "Duration of calls to a Docker Engine", "context", "operation"
        )
        self.engine_writes = gauge(
            "moored_engine_writes", "Calls to a Docker Engine that change something, since the start", "context"
        )
        self.engine_connected = gauge("moored_engine_connected", "Whether a Docker Engine is heard", "context")
        self.event_lag_seconds = histogram(
            "moored_event_lag_seconds", "Seconds from an Engine event to its being seen", "context"
        )
        self.store_seconds = histogram("moored_store_seconds", "Duration of operations on the store", "operation")
        self.source_last_success = gauge(
            "moored_source_last_success_timestamp",
            "When a source was last reached, in seconds since 1970",
            "repository",
            "reference",
        )
        self.stack_ready = gauge("moored_stack_ready", "1 if a stack is as desired, else 0", "stack")
        self.webhook_refused = counter(
            "moored_webhook_refused_total", "Webhook calls without a valid signature", "reason"
        )
        self.api_requests = counter("moored_api_requests_total", "Answered API requests", "route", "method", "status")
        self.waiting_requests = gauge("moored_waiting_requests", "Requests that wait for an outcome")

    def announce(self, version: str, log_level: str) -> None:
        """Set `doco_cd_info`, at the start of the process."""
        self.info.labels(version, log_level, datetime.now(UTC).isoformat(timespec="seconds")).set(1)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        from prometheus_client import generate_latest

        return _WHOLE_BOUND.sub(rb'le="\1"', generate_latest(self.registry))


@cache
def metrics() -> Metrics:
    """The metrics of this process."""
    return Metrics()
