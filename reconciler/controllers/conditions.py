"""Conditions as values: setting one keeps `since` unless the status really changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from state.model import Condition, ConditionType


def with_condition(
    conditions: Sequence[Condition],
    type_: ConditionType,
    status: bool,
    reason: str,
    message: str = "",
    *,
    now: datetime | None = None,
) -> tuple[Condition, ...]:
    """`conditions` with one set or replaced. Equal in all but time: unchanged, same object order."""
    previous = find(conditions, type_)
    since = now or datetime.now(UTC)
    if previous is not None and previous.status == status:
        since = previous.since
    fresh = Condition(type=type_, status=status, reason=reason, message=message, since=since)
    if previous is None:
        return (*conditions, fresh)
    return tuple(fresh if condition.type == type_ else condition for condition in conditions)


def without(conditions: Sequence[Condition], *types: ConditionType) -> tuple[Condition, ...]:
    """`conditions` without those of the given types."""
    return tuple(condition for condition in conditions if condition.type not in types)


def find(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """The condition of a type, if it is set."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: ConditionType) -> bool:
    """Whether a condition is set and true."""
    condition = find(conditions, type_)
    return condition is not None and condition.status


def same(left: Sequence[Condition], right: Sequence[Condition]) -> bool:
    """Whether two lists say the same, apart from since when."""
    return [(c.type, c.status, c.reason, c.message) for c in left] == [
        (c.type, c.status, c.reason, c.message) for c in right
    ]
