"""The nouns everything else speaks of.

A *source* is where desired state comes from, a *revision* an exact commit of it, a
*stack* one deployment of it on one Docker context. An *intent* is a durable command, a
*run* one attempt to carry something out, with its *actions* and their *reasons*. A
*condition* says how a stack or source is, since when and why. An *override* is the part
of the desired state that a person set over the API.

All are frozen values: they go through the store, the log, the API and the plan
unchanged. Times are aware UTC datetimes. Nothing here knows Docker or HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

JsonObject: TypeAlias = Mapping[str, Any]

DEFAULT_CONTEXT = "default"


class StackKey(NamedTuple):
    """Identifies a stack: the Docker context it runs on and its project name."""

    context: str
    name: str

    def __str__(self) -> str:
        return self.name if self.context == DEFAULT_CONTEXT else f"{self.context}/{self.name}"


@dataclass(frozen=True, slots=True)
class Change:
    """A difference: which field, what it was, what it becomes.

    `old` and `new` are short printable texts, already redacted where the field is secret.
    """

    field: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.old} → {self.new}"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an action is taken."""

    code: str
    """One CamelCase word, for example `ImageChanged`, `Drift`, `Missing`, `Orphan`."""
    message: str
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        return "; ".join((self.message, *map(str, self.changes))) if self.message else "; ".join(map(str, self.changes))


class ConditionType(StrEnum):
    READY = "Ready"
    RECONCILING = "Reconciling"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    BLOCKED = "Blocked"
    SOURCE_READY = "SourceReady"


@dataclass(frozen=True, slots=True)
class Condition:
    type: ConditionType
    status: bool
    reason: str
    """One CamelCase word."""
    message: str
    since: datetime
    """When `status` last changed."""


class Trigger(StrEnum):
    """What set a run off. The first three are Doco-CD's; the others are ours and are only
    listed when asked for."""

    WEBHOOK = "webhook"
    POLL = "poll"
    SCHEDULED_JOB = "scheduled_job"
    RECONCILE = "reconcile"
    API = "api"


class RunStatus(StrEnum):
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def finished(self) -> bool:
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.SKIPPED)


@dataclass(frozen=True, slots=True)
class RunAction:
    """One step of a run, as carried out."""

    id: str
    kind: str
    target: str
    stack: str = ""
    service: str = ""
    reasons: tuple[Reason, ...] = ()
    status: str = "pending"
    """`pending`, `running`, `succeeded`, `failed` or `cancelled`."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class StackOutcome:
    """How one stack of a run ended."""

    stack: str
    context: str = DEFAULT_CONTEXT
    status: RunStatus = RunStatus.SUCCEEDED
    message: str = ""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt to carry something out, as callers see it under its `job_id`."""

    job_id: str
    trigger: Trigger
    status: RunStatus
    created_at: datetime
    updated_at: datetime
    repository: str = ""
    target: str = ""
    revision: str = ""
    message: str = ""
    error: str = ""
    """For a failed run the `error` of the answer to a waiting caller (`message` is what the
    run record shows)."""
    content: str = ""
    """For a failed run the causes, one a line."""
    code: str = ""
    """CamelCase cause of a failure, by which the API picks a status code."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    joined: str = ""
    """`job_id` of the run that did this one's work together with its own."""
    warnings: tuple[str, ...] = ()
    stacks: tuple[StackOutcome, ...] = ()
    actions: tuple[RunAction, ...] = ()


class IntentKind(StrEnum):
    POLL = "poll"
    WEBHOOK = "webhook"
    PROJECT_START = "project-start"
    PROJECT_STOP = "project-stop"
    PROJECT_RESTART = "project-restart"
    PROJECT_REMOVE = "project-remove"
    OVERRIDE_CLEAR = "override-clear"


