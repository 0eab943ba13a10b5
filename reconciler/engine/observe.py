"""Seeing what one Engine runs, and keeping on seeing it.

First the Engine's clock is read, then everything is listed, while the event stream
already runs from that very moment on: nothing that happens in between is lost. Each event
only marks a container, network or volume as worth another look. Each marked one is asked
about by a task of its own, and again if it was marked meanwhile: a single event is seen at
once, a storm costs few inspects, and one that the Engine holds back (it answers nothing
about a container that is just starting) delays nobody else. Where the executor is at work it
looks by itself when it is done with a container, so events of its own doing may wait a while.
Health probes (`exec_*`) are filtered out by the Engine itself.

When the stream breaks, or a quiet Engine does not answer a ping, the context is marked as
stale with its last content, and the circle begins again after a growing pause. A slow
resync lists all again, so that a lost event costs minutes, not correctness.

Who stopped a container? `kill` and `stop` events that follow none of our own calls are
somebody's hand. The executor says which containers it works on (`acting`). What was
stopped just before the connection broke is given the benefit of the doubt: an Engine that
shuts down stops its containers itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import anyio
import structlog
from anyio.abc import TaskGroup

from reconciler.engine.client import Engine, filters, segment
from reconciler.engine.errors import EngineError, EngineUnreachable, NotFound, leaves
from reconciler.engine.records import container_summary, network_record, volume_record
from reconciler.engine.snapshot import cached_project, current_project, observe_project, refresh_container
from state.observed import LABEL_PROJECT, ObservedContext

__all__ = ["Observer", "cached_project", "current_project", "observe_project"]

RESYNC = 300.0
PING_AFTER = 15.0
PING_DEADLINE = 10.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 15.0
STORM_PAUSE = 0.02
"""Between two inspects of one container while its events keep coming."""
CREATED_PAUSE = 2.0
"""Seconds after which a container that the executor made is looked at if it was not started."""
ACTING_PAUSE = 30.0
"""Seconds that events of a container wait for the executor, which looks when it is done with it."""
INSPECTS_AT_ONCE = 32
OWN_ECHO = 5.0
"""Seconds in which the events of our own call may still arrive."""
SHUTDOWN_DOUBT = 20.0
"""An Engine that stops takes up to 15 s to stop its containers."""

CONTAINER_EVENTS = (
    "create", "start", "die", "stop", "kill", "pause", "unpause", "restart", "rename", "update", "oom",
    "health_status", "destroy",
)  # fmt: skip
OTHER_EVENTS = ("connect", "disconnect", "remove", "pull", "tag", "untag", "delete", "import", "load")

Subject: TypeAlias = tuple[str, str]
"""`container`, `network` or `volume`, and its id or name."""

_log = structlog.get_logger("observer")


class Observer:
    """Feeds an `ObservedContext` from an `Engine`, for ever."""

    def __init__(
        self,
        engine: Engine,
        observed: ObservedContext,
        *,
        resync: float = RESYNC,
        ping_after: float = PING_AFTER,
        ping_deadline: float = PING_DEADLINE,
        on_lag: Callable[[float], None] | None = None,
    ) -> None:
        """`on_lag` hears of every event how many seconds old it was when it came."""
        self.engine = engine
        self.observed = observed
        self._resync = resync
        self._ping_after = ping_after
        self._ping_deadline = ping_deadline
        self._on_lag = on_lag
        self._pause = FIRST_PAUSE
        self._heard = 0.0
        self._wake = anyio.Event()
        self._marked: dict[Subject, float] = {}
        """What is worth another look, and from when on (monotonic)."""
        self._looking: set[Subject] = set()
        self._touched: set[str] = set()
        """Networks and volumes that events spoke of since the list was last asked for."""
        self._acting: dict[str, int] = {}
        self._acted: dict[str, float] = {}
        self._up: set[str] = set()
        """Containers that a start was heard of while we acted on them, and nothing since: their events
        come in order, so whatever stops them afterwards is not our doing."""
        self._deploying: dict[str, int] = {}
        """Projects that a plan is being carried out for."""
        self._killed: set[str] = set()
        self._by_hand_at: dict[str, float] = {}
        self._limiter = anyio.CapacityLimiter(INSPECTS_AT_ONCE)

    async def run(self) -> None:
        """Observe until cancelled; a lost connection is found again."""
        while True:
            errors: list[EngineError] = []
            try:
                await self._follow()
            except* EngineError as group:
                errors.extend(error for error in leaves(group) if isinstance(error, EngineError))
            message = str(errors[0]) if errors else "the event stream ended"
            if self.observed.connected:
                _log.warning("engine lost", context=self.observed.name, error=message)
            self._doubt_recent_stops()
            self.observed.lost(message, datetime.now(UTC))
            await anyio.sleep(self._pause * random.uniform(0.7, 1.3))  # noqa: S311 - jitter, not a secret
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    @contextmanager
    def acting(self, *container_ids: str) -> Iterator[None]:
        """What happens to these containers inside the block is our own doing."""
        for container_id in container_ids:
            self._acting[container_id] = self._acting.get(container_id, 0) + 1
            if ("container", container_id) in self._marked:
                self._marked["container", container_id] = time.monotonic() + ACTING_PAUSE
        try:
            yield
        finally:
            now = time.monotonic()
            for container_id in container_ids:
                left = self._acting[container_id] - 1
                if left:
                    self._acting[container_id] = left
                else:
                    del self._acting[container_id]
                    if container_id in self._up:
                        self._up.discard(container_id)
                    else:
                        self._acted[container_id] = now + OWN_ECHO
                    if container_id in self.observed.outdated:
                        self._mark("container", container_id)
                    else:
                        # Looked at already; what happens from now on is not to wait for us.
                        self._marked.pop(("container", container_id), None)

    @contextmanager
    def deploying(self, project: str) -> Iterator[None]:
        """Inside the block a plan is carried out: who does it looks at each container that it makes."""
        self._deploying[project] = self._deploying.get(project, 0) + 1
        try:
            yield
        finally:
            self._deploying[project] -= 1
            if not self._deploying[project]:
                del self._deploying[project]

    async def _follow(self) -> None:
        """One connection: list, then follow, until something breaks."""
        await self.engine.ping(self._ping_deadline)
        facts = await self.engine.facts()
        self._marked, self._looking = {}, set()
        self.observed.outdated.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_events, self.engine.clock)
            await self._list()
            self.observed.images.clear()
            self.observed.found(facts)
            self._pause = FIRST_PAUSE
            _log.info("engine found", context=self.observed.name, version=facts.version, api=facts.api_version)
            tasks.start_soon(self._keep_asking)
            tasks.start_soon(self._list_again)
            await self._look(tasks)

    async def _read_events(self, since: str) -> None:
        params = {"since": since, "filters": filters(event=(*CONTAINER_EVENTS, *OTHER_EVENTS))}
        stream = self.engine.json_lines("events", "GET", "events", params=params, deadline=None)
        async with aclosing(stream) as events:
            async for event in events:
                self._heard = time.monotonic()
                happened = event.get("timeNano")
                if self._on_lag is not None and isinstance(happened, int):
                    # Another host's clock may be ahead of ours.
                    self._on_lag(max(0.0, time.time() - happened / 1e9))
                self._note(event)
        raise EngineUnreachable("the event stream ended", operation="events")

    def _note(self, event: Mapping[str, Any]) -> None:
        """What an event says is worth another look."""
        actor = event.get("Actor") or {}
        identity = str(actor.get("ID") or event.get("id") or "")
        attributes: Mapping[str, str] = actor.get("Attributes") or {}
        action = str(event.get("Action") or event.get("status") or "")
        match event.get("Type"):
            case "container":
                created = action == "create" and attributes.get(LABEL_PROJECT, "") in self._deploying
                self._note_container(identity, action, created=created)
            case "network" if action in ("connect", "disconnect"):
                container = attributes.get("container", "")
                own = container in self._acting or ("container", container) in self._marked
                self._mark("container", container, ACTING_PAUSE if own else 0.0)
            case "network" if action in ("destroy", "remove"):
                self._touched.add(identity)
                self._marked.pop(("network", identity), None)
                self.observed.drop_network(identity)
            case "network":
                self._touched.add(identity)
                self._mark("network", identity)
            case "volume" if action == "destroy":
                self._touched.add(identity)
                self._marked.pop(("volume", identity), None)
                self.observed.drop_volume(identity)
            case "volume":
                self._touched.add(identity)
                self._mark("volume", identity)
            case "image":
                self._forget_images(identity, attributes.get("name", ""))

    def _mark(self, kind: str, identity: str, pause: float = 0.0) -> None:
        if not identity:
            return
        if kind == "container":
            self.observed.outdated.add(identity)
        due = time.monotonic() + pause
        self._marked[kind, identity] = min(due, self._marked.get((kind, identity), due))
        self._wake.set()

    def _note_container(self, container_id: str, action: str, *, created: bool) -> None:
        """`created`: by a plan that is being carried out."""
        if action == "destroy":
            self._marked.pop(("container", container_id), None)
            self._killed.discard(container_id)
            self._by_hand_at.pop(container_id, None)
            self._acted.pop(container_id, None)
            self._up.discard(container_id)
            self.observed.drop_container(container_id, time.monotonic())
            return
        if container_id in self._acting:
            self._mark("container", container_id, ACTING_PAUSE)
        else:
            self._mark("container", container_id, CREATED_PAUSE if created else 0.0)
        if action == "start":
            self._killed.discard(container_id)
            self._by_hand_at.pop(container_id, None)
            self.observed.stopped_by_hand.discard(container_id)
            self._acted.pop(container_id, None)
            if container_id in self._acting:
                self._up.add(container_id)
        elif self._is_ours(container_id):
            if action in ("kill", "die", "stop"):
                self._up.discard(container_id)
        elif action == "kill":
            # The signal need not end it: only a `die` that follows tells.
            self._killed.add(container_id)
        elif action == "stop" or (action == "die" and container_id in self._killed):
            self._by_hand_at[container_id] = time.monotonic()
            self.observed.stopped_by_hand.add(container_id)

    def _is_ours(self, container_id: str) -> bool:
        if container_id in self._acting:
            return True
        until = self._acted.get(container_id)
        if until is not None and until < time.monotonic():
            del self._acted[container_id]
            return False
        return until is not None

    def _doubt_recent_stops(self) -> None:
        limit = time.monotonic() - SHUTDOWN_DOUBT
        for container_id in [known for known, at in self._by_hand_at.items() if at >= limit]:
            del self._by_hand_at[container_id]
            self.observed.stopped_by_hand.discard(container_id)
        self._killed.clear()

    def _forget_images(self, identity: str, name: str) -> None:
        """Drop the references that a changed image or tag may concern."""
        for reference, image in list(self.observed.images.items()):
            if image is None or not name or name.startswith("sha256:"):
                concerned = True
            else:
                concerned = image.id == identity or _familiar(reference) in (_familiar(name), _familiar(identity))
            if concerned:
                del self.observed.images[reference]

    async def _look(self, tasks: TaskGroup) -> None:
        """Give each marked subject a task when it is time, unless it has one."""
        while True:
            waiting = [(due, subject) for subject, due in self._marked.items() if subject not in self._looking]
            now = time.monotonic()
            for due, subject in waiting:
                if due <= now:
                    self._looking.add(subject)
                    tasks.start_soon(self._look_at, subject)
            next_due = min((due for due, _ in waiting if due > now), default=None)
            with anyio.move_on_after(None if next_due is None else next_due - now):
                await self._wake.wait()
            self._wake = anyio.Event()

    async def _look_at(self, subject: Subject) -> None:
        kind, identity = subject
        try:
            while self._marked.get(subject, float("inf")) <= time.monotonic():
                del self._marked[subject]
                if kind == "container" and identity not in self.observed.outdated:
                    break  # somebody else has looked since
                async with self._limiter:
                    if kind == "container":
                        await refresh_container(self.engine, self.observed, identity)
                    elif kind == "network":
                        await self._look_at_network(identity)
                    else:
                        await self._look_at_volume(identity)
                if subject in self._marked:
                    await anyio.sleep(STORM_PAUSE)
        finally:
            self._looking.discard(subject)
            self._wake.set()

    async def _look_at_container(self, container_id: str) -> None:
        async with self._limiter:
            await refresh_container(self.engine, self.observed, container_id)

    async def _look_at_network(self, network_id: str) -> None:
        try:
            answer = await self.engine.call("network.inspect", "GET", f"networks/{segment(network_id)}")
        except NotFound:
            self.observed.drop_network(network_id)
        else:
            self.observed.put_network(network_record(answer))

    async def _look_at_volume(self, name: str) -> None:
        try:
            answer = await self.engine.call("volume.inspect", "GET", f"volumes/{segment(name)}")
        except NotFound:
            self.observed.drop_volume(name)
        else:
            self.observed.put_volume(volume_record(answer))

    async def _list(self) -> None:
        """Everything, once: lists, and an inspect of each container of a project."""
        asked_at = time.monotonic()
        self._touched.clear()
        entries = await self.engine.call("container.list", "GET", "containers/json", params={"all": True})
        networks = await self.engine.call("network.list", "GET", "networks")
        volumes = await self.engine.call("volume.list", "GET", "volumes")
        async with anyio.create_task_group() as tasks:
            for entry in entries:
                if (entry.get("Labels") or {}).get(LABEL_PROJECT):
                    tasks.start_soon(self._look_at_container, entry["Id"])
                else:
                    self.observed.put_container(container_summary(entry), asked_at)
        self.observed.keep_containers({entry["Id"] for entry in entries}, asked_at)
        self._replace_networks(networks)
        self._replace_volumes((volumes or {}).get("Volumes") or [])

    def _replace_networks(self, answers: Iterable[Mapping[str, Any]]) -> None:
        listed = {answer["Id"]: answer for answer in answers}
        for network_id in [known for known in self.observed.networks if known not in listed]:
            if network_id not in self._touched:
                self.observed.drop_network(network_id)
        for network_id, answer in listed.items():
            if network_id not in self._touched:
                self.observed.put_network(network_record(answer))

    def _replace_volumes(self, answers: Iterable[Mapping[str, Any]]) -> None:
        listed = {answer["Name"]: answer for answer in answers}
        for name in [known for known in self.observed.volumes if known not in listed]:
            if name not in self._touched:
                self.observed.drop_volume(name)
        for name, answer in listed.items():
            if name not in self._touched:
                self.observed.put_volume(volume_record(answer))

    async def _keep_asking(self) -> None:
        """A quiet stream may be a dead one: ask, with a deadline."""
        while True:
            await anyio.sleep(self._ping_after)
            if time.monotonic() - self._heard >= self._ping_after:
                await self.engine.ping(self._ping_deadline)

    async def _list_again(self) -> None:
        while True:
            await anyio.sleep(self._resync)
            await self._list()


def _familiar(reference: str) -> str:
    """`docker.io/library/nginx` and `nginx:latest` as one word."""
    name = reference.removeprefix("docker.io/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
