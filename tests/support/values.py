"""Values of `state.model` with everything that a test does not care for filled in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from state.ids import uuid7
from state.model import (
    DEFAULT_CONTEXT,
    Intent,
    IntentKind,
    Run,
    RunStatus,
    SourceKind,
    SourceSpec,
    Stack,
    StackKey,
    Trigger,
)

NOON = datetime(2026, 8, 22, 12, 0, 0, 123456, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def run(job_id: str = "", *, at: datetime = NOON, status: RunStatus = RunStatus.RUNNING, **fields: Any) -> Run:
    made = Run(job_id or uuid7(), Trigger.POLL, status, created_at=at, updated_at=at)
    return replace(made, **fields)


def intent(intent_id: str = "", **fields: Any) -> Intent:
    made = Intent(intent_id or uuid7(), IntentKind.POLL, {"targets": []}, created_at=NOON)
    return replace(made, **fields)


def source_spec(url: str = "https://git.example/acme/shop.git", **fields: Any) -> SourceSpec:
    return replace(SourceSpec(SourceKind.GIT, url), **fields)


def stack(name: str = "shop", *, desired_hash: str = "a" * 64, context: str = DEFAULT_CONTEXT, **fields: Any) -> Stack:
    made = Stack(
        key=StackKey(context, name),
        source_id="0123456789abcdef",
        repository="git.example/acme/shop",
        reference="refs/heads/main",
        revision="1" * 40,
        config={"name": name},
        desired={"services": {"web": {"image": "nginx"}}},
        desired_hash=desired_hash,
    )
    return replace(made, **fields)
