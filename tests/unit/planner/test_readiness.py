"""Readiness: a table of observed situations and what they are called."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.planner import ReadyState, readiness
from reconciler.planner.model import DesiredStack
from state.model import Overrides, Removal
from state.observed import ObservedContainer, ObservedProject
from tests.support.planning import OLD_ENGINE, stack

NOON = datetime(2026, 8, 22, 12, 0, tzinfo=UTC)
WEB = "services: {web: {image: 'app:1', ports: ['80:80']}}"
WORKER = "services: {web: {image: 'app:1'}}"
CHECKED = "services: {web: {image: 'app:1', healthcheck: {test: 'x'}}}"
AWAITED = (
    "services: {web: {image: 'app:1'}, "
    "late: {image: 'app:1', depends_on: {web: {condition: service_completed_successfully}}}}"
)


def _container(service: str = "web", number: int = 1, **fields: Any) -> ObservedContainer:
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": service,
        "com.docker.compose.container-number": str(number),
        "com.docker.compose.config-hash": "0",
        "com.docker.compose.oneoff": "False",
        **fields.pop("labels", {}),
    }
    base = ObservedContainer(
        id=f"{service}{number}".ljust(64, "0"),
        name=f"shop-{service}-{number}",
        image="app:1",
        image_id="sha256:1",
        labels=labels,
        state="running",
        started_at=NOON,
        finished_at=NOON,
    )
    return replace(base, **fields)


def _observed(*containers: ObservedContainer) -> ObservedProject:
    return ObservedProject(OLD_ENGINE, containers=containers)


R, P, F = ReadyState.READY, ReadyState.PROGRESSING, ReadyState.FAILED
TABLE: list[tuple[str, str, list[dict[str, Any]], ReadyState, str]] = [
    ("runs", WEB, [{}], R, "Ready"),
    ("missing", WEB, [], P, "Missing"),
    ("scaled to zero", WEB.replace("ports", "scale: 0, ports"), [], R, "Ready"),
    ("scaled to zero, one left", WEB.replace("ports", "scale: 0, ports"), [{}], P, "ScalingDown"),
    ("one of two", WORKER.replace("'app:1'", "'app:1', scale: 2"), [{}], P, "Missing"),
    ("two of two", WORKER.replace("'app:1'", "'app:1', scale: 2"), [{}, {"number": 2}], R, "Ready"),
    ("one of two unhealthy", CHECKED.replace("{image", "{scale: 2, image"),
     [{"health": "healthy"}, {"number": 2, "health": "unhealthy"}], F, "Unhealthy"),
    ("healthy", CHECKED, [{"health": "healthy"}], R, "Ready"),
    ("not healthy yet", CHECKED, [{"health": "starting"}], P, "HealthStarting"),
    ("unhealthy", CHECKED, [{"health": "unhealthy"}], F, "Unhealthy"),
    ("health check of the image", WEB, [{"health": "starting"}], P, "HealthStarting"),
    ("health check switched off", WEB.replace("ports", "healthcheck: {disable: true}, ports"), [{}], R, "Ready"),
    ("created", WEB, [{"state": "created"}], P, "NotStarted"),
    ("created, start refused", WEB, [{"state": "created", "error": "port is taken"}], F, "StartFailed"),
    ("paused", WEB, [{"state": "paused"}], F, "Paused"),
    ("restarting", WEB, [{"state": "restarting", "exit_code": 3, "restart_count": 4}], F, "CrashLoop"),
    ("dead", WEB, [{"state": "dead"}], P, "Missing"),
    ("long-running ended with 0", WEB, [{"state": "exited"}], F, "Exited"),
    ("long-running ended with 1", WEB, [{"state": "exited", "exit_code": 1}], F, "ExitedWithError"),
    ("one-shot nobody waits for, done", WORKER, [{"state": "exited"}], R, "Ready"),
    ("one-shot failed", WORKER, [{"state": "exited", "exit_code": 2}], F, "ExitedWithError"),
    ("one-shot killed", WORKER, [{"state": "exited", "exit_code": 137}], F, "ExitedWithError"),
    ("always restarted, yet ended", WORKER.replace("'app:1'", "'app:1', restart: always"),
     [{"state": "exited"}], F, "Exited"),
    ("on-failure, done", WORKER.replace("'app:1'", "'app:1', restart: on-failure"), [{"state": "exited"}], R, "Ready"),
    ("awaited job runs", AWAITED, [{}, {"service": "late"}], P, "NotCompleted"),
    ("awaited job done", AWAITED, [{"state": "exited"}, {"service": "late"}], R, "Ready"),
    ("awaited job with a port done", AWAITED.replace("'app:1'}", "'app:1', ports: ['80']}", 1),
     [{"state": "exited"}, {"service": "late"}], R, "Ready"),
    ("scheduled job", WORKER.replace("'app:1'", "'app:1', labels: {cd.doco.job.enabled: 'true'}"),
     [{"state": "created"}], R, "Ready"),
    ("disabled job that failed",
     WORKER.replace("'app:1'", "'app:1', labels: {cd.doco.job.enabled: 'false'}"),
     [{"state": "exited", "exit_code": 1}], R, "Ready"),
    ("one-off containers do not count", WEB, [{"labels": {"com.docker.compose.oneoff": "True"}}], P, "Missing"),
    ("hook containers do not count", WEB, [{"labels": {"com.docker.compose.hook": "pre_start"}}], P, "Missing"),
    ("out of memory", WEB, [{"state": "exited", "exit_code": 137, "oom_killed": True}], F, "ExitedWithError"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "containers", "state", "code"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_readiness(text: str, containers: list[dict[str, Any]], state: ReadyState, code: str) -> None:
    found = readiness(stack(text), _observed(*(_container(**fields) for fields in containers)))
    assert (found.state, found.code) == (state, code), found.message


def test_the_message_names_service_container_exit_code_and_since_when() -> None:
    found = readiness(stack(WEB), _observed(_container(state="exited", exit_code=3, error="boom", oom_killed=True)))
    assert found.message == (
        "service web: container shop-web-1 exited with code 3 since 2026-08-22T12:00:00Z (out of memory; boom)"
    )
    assert found.services is not None and set(found.services) == {"web"}


def test_a_growing_restart_count_is_a_crash_loop_though_the_container_is_up() -> None:
    container = _container(restart_count=3)
    assert readiness(stack(WEB), _observed(container)).ready
    found = readiness(stack(WEB), _observed(container), restarts_before={container.id: 2})
    assert (found.state, found.code) == (F, "CrashLoop")


def test_a_container_the_engine_restarted_must_stay_up_for_a_while() -> None:
    container = _container(restart_count=3)
    early = readiness(stack(WEB), _observed(container), now=NOON + timedelta(seconds=3))
    assert (early.state, early.code) == (P, "JustRestarted")
    assert readiness(stack(WEB), _observed(container), now=NOON + timedelta(seconds=11)).ready


def test_the_worst_service_decides() -> None:
    text = "services: {a: {image: 'app:1'}, b: {image: 'app:1', ports: ['1']}, c: {image: 'app:1'}}"
    found = readiness(stack(text), _observed(_container("a"), _container("b", state="exited", exit_code=9)))
    assert found.code == "ExitedWithError" and "service b" in found.message
    assert found.services is not None and set(found.services) == {"b", "c"}


@pytest.mark.parametrize(
    ("overrides", "containers", "state", "code"),
    [
        (Overrides(stopped=True), [{"state": "exited", "exit_code": 1}], R, "Stopped"),
        (Overrides(stopped=True), [{}], P, "Stopping"),
        (Overrides(stopped=True), [{"state": "paused"}], P, "Stopping"),
        (Overrides(removed=Removal("h")), [], R, "Removed"),
        (Overrides(removed=Removal("h")), [{"state": "exited"}], P, "Removing"),
        (Overrides(replicas={"web": 2}), [{}], P, "Missing"),
        (Overrides(replicas={"web": 0}), [], R, "Ready"),
    ],
)
def test_overrides(overrides: Overrides, containers: list[dict[str, Any]], state: ReadyState, code: str) -> None:
    desired: DesiredStack = stack(WORKER, overrides=overrides)
    found = readiness(desired, _observed(*(_container(**fields) for fields in containers)))
    assert (found.state, found.code) == (state, code)


def test_a_held_service_is_as_it_should_be() -> None:
    desired = stack(WEB, held_services=frozenset({"web"}))
    assert readiness(desired, _observed(_container(state="exited"))).ready
