"""Values of `state.model` as table rows and as JSON, and back.

Rows are plain dictionaries by column name. JSON is compact and ASCII only, so characters
that a database refuses (NUL, lone surrogates) are escaped inside it; in plain text columns
they are replaced by U+FFFD, because a log line a container wrote must never make it
impossible to record how a run ended.

`source_spec_to_json` and its reverse are also what intents carry in their payload.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from state.model import (
    Change,
    Condition,
    ConditionType,
    Intent,
    IntentKind,
    JsonObject,
    Overrides,
    Reason,
    Removal,
    Run,
    RunAction,
    RunStatus,
    Source,
    SourceKind,
    SourceSpec,
    Stack,
    StackKey,
    StackOutcome,
    Trigger,
)

Row: TypeAlias = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_encode_sorted = json.JSONEncoder(separators=(",", ":"), check_circular=False, sort_keys=True).encode


def now() -> datetime:
    return datetime.now(UTC)


def to_micros(moment: datetime) -> int:
    """Whole microseconds since 1970; `moment` must be aware."""
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be stored: {moment.isoformat()}")
    return (moment - _EPOCH) // _MICROSECOND


def _to_micros_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def from_micros(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def _from_micros_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def clean(text: str) -> str:
    """`text` without what UTF-8 or a text column cannot hold."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def to_json(value: Any, *, sort_keys: bool = False) -> str:
    """Compact ASCII JSON. Mappings other than `dict` are taken, too."""
    encode = _encode_sorted if sort_keys else _encode
    try:
        return encode(value)
    except TypeError:
        return encode(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


# Conditions, reasons, outcomes, overrides: lists of short values, so arrays instead of
# objects would save little; keys keep them readable for whoever opens the database.


def conditions_to_json(conditions: Iterable[Condition]) -> str:
    return _encode(
        [
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "since": to_micros(condition.since),
            }
            for condition in conditions
        ]
    )


def conditions_from_json(text: str) -> tuple[Condition, ...]:
    if text == "[]":
        return ()
    return tuple(
        Condition(
            type=ConditionType(item["type"]),
            status=item["status"],
            reason=item["reason"],
            message=item["message"],
            since=from_micros(item["since"]),
        )
        for item in json.loads(text)
    )


def overrides_to_json(overrides: Overrides) -> str:
    found: dict[str, Any] = {}
    if overrides.stopped:
        found["stopped"] = True
    if overrides.removed is not None:
        removed = overrides.removed
        found["removed"] = {
            "desired_hash": removed.desired_hash,
            "volumes": removed.volumes,
            "images": removed.images,
        }
    if overrides.replicas:
        found["replicas"] = dict(sorted(overrides.replicas.items()))
    return _encode(found)


def overrides_from_json(text: str) -> Overrides:
    if text == "{}":
        return Overrides()
    found = json.loads(text)
    removed = found.get("removed")
    return Overrides(
        stopped=found.get("stopped", False),
        removed=None if removed is None else Removal(**removed),
        replicas=found.get("replicas", {}),
    )


def _reasons_to_json(reasons: Iterable[Reason]) -> str:
    return _encode(
        [
            {
                "code": reason.code,
                "message": reason.message,
                "changes": [[change.field, change.old, change.new] for change in reason.changes],
            }
            for reason in reasons
        ]
    )


def _reasons_from_json(text: str) -> tuple[Reason, ...]:
    if text == "[]":
        return ()
    return tuple(
        Reason(item["code"], item["message"], tuple(Change(*change) for change in item["changes"]))
        for item in json.loads(text)
    )


def _outcomes_to_json(outcomes: Iterable[StackOutcome]) -> str:
    return _encode(
        [
            {
                "stack": outcome.stack,
                "context": outcome.context,
                "status": outcome.status,
                "message": outcome.message,
                "generation": outcome.generation,
            }
            for outcome in outcomes
        ]
    )


