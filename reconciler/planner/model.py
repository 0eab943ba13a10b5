"""The words of planning: what is desired, and what is to be done, each with its reason.

`plan(desired, observed) -> Plan` is pure. A plan is a value: the command line prints it,
the executor carries it out, the run record and the API show it. Nobody else decides.

A `Plan` is a directed acyclic graph of `Action`s. An action names what it does, to what,
why (`Reason`s, made of `Change`s) and which actions must have ended well before
(`needs`). The executor starts each action the moment its needs are satisfied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.compose.model import Project
from state.model import Change, Overrides, Reason, StackKey


class DriftPolicy(StrEnum):
    """What happens to drift that nobody asked for."""

    CORRECT = "correct"
    DETECT = "detect"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Policy:
    """How a stack wants to be deployed (from its deploy configuration)."""

    remove_orphans: bool = True
    prune_images: bool = True
    force_recreate: bool = False
    """Already resolved by the caller: true only once for a new revision or an explicit call."""
    force_image_pull: bool = False
    """As `force_recreate`: true only once."""
    check_registry: bool = False
    """Compare mutable tags with the registry: the revision or the intent is new."""
    timeout: float = 180.0
    """Seconds until a service must be ready."""
    recreate_volumes: bool = False
    """Explicit permission to delete and make again a volume whose definition changed."""
    build_no_cache: bool = False
    build_pull: bool = False
    build_args: Mapping[str, str] = field(default_factory=dict)
    drift: DriftPolicy = DriftPolicy.CORRECT
    retry_failed: bool = False
    """Run containers again that ended by themselves with an error and have no restart policy:
    true for a new revision or an explicit call, false for a mere look again. Also lets a stack
    whose drift is not corrected be brought to its desired state this once."""
    images_done: bool = False
    """Images were pulled and built just now: plan with what is there (see `after_partial`)."""


@dataclass(frozen=True)
class DesiredStack:
    """Everything the planner needs to know of what should run."""

    key: StackKey
    project: Project
    policy: Policy = field(default_factory=Policy)
    overrides: Overrides = field(default_factory=Overrides)
    labels: Mapping[str, str] = field(default_factory=dict)
    """`cd.doco.*` and other tool labels for created containers; never a reason to recreate."""
    content: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Service -> what it uses (`bind:/etc/app.conf`, `config:NAME`, `secret:NAME`,
    `build`) -> content digest. Written into the label `io.moored.content` as JSON and
    compared with it: a changed digest recreates the users, with the key in the reason."""
    acknowledged_content: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Container id -> content key -> digest that this container was told of without being
    recreated (`cd.doco.deployment.recreate.ignore.signal`): its label keeps the old digest for
    life. Likewise the definition it was changed to in place, and the start after which it was
    stopped by a plan. Whoever carries a plan out merges `params["acknowledge"]` of each action that ended
    well into the entry of `params["container"]`, durably, and drops ids that are gone."""
    seccomp_profiles: Mapping[str, str] = field(default_factory=dict, repr=False)
    """File as a `security_opt: seccomp=FILE` names it (or its path) -> its text."""
    adopted_builds: Mapping[str, str] = field(default_factory=dict)
    """Service -> digest of its build inputs when its stack was first seen. What was built by
    somebody else and runs already is taken for the result of just these inputs."""
    held_services: frozenset[str] = frozenset()
    """Services that a running scheduled job keeps stopped: not started meanwhile."""


class ActionKind(StrEnum):
    """What the executor can do."""

    PULL_IMAGE = "pull-image"
    BUILD_IMAGE = "build-image"
    CREATE_NETWORK = "create-network"
    REMOVE_NETWORK = "remove-network"
    CREATE_VOLUME = "create-volume"
    REMOVE_VOLUME = "remove-volume"
    CREATE_CONTAINER = "create-container"
    REPLACE_CONTAINER = "replace-container"
    """Create the successor, stop and remove the old one, rename; the successor is started
    by a START action. On failure the old one is put back. With `params["order"]` `start-first`
    only the successor is created; START starts it, and HAND_OVER ends the replacement."""
    HAND_OVER = "hand-over"
    """Wait until a started successor serves, then stop and remove the container it replaces and
    give it its name. On failure the successor is removed; the old one has never stopped."""
    UPDATE_CONTAINER = "update-container"
    RENAME_CONTAINER = "rename-container"
    CONNECT_NETWORK = "connect-network"
    DISCONNECT_NETWORK = "disconnect-network"
    START_CONTAINER = "start-container"
    STOP_CONTAINER = "stop-container"
    RESTART_CONTAINER = "restart-container"
    UNPAUSE_CONTAINER = "unpause-container"
    SIGNAL_CONTAINER = "signal-container"
    REMOVE_CONTAINER = "remove-container"
    REMOVE_IMAGE = "remove-image"
    RUN_HOOK = "run-hook"
    """A `pre_start` init container of a service."""
    WAIT_SERVICE = "wait-service"
    """Wait until a service satisfies `params["condition"]` (one of Compose's three)."""


@dataclass(frozen=True, slots=True)
class Action:
    """One step. `params` is JSON and holds no secret value.

    `params["optional"]` true: its failure, or that of what it needs, fails nothing else; it
    then counts as ended, and who needs it goes on.
    """

    id: str
    """Unique in its plan and the same in every plan for the same situation, for example
    `start-container:shop-web-1`."""
    kind: ActionKind
    target: str
    """Name of the container, network, volume or image (or service, for WAIT_SERVICE)."""
    service: str = ""
    reasons: tuple[Reason, ...] = ()
    needs: frozenset[str] = frozenset()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something that stays as it is until a person decides, for example a changed volume."""

    target: str
    reason: Reason


@dataclass(frozen=True)
class Plan:
    """What to do so that what is observed becomes what is desired."""

    key: StackKey
    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    warnings: tuple[str, ...] = ()
    drift: tuple[Blocked, ...] = ()
    """Differences nobody asked for that the policy says to leave (`DETECT`)."""
    partial: bool = False
    """These actions only prepare (images): carry them out, observe again, plan again. The rest
    cannot be decided before, for it depends on what the images turn out to be."""

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return not self.actions


class PlanError(Exception):
    """The desired state cannot be reached on this Engine; nothing has been touched.

    The message names the attribute, what it needs and what is there.
    """


__all__ = [
    "Action",
    "ActionKind",
    "Blocked",
    "Change",
    "DesiredStack",
    "DriftPolicy",
    "Plan",
    "PlanError",
    "Policy",
    "Reason",
]
