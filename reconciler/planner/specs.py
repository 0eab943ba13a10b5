"""What the executor receives when it carries an action out.

A plan names services and numbers, never Engine bodies: the body of a container is made at
the moment of its creation, because it contains ids that do not exist earlier
(`network_mode: service:vpn`) and secret values that no plan may show. The functions of
`mapping.py` turn the desired stack into these values; they are frozen, hold JSON only and
the executor sends them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class InjectedFile:
    """A config or secret whose content is copied into the container after its creation.

    The content is not here: `file_content(desired, item)` gives it at execution.
    """

    kind: str
    """`config` or `secret`."""
    source: str
    """Its key in the project."""
    target: str
    """Absolute path inside the container."""
    mode: int = 0o444
    uid: int = 0
    gid: int = 0
    keep_ids: bool = False
    """Whether uid or gid was asked for."""

    @property
    def key(self) -> str:
        """Its key in `DesiredStack.content`."""
        return f"{self.kind}:{self.source}"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to create."""

    name: str
    """The name to create it under (the temporary one while it replaces another)."""
    body: Json = field(repr=False)
    """JSON for `POST /containers/create`, with Labels, HostConfig and NetworkingConfig."""
    platform: str = ""
    """Value of the query parameter `platform`; empty: not sent."""
    connects: tuple[tuple[str, Json], ...] = ()
    """(network name, endpoint config) still to connect between creation and start."""
    files: tuple[InjectedFile, ...] = ()
    """To copy in between creation and start, in this order."""


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """A `post_start` or `pre_stop` command inside a running container."""

    index: int
    body: Json = field(repr=False)
    """JSON for `POST /containers/{id}/exec`; attached output."""
    tty: bool = False


@dataclass(frozen=True, slots=True)
class HookSpec:
    """A `pre_start` init container: it runs to its end before the service's first start."""

    index: int
    image: str
    body: Json = field(repr=False)
    """JSON for `POST /containers/create` (no name: the Engine invents one)."""
    connects: tuple[tuple[str, Json], ...] = ()


@dataclass(frozen=True, slots=True)
class NamedContext:
    """An entry of `build.additional_contexts` that is an image."""

    name: str
    reference: str
    built_here: bool
    """The image of another service, which no registry has."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """An image to build: every build attribute BuildKit in the daemon takes without a session."""

    service: str
    context: str
    """Absolute folder, or a Git or HTTP URL if `remote`."""
    remote: bool
    dockerfile: str
    """Relative to the context, or absolute; empty with an inline one."""
    dockerfile_inline: str = field(repr=False)
    tags: tuple[str, ...]
    """The service's image first, then `build.tags`."""
    args: Mapping[str, str] = field(repr=False)
    labels: Mapping[str, str]
    target: str = ""
    extra_hosts: tuple[str, ...] = ()
    """`host:ip`."""
    network: str = ""
    no_cache: bool = False
    pull: bool = False
    platform: str = ""
    cache_from: tuple[str, ...] = ()
    shm_size: int = 0
    ulimits: tuple[Json, ...] = ()
    """`{Name, Soft, Hard}`."""
    contexts: tuple[NamedContext, ...] = ()


__all__ = ["BuildRequest", "ContainerSpec", "ExecSpec", "HookSpec", "InjectedFile", "Json", "NamedContext"]
