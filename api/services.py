"""What the API is given to work with.

The API knows the store and the observed Engines; what it needs from the reconciler comes as
plain functions, put in by the composition root, so that this package imports nothing of
it. Everything is handed over in one frozen value.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from state.events import EventHub
from state.metrics import Metrics, metrics
from state.observed import ObservedContext
from state.store import Store
from state.targets import InvalidTarget, ValidatedTarget

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

__all__ = ["ApiOptions", "ApiServices", "InvalidTarget", "TargetValidator", "ValidatedTarget"]

DEFAULT_TRUSTED_NETWORKS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128")
)


TargetValidator: TypeAlias = Callable[[dict[str, Any], int], ValidatedTarget]
"""Validates a poll target as decoded from JSON (known keys in lower case); raises `InvalidTarget`."""


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """How the API listens and whom it lets in."""

    http_port: int = 80
    metrics_port: int = 9120
    http_bind: str = ""
    """Address to listen on; empty: all, IPv4 and IPv6."""
    metrics_bind: str = ""
    api_secret: str | None = field(default=None, repr=False)
    """None: the API routes do not exist."""
    webhook_secret: str | None = field(default=None, repr=False)
    """None: the webhook routes do not exist."""
    max_payload_size: int = 1_048_576
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    trusted_proxy_networks: tuple[Network, ...] = DEFAULT_TRUSTED_NETWORKS
    trusted_proxy_header: str = "X-Forwarded-For"
    version: str = "dev"
    docker_host: str = ""
    """`DOCKER_HOST`, if set: only the wording of the health answer depends on it."""
    max_concurrent_waits: int = 256
    """Requests that may wait for an outcome, or follow a run's events, at one time."""
    max_auth_failures: int = 20
    """Failed attempts a client address has in a minute before it must wait."""
    action_grace: float = 30.0
    """Seconds a project action is waited for beyond its own `timeout`."""
    max_wait: float = 86_400.0
    """Seconds after which even a wait without limit is answered."""
    drain: float = 10.0
    """Seconds that requests under way get when the server stops."""


@dataclass(frozen=True, slots=True)
class ApiServices:
    """Everything the API needs."""

    store: Store
    observed: Mapping[str, ObservedContext]
    """By name of the Docker context."""
    hub: EventHub
    options: ApiOptions
    wake: Callable[[], None]
    """Tells the reconciler that an intent was written."""
    validate_target: TargetValidator
    rewrite_url: Callable[[str], str]
    """Applies `SOURCE_URL_REWRITES`; returns its argument when no rule matches."""
    metrics: Metrics = field(default_factory=metrics)
