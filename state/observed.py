"""What the Engines were last seen to run.

The observer (in the reconciler) feeds one `ObservedContext` per Docker context: first a
list, then every event. Readers, the API among them, take what is here and never ask the
Engine. All of it can be rebuilt at any time, so none of it is durable. When the
connection to an Engine is lost the context keeps its last content and says since when
it is stale.

Records are slim: names, states and labels as fields; the Engine's full `inspect` answer
only as compressed JSON, opened when the planner compares field by field.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from state.watch import Topic, Watch

LABEL_PROJECT = "com.docker.compose.project"
LABEL_SERVICE = "com.docker.compose.service"
LABEL_NUMBER = "com.docker.compose.container-number"
LABEL_ONEOFF = "com.docker.compose.oneoff"
LABEL_CONFIG_HASH = "com.docker.compose.config-hash"
LABEL_CONFIG_FILES = "com.docker.compose.project.config_files"
LABEL_WORKING_DIR = "com.docker.compose.project.working_dir"


@dataclass(frozen=True, slots=True)
class PublishedPort:
    ip: str
    private: int
    public: int
    protocol: str


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """One container, made from its `inspect` answer."""

    id: str
    name: str
    """Without the leading slash."""
    image: str
    """The reference as written at creation."""
    image_id: str
    labels: Mapping[str, str]
    state: str
    """`created running paused restarting removing exited dead`."""
    health: str = ""
    """`healthy unhealthy starting`, or empty without a health check."""
    exit_code: int = 0
    restart_count: int = 0
    error: str = ""
    """The Engine's `State.Error`."""
    oom_killed: bool = False
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    command: str = ""
    """Entry point and command as the Engine's list of containers words them."""
    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[str, ...] = ()
    """Volume name, else source path, of each mount."""
    local_volumes: int = 0
    networks: tuple[str, ...] = ()
    stopped_by_hand: bool = False
    """The Engine announced that somebody other than Moored stopped or killed it since it last
    started. Only known while the observer listens."""
    inspect_blob: bytes = field(default=b"", repr=False)
    """zlib-compressed JSON of `GET /containers/{id}/json`."""

    @property
    def project(self) -> str:
        return self.labels.get(LABEL_PROJECT, "")

    @property
    def service(self) -> str:
        return self.labels.get(LABEL_SERVICE, "")

    @property
    def number(self) -> int:
        text = self.labels.get(LABEL_NUMBER, "")
        return int(text) if text.isdigit() else 0

    @property
    def oneoff(self) -> bool:
        return self.labels.get(LABEL_ONEOFF, "False") == "True"

    @property
    def inspect(self) -> dict[str, Any]:
        """The Engine's full answer; parsed at each access, so keep it in a local name."""
        import json
        import zlib

        answer: dict[str, Any] = json.loads(zlib.decompress(self.inspect_blob)) if self.inspect_blob else {}
        return answer


@dataclass(frozen=True, slots=True)
class ObservedNetwork:
    id: str
    name: str
    labels: Mapping[str, str]
    driver: str
    inspect: Mapping[str, Any] = field(repr=False)
    """`GET /networks/{id}` without its live `Containers`."""


@dataclass(frozen=True, slots=True)
class ObservedVolume:
    name: str
    labels: Mapping[str, str]
    driver: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ObservedImage:
    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    """`RepoDigests`."""
    platform: str = ""
    """`os/architecture[/variant]`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The image's `Config`: what the Engine fills a container's empty fields with."""
    last_tagged: datetime | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an Engine is and can do; learnt at each connection."""

    version: str
    api_version: str
    """The Engine's own maximum, for example `1.41`."""
    os: str = "linux"
    architecture: str = "amd64"
    cpus: int = 0
    """Processors; 0: unknown."""
    cgroup_version: str = "1"
    swarm_manager: bool = False
    security_options: tuple[str, ...] = ()
    logging_driver: str = "json-file"
    """What a container without `logging` gets (`LoggingDriver` of `GET /info`)."""
    default_runtime: str = "runc"
    """What a container without `runtime` gets (`DefaultRuntime` of `GET /info`)."""

    def supports(self, api_version: str) -> bool:
        """Whether the Engine's API is at least `api_version`."""
        return _version(self.api_version) >= _version(api_version)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