@dataclass(frozen=True, slots=True)
class Intent:
    """A durable command. Its id is the `job_id` callers see; every intent has a run of the
    same id that tells its outcome.

    `payload` by kind:
    poll: `{"targets": [SourceSpec as JSON, ...]}`;
    webhook: `{"target": SourceSpec as JSON, "ref": ..., "commit": ..., "full_name": ...,
    "web_url": ..., "private": bool}`;
    project-*: `{"context": ..., "name": ..., "timeout": seconds, "volumes": bool,
    "images": bool}` (the last two for remove).
    """

    id: str
    kind: IntentKind
    payload: JsonObject
    created_at: datetime
    idempotency_key: str = ""
    delivery: str = ""
    """A webhook's delivery id: a replayed delivery does nothing twice."""
    finished_at: datetime | None = None
    progress: JsonObject = field(default_factory=dict)
    """What a resumed intent must know not to do twice (for example: container ids already
    restarted)."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What was accepted and is not finished."""

    open: frozenset[str]
    """Ids of all such intents."""
    new: tuple[tuple[Intent, Run | None], ...]
    """Those that were asked for, oldest first, with their runs."""


class SourceKind(StrEnum):
    GIT = "git"
    OCI = "oci"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What identifies a source, and how it is followed.

    Two specs with the same `kind, url, reference, target, deployments` are one source.
    """

    kind: SourceKind
    url: str
    """As configured, after rewrites. May hold credentials: never log it, use `repository`."""
    reference: str = "refs/heads/main"
    target: str = ""
    deployments: tuple[JsonObject, ...] = ()
    """Inline deploy configurations, as written; empty: read from the repository."""
    interval: float = 180.0
    """Seconds; 0 switches interval polling off."""
    run_once: bool = False
    watch: bool = True


FORMER = "former"
"""Origin of a source that is not in the poll configuration any more."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source as the store knows it."""

    id: str
    spec: SourceSpec
    repository: str
    """`host/owner/repo`, without credentials."""
    origin: str
    """`config` (followed by a poll loop), `api`, `webhook`, or `former` (was followed, and nobody
    asked for it since: its stacks may be taken over)."""
    revision: str = ""
    """The commit whose stacks are the desired state."""
    conditions: tuple[Condition, ...] = ()
    last_checked: datetime | None = None
    last_success: datetime | None = None
    failures: int = 0
    """Consecutive failed attempts."""


@dataclass(frozen=True, slots=True)
class Removal:
    """The override *removed*: the stack stays away until its own desired state changes
    (`desired_hash` is the one it was removed at) or a person asks for it."""

    desired_hash: str
    volumes: bool = True
    images: bool = True


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a person set over the API."""

    stopped: bool = False
    removed: Removal | None = None
    replicas: Mapping[str, int] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        return self.stopped or self.removed is not None or bool(self.replicas)


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as the store knows it: what is wanted of it, and how it is."""

    key: StackKey
    source_id: str
    repository: str
    reference: str
    revision: str
    """The commit its desired state was rendered from last."""
    config: JsonObject
    """Its deploy configuration, validated, with defaults."""
    desired: JsonObject
    """The rendered desired state as JSON (`reconciler.deployments.snapshot`), secrets included."""
    desired_hash: str
    """SHA-256 over what counts as a change of `desired`."""
    generation: int = 0
    observed_generation: int = 0
    overrides: Overrides = field(default_factory=Overrides)
    conditions: tuple[Condition, ...] = ()
    ready_revision: str = ""
    """The last revision at which it was ready."""
    deleting: bool = False
    """Removed from its source (`destroy`, discovery): to be taken down and then forgotten."""
    pending_recreate: str = ""
    """Revision or intent for which `force_recreate`/`force_image_pull` is still to be done."""
    acknowledged: JsonObject = field(default_factory=dict)
    """Container id -> content key -> digest: changed content that a container was told of by a
    signal instead of being recreated, and what else only we know of it
    (`reconciler.controllers.notes`)."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
