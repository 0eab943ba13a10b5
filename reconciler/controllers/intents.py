"""Durable commands on their way to those who carry them out.

The API writes an intent and rings a bell; here it is read and handed on, exactly once
in the life of the process. After a crash the store still holds what was not finished,
and everything is handed on again at the next start, before any poll.
"""

from __future__ import annotations

from dataclasses import replace

import anyio

from reconciler.controllers.jobs import Jobs, TargetResult
from reconciler.controllers.projects import ProjectController
from reconciler.controllers.record import finished, utcnow
from reconciler.controllers.sources import SourceController, supported
from reconciler.controllers.supervise import unexpected
from reconciler.log import get_logger
from reconciler.sources.credentials import GitCredentials
from reconciler.sources.errors import AuthenticationFailed, InvalidRepositoryName, InvalidURL, SourceError
from reconciler.sources.urls import GitURL, parse_git_url
from state.codec import source_spec_from_json
from state.errors import StateError
from state.model import Intent, IntentKind, JsonObject, Run, RunStatus, Source, SourceKind, SourceSpec, Trigger
from state.store import Store, source_id

_log = get_logger()

RETRY_DELAY = 2.0


class IntentController:
    """Hands intents on."""

    def __init__(
        self,
        *,
        store: Store,
        sources: SourceController,
        projects: ProjectController,
        jobs: Jobs,
        credentials: GitCredentials,
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._sources = sources
        self._projects = projects
        self._jobs = jobs
        self._taken: set[str] = set()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hand on what is open, then whatever comes."""
        with self._store.watch.subscribe(("intents",)) as bell:
            started = False
            while True:
                try:
                    if not started:
                        await self._close_interrupted()
                    await self._take_all()
                except StateError as error:
                    _log.error("the store cannot be used", error=str(error))
                    await anyio.sleep(RETRY_DELAY)
                    continue
                if not started:
                    started = True
                    task_status.started()
                await bell.wait()

    async def _take_all(self) -> None:
        """Hand on what was not handed on yet. An intent counts as taken only when nothing
        failed, so that a fault of the store is made up for."""
        backlog = await self._store.backlog(self._taken)
        self._taken &= backlog.open
        for intent, run in backlog.new:
            try:
                await self._take(intent, run or _run_of(intent))
            except StateError:
                raise
            except Exception as error:  # the edge of an intent: one that cannot be read holds up no other
                await self._refuse(run or _run_of(intent), unexpected(f"intent {intent.id}", error))
            self._taken.add(intent.id)

    async def _refuse(self, run: Run, message: str) -> None:
        ended = finished(run, RunStatus.FAILED, message, error=message, content=message, code="Internal")
        await self._store.finish(ended)

    async def _close_interrupted(self) -> None:
        """Runs of our own that a crash cut off: their work is found again by looking."""
        open_intents = {intent.id for intent in await self._store.open_intents()}
        for run in await self._store.unfinished_runs():
            if run.job_id not in open_intents:
                message = "interrupted by a restart of the agent; what was left is done by the next reconcile"
                await self._store.finish(finished(run, RunStatus.FAILED, message, code="Interrupted"))

    async def _take(self, intent: Intent, run: Run) -> None:
        if run.status.finished:
            await self._store.finish(run)
            return
        if intent.kind is IntentKind.POLL:
            await self._take_poll(intent, run)
        elif intent.kind is IntentKind.WEBHOOK:
            await self._take_webhook(intent, run)
        else:
            self._projects.accept(intent, run)

    async def _take_poll(self, intent: Intent, run: Run) -> None:
        specs = [source_spec_from_json(raw) for raw in intent.payload["targets"]]
        self._jobs.add(run, intent.kind, map(source_id, specs))
        for spec in specs:
            source = await self._source(spec, "api", run.job_id)
            if source is not None:
                self._sources.request(source, job_id=run.job_id)

    async def _take_webhook(self, intent: Intent, run: Run) -> None:
        payload = intent.payload
        spec, refusal = await self._reachable(source_spec_from_json(payload["target"]), payload)
        self._jobs.add(run, intent.kind, [source_id(spec)])
        source = await self._source(spec, "webhook", run.job_id, refusal)
        if source is None:
            return
        commit = str(payload.get("commit") or "")
        self._sources.request(
            source,
            job_id=run.job_id,
            trigger=commit or "webhook",
            pushed=str(payload.get("ref") or spec.reference),
            source_name=str(payload.get("full_name") or ""),
            source_url=str(payload.get("web_url") or ""),
        )
        for other in await self._store.list_sources():
            if other.origin == "config" and other.repository == source.repository and other.id != source.id:
                self._sources.request(other, explicit=False)

    async def _reachable(self, spec: SourceSpec, payload: JsonObject) -> tuple[SourceSpec, SourceError | None]:
        """The source of a webhook by the address that the credentials at hand open, or why none does.

        With an SSH key for the host, its SSH address is taken, as Doco-CD does. What a rewrite
        rule made is what the operator wants. And where that address means another name (a port of
        its own), what is followed under the name of the clone URL already stays there.
        """
        if spec.kind is not SourceKind.GIT or payload.get("rewritten"):
            return spec, None
        try:
            url = parse_git_url(spec.url)
        except InvalidURL as error:
            return spec, error
        ssh = _ssh_url(str(payload.get("ssh_url") or ""))
        if (
            ssh is not None
            and self._credentials.for_url(ssh).ssh_key
            and (ssh.repository == url.repository or url.repository not in await self._followed())
        ):
            return replace(spec, url=ssh.remote), None
        if payload.get("private") and url.http and not self._credentials.for_url(url).token:
            return spec, AuthenticationFailed("missing access token")
        return spec, None

    async def _followed(self) -> set[str]:
        """Repositories that are polled, or that something is deployed from."""
        polled = {source.repository for source in await self._store.list_sources() if source.origin == "config"}
        return polled | {stack.repository for stack in await self._store.list_stacks(desired=False)}

    async def _source(
        self, spec: SourceSpec, origin: str, job_id: str, refusal: SourceError | None = None
    ) -> Source | None:
        """The source of a target; one that cannot be followed ends its part of the job."""
        subject, failure, code = spec.url, "failed to clone repository", "Unsupported"
        error = f"source type {spec.kind.value!r} is not supported yet"
        try:
            if refusal is not None:
                raise refusal
            if supported(spec):
                subject = parse_git_url(spec.url).repository
                return await self._store.ensure_source(spec, subject, origin)
        except SourceError as refused:
            error, code = str(refused), refused.code
            if isinstance(refused, InvalidRepositoryName):
                failure = "invalid repository name"
        result = TargetResult(subject, ok=False, error=failure, code=code, causes=((subject, error),))
        await self._jobs.result([job_id], source_id(spec), result)
        return None


def _ssh_url(text: str) -> GitURL | None:
    """The SSH address that a payload names; it may name nothing else there, such as local files."""
    try:
        url = parse_git_url(text)
    except InvalidURL:
        return None
    return url if url.ssh else None


def _run_of(intent: Intent) -> Run:
    """The run of an intent whose own got lost."""
    trigger = {IntentKind.POLL: Trigger.POLL, IntentKind.WEBHOOK: Trigger.WEBHOOK}.get(intent.kind, Trigger.API)
    return Run(
        job_id=intent.id,
        trigger=trigger,
        status=RunStatus.ACCEPTED,
        created_at=intent.created_at,
        updated_at=utcnow(),
    )
