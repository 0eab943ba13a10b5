"""Every environment variable Moored knows: its type, default, meaning, and whether it acts on it.

The one list behind loading, checking and `docs/settings.md`. A variable with `file=True`
may be given as `NAME_FILE`, the path of a file with the value. `acted=False` marks what is
read and validated, so that a configuration for Doco-CD is accepted, but not done yet: who
sets it is told so in the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from reconciler.settings import values

T = TypeVar("T")


@dataclass(frozen=True)
class Variable(Generic[T]):
    name: str
    kind: str
    """The type, for people."""
    parse: Callable[[str], T]
    default: T
    meaning: str
    shown_default: str = ""
    """Where `default` itself does not read well."""
    file: bool = False
    secret: bool = False
    acted: bool = True


def _text(
    name: str, default: str, meaning: str, *, kind: str = "string", shown_default: str = "", acted: bool = True
) -> Variable[str]:
    return Variable(name, kind, values.text, default, meaning, shown_default, acted=acted)


def _secret(name: str, meaning: str, *, file: bool = True, kind: str = "secret", acted: bool = True) -> Variable[str]:
    return Variable(name, kind, values.text, "", meaning, file=file, secret=True, acted=acted)


def _flag(name: str, default: bool, meaning: str, *, acted: bool = True) -> Variable[bool]:
    return Variable(name, "bool", values.boolean, default, meaning, acted=acted)


def _duration(name: str, default: str, meaning: str, *, acted: bool = True) -> Variable[float]:
    parse = values.positive_duration
    return Variable(name, "duration > 0", parse, parse(default), meaning, default, acted=acted)


def _port(name: str, default: int, meaning: str) -> Variable[int]:
    return Variable(name, "1–65535", values.integer(1, 65535), default, meaning)


_LEVEL_MESSAGE = "invalid log level, must be one of debug, info, warn, error"
_PROVIDERS = ("auto", "github", "gitlab", "gitea", "forgejo", "azuredevops")
_PROVIDER_MESSAGE = f"invalid GIT_SCM_PROVIDER: must be one of {', '.join(_PROVIDERS)}"

# General
LOG_LEVEL = Variable(
    "LOG_LEVEL",
    "debug, info, warn, error",
    values.choice("debug", "info", "warn", "error", fold=True, message=_LEVEL_MESSAGE),
    "info",
    "least severity that is logged",
)
LOG_FORMAT: Variable[Literal["auto", "json", "console"]] = Variable(
    "LOG_FORMAT",
    "auto, json, console",
    values.choice("auto", "json", "console", fold=True),
    "auto",
    "form of log lines; `auto` is `console` on a terminal, else `json`",
)
TZ = _text("TZ", "UTC", "time zone of cron schedules; log times are UTC", acted=False)
DATA_MOUNT_PATH = Variable(
    "DATA_MOUNT_PATH", "absolute path", values.absolute_path, Path("/data"), "folder of checkouts and database"
)
DATA_HOST_PATH: Variable[Path | None] = Variable(
    "DATA_HOST_PATH",
    "absolute path",
    values.absolute_path,
    None,
    "the same folder as the Docker host sees it; found by inspecting the own container if unset",
    "detected",
)
DEPLOY_CONFIG_BASE_DIR = _text("DEPLOY_CONFIG_BASE_DIR", "/", "folder of a repository that deploy files are in")
PASS_ENV = _flag("PASS_ENV", False, "let the agent's own environment take part in Compose interpolation")
POLL_CONFIG = Variable(
    "POLL_CONFIG",
    "YAML list",
    values.text,
    "",
    "the sources to follow: see [below](#poll_config)",
    file=True,
)
SOURCE_URL_REWRITES = Variable(
    "SOURCE_URL_REWRITES",
    "YAML map",
    values.text,
    "",
    "replaces source URLs: see [below](#source_url_rewrites)",
    file=True,
)
MAX_CONCURRENT_DEPLOYMENTS = Variable(
    "MAX_CONCURRENT_DEPLOYMENTS", "integer ≥ 1", values.integer(1), 4, "stacks worked on at the same time"
)
MAX_DEPLOYMENT_LOOP_COUNT = Variable(
    "MAX_DEPLOYMENT_LOOP_COUNT", "integer ≥ 0", values.integer(0), 2, "accepted, without effect (as in Doco-CD)"
)
SCHEDULER_ENABLED = _flag("SCHEDULER_ENABLED", True, "run scheduled jobs in this instance", acted=False)
DATABASE_URL = Variable(
    "DATABASE_URL",
    "`sqlite:////…` or `postgresql://…`",
    values.database_url,
    "",
    "where desired state, runs and overrides are kept",
    "`sqlite:///<DATA_MOUNT_PATH>/moored.db`",
    file=True,
    secret=True,
)
RUN_RETENTION_COUNT = Variable(
    "RUN_RETENTION_COUNT", "integer ≥ 1", values.integer(1), 200, "finished runs kept for each trigger"
)
RUN_RETENTION_AGE = _duration("RUN_RETENTION_AGE", "720h", "how long finished runs are kept")
RESYNC_INTERVAL = _duration("RESYNC_INTERVAL", "5m", "how often every stack is examined again, events or not")
SHUTDOWN_TIMEOUT = _duration("SHUTDOWN_TIMEOUT", "25s", "how long running work may go on after a stop signal")

# HTTP
HTTP_PORT = _port("HTTP_PORT", 80, "port of API, webhooks, dashboard and health")
METRICS_PORT = _port("METRICS_PORT", 9120, "port of `/metrics`; differs from `HTTP_PORT`")
HTTP_BIND = Variable("HTTP_BIND", "IP address", values.bind_address, "", "address `HTTP_PORT` listens on", "all")
METRICS_BIND = Variable("METRICS_BIND", "IP address", values.bind_address, "", "the same for `METRICS_PORT`", "all")
HTTP_TLS_CERT_FILE: Variable[Path | None] = Variable(
    "HTTP_TLS_CERT_FILE", "path", values.path, None, "certificate chain (PEM); with the key: HTTPS on both ports"
)
HTTP_TLS_KEY_FILE: Variable[Path | None] = Variable("HTTP_TLS_KEY_FILE", "path", values.path, None, "its key (PEM)")
API_SECRET = _secret("API_SECRET", "key of the API; unset: no API routes")
WEBHOOK_SECRET = _secret("WEBHOOK_SECRET", "secret of webhooks; unset: no webhook routes")
MAX_PAYLOAD_SIZE = Variable(
    "MAX_PAYLOAD_SIZE", "bytes", values.integer(bits=64), 1_048_576, "largest request body; 0 or less refuses all"
)
AUTH_FAILURE_LIMIT = Variable(
    "AUTH_FAILURE_LIMIT",
    "integer ≥ 1",
    values.integer(1),
    20,
    "failed attempts with key or signature that a client address has a minute before it must wait",
)
_PROXIES = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1/128"
TRUSTED_PROXY_NETWORKS = Variable(
    "TRUSTED_PROXY_NETWORKS",
    "list of CIDRs",
    values.networks,
    values.networks(_PROXIES),
    "proxies whose forwarding header is believed; `,` for none",
    _PROXIES,
)
TRUSTED_PROXY_HEADER = _text("TRUSTED_PROXY_HEADER", "X-Forwarded-For", "header with the client's address")
HTTP_PROXY = Variable(
    "HTTP_PROXY", "URL", values.proxy_url, "", "proxy of git over http and https; may hold credentials", secret=True
)

# Git
GIT_ACCESS_TOKEN = _secret("GIT_ACCESS_TOKEN", "token for git over http(s), for hosts without their own")
GIT_ACCESS_TOKEN_USER = _text("GIT_ACCESS_TOKEN_USER", "oauth2", "user that goes with tokens")
GIT_ACCESS_TOKEN_HOSTS: Variable[tuple[str, ...]] = Variable(
    "GIT_ACCESS_TOKEN_HOSTS",
    "list of `host`, `host:port`, `*.suffix`",
    values.comma_list,
    (),
    "limits `GIT_ACCESS_TOKEN` to these hosts",
    "every host",
)
GITHUB_APP_ID = Variable("GITHUB_APP_ID", "string", values.trimmed, "", "GitHub App", file=True, acted=False)
GITHUB_APP_PRIVATE_KEY = _secret("GITHUB_APP_PRIVATE_KEY", "its key (PEM)", acted=False)
GITHUB_APP_INSTALLATION_ID = Variable(
    "GITHUB_APP_INSTALLATION_ID", "integer", values.integer(bits=64), 0, "0: looked up by repository", acted=False
)
GIT_AUTH_DOMAINS = Variable(
    "GIT_AUTH_DOMAINS",
    "YAML list",
    values.text,
    "",
    "credentials by host: see [below](#git_auth_domains)",
    file=True,
    secret=True,
)
SSH_PRIVATE_KEY = _secret("SSH_PRIVATE_KEY", "key for git over SSH (OpenSSH or PEM)")
SSH_PRIVATE_KEY_PASSPHRASE = _secret("SSH_PRIVATE_KEY_PASSPHRASE", "passphrase of that key")
GIT_CLONE_DEPTH = Variable("GIT_CLONE_DEPTH", "integer ≥ 0", values.integer(0), 0, "commits fetched; 0: all")
GIT_CLONE_SUBMODULES = _flag("GIT_CLONE_SUBMODULES", True, "check submodules out, too")
SKIP_TLS_VERIFICATION = _flag("SKIP_TLS_VERIFICATION", False, "do not verify certificates of git over https")
GIT_COMMIT_STATUS = _flag("GIT_COMMIT_STATUS", False, "post the outcome to the commit", acted=False)
GIT_SCM_PROVIDER = Variable(
    "GIT_SCM_PROVIDER",
    ", ".join(_PROVIDERS),
    values.choice(*_PROVIDERS, fold=True, message=_PROVIDER_MESSAGE),
    "auto",
    "kind of server for commit statuses",
    acted=False,
)
GIT_SCM_API_URL = Variable(
    "GIT_SCM_API_URL", "URL", values.base_url, "", "its API, if not where its kind says", acted=False
)

# Docker and Swarm
DOCKER_HOST = Variable("DOCKER_HOST", "URL", values.docker_host, "", "the Engine", "local socket")
DOCKER_CERT_PATH: Variable[Path | None] = Variable(
    "DOCKER_CERT_PATH", "path", values.path, None, "folder with `ca.pem`, `cert.pem`, `key.pem`"
)
DOCKER_TLS_VERIFY = Variable(
    "DOCKER_TLS_VERIFY", "any text", values.any_text_is_true, False, "any value: verify the Engine's certificate", "off"
)
DOCKER_API_VERSION = Variable(
    "DOCKER_API_VERSION", "version", values.api_version, "", "pins the Engine API version", "negotiated"
)
DOCKER_CONFIG: Variable[Path | None] = Variable(
    "DOCKER_CONFIG", "path", values.path, None, "folder of `config.json` and `contexts/`", "`~/.docker`"
)
DOCKER_AUTH_CONFIG = _secret(
    "DOCKER_AUTH_CONFIG", "registry credentials as JSON; wins over `config.json`", file=False, kind="JSON"
)
DOCKER_QUIET_DEPLOY = _flag("DOCKER_QUIET_DEPLOY", True, "`false`: log the progress of pulls and builds", acted=False)
DOCKER_SWARM_FEATURES = _flag("DOCKER_SWARM_FEATURES", True, "`false`: never treat an Engine as Swarm", acted=False)
DOCKER_SWARM_CONFIG_RETENTION = Variable(
    "DOCKER_SWARM_CONFIG_RETENTION",
    "integer ≥ −1",
    values.integer(-1),
    0,
    "old revisions kept of each Swarm config; −1: all",
    acted=False,
)
DOCKER_SWARM_SECRET_RETENTION = Variable(
    "DOCKER_SWARM_SECRET_RETENTION",
    "integer ≥ −1",
    values.integer(-1),
    0,
    "old revisions kept of each Swarm secret; −1: all",
    acted=False,
)

# Notifications
APPRISE_API_URL = Variable("APPRISE_API_URL", "URL", values.web_url, "", "where to POST notifications", acted=False)
APPRISE_NOTIFY_URLS = _secret("APPRISE_NOTIFY_URLS", "Apprise's own URLs, separated by commas", acted=False)
APPRISE_NOTIFY_LEVEL = Variable(
    "APPRISE_NOTIFY_LEVEL",
    "info, success, warning, failure",
    values.text,
    "success",
    "least severity that is sent",
    acted=False,
)
APPRISE_NOTIFY_REPEAT_INTERVAL = Variable(
    "APPRISE_NOTIFY_REPEAT_INTERVAL",
    "duration",
    values.duration,
    3600.0,
    "the same failure is sent again after this time; 0: always",
    "1h",
    acted=False,
)
APPRISE_NOTIFY_BODY_TEMPLATE = Variable(
    "APPRISE_NOTIFY_BODY_TEMPLATE", "Go template", values.text, "", "form of the message", file=True, acted=False
)

# Certificates, OCI
CERT_ROTATION_ENABLED = _flag("CERT_ROTATION_ENABLED", False, "renew certificates; needs OpenBao", acted=False)
CERT_ROTATION_THRESHOLD = _duration("CERT_ROTATION_THRESHOLD", "72h", "renew this long before the end", acted=False)
CERT_ROTATION_CHECK_INTERVAL = _duration("CERT_ROTATION_CHECK_INTERVAL", "1h", "how often to look", acted=False)
OCI_TRUST_POLICY = Variable(
    "OCI_TRUST_POLICY", "YAML map", values.text, "", "which signatures artifacts need", file=True, acted=False
)
OCI_VERIFY_MAX_WORKERS = Variable(
    "OCI_VERIFY_MAX_WORKERS", "1–10", values.integer(1, 10), 1, "signatures verified at a time", acted=False
)
OCI_INSECURE_REGISTRIES: Variable[tuple[str, ...]] = Variable(
    "OCI_INSECURE_REGISTRIES", "list of `host[:port]`", values.registries, (), "plain-http registries", acted=False
)

# Secret providers
PROVIDERS = ("aws_sm", "bitwarden_sm", "1password", "infisical", "openbao", "webhook")
SECRET_PROVIDER = Variable(
    "SECRET_PROVIDER",
    ", ".join(PROVIDERS),
    values.choice(*PROVIDERS, message="unknown secret provider"),
    "",
    "where `external_secrets` come from",
    acted=False,
)
_P = "SECRET_PROVIDER_"
PROVIDER_REGION = _text(_P + "REGION", "", "aws_sm: region", acted=False)
PROVIDER_ACCESS_KEY_ID = _text(_P + "ACCESS_KEY_ID", "", "aws_sm: key id", acted=False)
PROVIDER_SECRET_ACCESS_KEY = _secret(_P + "SECRET_ACCESS_KEY", "aws_sm: key", acted=False)
PROVIDER_API_URL = Variable(_P + "API_URL", "URL", values.web_url, "", "bitwarden_sm: API", acted=False)
PROVIDER_IDENTITY_URL = Variable(_P + "IDENTITY_URL", "URL", values.web_url, "", "bitwarden_sm: login", acted=False)
PROVIDER_ACCESS_TOKEN = _secret(_P + "ACCESS_TOKEN", "bitwarden_sm, 1password, openbao: token", acted=False)
PROVIDER_CONNECT_HOST = Variable(_P + "CONNECT_HOST", "URL", values.web_url, "", "1password: Connect", acted=False)
PROVIDER_CONNECT_TOKEN = _secret(_P + "CONNECT_TOKEN", "1password: Connect's token", acted=False)
PROVIDER_CACHE_ENABLED = _flag(_P + "CACHE_ENABLED", False, "1password: keep values in memory", acted=False)
PROVIDER_CACHE_TTL = _duration(_P + "CACHE_TTL", "5m", "1password: how long", acted=False)
PROVIDER_CACHE_MAX_SIZE = Variable(
    _P + "CACHE_MAX_SIZE", "integer ≥ 1", values.integer(1), 100, "1password: how many", acted=False
)
PROVIDER_SITE_URL = Variable(_P + "SITE_URL", "URL", values.web_url, "", "infisical, openbao: server", acted=False)
PROVIDER_CLIENT_ID = _text(_P + "CLIENT_ID", "", "infisical: client", acted=False)
PROVIDER_CLIENT_SECRET = _secret(_P + "CLIENT_SECRET", "infisical: its secret", acted=False)
PROVIDER_WEBHOOK_STORES = Variable(
    _P + "WEBHOOK_STORES", "YAML", values.text, "", "webhook: stores", file=True, secret=True, acted=False
)
PROVIDER_AUTH_USERNAME = _text(_P + "AUTH_USERNAME", "", "webhook: for templates", acted=False)
PROVIDER_AUTH_PASSWORD = _secret(_P + "AUTH_PASSWORD", "webhook: for templates", file=False, acted=False)
PROVIDER_AUTH_TOKEN = _secret(_P + "AUTH_TOKEN", "webhook: for templates", file=False, acted=False)
PROVIDER_AUTH_APIKEY = _secret(_P + "AUTH_APIKEY", "webhook: for templates", file=False, acted=False)

ALL: tuple[Variable[Any], ...] = tuple(value for value in list(globals().values()) if isinstance(value, Variable))
SECTIONS: tuple[tuple[str, str], ...] = (
    ("General", "LOG_LEVEL"),
    ("HTTP", "HTTP_PORT"),
    ("Git", "GIT_ACCESS_TOKEN"),
    ("Docker and Swarm", "DOCKER_HOST"),
    ("Notifications", "APPRISE_API_URL"),
    ("Certificates and OCI artifacts", "CERT_ROTATION_ENABLED"),
    ("Secret providers", "SECRET_PROVIDER"),
)
"""Each section of the reference and the variable it begins with."""
