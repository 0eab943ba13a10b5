"""What the charts ask Prometheus for must be what Moored counts."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from state.metrics import Metrics

CHARTS = Path(__file__).resolve().parents[3] / "charts"
NAME = re.compile(r"\b(?:doco_cd|moored|process)_\w+")


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Sample names and their labels, of metrics that have never counted, too."""
    found: dict[str, set[str]] = {}
    for metric in vars(Metrics()).values():
        labels = getattr(metric, "_labelnames", None)
        if labels is None:
            continue
        (described,) = metric.describe()
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(described.type, ("",))
        for suffix in suffixes:
            found[described.name + suffix] = set(labels)
    found |= {name: set() for name in ("process_cpu_seconds_total", "process_resident_memory_bytes")}
    return found


def expressions(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["expr"]] if isinstance(value.get("expr"), str) else []
        return own + [found for item in value.values() for found in expressions(item)]
    if isinstance(value, list):
        return [found for item in value for found in expressions(item)]
    return []


def check(expression: str, known: dict[str, set[str]]) -> None:
    names = NAME.findall(expression)
    for name in names:
        assert name in known, f"nobody counts {name}: {expression}"
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        allowed = set().union(*(known[name] for name in names), {"le", "instance", "job"})
        assert {label.strip() for label in grouping.split(",")} <= allowed, expression


def test_every_panel_shows_what_is_counted(known: dict[str, set[str]]) -> None:
    dashboard = json.loads((CHARTS / "grafana-dashboard.json").read_text())
    found = expressions(dashboard)
    assert len(found) >= 20
    for expression in found:
        check(expression, known)
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(identities) == len(set(identities))
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_every_alert_asks_for_what_is_counted(known: dict[str, set[str]]) -> None:
    found = re.findall(r"^\s+expr: (.+)$", (CHARTS / "alerts.yaml").read_text(), re.MULTILINE)
    assert len(found) >= 10
    for expression in found:
        check(expression, known)


@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts.test.yaml")])
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(arguments: tuple[str, ...]) -> None:
    shown = subprocess.run(["promtool", *arguments], cwd=CHARTS, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout + shown.stderr


DOCO_CD = {
    "doco_cd_info": {"version", "log_level", "start_time"},
    "doco_cd_polls_total": {"repository"},
    "doco_cd_poll_errors_total": {"repository"},
    "doco_cd_poll_duration_seconds_bucket": {"repository"},
    "doco_cd_webhook_requests_total": {"repository"},
    "doco_cd_webhook_errors_total": {"repository"},
    "doco_cd_webhook_duration_seconds_bucket": {"repository"},
    "doco_cd_deployments_total": {"repository", "deployment"},
    "doco_cd_deployment_errors_total": {"repository", "deployment"},
    "doco_cd_deployment_duration_seconds_bucket": {"repository", "deployment"},
    "doco_cd_deployments_active": {"repository"},
    "doco_cd_deployments_queued": {"repository"},
}


def test_doco_cds_names_and_labels_are_kept(known: dict[str, set[str]]) -> None:
    assert {name: known.get(name) for name in DOCO_CD} == DOCO_CD


def test_histograms_have_doco_cds_buckets() -> None:
    metrics = Metrics()
    metrics.poll_seconds.labels("x").observe(0.2)
    families = text_string_to_metric_families(metrics.render().decode())
    (polls,) = [family for family in families if family.name == "doco_cd_poll_duration_seconds"]
    bounds = [sample.labels["le"] for sample in polls.samples if sample.name.endswith("_bucket")]
    assert bounds == ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
