"""The settings as the rest of Moored sees them: plain frozen values, every one checked.

Durations are seconds. What holds a secret is a `Secret`. An unset text is `""`, an unset
secret `None`. Nothing here knows the environment; `reconciler.settings.loading` fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from reconciler.settings.secret import Secret
from state.model import SourceSpec
from state.targets import ValidatedTarget


@dataclass(frozen=True, slots=True)
class Problem:
    """A setting that cannot be used."""

    name: str
    message: str
    """What was expected and what was found (never the content of a secret)."""
    origin: str = "environment"
    """Where the value came from: `environment`, or the path of the `…_FILE`, with the line."""

    def __str__(self) -> str:
        where = "" if self.origin == "environment" else f" (from {self.origin})"
        return f"{self.name}: {self.message}{where}"


class SettingsError(Exception):
    """Settings cannot be used; `problems` has all of them."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class HttpSettings:
    port: int
    metrics_port: int
    bind: str
    """Address to listen on; empty: all."""
    metrics_bind: str
    tls_cert_file: Path | None
    tls_key_file: Path | None
    api_secret: Secret | None
    """None: the API routes are absent."""
    webhook_secret: Secret | None
    """None: the webhook routes are absent."""
    max_payload_size: int
    auth_failure_limit: int
    trusted_proxy_networks: tuple[IPv4Network | IPv6Network, ...]
    trusted_proxy_header: str


@dataclass(frozen=True, slots=True)
class GitHubApp:
    id: str
    private_key: Secret
    installation_id: int
    """0: looked up by owner and repository."""


@dataclass(frozen=True, slots=True)
class GitAuthDomain:
    """One entry of `GIT_AUTH_DOMAINS`; what it lacks comes from the global settings."""

    domains: tuple[str, ...]
    access_token: Secret | None = None
    access_token_user: str = ""
    ssh_private_key: Secret | None = None
    ssh_private_key_passphrase: Secret | None = None
    github_app: GitHubApp | None = None


@dataclass(frozen=True, slots=True)
class GitSettings:
    access_token: Secret | None
    access_token_user: str
    access_token_hosts: tuple[str, ...]
    """Where the global token may go; empty: everywhere."""
    github_app: GitHubApp | None
    auth_domains: tuple[GitAuthDomain, ...]
    ssh_private_key: Secret | None
    ssh_private_key_passphrase: Secret | None
    clone_depth: int
    """0: everything."""
    clone_submodules: bool
    skip_tls_verification: bool
    commit_status: bool
    scm_provider: str
    scm_api_url: str
    proxy: Secret | None
    """`HTTP_PROXY`: for git over http and https."""


@dataclass(frozen=True, slots=True)
class DockerSettings:
    host: str
    """`DOCKER_HOST`; empty: the local socket."""
    cert_path: Path | None
    tls_verify: bool
    api_version: str
    """Empty: negotiated."""
    config: Path
    """Folder of `config.json` and `contexts/`."""
    auth_config: Secret | None
    quiet_deploy: bool
    swarm_features: bool
    swarm_config_retention: int
    """Old revisions kept; -1: all."""
    swarm_secret_retention: int


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Notifications by Apprise; off unless both URLs are set."""

    api_url: str
    urls: Secret | None
    level: str
    repeat_interval: float
    body_template: str

    @property
    def enabled(self) -> bool:
        return bool(self.api_url) and self.urls is not None


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    rotation: bool
    threshold: float
    check_interval: float


@dataclass(frozen=True, slots=True)
class OciSettings:
    trust_policy: Mapping[str, Any]
    verify_max_workers: int
    insecure_registries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SecretProviderSettings:
    kind: str
    """Empty: none."""
    options: Mapping[str, str | int | float | bool | Secret] = field(default_factory=dict)
    """By variable name without `SECRET_PROVIDER_`, in lower case; only those that are set or
    have a default for this provider."""
    webhook_stores: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    log_level: str
    log_format: Literal["auto", "json", "console"]
    timezone: str
    data_mount_path: Path
    data_host_path: Path | None
    """None: to be detected."""
    deploy_config_base_dir: str
    pass_env: bool
    targets: tuple[ValidatedTarget, ...]
    """The entries of `POLL_CONFIG`."""
    source_url_rewrites: Mapping[str, str]
    max_concurrent_deployments: int
    scheduler_enabled: bool
    database_url: Secret
    run_retention_count: int
    run_retention_age: float
    resync_interval: float
    shutdown_timeout: float
    http: HttpSettings
    git: GitSettings
    docker: DockerSettings
    notify: NotifySettings
    certificates: CertificateSettings
    oci: OciSettings
    secret_provider: SecretProviderSettings
    warnings: tuple[str, ...] = ()
    """What is odd and was accepted all the same."""
    not_acted_on: tuple[str, ...] = ()
    """Names of variables that ask for something (valid, other than the default) which this
    version does not do."""

    @property
    def sources(self) -> tuple[SourceSpec, ...]:
        return tuple(target.spec for target in self.targets)
