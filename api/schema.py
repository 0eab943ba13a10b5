"""The shapes of requests and answers, for the OpenAPI document.

Only documentation is made from these models, so they are loaded when the document is
asked for. Tests hold the real answers against them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Open(BaseModel):
    """More keys than described may come with any object."""

    model_config = ConfigDict(extra="allow")


class Failure(Open):
    """Every refusal and failure."""

    error: str
    content: Any = Field(description="Details; `''` when there are none.")
    job_id: str = Field(default="", description="The id of the request or its run; left out in some 405 answers.")


class Text(Open):
    """A sentence that says what was done."""

    content: str
    job_id: str


class Change(Open):
    field: str
    from_: str = Field(alias="from")
    to: str


class Reason(Open):
    code: str
    message: str
    changes: list[Change]


class RunAction(Open):
    id: str
    kind: str
    target: str
    stack: str
    service: str
    status: Literal["pending", "running", "succeeded", "failed", "cancelled"]
    reasons: list[Reason]
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""


class StackOutcome(Open):
    stack: str
    context: str
    status: str
    message: str
    generation: int


class RunRecord(Open):
    """One attempt to carry something out. Keys without a value are left out."""

    job_id: str
    trigger: Literal["webhook", "poll", "scheduled_job", "reconcile", "api"]
    status: Literal["accepted", "running", "succeeded", "failed", "skipped"]
    repository: str = ""
    target: str = ""
    revision: str = ""
    message: str = ""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime
    error: str = ""
    content: str = ""
    code: str = ""
    joined_job_id: str = ""
    warnings: list[str] = []
    stacks: list[StackOutcome] = []
    actions: list[RunAction] = []


class RunList(Open):
    content: list[RunRecord]
    job_id: str


class Run(Open):
    content: RunRecord
    job_id: str


class Project(Open):
    """A Compose project as `docker compose ls` shows it."""

    ID: str
    Name: str
    Status: str
    ConfigFiles: str
    Reason: str
    Context: str = "default"
    stale_since: datetime | None = None


class ProjectList(Open):
    content: list[Project]
    job_id: str


class Publisher(Open):
    URL: str
    TargetPort: int
    PublishedPort: int
    Protocol: str


class Container(Open):
    """A container as `docker compose ps` shows it."""

    ID: str
    Name: str
    Names: list[str]
    Image: str
    Command: str
    Project: str
    Service: str
    Created: int
    State: str
    Status: str
    Health: str
    ExitCode: int
    Publishers: list[Publisher]
    Labels: dict[str, str]
    Mounts: list[str] | None
    Networks: list[str] | None
    LocalVolumes: int
    Context: str = "default"
    stale_since: datetime | None = None


class ContainerList(Open):
    content: list[Container]
    job_id: str


class Condition(Open):
    type: str
    status: bool
    reason: str
    message: str
    since: datetime


class Overrides(Open):
    stopped: bool
    removed: bool
    replicas: dict[str, int]


class StackStatus(Open):
    name: str
    context: str
    source: str
    repository: str
    reference: str
    revision: str
    ready_revision: str
    generation: int
    observed_generation: int
    deleting: bool
    overrides: Overrides
    conditions: list[Condition]
    containers: dict[str, int]
    stale_since: datetime | None = None


class SourceStatus(Open):
    id: str
    kind: Literal["git", "oci"]
    repository: str
    reference: str
    target: str
    origin: str
    interval: float
    revision: str
    failures: int
    conditions: list[Condition]
    last_checked: datetime | None = None
    last_success: datetime | None = None
    next_check: datetime | None = None


class ContextStatus(Open):
    name: str
    connected: bool
    synced: bool
    containers: int
    engine: dict[str, Any] = {}
    error: str = ""
    stale_since: datetime | None = None


class StatusContent(Open):
    version: str
    stacks: list[StackStatus]
    sources: list[SourceStatus]
    contexts: list[ContextStatus]


class Status(Open):
    content: StatusContent
    job_id: str


class PollTarget(Open):
    """A source to look at, as in `POLL_CONFIG`. `null` is the same as leaving a key out."""

    url: str = Field(min_length=1, description="Git URL, absolute path of a local repository, or OCI reference.")
    source: Literal["git", "oci"] | None = "git"
    reference: str | None = "refs/heads/main"
    target: str | None = Field(default="", description="Picks `.doco-cd.<target>.yml`.")
    deployments: list[dict[str, Any]] | None = Field(default=[], description="Inline deploy configurations.")
    interval: int | str | None = Field(default=180, description="Seconds, or a duration such as `5m`.")
    run_once: bool | None = False
    watch: bool | None = True
