"""The source loops: what Git says becomes the desired state of stacks.

Each followed source has a poll loop that only says "look again"; webhooks and API calls
say the same. Work is keyed by repository; `turns.py` tells whose turn it is.

A sync asks the remote where the reference points (`ls-remote`). If that moved, or
somebody explicitly asked, the revision is laid out on disk, the deploy configuration
read, every stack rendered and the whole desired state written in one transaction; then
the stacks are reconciled and their outcomes collected. A stack that cannot be rendered
fails alone and keeps running as it was.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import anyio
from anyio.abc import TaskGroup

from reconciler.controllers.conditions import find, is_true, same, with_condition
from reconciler.controllers.contexts import UnknownContext
from reconciler.controllers.jobs import Jobs, TargetResult
from reconciler.controllers.lastrendering import Heads, LastRendering, remember
from reconciler.controllers.record import finished, new_run, utcnow
from reconciler.controllers.rendering import (
    RENDER_FAILED,
    Renderer,
    Rendering,
    SourceAccess,
    SyncedTree,
    SyncOptions,
    SyncRequest,
    git_depth,
)
from reconciler.controllers.rhythm import Rhythm
from reconciler.controllers.stacks import StackController
from reconciler.controllers.supervise import supervise, unexpected
from reconciler.controllers.turns import Turns
from reconciler.controllers.unrecorded import leaving, refusal
from reconciler.deployments.errors import DeployConfigError
from reconciler.deployments.loading import RequestedDeployments
from reconciler.engine.errors import EngineError
from reconciler.log import get_logger
from reconciler.sources.errors import RevisionGone, SourceError
from reconciler.sources.references import is_commit_id
from reconciler.sources.urls import full_name, parse_git_url
from state.errors import StateError
from state.events import EventHub
from state.metrics import Metrics
from state.model import (
    ConditionType,
    Removal,
    Run,
    RunStatus,
    Source,
    SourceKind,
    SourceSpec,
    Stack,
    StackKey,
    StackOutcome,
    Trigger,
)
from state.store import Store

_log = get_logger()

CHECKED_EVERY = 60.0
"""Seconds between two writes of `last_checked` of a source that does not move."""
LOCAL_RESYNC = 24 * 3600.0
"""Seconds between polls of a local source whose interval is 0."""


class SourceController:
    """Follows sources. `run` keeps it going; `request` is for intents."""

    def __init__(
        self,
        *,
        store: Store,
        stacks: StackController,
        jobs: Jobs,
        hub: EventHub,
        access: SourceAccess,
        options: SyncOptions,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._stacks = stacks
        self._jobs = jobs
        self._hub = hub
        self._access = access
        self._renderer = Renderer(store, access, options)
        self._metrics = metrics
        self._turns = Turns(self._sync_and_tell, self._moved)
        self._synced: dict[str, Heads] = {}
        self._rendered: dict[str, LastRendering] = {}
        self._unusable: dict[str, tuple[str, str]] = {}
        """Reason and message of what is wrong with the revision that was read last, by source."""
        self._failures: dict[str, int] = {}
        self._checked: dict[str, datetime] = {}
        self._rhythms: dict[str, Rhythm] = {}
        self._tasks: TaskGroup | None = None

    # --- for the neighbours ---------------------------------------------------------------
    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve requests and poll for ever."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._turns.run, tasks)
            task_status.started()
            await anyio.sleep_forever()

    def follow(self, sources: Iterable[Source]) -> None:
        """Begin to poll sources."""
        if self._tasks is None:
            raise RuntimeError("source controller is not running")
        for source in sources:
            self._tasks.start_soon(self._poll, source, self._tasks, name=f"poll {source.repository}")

    def request(
        self,
        source: Source,
        *,
        job_id: str = "",
        explicit: bool = True,
        trigger: str = "poll",
        pushed: str = "",
        source_name: str = "",
        source_url: str = "",
    ) -> None:
        """Look at a source; the outcome goes to the job. Joins a sync that still waits.

        `pushed`: the reference that a webhook spoke of; empty when it is no webhook.
        """
        wanted = SyncRequest(
            source,
            jobs=[job_id] if job_id else [],
            explicit=explicit,
            trigger=trigger,
            asked=explicit and not pushed,
            pushed={pushed} if pushed else set(),
            unfiltered=not pushed,
            source_name=source_name,
            source_url=source_url,
        )
        self._turns.ask(wanted)

    async def drain(self) -> None:
        """Take up nothing new and return when the running syncs have ended."""
        await self._turns.drain()

    # --- loops ------------------------------------------------------------------------------
    async def _poll(self, source: Source, tasks: TaskGroup) -> None:
        spec = source.spec
        local = spec.url.startswith(("file://", "/"))
        if spec.interval <= 0 and not spec.run_once and not local:
            _log.info("polling job disabled by config", repository=source.repository)
            return
        rhythm = self._rhythms[source.id] = Rhythm()
        if local and spec.watch and not spec.run_once:
            watched = anyio.Event()

            async def watch() -> None:
                try:
                    await self._access.watch(spec, rhythm.ring, watched.set)
                finally:
                    watched.set()

            tasks.start_soon(supervise, f"watch of {source.repository}", watch, name=f"watch {source.repository}")
            # A commit between the first look and the first picture of the watch would be nobody's.
            await watched.wait()
        while True:
            rhythm.begin()
            self.request(source, explicit=False)
            interval = spec.interval if spec.interval > 0 else LOCAL_RESYNC
            if not await rhythm.next(interval * random.uniform(0.95, 1.05), once=spec.run_once):  # noqa: S311 - jitter
                return

    async def _sync_and_tell(self, pending: SyncRequest) -> None:
        started = anyio.current_time()
        source = pending.source
        try:
            await self._jobs.start(pending.jobs)
            result = await self._sync(pending)
            self._failures[source.id] = 0 if result.ok else self._failures.get(source.id, 0) + 1
            await self._jobs.result(pending.jobs, source.id, result)
        except StateError as error:
            # Nothing accepted is lost: the same jobs are served as soon as the store is back.
            delay = self._turns.retry(pending)
            _log.error(
                "the store cannot be used", repository=source.repository, error=str(error), retry_in=round(delay, 1)
            )
            return
        rhythm = self._rhythms.get(source.id)
        if rhythm is not None:
            rhythm.ended(result.ok or result.synced)
        self._count(pending, anyio.current_time() - started, result)

    def _count(self, pending: SyncRequest, seconds: float, result: TargetResult) -> None:
        source, counted = pending.source, self._metrics
        counted.queue_depth.labels("sources").set(len(self._turns))
        if result.ok:
            counted.source_last_success.labels(source.repository, source.spec.reference).set_to_current_time()
        if pending.pushed:
            name = pending.source_name or source.repository
            if result.ok:
                counted.webhook_requests.labels(name).inc()
                counted.webhook_seconds.labels(name).observe(seconds)
            else:
                counted.webhook_errors.labels(name).inc()
            return
        counted.polls.labels(source.repository).inc()
        counted.poll_seconds.labels(source.repository).observe(seconds)
        if not result.ok:
            counted.poll_errors.labels(source.repository).inc()

    # --- a sync, from top to bottom -----------------------------------------------------------
    async def _sync(self, pending: SyncRequest) -> TargetResult:
        """Look at one source. Its failures are results; only store errors escape."""
        source = pending.source
        spec = source.spec
        own: Run | None = None
        leader = pending.jobs[0] if pending.jobs else ""
        log = _log.bind(repository=source.repository, reference=spec.reference, job_id=leader)
        try:
            heads = await self._heads(source)
            if not pending.explicit and heads == self._synced.get(source.id):
                await self._checked_again(source)
                log.debug("nothing changed", revision=heads[0][1])
                return TargetResult(
                    source.repository, ok=source.id not in self._unusable, revision=heads[0][1], synced=True
                )
            if not leader:
                own = new_run(Trigger.POLL, repository=source.repository, target=spec.target)
                await self._store.put_run(own)
                leader = own.job_id
                log = log.bind(job_id=leader)
            try:
                result = await self._apply(pending, leader, heads, log)
            except RevisionGone:
                # A force push came in between: what it put in place is what is wanted.
                heads = await self._heads(source)
                result = await self._apply(pending, leader, heads, log)
        except SourceError as error:
            result = TargetResult(
                source.repository,
                ok=False,
                error="failed to clone repository",
                code=error.code,
                causes=((source.repository, str(error)),),
            )
            await self._source_condition(source, False, error.code, str(error), log)
            if own is None and not pending.jobs and self._failures.get(source.id, 0) == 0:
                own = new_run(Trigger.POLL, repository=source.repository, target=spec.target)
        except DeployConfigError as error:
            result = TargetResult(
                source.repository,
                ok=False,
                error="failed to get deploy configuration",
                code="InvalidConfiguration",
                causes=tuple((source.repository, line) for line in str(error).splitlines()),
            )
            self._unusable[source.id] = ("InvalidConfiguration", str(error))
            await self._source_condition(source, False, "InvalidConfiguration", str(error), log)
            # The same revision would say the same at every poll.
            self._rendered.pop(source.id, None)
            self._synced[source.id] = heads[:1]
        except StateError:
            raise
        except Exception as error:  # the edge of a sync: a fault of ours must not take the others along
            message = unexpected(f"sync of {source.repository}", error)
            result = TargetResult(
                source.repository,
                ok=False,
                error="failed to sync repository",
                code="Internal",
                causes=((source.repository, message),),
            )
            await self._source_condition(source, False, "Internal", message, log)
        if own is not None:
            await self._end_own(own, result)
        return replace(result, leader=leader)

    async def _moved(self, pending: SyncRequest) -> bool:
        """Whether a source is elsewhere than it was when it was read last."""
        try:
            return await self._heads(pending.source) != self._synced.get(pending.source.id)
        except SourceError:
            return False
        except Exception:  # whatever it is, the sync meets it again and says so
            return True

    async def _heads(self, source: Source) -> Heads:
        """Where the source's reference points, and each other reference its stacks follow."""
        spec = source.spec
        depth = 0
        if is_commit_id(spec.reference):
            depth = git_depth(source, await self._store.list_stacks(source.id, desired=False))
        heads = [("", await self._access.resolve(spec, depth))]
        for name, _ in self._synced.get(source.id, ())[1:]:
            url, _, reference = name.partition("#")
            try:
                heads.append((name, await self._access.resolve(replace(spec, url=url, reference=reference), 0)))
            except SourceError:
                # It fails the stacks that want it, if there still are any. Others are not concerned.
                heads.append((name, ""))
        return tuple(heads)

    async def _apply(self, pending: SyncRequest, leader: str, heads: Heads, log: Any) -> TargetResult:
        """Make a revision the desired state, and see its stacks follow."""
        source, commit = pending.source, heads[0][1]
        spec = source.spec
        before = {stack.key: stack for stack in await self._store.list_stacks(desired=False)}
        tree: SyncedTree = await self._access.checkout(spec, commit, git_depth(source, before.values()))
        if self._synced.get(source.id, (("", ""),))[0] != ("", commit):
            log.info("polling repository", revision=commit)
        known = await self._rendered_before(pending, heads, before)
        if known is not None:
            work = Rendering(trees={"": tree}, heads=list(heads), warnings=list(self._rendered[source.id].warnings))
            stacks: Sequence[Stack] = known
            going: list[StackKey] = []
        else:
            work = await self._render(pending, tree, before, log)
            stacks = await self._store.apply_stacks(
                source.id,
                commit,
                [await self._renderer.stack(source, tree_, one, pending, before) for tree_, one in work.rendered],
            )
            going = await self._going(pending, work, before, log)
        if pending.asked:
            stacks = [await self._end_removal(stack) for stack in stacks]
        if known is not None:
            await self._checked_again(source)
        else:
            await self._conclude_rendering(source, work, stacks, log)
        due = [
            stack.key
            for stack in stacks
            if pending.explicit
            or stack.observed_generation < stack.generation
            or stack.pending_recreate
            or not _ready(stack)
        ]
        outcomes = [*work.failed, *await self._deploy([*due, *going], leader, pending)]
        if pending.gives_way.is_set():
            work.warnings.extend(await self._superseded(stacks, commit))
        bad = [outcome for outcome in outcomes if outcome.status is RunStatus.FAILED]
        finish = log.warning if bad else log.info
        finish(
            "job completed with errors" if bad else "job completed successfully",
            revision=commit,
            stacks=len(outcomes),
        )
        return TargetResult(
            source.repository,
            ok=not bad,
            error="deployment failed" if bad else "",
            code="DeploymentFailed" if bad else "",
            causes=tuple((outcome.stack, outcome.message) for outcome in bad),
            revision=f"{spec.reference} ({commit})",
            stacks=tuple(outcomes),
            warnings=tuple(work.warnings),
            synced=all(head for _, head in work.heads),
        )

    async def _render(
        self, pending: SyncRequest, tree: SyncedTree, before: Mapping[StackKey, Stack], log: Any
    ) -> Rendering:
        requested: RequestedDeployments = await anyio.to_thread.run_sync(
            self._access.configs, pending.source.spec, tree
        )
        work = Rendering(trees={"": tree}, heads=[("", tree.commit)], warnings=list(requested.warnings))
        for config in requested.configs:
            if pending.accepts(config):
                await self._renderer.document(pending, config, requested.file, before, work, log)
            else:
                work.filtered = True
        return work

    async def _rendered_before(
        self, pending: SyncRequest, heads: Heads, before: Mapping[StackKey, Stack]
    ) -> list[Stack] | None:
        """The stacks of a revision that was rendered already; None: render it."""
        source = pending.source
        last = self._rendered.get(source.id)
        if last is None or last.heads != heads or not pending.unfiltered:
            return None
        known = last.known(source.id, before)
        if known is None or not await anyio.to_thread.run_sync(last.files_unchanged):
            return None
        return known

    async def _conclude_rendering(self, source: Source, work: Rendering, stacks: Iterable[Stack], log: Any) -> None:
        """Say how the revision could be read; the same revision is not read again for its faults."""
        last = remember(work, {stack.key: stack.desired_hash for stack in stacks})
        if last is None:
            self._rendered.pop(source.id, None)
        else:
            self._rendered[source.id] = last
        if work.filtered or work.unsettled:
            # The next poll has the rest to look at.
            self._synced.pop(source.id, None)
        else:
            self._synced[source.id] = tuple(work.heads)
        if work.failed:
            message = "; ".join(f"{outcome.stack}: {outcome.message}" for outcome in work.failed)
            self._unusable[source.id] = (RENDER_FAILED, message)
            await self._source_condition(source, False, RENDER_FAILED, message, log)
        else:
            self._unusable.pop(source.id, None)
            at = f"{source.spec.reference} at {work.heads[0][1]}"
            await self._source_condition(source, True, "Synced", at, log)
        for warning in work.warnings:
            log.warning("deploy configuration", warning=warning)

    async def _deploy(self, keys: Sequence[StackKey], leader: str, pending: SyncRequest) -> list[StackOutcome]:
        """Reconcile stacks side by side, for a run."""
        outcomes: list[StackOutcome] = []

        async def one(key: StackKey) -> None:
            outcomes.append(await self._stacks.deploy(key, job_id=leader, trigger=pending.kind.value))

        async with (
            self._turns.waiting_for_stacks(pending, lambda: all(map(self._stacks.only_waits, keys))),
            anyio.create_task_group() as tasks,
        ):
            for key in keys:
                tasks.start_soon(one, key)
        return sorted(outcomes, key=lambda outcome: outcome.stack)

    async def _superseded(self, stacks: Iterable[Stack], commit: str) -> list[str]:
        """Of which stacks another revision became the desired one while this one was waited for."""
        found = []
        for stack in stacks:
            current = await self._store.get_stack(stack.key)
            if current is not None and current.generation > stack.generation:
                found.append(
                    f"{stack.key.name}: while {commit[:12]} was waited for, {current.revision[:12]} took its place; "
                    "the outcome is that of the latter"
                )
        return found

    async def _end_removal(self, stack: Stack) -> Stack:
        """An explicit poll brings a removed stack back."""
        if stack.overrides.removed is None:
            return stack
        return await self._store.set_overrides(stack.key, replace(stack.overrides, removed=None)) or stack

    async def _going(
        self, pending: SyncRequest, work: Rendering, before: Mapping[StackKey, Stack], log: Any
    ) -> list[StackKey]:
        """Stacks to take down: `destroy`, and discovered ones that disappeared."""
        source = pending.source
        going = [key for key in work.destroyed if key in before]
        for key, stack in before.items():
            discovery = stack.config.get("auto_discovery") or {}
            if (
                work.complete
                and not work.filtered
                and stack.source_id == source.id
                and key not in work.wanted
                and discovery.get("enabled")
                and discovery.get("delete")
            ):
                going.append(key)
        for key in going:
            config = work.destroyed.get(key)
            if config is not None:
                destroy = config.destroy
                removal = Removal(before[key].desired_hash, destroy.remove_volumes, destroy.remove_images)
                await self._store.set_overrides(key, replace(before[key].overrides, removed=removal), deleting=True)
            else:
                await self._store.update_stack(key, deleting=True)
        unrecorded = [key for key in work.destroyed if key not in before]
        return [*going, *[key for key in unrecorded if await self._going_unrecorded(pending, work, key, log)]]

    async def _going_unrecorded(self, pending: SyncRequest, work: Rendering, key: StackKey, log: Any) -> bool:
        """Whether a stack to destroy that the store does not know is there, and is now known as leaving."""
        source, config = pending.source, work.destroyed[key]
        message = ""
        try:
            seen = await self._stacks.look(key)
            if not seen.containers:
                return False
            names = {source.repository, full_name(source.repository), pending.source_name}
            if config.repository_url:
                # Polls of Doco-CD name the repository that the Compose files come from.
                names.add(parse_git_url(config.repository_url).full_name)
            message = refusal(key.name, seen, names)
        except (EngineError, UnknownContext) as error:
            message = str(error)
            work.unsettled = True
        if message:
            work.failed.append(await self._renderer.failed(pending, key.context, key.name, message, log))
            return False
        commit = work.heads[0][1]
        await self._store.apply_stacks(source.id, commit, [leaving(source, key, config, commit)])
        return True

    async def _source_condition(self, source: Source, ready: bool, reason: str, message: str, log: Any) -> None:
        current = await self._store.get_source(source.id) or source
        conditions = with_condition(current.conditions, ConditionType.SOURCE_READY, ready, reason, message)
        if not ready and not same(conditions, current.conditions):
            log.error("error during poll job", reason=reason, error=message)
        now = utcnow()
        await self._store.update_source(
            source.id,
            conditions=None if same(conditions, current.conditions) else conditions,
            last_checked=now,
            last_success=now if ready else None,
            failures=0 if ready else current.failures + 1,
        )

    async def _checked_again(self, source: Source) -> None:
        """Note now and then that a source was looked at and had not moved."""
        now = utcnow()
        last = self._checked.get(source.id)
        if last is None or (now - last).total_seconds() >= CHECKED_EVERY or self._failures.get(source.id):
            self._checked[source.id] = now
            current = await self._store.get_source(source.id) or source
            ready = source.id not in self._unusable
            reason, message = self._unusable.get(source.id, ("Synced", "the source answers again"))
            if self._failures.get(source.id):
                conditions = with_condition(current.conditions, ConditionType.SOURCE_READY, ready, reason, message)
                if not same(conditions, current.conditions):
                    await self._store.update_source(source.id, conditions=conditions, failures=0)
            await self._store.update_source(source.id, last_checked=now, last_success=now if ready else None)

    async def _end_own(self, run: Run, result: TargetResult) -> None:
        """Record a poll of our own."""
        causes = "; ".join(text for _, text in result.causes)
        status = RunStatus.SUCCEEDED if result.ok else RunStatus.FAILED
        message = "poll completed successfully" if result.ok else f"{result.error}: {causes}"
        run = replace(run, revision=result.revision, stacks=result.stacks, warnings=result.warnings)
        await self._store.finish(finished(run, status, message, error=result.error, content=causes, code=result.code))
        self._hub.publish(run.job_id, "status", {"status": status.value, "message": message})


def _ready(stack: Stack) -> bool:
    """Whether nothing is to be done or to be taken back about a stack that did not change."""
    unrendered = find(stack.conditions, ConditionType.DEGRADED)
    if unrendered is not None and unrendered.status and unrendered.reason == RENDER_FAILED:
        return False
    return is_true(stack.conditions, ConditionType.READY)


def supported(spec: SourceSpec) -> bool:
    """Whether sources of that kind can be followed."""
    return spec.kind is SourceKind.GIT
