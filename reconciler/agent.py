"""The composition root: settings in, one task group out.

`run_agent` opens the store and the first Docker context, wires the controllers, and runs
everything in one task group: contexts (observers), stacks, projects, sources, intents,
housekeeping, and the API. The order of the start matters: what a crash left behind is
found in the store and on the Engine and is being repaired before the first poll, and the
API listens only when an intent that it accepts would be carried out.

On SIGTERM or SIGINT the API stops accepting first, then what runs may end within
`SHUTDOWN_TIMEOUT`; what does not is cancelled, and the next start takes it up again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup

from reconciler import memory
from reconciler.controllers.contexts import Contexts
from reconciler.controllers.intents import IntentController
from reconciler.controllers.jobs import Jobs
from reconciler.controllers.projects import ProjectController
from reconciler.controllers.rendering import SourceAccess, SyncedTree, SyncOptions
from reconciler.controllers.sources import SourceController
from reconciler.controllers.stacks import StackController
from reconciler.controllers.supervise import supervise
from reconciler.deployments.loading import expand, requested_deployments
from reconciler.deployments.targets import target_validator
from reconciler.engine.client import Engine, open_engine
from reconciler.engine.endpoint import EngineEndpoint, resolve_endpoint
from reconciler.engine.execute import Executor
from reconciler.engine.observe import Observer
from reconciler.exclusive import sole_user
from reconciler.host import DataMountError, host_paths
from reconciler.log import configure_logging, get_logger
from reconciler.priority import come_first
from reconciler.settings import GitSettings, Secret, Settings, SettingsError, load_settings
from reconciler.sources.credentials import DomainCredentials, GitCredentials
from reconciler.sources.git import GitOptions, GitWorkspace
from reconciler.sources.local import watch_local
from reconciler.sources.urls import parse_git_url, rewrite_url
from reconciler.version import VERSION
from state.errors import StateError
from state.events import EventHub
from state.metrics import Metrics, metrics
from state.model import DEFAULT_CONTEXT, Source, SourceSpec
from state.observed import ObservedContext
from state.store import Store, open_store

if TYPE_CHECKING:
    from api.services import ApiOptions

_log = get_logger()

HOUSEKEEPING = 300.0
"""Seconds between two rounds of pruning old runs."""
MEMORY = 60.0
"""Seconds between two times of giving free memory back to the system."""
OUTCOMES = 1.0
"""Seconds that syncs get at the end for writing down outcomes."""
EXIT_SETTINGS = 1


class StartError(Exception):
    """The agent cannot start; the message says what to change."""


def run_command(arguments: Sequence[str]) -> int:
    """`moored run`: run until a signal ends it; returns the exit status."""
    if arguments:
        print("usage: moored run (settings come from the environment, see docs/settings.md)", file=sys.stderr)
        return 0 if arguments[0] in ("-h", "--help") else 2
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        configure_logging("info", "auto")
        for problem in error.problems:
            _log.critical("failed to get application configuration", error=str(problem))
        return EXIT_SETTINGS
    configure_logging(settings.log_level, settings.log_format)
    failures: list[str] = []
    memory.starting()
    come_first()
    try:
        anyio.run(run_agent, settings)
    except* (StartError, StateError, OSError) as group:
        failures = [str(failure) for failure in _leaves(group)]
    for failure in failures:
        _log.critical("application stopped with error", error=failure)
    if not failures:
        _log.info("application stopped normally")
    return EXIT_SETTINGS if failures else 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def run_agent(settings: Settings, *, ready: Callable[[], None] = lambda: None) -> None:
    """Run the agent until SIGTERM or SIGINT."""
    _log.info("starting application", version=VERSION, log_level=settings.log_level)
    for warning in settings.warnings:
        _log.warning("configuration", warning=warning)
    if settings.not_acted_on:
        _log.warning("settings that have no effect in this version", names=", ".join(settings.not_acted_on))
    counted = metrics()
    counted.announce(VERSION, settings.log_level)
    data = settings.data_mount_path
    await anyio.Path(data).mkdir(parents=True, exist_ok=True)
    async with (
        sole_user(data),
        open_store(settings.database_url.reveal()) as store,
        anyio.create_task_group() as tasks,
    ):
        agent = Agent(settings, store, counted, data)
        tasks.start_soon(_stop_on_signal, agent, tasks.cancel_scope, settings.shutdown_timeout)
        await agent.start(tasks)
        memory.started()
        ready()


async def _stop_on_signal(agent: Agent, scope: anyio.CancelScope, timeout: float) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("stopping", signal=signal.Signals(number).name, timeout=timeout)
            break
    with anyio.move_on_after(timeout) as waited:
        await agent.stop()
    if waited.cancelled_caught:
        _log.warning("not everything ended in time; the next start takes it up again")
    scope.cancel()


class Agent:
    """The wired controllers."""

    def __init__(self, settings: Settings, store: Store, counted: Metrics, data: Path) -> None:
        self._settings = settings
        self._store = store
        self._metrics = counted
        self._data = data
        self._hub = EventHub()
        self._api_scope = anyio.CancelScope()
        self._environ = dict(os.environ)
        self._contexts = Contexts(
            resolve=partial(resolve_endpoint, environ=self._environ),
            open_context=self._open_context,
            watch=store.watch,
            slots=settings.max_concurrent_deployments,
        )
        self._stacks = StackController(
            store=store,
            contexts=self._contexts,
            hub=self._hub,
            resync=settings.resync_interval,
            metrics=counted,
        )
        self._jobs = Jobs(store, self._hub)
        self._projects = ProjectController(store=store, stacks=self._stacks, hub=self._hub)
        self._workspace = GitWorkspace(data, git_credentials(settings.git), git_options(settings.git))
        self._sources: SourceController | None = None
        self._validate = target_validator(settings.source_url_rewrites)

    async def start(self, tasks: TaskGroup) -> None:
        """Start every loop; returns when the agent accepts requests."""
        await tasks.start(self._contexts.run, DEFAULT_CONTEXT)
        context = await self._contexts.get(DEFAULT_CONTEXT)
        try:
            paths = await host_paths(context.engine, self._data, str(self._settings.data_host_path or ""))
        except DataMountError as error:
            raise StartError(str(error)) from error
        sources = SourceController(
            store=self._store,
            stacks=self._stacks,
            jobs=self._jobs,
            hub=self._hub,
            access=self._access(),
            options=SyncOptions(
                process_environment=self._environ if self._settings.pass_env else {},
                paths=paths,
                key=self._store.instance_id.encode(),
                instance=self._store.instance_id,
                version=VERSION,
            ),
            metrics=self._metrics,
        )
        self._sources = sources
        intents = IntentController(
            store=self._store,
            sources=sources,
            projects=self._projects,
            jobs=self._jobs,
            credentials=self._workspace.credentials,
        )
        followed = await self._followed()
        await tasks.start(self._stacks.run)
        await tasks.start(self._projects.run)
        await tasks.start(sources.run)
        await tasks.start(intents.run)
        tasks.start_soon(supervise, "housekeeping", self._housekeeping)
        tasks.start_soon(supervise, "memory", self._give_back_memory)
        await tasks.start(self._serve)
        sources.follow(followed)

    async def stop(self) -> None:
        """Accept nothing more, and let what is being carried out come to its end.

        Syncs get a moment to write down the outcomes they were waiting for. One that still
        waits for Git, or for a stack that nobody takes up any more, is repeated by the next
        start: its intent stays open.
        """
        self._api_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._projects.drain)
            tasks.start_soon(self._stacks.drain)
        if self._sources is not None:
            with anyio.move_on_after(OUTCOMES):
                await self._sources.drain()

    async def _followed(self) -> list[Source]:
        """The sources of the poll configuration, known to the store."""
        followed = [
            await self._store.ensure_source(target.spec, target.repository, "config")
            for target in self._settings.targets
        ]
        await self._store.demote_sources([source.id for source in followed])
        return followed

    async def _serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        from api.app import serve
        from api.services import ApiServices

        settings = self._settings
        services = ApiServices(
            store=self._store,
            observed=self._contexts.observed,
            hub=self._hub,
            options=api_options(settings),
            wake=lambda: self._store.watch.notify(("intents",)),
            validate_target=self._validate,
            rewrite_url=partial(rewrite_url, rewrites=settings.source_url_rewrites),
            metrics=self._metrics,
        )
        with self._api_scope:
            await serve(services, task_status=task_status)

    async def _housekeeping(self) -> None:
        while True:
            removed = await self._store.prune_runs(
                keep_per_trigger=self._settings.run_retention_count,
                max_age_seconds=self._settings.run_retention_age,
            )
            if removed:
                _log.debug("old runs removed", runs=removed)
            await anyio.sleep(HOUSEKEEPING)

    async def _give_back_memory(self) -> None:
        while True:
            await anyio.sleep(MEMORY)
            memory.give_back()

    @asynccontextmanager
    async def _open_context(
        self, name: str, endpoint: EngineEndpoint, observed: ObservedContext
    ) -> AsyncIterator[tuple[Engine, Observer, Executor]]:
        counted = self._metrics

        def on_call(operation: str, seconds: float, outcome: str) -> None:
            counted.engine_call_seconds.labels(name, operation).observe(seconds)

        async with open_engine(endpoint, name, on_call=on_call) as engine:
            counted.engine_writes.labels(name).set_function(lambda: engine.writes)
            counted.engine_connected.labels(name).set_function(lambda: observed.connected)
            on_lag = counted.event_lag_seconds.labels(name).observe
            observer = Observer(engine, observed, resync=self._settings.resync_interval, on_lag=on_lag)
            yield engine, observer, Executor(engine, observed, observer, environ=self._environ)

    def _access(self) -> SourceAccess:
        workspace = self._workspace
        base_dir = self._settings.deploy_config_base_dir

        async def resolve(spec: SourceSpec, depth: int) -> str:
            return await workspace.source(spec).resolve(depth=depth or None)

        async def checkout(spec: SourceSpec, commit: str, depth: int) -> SyncedTree:
            source = workspace.source(spec)
            laid_out = await source.checkout(commit, depth=depth or None)
            tree = await source.tree(commit)
            return SyncedTree(laid_out.path, commit, tree.ids, tree.executables)

        async def watch(spec: SourceSpec, notify: Callable[[], None], begun: Callable[[], None]) -> None:
            await watch_local(Path(parse_git_url(spec.url).local_path), notify, begun=begun)

        def configs(spec: SourceSpec, tree: SyncedTree) -> Any:
            return requested_deployments(spec, tree.root, tree.objects, base_dir)

        return SourceAccess(
            resolve=resolve,
            checkout=checkout,
            configs=configs,
            expand=lambda config, tree, repository, file: expand(
                config, tree.root, tree.objects, repository=repository, config_file=file
            ),
            watch=watch,
            public_url=lambda url: str(parse_git_url(url)),
        )


def git_credentials(settings: GitSettings) -> GitCredentials:
    """What git may show to whom."""
    return GitCredentials(
        token=_text(settings.access_token),
        token_user=settings.access_token_user,
        ssh_key=_text(settings.ssh_private_key),
        ssh_passphrase=_text(settings.ssh_private_key_passphrase),
        token_hosts=settings.access_token_hosts,
        domains=tuple(
            DomainCredentials(
                domains=domain.domains,
                token=_text(domain.access_token),
                token_user=domain.access_token_user,
                ssh_key=_text(domain.ssh_private_key),
                ssh_passphrase=_text(domain.ssh_private_key_passphrase),
            )
            for domain in settings.auth_domains
        ),
    )


def git_options(settings: GitSettings) -> GitOptions:
    """How git is run."""
    return GitOptions(
        depth=settings.clone_depth,
        submodules=settings.clone_submodules,
        verify_tls=not settings.skip_tls_verification,
        proxy=_text(settings.proxy),
    )


def api_options(settings: Settings) -> ApiOptions:
    """How the API listens and whom it lets in."""
    from api.services import ApiOptions

    http = settings.http
    return ApiOptions(
        http_port=http.port,
        metrics_port=http.metrics_port,
        http_bind=http.bind,
        metrics_bind=http.metrics_bind,
        api_secret=_text(http.api_secret) or None,
        webhook_secret=_text(http.webhook_secret) or None,
        max_payload_size=http.max_payload_size,
        max_auth_failures=http.auth_failure_limit,
        tls_cert_file=http.tls_cert_file,
        tls_key_file=http.tls_key_file,
        trusted_proxy_networks=http.trusted_proxy_networks,
        trusted_proxy_header=http.trusted_proxy_header,
        version=VERSION,
        docker_host=settings.docker.host,
    )


def _text(secret: Secret | None) -> str:
    return "" if secret is None else secret.reveal()