@dataclass(frozen=True)
class ObservedProject:
    """What the planner compares a desired stack with."""

    engine: EngineFacts
    containers: tuple[ObservedContainer, ...] = ()
    """All of the project, one-off containers included, any state, sorted by name."""
    networks: tuple[ObservedNetwork, ...] = ()
    """Those of the project by label, and every other whose name the project uses."""
    volumes: tuple[ObservedVolume, ...] = ()
    """As `networks`."""
    images: Mapping[str, ObservedImage | None] = field(default_factory=dict)
    """For each image reference the project uses: what it resolves to locally."""
    foreign_names: Mapping[str, str] = field(default_factory=dict)
    """Container names the project wants that a container outside it holds -> its id."""
    network_users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Network id -> names of running containers outside the project that are attached to it:
    such a network is never taken away from them."""
    named: Mapping[str, ObservedContainer] = field(default_factory=dict)
    """Containers whose namespaces the project joins by name (`network_mode: container:NAME`) -> which
    they are: the Engine tells their ids."""


_revisions = itertools.count(1)


class ObservedContext:
    """The live picture of one Docker context. Written by its observer alone."""

    def __init__(self, name: str, watch: Watch | None = None) -> None:
        self.name = name
        self.watch = watch if watch is not None else Watch()
        """Signals `("observed", context, project)` for each project touched (`""` for what
        belongs to none) and `("connection", context)`."""
        self.engine: EngineFacts | None = None
        self.connected = False
        self.stale_since: datetime | None = None
        """Since when nothing new is heard; None while connected."""
        self.error = ""
        """Why it is not connected."""
        self.synced = False
        """Whether a complete list was ever read."""
        self.containers: dict[str, ObservedContainer] = {}
        self.networks: dict[str, ObservedNetwork] = {}
        self.volumes: dict[str, ObservedVolume] = {}
        self.images: dict[str, ObservedImage | None] = {}
        """By reference as asked for; a tag event drops the references it may concern."""
        self.stopped_by_hand: set[str] = set()
        """Ids of the containers that somebody other than Moored stopped since they last started."""
        self.outdated: set[str] = set()
        """Ids of the containers that events spoke of since the Engine was last asked about them."""
        self.revision = next(_revisions)
        """Another one with every change, and no two alike, so that readers can tell whether what they
        made of it still holds."""
        self._projects: dict[str, set[str]] = {}
        self._asked: dict[str, float] = {}

    def put_container(self, container: ObservedContainer, asked_at: float = 0.0) -> None:
        """Insert or replace a container and wake the waiters of its project.

        `asked_at` (a monotonic clock) is when the Engine was asked: of two answers that
        overtook each other the one asked for earlier is dropped, as is one about a
        container that was gone in between. A record equal to the known one wakes nobody.
        """
        if asked_at < self._asked.get(container.id, 0.0):
            return
        self._asked[container.id] = asked_at
        known = self.containers.get(container.id)
        if known == container:
            return
        if known is not None and known.project != container.project:
            self._leave(known)
        self.containers[container.id] = container
        self._projects.setdefault(container.project, set()).add(container.id)
        self._changed(("observed", self.name, container.project))

    def drop_container(self, container_id: str, asked_at: float = 0.0) -> None:
        """Forget a container that is gone (`asked_at` as in `put_container`)."""
        if asked_at < self._asked.get(container_id, 0.0):
            return
        self._asked[container_id] = asked_at
        self.outdated.discard(container_id)
        self.stopped_by_hand.discard(container_id)
        container = self.containers.pop(container_id, None)
        if container is not None:
            self._leave(container)
            self._changed(("observed", self.name, container.project))

    def keep_containers(self, listed: set[str], asked_at: float) -> None:
        """Forget each container that a complete list, asked for at `asked_at`, does not name."""
        for container_id in [known for known in self.containers if known not in listed]:
            self.drop_container(container_id, asked_at)
        self._asked = {
            container_id: at
            for container_id, at in self._asked.items()
            if container_id in self.containers or at >= asked_at
        }

    def put_network(self, network: ObservedNetwork) -> None:
        """Insert or replace a network (kept by its id)."""
        if self.networks.get(network.id) != network:
            self.networks[network.id] = network
            self._changed(("observed", self.name, network.labels.get(LABEL_PROJECT, "")))

    def drop_network(self, network_id: str) -> None:
        network = self.networks.pop(network_id, None)
        if network is not None:
            self._changed(("observed", self.name, network.labels.get(LABEL_PROJECT, "")))

    def put_volume(self, volume: ObservedVolume) -> None:
        """Insert or replace a volume (kept by its name)."""
        if self.volumes.get(volume.name) != volume:
            self.volumes[volume.name] = volume
            self._changed(("observed", self.name, volume.labels.get(LABEL_PROJECT, "")))

    def drop_volume(self, name: str) -> None:
        volume = self.volumes.pop(name, None)
        if volume is not None:
            self._changed(("observed", self.name, volume.labels.get(LABEL_PROJECT, "")))

    def _changed(self, topic: Topic) -> None:
        self.revision = next(_revisions)
        self.watch.notify(topic)

    def _leave(self, container: ObservedContainer) -> None:
        members = self._projects.get(container.project)
        if members is not None:
            members.discard(container.id)
            if not members:
                del self._projects[container.project]

    def project(self, name: str) -> list[ObservedContainer]:
        """The containers of a project, sorted by name."""
        found = (self.containers[container_id] for container_id in self._projects.get(name, ()))
        return sorted(found, key=lambda container: container.name)

    def leftovers(self, name: str) -> bool:
        """Whether a network or volume of a project is there, be it without containers."""
        left: list[ObservedNetwork | ObservedVolume] = [*self.networks.values(), *self.volumes.values()]
        return any(one.labels.get(LABEL_PROJECT) == name for one in left)

    def project_names(self) -> list[str]:
        """All project names with at least one container, sorted."""
        return sorted(name for name in self._projects if name)

    def lost(self, error: str, now: datetime) -> None:
        """Note that the Engine is not heard any more."""
        if self.connected or self.stale_since is None:
            self.stale_since = now
        self.connected = False
        self.error = error
        self._changed(("connection", self.name))

    def found(self, engine: EngineFacts) -> None:
        """Note that the Engine is heard, and a complete list was read."""
        self.engine = engine
        self.connected = True
        self.synced = True
        self.stale_since = None
        self.error = ""
        self._changed(("connection", self.name))