def _outcomes_from_json(text: str) -> tuple[StackOutcome, ...]:
    if text == "[]":
        return ()
    return tuple(StackOutcome(**{**item, "status": RunStatus(item["status"])}) for item in json.loads(text))


def source_spec_to_json(spec: SourceSpec) -> dict[str, Any]:
    """A source spec as an intent's payload carries it."""
    return {
        "kind": spec.kind.value,
        "url": spec.url,
        "reference": spec.reference,
        "target": spec.target,
        "deployments": [_plain(deployment) for deployment in spec.deployments],
        "interval": spec.interval,
        "run_once": spec.run_once,
        "watch": spec.watch,
    }


def source_spec_from_json(found: JsonObject) -> SourceSpec:
    """The reverse of `source_spec_to_json`."""
    return SourceSpec(
        kind=SourceKind(found["kind"]),
        url=found["url"],
        reference=found["reference"],
        target=found["target"],
        deployments=tuple(found["deployments"]),
        interval=found["interval"],
        run_once=found["run_once"],
        watch=found["watch"],
    )


def intent_to_row(intent: Intent) -> Row:
    return {
        "id": intent.id,
        "kind": intent.kind.value,
        "payload": to_json(intent.payload),
        "created_at": to_micros(intent.created_at),
        "idempotency_key": clean(intent.idempotency_key) or None,
        "delivery": clean(intent.delivery) or None,
        "finished_at": _to_micros_or_none(intent.finished_at),
        "progress": to_json(intent.progress),
    }


def intent_from_row(row: Mapping[Any, Any]) -> Intent:
    return Intent(
        id=row["id"],
        kind=IntentKind(row["kind"]),
        payload=json.loads(row["payload"]),
        created_at=from_micros(row["created_at"]),
        idempotency_key=row["idempotency_key"] or "",
        delivery=row["delivery"] or "",
        finished_at=_from_micros_or_none(row["finished_at"]),
        progress=json.loads(row["progress"]),
    )


def run_to_row(run: Run) -> Row:
    return {
        "job_id": run.job_id,
        "trigger": run.trigger.value,
        "status": run.status.value,
        "created_at": to_micros(run.created_at),
        "updated_at": to_micros(run.updated_at),
        "started_at": _to_micros_or_none(run.started_at),
        "finished_at": _to_micros_or_none(run.finished_at),
        "repository": clean(run.repository),
        "target": clean(run.target),
        "revision": clean(run.revision),
        "message": clean(run.message),
        "error": clean(run.error),
        "content": clean(run.content),
        "code": clean(run.code),
        "joined": run.joined,
        "warnings": _encode(run.warnings),
        "stacks": _outcomes_to_json(run.stacks),
        "touched": _touched(run.stacks),
    }


def _touched(outcomes: Sequence[StackOutcome]) -> str:
    names: dict[str, None] = {}
    for outcome in outcomes:
        names[outcome.stack] = None
        names[str(StackKey(outcome.context, outcome.stack))] = None
    return clean("\n" + "\n".join(names) + "\n") if names else ""


def run_from_row(row: Mapping[Any, Any], actions: tuple[RunAction, ...] = ()) -> Run:
    return Run(
        job_id=row["job_id"],
        trigger=Trigger(row["trigger"]),
        status=RunStatus(row["status"]),
        created_at=from_micros(row["created_at"]),
        updated_at=from_micros(row["updated_at"]),
        repository=row["repository"],
        target=row["target"],
        revision=row["revision"],
        message=row["message"],
        error=row["error"],
        content=row["content"],
        code=row["code"],
        started_at=_from_micros_or_none(row["started_at"]),
        finished_at=_from_micros_or_none(row["finished_at"]),
        joined=row["joined"],
        warnings=tuple(json.loads(row["warnings"])),
        stacks=_outcomes_from_json(row["stacks"]),
        actions=actions,
    )


