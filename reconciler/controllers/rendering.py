"""From a revision to rendered stacks: the part of a sync that reads and decides, but deploys nothing.

Each document of a deploy file is laid out (its own reference or repository, if it names
one), expanded (auto-discovery) and rendered, stack by stack. What fails is collected
beside what succeeded: a stack that cannot be rendered fails alone, and what runs of it
stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio

from reconciler.controllers.conditions import find, same, with_condition
from reconciler.controllers.record import utcnow
from reconciler.deployments.config import DeployConfig
from reconciler.deployments.hostpaths import HostPaths
from reconciler.deployments.loading import Expanded, RequestedDeployments
from reconciler.deployments.render import RenderContext, Rendered, RenderError, render
from reconciler.deployments.snapshot import content_of, with_adopted_builds
from reconciler.sources.errors import SourceError
from reconciler.sources.urls import parse_git_url
from state.model import (
    DEFAULT_CONTEXT,
    FORMER,
    ConditionType,
    RunStatus,
    Source,
    SourceSpec,
    Stack,
    StackKey,
    StackOutcome,
    Trigger,
)
from state.store import Store

RENDER_FAILED = "RenderFailed"
"""Reason of a stack, and of its source, when a revision of it could not be rendered."""


@dataclass(frozen=True)
class SyncedTree:
    """A revision on disk."""

    root: Path
    commit: str
    objects: Mapping[str, str]
    """Tracked paths -> Git object ids."""
    executables: frozenset[str] = frozenset()
    """The executable ones of them."""


@dataclass(frozen=True)
class SourceAccess:
    """How the controller reaches Git and deploy configurations; wired by the agent."""

    resolve: Callable[[SourceSpec, int], Any]
    """async (spec, depth) -> commit the reference points to."""
    checkout: Callable[[SourceSpec, str, int], Any]
    """async (spec, commit, depth) -> SyncedTree. Depth 0: what `GIT_CLONE_DEPTH` says."""
    configs: Callable[[SourceSpec, SyncedTree], RequestedDeployments]
    """Reads the deploy configuration of a tree. Blocking; raises `DeployConfigError`."""
    expand: Callable[[DeployConfig, SyncedTree, str, str], Expanded]
    """(document, tree, repository, deploy file): carries out auto-discovery. Blocking."""
    watch: Callable[[SourceSpec, Callable[[], None], Callable[[], None]], Any]
    """async (spec, notify, begun): watch a local repository until cancelled."""
    public_url: Callable[[str], str]
    """A URL without its credentials."""


@dataclass
class SyncRequest:
    """Somebody, or a poll loop, wants a source looked at."""

    source: Source
    jobs: list[str] = field(default_factory=list)
    explicit: bool = False
    trigger: str = "poll"
    """Value of the label `cd.doco.deployment.trigger`."""
    asked: bool = False
    """A person asked for this source by a poll call; that also ends the override *removed*."""
    pushed: set[str] = field(default_factory=set)
    """References that webhooks spoke of; `webhook_filter`s are matched against them."""
    unfiltered: bool = False
    """Somebody else than a webhook wants it: filters do not count."""
    source_name: str = ""
    source_url: str = ""
    gives_way: anyio.Event = field(default_factory=anyio.Event)
    """Set when the next sync of the repository may begin."""

    def accepts(self, config: DeployConfig) -> bool:
        return self.unfiltered or any(config.accepts(ref) for ref in self.pushed)

    def join(self, other: SyncRequest) -> None:
        """Serve what `other` was for, too."""
        self.jobs += [job for job in other.jobs if job not in self.jobs]
        if other.explicit and not (self.explicit and self.asked):
            self.trigger = other.trigger
        self.explicit |= other.explicit
        self.asked |= other.asked
        self.pushed |= other.pushed
        self.unfiltered |= other.unfiltered
        self.source_name = other.source_name or self.source_name
        self.source_url = other.source_url or self.source_url

    @property
    def kind(self) -> Trigger:
        """What set the work off."""
        return Trigger.WEBHOOK if self.pushed else Trigger.POLL


@dataclass
class Rendering:
    """What one sync has found so far."""

    trees: dict[str, SyncedTree]
    heads: list[tuple[str, str]]
    warnings: list[str]
    rendered: list[tuple[SyncedTree, Rendered]] = field(default_factory=list)
    failed: list[StackOutcome] = field(default_factory=list)
    destroyed: dict[StackKey, DeployConfig] = field(default_factory=dict)
    wanted: set[StackKey] = field(default_factory=set)
    """All stacks the revision speaks of, also those that could not be rendered."""
    complete: bool = True
    filtered: bool = False
    """A webhook's reference did not match some documents: they were not looked at."""
    unsettled: bool = False
    """An Engine could not be asked about something: the next poll is to try again."""


