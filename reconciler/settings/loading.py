"""From the environment to `Settings`: once, at the start, everything or a list of all faults.

Order matters in one place: rewrites are read before the poll targets they apply to. Rules
that concern more than one variable are here; what one variable may be is in `variables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.settings import documents
from reconciler.settings import variables as names
from reconciler.settings.environment import Decrypt, Environment
from reconciler.settings.model import (
    CertificateSettings,
    DockerSettings,
    GitHubApp,
    GitSettings,
    HttpSettings,
    NotifySettings,
    OciSettings,
    SecretProviderSettings,
    Settings,
    SettingsError,
)
from reconciler.settings.secret import Secret
from reconciler.settings.variables import Variable

_LEVELS = ("info", "success", "warning", "failure")
_OPTIONS: Mapping[str, tuple[Variable[Any], ...]] = {
    "aws_sm": (names.PROVIDER_REGION, names.PROVIDER_ACCESS_KEY_ID, names.PROVIDER_SECRET_ACCESS_KEY),
    "bitwarden_sm": (names.PROVIDER_API_URL, names.PROVIDER_IDENTITY_URL, names.PROVIDER_ACCESS_TOKEN),
    "1password": (
        *(names.PROVIDER_ACCESS_TOKEN, names.PROVIDER_CONNECT_HOST, names.PROVIDER_CONNECT_TOKEN),
        *(names.PROVIDER_CACHE_ENABLED, names.PROVIDER_CACHE_TTL, names.PROVIDER_CACHE_MAX_SIZE),
    ),
    "infisical": (names.PROVIDER_SITE_URL, names.PROVIDER_CLIENT_ID, names.PROVIDER_CLIENT_SECRET),
    "openbao": (names.PROVIDER_SITE_URL, names.PROVIDER_ACCESS_TOKEN),
    "webhook": (
        *(names.PROVIDER_AUTH_USERNAME, names.PROVIDER_AUTH_PASSWORD),
        *(names.PROVIDER_AUTH_TOKEN, names.PROVIDER_AUTH_APIKEY),
    ),
}
_REQUIRED: Mapping[str, tuple[Variable[Any], ...]] = {
    "aws_sm": _OPTIONS["aws_sm"],
    "bitwarden_sm": (names.PROVIDER_ACCESS_TOKEN,),
    "infisical": (names.PROVIDER_CLIENT_ID, names.PROVIDER_CLIENT_SECRET),
    "openbao": _OPTIONS["openbao"],
}
_DEFAULTS: Mapping[tuple[str, Variable[Any]], str] = {
    ("bitwarden_sm", names.PROVIDER_API_URL): "https://vault.bitwarden.com/api",
    ("bitwarden_sm", names.PROVIDER_IDENTITY_URL): "https://vault.bitwarden.com/identity",
    ("infisical", names.PROVIDER_SITE_URL): "https://app.infisical.com",
}


def load_settings(environ: Mapping[str, str], *, decrypt: Decrypt | None = None) -> Settings:
    """Read, check and combine all settings; raises `SettingsError` with every problem.

    `decrypt` turns a SOPS-encrypted `…_FILE` into text; without it such a file is a problem.
    """
    env = Environment(environ, decrypt)
    data_mount_path = env.get(names.DATA_MOUNT_PATH)
    rewrites = documents.url_rewrites(env)
    env.get(names.MAX_DEPLOYMENT_LOOP_COUNT)
    if env.is_set(names.MAX_DEPLOYMENT_LOOP_COUNT):
        env.warnings.append("MAX_DEPLOYMENT_LOOP_COUNT has no effect")
    provider = _secret_provider(env)
    made = Settings(
        log_level=env.get(names.LOG_LEVEL),
        log_format=env.get(names.LOG_FORMAT),
        timezone=_timezone(env),
        data_mount_path=data_mount_path,
        data_host_path=env.get(names.DATA_HOST_PATH),
        deploy_config_base_dir=env.get(names.DEPLOY_CONFIG_BASE_DIR),
        pass_env=env.get(names.PASS_ENV),
        targets=documents.poll_targets(env, rewrites),
        source_url_rewrites=rewrites,
        max_concurrent_deployments=env.get(names.MAX_CONCURRENT_DEPLOYMENTS),
        scheduler_enabled=env.get(names.SCHEDULER_ENABLED),
        database_url=env.secret(names.DATABASE_URL) or Secret(f"sqlite:///{data_mount_path}/moored.db"),
        run_retention_count=env.get(names.RUN_RETENTION_COUNT),
        run_retention_age=env.get(names.RUN_RETENTION_AGE),
        resync_interval=env.get(names.RESYNC_INTERVAL),
        shutdown_timeout=env.get(names.SHUTDOWN_TIMEOUT),
        http=_http(env),
        git=_git(env),
        docker=_docker(env, environ),
        notify=_notify(env),
        certificates=_certificates(env, provider),
        oci=OciSettings(
            trust_policy=documents.trust_policy(env),
            verify_max_workers=env.get(names.OCI_VERIFY_MAX_WORKERS),
            insecure_registries=env.get(names.OCI_INSECURE_REGISTRIES),
        ),
        secret_provider=provider,
        # Last: everything was read by now.
        not_acted_on=tuple(
            variable.name for variable in names.ALL if not variable.acted and variable.name in env.changed
        ),
        warnings=tuple(env.warnings),
    )
    if env.problems:
        raise SettingsError(tuple(env.problems))
    return made


def _timezone(env: Environment) -> str:
    name = env.get(names.TZ)
    if name == "UTC":
        return name
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        env.warnings.append(f"TZ: the zone {name!r} is not known here, UTC is used")
        return "UTC"
    return name


def _http(env: Environment) -> HttpSettings:
    port, metrics_port = env.get(names.HTTP_PORT), env.get(names.METRICS_PORT)
    if port == metrics_port:
        env.problem(names.METRICS_PORT, f"HTTP_PORT and METRICS_PORT cannot be the same port number: {port}")
    certificate, key = env.get(names.HTTP_TLS_CERT_FILE), env.get(names.HTTP_TLS_KEY_FILE)
    if (certificate is None) != (key is None):
        given, missing = names.HTTP_TLS_CERT_FILE, names.HTTP_TLS_KEY_FILE
        env.problem(missing if key is None else given, "HTTP_TLS_CERT_FILE and HTTP_TLS_KEY_FILE must be set together")
    limit = env.get(names.MAX_PAYLOAD_SIZE)
    if limit <= 0:
        env.warnings.append(f"MAX_PAYLOAD_SIZE is {limit}: every request with a body is refused")
    return HttpSettings(
        port=port,
        metrics_port=metrics_port,
        bind=env.get(names.HTTP_BIND),
        metrics_bind=env.get(names.METRICS_BIND),
        tls_cert_file=certificate,
        tls_key_file=key,
        api_secret=env.secret(names.API_SECRET),
        webhook_secret=env.secret(names.WEBHOOK_SECRET),
        max_payload_size=limit,
        auth_failure_limit=env.get(names.AUTH_FAILURE_LIMIT),
        trusted_proxy_networks=env.get(names.TRUSTED_PROXY_NETWORKS),
        trusted_proxy_header=env.get(names.TRUSTED_PROXY_HEADER),
    )


def _git(env: Environment) -> GitSettings:
    token, hosts = env.secret(names.GIT_ACCESS_TOKEN), env.get(names.GIT_ACCESS_TOKEN_HOSTS)
    if hosts and token is None:
        env.warnings.append("GIT_ACCESS_TOKEN_HOSTS is set without GIT_ACCESS_TOKEN, so it has no effect")
    key, passphrase = env.secret(names.SSH_PRIVATE_KEY), env.secret(names.SSH_PRIVATE_KEY_PASSPHRASE)
    if passphrase is not None and key is None:
        env.warnings.append("SSH_PRIVATE_KEY_PASSPHRASE is set without SSH_PRIVATE_KEY, so it has no effect")
    return GitSettings(
        access_token=token,
        access_token_user=env.get(names.GIT_ACCESS_TOKEN_USER),
        access_token_hosts=hosts,
        github_app=_github_app(env, token),
        auth_domains=documents.auth_domains(env),
        ssh_private_key=key,
        ssh_private_key_passphrase=passphrase,
        clone_depth=env.get(names.GIT_CLONE_DEPTH),
        clone_submodules=env.get(names.GIT_CLONE_SUBMODULES),
        skip_tls_verification=env.get(names.SKIP_TLS_VERIFICATION),
        commit_status=env.get(names.GIT_COMMIT_STATUS),
        scm_provider=env.get(names.GIT_SCM_PROVIDER),
        scm_api_url=env.get(names.GIT_SCM_API_URL),
        proxy=env.secret(names.HTTP_PROXY),
    )


def _github_app(env: Environment, token: Secret | None) -> GitHubApp | None:
    app_id, key = env.get(names.GITHUB_APP_ID), env.secret(names.GITHUB_APP_PRIVATE_KEY)
    installation = env.get(names.GITHUB_APP_INSTALLATION_ID)
    if not app_id or key is None:
        if app_id or key is not None:
            env.warnings.append("only one of GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY is set, so both are ignored")
        return None
    if token is not None:
        env.problem(names.GIT_ACCESS_TOKEN, "GIT_ACCESS_TOKEN cannot be combined with global GitHub App credentials")
    return GitHubApp(app_id, key, installation)


def _docker(env: Environment, environ: Mapping[str, str]) -> DockerSettings:
    cert_path, verify = env.get(names.DOCKER_CERT_PATH), env.get(names.DOCKER_TLS_VERIFY)
    if verify and cert_path is None:
        env.warnings.append("DOCKER_TLS_VERIFY is set without DOCKER_CERT_PATH, so it has no effect")
    return DockerSettings(
        host=env.get(names.DOCKER_HOST),
        cert_path=cert_path,
        tls_verify=verify,
        api_version=env.get(names.DOCKER_API_VERSION),
        config=env.get(names.DOCKER_CONFIG) or Path(environ.get("HOME") or "/root") / ".docker",
        auth_config=env.secret(names.DOCKER_AUTH_CONFIG),
        quiet_deploy=env.get(names.DOCKER_QUIET_DEPLOY),
        swarm_features=env.get(names.DOCKER_SWARM_FEATURES),
        swarm_config_retention=env.get(names.DOCKER_SWARM_CONFIG_RETENTION),
        swarm_secret_retention=env.get(names.DOCKER_SWARM_SECRET_RETENTION),
    )


def _notify(env: Environment) -> NotifySettings:
    level = env.get(names.APPRISE_NOTIFY_LEVEL)
    if level not in _LEVELS:
        env.warnings.append(f"APPRISE_NOTIFY_LEVEL: {level!r} is none of {', '.join(_LEVELS)}, info is used")
        level = "info"
    made = NotifySettings(
        api_url=env.get(names.APPRISE_API_URL),
        urls=env.secret(names.APPRISE_NOTIFY_URLS),
        level=level,
        repeat_interval=max(0.0, env.get(names.APPRISE_NOTIFY_REPEAT_INTERVAL)),
        body_template=env.get(names.APPRISE_NOTIFY_BODY_TEMPLATE),
    )
    if not made.enabled and (made.api_url or made.urls is not None):
        env.warnings.append("only one of APPRISE_API_URL and APPRISE_NOTIFY_URLS is set, so nothing is sent")
    return made


def _certificates(env: Environment, provider: SecretProviderSettings) -> CertificateSettings:
    rotation = env.get(names.CERT_ROTATION_ENABLED)
    if rotation and provider.kind != "openbao":
        env.warnings.append("CERT_ROTATION_ENABLED needs SECRET_PROVIDER=openbao, so it is off")
        rotation = False
    return CertificateSettings(
        rotation=rotation,
        threshold=env.get(names.CERT_ROTATION_THRESHOLD),
        check_interval=env.get(names.CERT_ROTATION_CHECK_INTERVAL),
    )


def _secret_provider(env: Environment) -> SecretProviderSettings:
    kind = env.get(names.SECRET_PROVIDER)
    if not kind:
        return SecretProviderSettings("")
    options: dict[str, str | int | float | bool | Secret] = {}
    for variable in _OPTIONS[kind]:
        content = env.get(variable) or _DEFAULTS.get((kind, variable), variable.default)
        if content != "":
            key = variable.name.removeprefix("SECRET_PROVIDER_").lower()
            options[key] = Secret(content) if variable.secret else content
    _require(env, kind)
    stores = documents.webhook_stores(env) if kind == "webhook" else ()
    if kind == "webhook" and not env.is_set(names.PROVIDER_WEBHOOK_STORES):
        env.problem(names.PROVIDER_WEBHOOK_STORES, "is needed by SECRET_PROVIDER=webhook, but is not set")
    return SecretProviderSettings(kind, options, stores)


def _require(env: Environment, kind: str) -> None:
    required = _REQUIRED.get(kind, ())
    if kind == "1password":
        connect = (names.PROVIDER_CONNECT_HOST, names.PROVIDER_CONNECT_TOKEN)
        required = connect if any(env.is_set(variable) for variable in connect) else (names.PROVIDER_ACCESS_TOKEN,)
    for variable in required:
        if not env.is_set(variable):
            env.problem(variable, f"is needed by SECRET_PROVIDER={kind}, but is not set")
