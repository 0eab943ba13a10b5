"""The API as it runs: real Sanic on free ports, the real SQLite store, an observed context filled
by hand, and a small controller that finishes intents as a test says."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from api.app import BoundPorts, serve
from api.services import ApiOptions, ApiServices, InvalidTarget, ValidatedTarget
from state.events import EventHub
from state.metrics import Metrics
from state.model import Intent, Run, RunStatus, SourceKind, SourceSpec
from state.observed import (
    LABEL_CONFIG_FILES,
    LABEL_CONFIG_HASH,
    LABEL_NUMBER,
    LABEL_ONEOFF,
    LABEL_PROJECT,
    LABEL_SERVICE,
    EngineFacts,
    ObservedContainer,
    ObservedContext,
)
from state.store import Store, open_store

SECRET = "kit-secret"
LIMIT = 60.0
"""Seconds any single wait of a test may take, on a busy machine too."""


def validate_target(raw: dict[str, Any], index: int) -> ValidatedTarget:
    """What the reconciler will do, as far as the API can see it."""
    url = raw.get("url", "")
    if not url:
        raise InvalidTarget("key not found: url")
    if not url.startswith(("http://", "https://", "file://")):
        raise InvalidTarget(f"invalid poll configuration: invalid Git URL: got '{url}'")
    source = raw.get("source", "git").strip().lower()
    if source not in ("git", "oci"):
        raise InvalidTarget(f'invalid poll configuration: invalid source type "{source}": must be "git" or "oci"')
    for deployment in raw.get("deployments", ()):
        if not isinstance(deployment.get("name", ""), str):
            raise InvalidTarget('key "deployments[0].name": expected string, found number', wrong_type=True)
    known = {"url", "source", "reference", "target", "deployments", "interval", "run_once", "watch"}
    unknown = sorted(set(raw) - known)
    return ValidatedTarget(
        SourceSpec(
            kind=SourceKind(source),
            url=url,
            reference=raw.get("reference", "refs/heads/main"),
            target=raw.get("target", ""),
            deployments=tuple(raw.get("deployments", ())),
        ),
        repository=url.split("://", 1)[1].removesuffix(".git"),
        warnings=tuple(f'unknown key "{key}" in poll configuration {index}' for key in unknown),
    )


def rewrite_url(url: str) -> str:
    return url.replace("file:///rewritten", "https://internal.example/rewritten")


def succeed(intent: Intent, run: Run) -> Run:
    now = datetime.now(UTC)
    return replace(run, status=RunStatus.SUCCEEDED, message="done", finished_at=now, updated_at=now, started_at=now)


def failing(error: str, content: str = "", code: str = "") -> Callable[[Intent, Run], Run]:
    def fail(intent: Intent, run: Run) -> Run:
        return replace(
            succeed(intent, run), status=RunStatus.FAILED, error=error, content=content, code=code, message=error
        )

    return fail


@dataclass
class Controller:
    """Finishes intents in the order they come; `outcome` None leaves them open."""

    store: Store
    outcome: Callable[[Intent, Run], Run] | None = succeed
    seen: list[Intent] = field(default_factory=list)
    woken: int = 0

    def wake(self) -> None:
        self.woken += 1

    async def run(self) -> None:
        with self.store.watch.subscribe(("intents",)) as changed:
            while True:
                await self.work()
                await changed.wait()

    async def work(self) -> None:
        for intent in await self.store.open_intents():
            if all(intent.id != known.id for known in self.seen):
                self.seen.append(intent)
            if self.outcome is not None:
                run = await self.store.get_run(intent.id)
                assert run is not None
                await self.store.finish(self.outcome(intent, run))


@dataclass
class Kit:
    """A running API and what stands around it."""

    services: ApiServices
    controller: Controller
    default: ObservedContext
    ports: BoundPorts
    client: httpx.AsyncClient
    stop: Callable[[], None]

    @property
    def store(self) -> Store:
        return self.services.store

    async def call(self, method: str, path: str, *, key: str | None = SECRET, **more: Any) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if key is not None:
            headers["x-api-key"] = key
        return await self.client.request(method, path, headers=headers, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("GET", path, **more)

    async def post(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("POST", path, **more)

    async def delete(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("DELETE", path, **more)

    async def hook(
        self, body: Any, *, path: str = "/v1/webhook", event: str = "push", secret: str = SECRET, **headers: str
    ) -> httpx.Response:
        """A delivery as GitHub sends it."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"X-Hub-Signature-256": "sha256=" + sign(content, secret)}
        if event:
            sent["X-GitHub-Event"] = event
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        return await self.client.post(path, content=content, headers=sent)

    async def run_of(self, response: httpx.Response) -> Run:
        run = await self.store.get_run(response.json()["job_id"])
        assert run is not None
        return run


def sign(content: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def container(name: str, project: str, state: str = "running", **changes: Any) -> ObservedContainer:
    """A Compose container as the observer would have made it."""
    now = datetime.now(UTC)
    service = name.removeprefix(f"{project}-").rpartition("-")[0] or name
    labels = {
        LABEL_PROJECT: project,
        LABEL_SERVICE: service,
        LABEL_NUMBER: "1",
        LABEL_ONEOFF: "False",
        LABEL_CONFIG_HASH: "a" * 64,
        LABEL_CONFIG_FILES: f"/data/{project}/compose.yaml",
        **changes.pop("labels", {}),
    }
    values: dict[str, Any] = {
        "id": hashlib.sha256(name.encode()).hexdigest(),
        "name": name,
        "image": "moored/busybox:1",
        "image_id": "sha256:" + "b" * 64,
        "labels": labels,
        "state": state,
        "created_at": now - timedelta(minutes=3, seconds=5),
        "started_at": None if state == "created" else now - timedelta(minutes=3),
        "finished_at": now - timedelta(seconds=5) if state in ("exited", "restarting") else None,
        "command": "httpd -f -p 8080",
        "networks": (f"{project}_default",),
    }
    return ObservedContainer(**{**values, **changes})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{tmp_path}/moored.db") as opened:
        yield opened


@pytest.fixture
def options() -> ApiOptions:
    return ApiOptions(
        http_port=0,
        metrics_port=0,
        http_bind="127.0.0.1",
        metrics_bind="127.0.0.1",
        api_secret=SECRET,
        webhook_secret=SECRET,
        version="1.2.3",
        drain=3.0,
    )


@pytest.fixture
def default() -> ObservedContext:
    context = ObservedContext("default")
    context.found(EngineFacts("20.10.24", "1.41"))
    context.put_container(container("shop-web-1", "shop"))
    return context


@pytest.fixture
async def kit(store: Store, options: ApiOptions, default: ObservedContext) -> AsyncIterator[Kit]:
    controller = Controller(store)
    services = ApiServices(
        store=store,
        observed={"default": default},
        hub=EventHub(),
        options=options,
        wake=controller.wake,
        validate_target=validate_target,
        rewrite_url=rewrite_url,
        metrics=Metrics(),
    )
    async with anyio.create_task_group() as group:
        serving = anyio.CancelScope()

        async def run_server(*, task_status: anyio.abc.TaskStatus[BoundPorts]) -> None:
            with serving:
                await serve(services, task_status=task_status)

        with anyio.fail_after(LIMIT):
            ports = await group.start(run_server)
        group.start_soon(controller.run)
        base = f"{'https' if options.tls_cert_file else 'http'}://127.0.0.1:{ports.http}"
        async with httpx.AsyncClient(base_url=base, timeout=LIMIT, trust_env=False, verify=False) as client:
            yield Kit(services, controller, default, ports, client, serving.cancel)
        group.cancel_scope.cancel()