def action_to_row(job_id: str, position: int, action: RunAction) -> Row:
    return {
        "job_id": job_id,
        "id": clean(action.id),
        "position": position,
        "kind": clean(action.kind),
        "target": clean(action.target),
        "stack": clean(action.stack),
        "service": clean(action.service),
        "reasons": _reasons_to_json(action.reasons),
        "status": action.status,
        "started_at": _to_micros_or_none(action.started_at),
        "finished_at": _to_micros_or_none(action.finished_at),
        "error": clean(action.error),
    }


def action_from_row(row: Mapping[Any, Any]) -> RunAction:
    return RunAction(
        id=row["id"],
        kind=row["kind"],
        target=row["target"],
        stack=row["stack"],
        service=row["service"],
        reasons=_reasons_from_json(row["reasons"]),
        status=row["status"],
        started_at=_from_micros_or_none(row["started_at"]),
        finished_at=_from_micros_or_none(row["finished_at"]),
        error=row["error"],
    )


def source_to_row(source: Source) -> Row:
    spec = source.spec
    return {
        "id": source.id,
        "kind": spec.kind.value,
        "url": clean(spec.url),
        "reference": clean(spec.reference),
        "target": clean(spec.target),
        "deployments": to_json(spec.deployments),
        "interval": float(spec.interval),
        "run_once": spec.run_once,
        "watch": spec.watch,
        "repository": clean(source.repository),
        "origin": source.origin,
        "revision": source.revision,
        "conditions": conditions_to_json(source.conditions),
        "last_checked": _to_micros_or_none(source.last_checked),
        "last_success": _to_micros_or_none(source.last_success),
        "failures": source.failures,
    }


def source_from_row(row: Mapping[Any, Any]) -> Source:
    return Source(
        id=row["id"],
        spec=SourceSpec(
            kind=SourceKind(row["kind"]),
            url=row["url"],
            reference=row["reference"],
            target=row["target"],
            deployments=tuple(json.loads(row["deployments"])),
            interval=row["interval"],
            run_once=row["run_once"],
            watch=row["watch"],
        ),
        repository=row["repository"],
        origin=row["origin"],
        revision=row["revision"],
        conditions=conditions_from_json(row["conditions"]),
        last_checked=_from_micros_or_none(row["last_checked"]),
        last_success=_from_micros_or_none(row["last_success"]),
        failures=row["failures"],
    )


def stack_to_row(stack: Stack, created_at: datetime, updated_at: datetime) -> Row:
    return {
        "context": stack.key.context,
        "name": stack.key.name,
        "source_id": stack.source_id,
        "repository": clean(stack.repository),
        "reference": clean(stack.reference),
        "revision": clean(stack.revision),
        "config": to_json(stack.config),
        "desired": to_json(stack.desired),
        "desired_hash": stack.desired_hash,
        "generation": stack.generation,
        "observed_generation": stack.observed_generation,
        "overrides": overrides_to_json(stack.overrides),
        "conditions": conditions_to_json(stack.conditions),
        "ready_revision": stack.ready_revision,
        "deleting": stack.deleting,
        "pending_recreate": stack.pending_recreate,
        "acknowledged": to_json(stack.acknowledged),
        "created_at": to_micros(created_at),
        "updated_at": to_micros(updated_at),
    }


def stack_from_row(row: Mapping[Any, Any]) -> Stack:
    """A stack; without the column `desired` its desired state is left empty."""
    desired = row.get("desired")
    return Stack(
        key=StackKey(row["context"], row["name"]),
        source_id=row["source_id"],
        repository=row["repository"],
        reference=row["reference"],
        revision=row["revision"],
        config=json.loads(row["config"]),
        desired=json.loads(desired) if desired else {},
        desired_hash=row["desired_hash"],
        generation=row["generation"],
        observed_generation=row["observed_generation"],
        overrides=overrides_from_json(row["overrides"]),
        conditions=conditions_from_json(row["conditions"]),
        ready_revision=row["ready_revision"],
        deleting=row["deleting"],
        pending_recreate=row["pending_recreate"],
        acknowledged=json.loads(row["acknowledged"]),
        created_at=from_micros(row["created_at"]),
        updated_at=from_micros(row["updated_at"]),
    )