@dataclass(frozen=True)
class SyncOptions:
    """Settings of the syncs."""

    process_environment: Mapping[str, str]
    paths: HostPaths
    key: bytes
    instance: str
    version: str


class Renderer:
    """Renders the stacks of revisions."""

    def __init__(self, store: Store, access: SourceAccess, options: SyncOptions) -> None:
        self._store = store
        self._access = access
        self._options = options

    async def document(
        self,
        pending: SyncRequest,
        config: DeployConfig,
        config_file: str,
        before: Mapping[StackKey, Stack],
        work: Rendering,
        log: Any,
    ) -> None:
        """Render the stacks of one document; each fails alone."""
        source = pending.source
        try:
            tree = await self._tree(source.spec, config, work)
        except SourceError as error:
            work.complete = False
            # Without a commit: as soon as it can be read again, that is a change.
            work.heads.append((_tree_name(config, source.spec), ""))
            work.failed.append(await self.failed(pending, config.context, config.name, str(error), log))
            return
        expanded: Expanded = await anyio.to_thread.run_sync(
            self._access.expand, config, tree, _repository(config, source), config_file
        )
        work.warnings += expanded.warnings
        work.complete &= expanded.complete
        for name, message in expanded.failures:
            work.wanted.add(StackKey(config.context or DEFAULT_CONTEXT, name))
            work.failed.append(await self.failed(pending, config.context, name, message, log))
        for one in expanded.configs:
            key = StackKey(one.context or DEFAULT_CONTEXT, one.name)
            work.wanted.add(key)
            conflict = await self._conflict(source, before.get(key), destroying=one.destroy.enabled)
            if conflict:
                work.failed.append(await self.failed(pending, one.context, one.name, conflict, log))
                continue
            if one.destroy.enabled:
                work.destroyed[key] = one
                continue
            try:
                rendered = await anyio.to_thread.run_sync(
                    render, one, self._render_context(pending, tree, work.trees[""])
                )
            except RenderError as error:
                work.failed.append(await self.failed(pending, one.context, one.name, str(error), log))
                continue
            work.rendered.append((tree, rendered))
            work.warnings += [f"{one.name}: {warning}" for warning in rendered.warnings]

    async def _tree(self, spec: SourceSpec, config: DeployConfig, work: Rendering) -> SyncedTree:
        """The tree a document is rendered from: the source's own, or another one on disk."""
        name = _tree_name(config, spec)
        if name not in work.trees:
            url, _, reference = name.partition("#")
            other = replace(spec, url=url, reference=reference)
            head = await self._access.resolve(other, config.git_depth)
            work.trees[name] = await self._access.checkout(other, head, config.git_depth)
            work.heads.append((name, head))
        return work.trees[name]

    async def stack(
        self,
        source: Source,
        tree: SyncedTree,
        one: Rendered,
        pending: SyncRequest,
        before: Mapping[StackKey, Stack],
    ) -> Stack:
        key = StackKey(one.context, one.name)
        known = before.get(key)
        desired = one.desired
        if any("build" in digests for digests in content_of(desired).values()):
            full = await self._store.get_stack(key) if known else None
            desired = with_adopted_builds(desired, full.desired if full else None)
        moved = known is None or known.revision != tree.commit
        wishes = one.config.get("force_recreate") or one.config.get("force_image_pull")
        wish = tree.commit if wishes and (moved or pending.explicit) else (known.pending_recreate if known else "")
        return Stack(
            key=key,
            source_id=source.id,
            repository=source.repository,
            reference=str(one.config.get("reference") or source.spec.reference),
            revision=tree.commit,
            config=one.config,
            desired=desired,
            desired_hash=one.desired_hash,
            pending_recreate=wish,
        )

    def _render_context(self, pending: SyncRequest, tree: SyncedTree, own: SyncedTree) -> RenderContext:
        source = pending.source
        short = source.repository.partition("/")[2] or source.repository
        return RenderContext(
            root=tree.root,
            objects=tree.objects,
            executables=tree.executables,
            config_root=own.root,
            config_objects=own.objects,
            revision=tree.commit,
            reference=source.spec.reference,
            repository=source.repository,
            source_name=pending.source_name or short,
            source_url=pending.source_url or self._access.public_url(source.spec.url),
            trigger=pending.trigger,
            target=source.spec.target,
            process_environment=self._options.process_environment,
            paths=self._options.paths,
            key=self._options.key,
            instance=self._options.instance,
            version=self._options.version,
            timestamp=utcnow().strftime("%Y-%m-%dT%H:%M:%SZ"),
        )

    async def _conflict(self, source: Source, known: Stack | None, *, destroying: bool) -> str:
        """Why this source may not deploy (or destroy) a stack of that name; empty: it may.

        A stack whose source is not followed any more is taken over (a repository that moved), but
        not for being destroyed.
        """
        if known is None or known.source_id == source.id or known.repository == source.repository:
            return ""
        owner = await self._store.get_source(known.source_id)
        if owner is None or (owner.origin == FORMER and not destroying):
            return ""
        return (
            "another stack with the same name already exists and is not managed by this repository: "
            f"{known.key.name} belongs to {known.repository}"
        )

    async def failed(self, pending: SyncRequest, context: str, name: str, message: str, log: Any) -> StackOutcome:
        """Say that a stack could not be rendered; what runs of it stays."""
        source = pending.source
        key = StackKey(context or DEFAULT_CONTEXT, name)
        known = await self._store.get_source(source.id) or source
        said = find(known.conditions, ConditionType.SOURCE_READY)
        again = said is not None and not pending.explicit and f"{name}: {message}" in said.message
        say = log.debug if again else log.error
        say("deployment failed", stack=name, context=key.context, error=message)
        stack = await self._store.get_stack(key)
        if stack is not None and stack.repository == source.repository:
            conditions = with_condition(stack.conditions, ConditionType.DEGRADED, True, RENDER_FAILED, message)
            if not same(conditions, stack.conditions):
                await self._store.update_stack(key, conditions=conditions)
        return StackOutcome(stack=name, context=key.context, status=RunStatus.FAILED, message=message)


def git_depth(source: Source, stacks: Iterable[Stack]) -> int:
    """How deep the source's own repository is wanted by its deployments: as inline ones say, or as
    those of the deploy file said that was read last. 0: none of them says."""
    configs: Iterable[Mapping[str, Any]] = source.spec.deployments or (
        stack.config for stack in stacks if stack.source_id == source.id and not stack.config.get("repository_url")
    )
    return max((int(config.get("git_depth") or 0) for config in configs), default=0)


def _repository(config: DeployConfig, source: Source) -> str:
    """Name of the repository that the Compose files are in: a stack at its root is called so."""
    return parse_git_url(config.repository_url).repository if config.repository_url else source.repository


def _tree_name(config: DeployConfig, spec: SourceSpec) -> str:
    """Which work tree a deployment is rendered from: empty, or `url#reference`."""
    url = config.repository_url or spec.url
    reference = config.reference or spec.reference
    if url == spec.url and _full(reference) == _full(spec.reference):
        return ""
    return f"{url}#{reference}"


def _full(reference: str) -> str:
    return reference if reference.startswith("refs/") or len(reference) == 40 else f"refs/heads/{reference}"
