"""Loading all settings: defaults, files, secrets, and every problem at once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from reconciler.settings import SettingsError, load_settings
from reconciler.settings.secret import Secret
from reconciler.settings.variables import ALL


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return [str(problem) for problem in caught.value.problems]


def problem(**environ: str) -> str:
    (only,) = problems(**environ)
    return only


def test_with_nothing_set_the_defaults_hold() -> None:
    settings = load_settings({})
    assert (settings.log_level, settings.log_format, settings.timezone) == ("info", "auto", "UTC")
    assert settings.data_mount_path == Path("/data") and settings.data_host_path is None
    assert settings.database_url.reveal() == "sqlite:////data/moored.db"
    assert (settings.http.port, settings.http.metrics_port, settings.http.bind) == (80, 9120, "")
    assert settings.http.api_secret is None and settings.http.webhook_secret is None
    assert len(settings.http.trusted_proxy_networks) == 5
    assert settings.git.access_token_user == "oauth2" and settings.git.clone_submodules
    assert settings.docker.config == Path("/root/.docker")
    assert (settings.run_retention_count, settings.run_retention_age) == (200, 720 * 3600)
    assert (settings.resync_interval, settings.shutdown_timeout) == (300, 25)
    assert settings.warnings == () and settings.not_acted_on == () and settings.targets == ()


def test_empty_is_the_same_as_unset() -> None:
    names = {variable.name: "" for variable in ALL} | {f"{variable.name}_FILE": "" for variable in ALL}
    assert load_settings(names) == load_settings({})


def test_values_are_taken() -> None:
    settings = load_settings(
        {
            "LOG_LEVEL": "WARN",
            "LOG_FORMAT": "json",
            "DATA_MOUNT_PATH": "/srv/moored/",
            "MAX_CONCURRENT_DEPLOYMENTS": "8",
            "SCHEDULER_ENABLED": "f",
            "HTTP_PORT": "8080",
            "API_SECRET": " spaces count ",
            "TRUSTED_PROXY_NETWORKS": ",",
            "GIT_ACCESS_TOKEN": "t",
            "GIT_ACCESS_TOKEN_HOSTS": "github.com, *.example.org",
            "DOCKER_TLS_VERIFY": "0",
            "DOCKER_CERT_PATH": "/certs",
            "HOME": "/home/me",
            "TZ": "Europe/Berlin",
        }
    )
    assert settings.log_level == "warn"
    assert settings.database_url.reveal() == "sqlite:////srv/moored/moored.db"
    assert (settings.max_concurrent_deployments, settings.scheduler_enabled) == (8, False)
    assert settings.http.api_secret == Secret(" spaces count ")
    assert settings.http.trusted_proxy_networks == ()
    assert settings.git.access_token_hosts == ("github.com", "*.example.org")
    assert settings.docker.tls_verify and settings.docker.config == Path("/home/me/.docker")
    assert settings.timezone == "Europe/Berlin"


def test_every_problem_is_told_at_once_with_what_was_expected_and_found() -> None:
    found = problems(HTTP_PORT="eighty", PASS_ENV="yes", RESYNC_INTERVAL="60", LOG_LEVEL="loud", DATA_MOUNT_PATH="data")
    assert sorted(found) == [
        "DATA_MOUNT_PATH: expected an absolute path, found 'data'",
        "HTTP_PORT: expected a whole number from 1 to 65535, found 'eighty'",
        "LOG_LEVEL: invalid log level, must be one of debug, info, warn, error, found 'loud'",
        "PASS_ENV: expected true or false (or 1, 0, t, f), found 'yes'",
        "RESYNC_INTERVAL: expected a duration with units, such as 90s or 1h30m, found '60'",
    ]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HTTP_PORT": "9120"}, "METRICS_PORT: HTTP_PORT and METRICS_PORT cannot be the same port number: 9120"),
        ({"HTTP_TLS_CERT_FILE": "/c"}, "HTTP_TLS_CERT_FILE and HTTP_TLS_KEY_FILE must be set together"),
        ({"HTTP_TLS_KEY_FILE": "/k"}, "HTTP_TLS_CERT_FILE and HTTP_TLS_KEY_FILE must be set together"),
        (
            {"GIT_ACCESS_TOKEN": "t", "GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": "k"},
            "GIT_ACCESS_TOKEN cannot be combined with global GitHub App credentials",
        ),
        ({"GIT_SCM_PROVIDER": "svn"}, "must be one of auto, github, gitlab, gitea, forgejo, azuredevops, found 'svn'"),
        ({"OCI_VERIFY_MAX_WORKERS": "11"}, "from 1 to 10"),
        ({"CERT_ROTATION_THRESHOLD": "0"}, "above zero"),
        ({"APPRISE_API_URL": "apprise:8000"}, "http or https URL with a host"),
        ({"SECRET_PROVIDER": "vault"}, "unknown secret provider, found 'vault'"),
        (
            {"SECRET_PROVIDER": "openbao", "SECRET_PROVIDER_SITE_URL": "https://b"},
            "SECRET_PROVIDER_ACCESS_TOKEN: is needed",
        ),
        ({"SECRET_PROVIDER": "1password", "SECRET_PROVIDER_CONNECT_HOST": "https://c"}, "CONNECT_TOKEN: is needed"),
        ({"SECRET_PROVIDER": "webhook"}, "SECRET_PROVIDER_WEBHOOK_STORES: is needed"),
        ({"DATABASE_URL": "mysql://u:hunter2@h/x"}, "expected sqlite:////absolute/path or"),
        ({"MAX_DEPLOYMENT_LOOP_COUNT": "-1"}, "at least 0"),
    ],
)
def test_refused_combinations_and_values(environ: dict[str, str], expected: str) -> None:
    found = problem(**environ)
    assert expected in found and "hunter2" not in found


def test_the_value_of_a_secret_is_never_told() -> None:
    for found in problems(DATABASE_URL="hunter2", HTTP_PROXY="http://hunter2:@:x", GIT_AUTH_DOMAINS="hunter2: ["):
        assert "hunter2" not in found
    found = problem(APPRISE_API_URL="ftp://u:hunter2@h")
    assert "hunter2" not in found and "ftp://" in found


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("  s3cret\n\n")
    settings = load_settings({"API_SECRET_FILE": str(file)})
    assert settings.http.api_secret == Secret("s3cret")
    file.write_text(" \n")
    assert load_settings({"API_SECRET_FILE": str(file)}).http.api_secret is None


def test_a_problem_says_which_file_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "poll.yaml"
    file.write_text("- url: https://a/b/c\n- url: https://d/e\n  interval: 3\n")
    found = problem(POLL_CONFIG_FILE=str(file))
    assert found == (
        f"POLL_CONFIG: invalid poll configuration: poll interval too low: must be at least 10s (from {file}, line 2)"
    )


def test_both_a_value_and_a_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("x")
    assert "both secrets are set, please use one or the other: API_SECRET or API_SECRET_FILE" in problem(
        API_SECRET="x", API_SECRET_FILE=str(file)
    )
    assert "both POLL_CONFIG and POLL_CONFIG_FILE are set" in problem(POLL_CONFIG="[]", POLL_CONFIG_FILE=str(file))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    missing = problem(WEBHOOK_SECRET_FILE=str(tmp_path / "none"))
    assert missing.startswith("WEBHOOK_SECRET_FILE: expected a readable file") and "No such file" in missing
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in problem(SSH_PRIVATE_KEY_FILE=str(binary))
    assert "directory" in problem(SSH_PRIVATE_KEY_FILE=str(tmp_path))
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(5 << 20)
    assert "larger than" in problem(SSH_PRIVATE_KEY_FILE=str(large))


def test_variables_that_take_no_file_ignore_one() -> None:
    assert load_settings({"HTTP_PORT_FILE": "/nowhere"}).http.port == 80


def test_encrypted_files_are_decrypted_but_not_the_poll_configuration(tmp_path: Path) -> None:
    file = tmp_path / "token.yaml"
    file.write_text("data: ENC[x]\nsops: {}\n")
    asked: list[str] = []

    def decrypt(content: bytes, path: str) -> str:
        asked.append(path)
        return f"clear {len(content)}\n"

    settings = load_settings({"GIT_ACCESS_TOKEN_FILE": str(file)}, decrypt=decrypt)
    assert settings.git.access_token == Secret("clear 22") and asked == [str(file)]
    assert "cannot be decrypted here" in problem(GIT_ACCESS_TOKEN_FILE=str(file))
    with pytest.raises(SettingsError, match="expected a list"):
        load_settings({"POLL_CONFIG_FILE": str(file)}, decrypt=decrypt)
    assert asked == [str(file)]


def test_a_file_that_cannot_be_decrypted_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("ENC[x] sops")

    def decrypt(_content: bytes, _path: str) -> str:
        raise ValueError("no usable key")

    with pytest.raises(SettingsError, match="no usable key"):
        load_settings({"API_SECRET_FILE": str(file)}, decrypt=decrypt)


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        ({"MAX_DEPLOYMENT_LOOP_COUNT": "2"}, "MAX_DEPLOYMENT_LOOP_COUNT has no effect"),
        ({"APPRISE_NOTIFY_LEVEL": "Failure"}, "'Failure' is none of info"),
        ({"APPRISE_API_URL": "http://a"}, "so nothing is sent"),
        ({"GITHUB_APP_ID": "1"}, "so both are ignored"),
        ({"CERT_ROTATION_ENABLED": "true"}, "needs SECRET_PROVIDER=openbao"),
        ({"MAX_PAYLOAD_SIZE": "0"}, "every request with a body is refused"),
        ({"TZ": "Mars/Olympus"}, "UTC is used"),
        ({"TZ": "../etc/passwd"}, "UTC is used"),
        ({"DOCKER_TLS_VERIFY": "1"}, "without DOCKER_CERT_PATH"),
        ({"GIT_ACCESS_TOKEN_HOSTS": "h"}, "without GIT_ACCESS_TOKEN"),
        ({"SSH_PRIVATE_KEY_PASSPHRASE": "x"}, "without SSH_PRIVATE_KEY"),
    ],
)
def test_what_is_odd_is_accepted_with_a_warning(environ: dict[str, str], warning: str) -> None:
    (told,) = load_settings(environ).warnings
    assert warning in told


def test_what_is_set_but_not_done_yet_is_named() -> None:
    settings = load_settings(
        {
            "GIT_COMMIT_STATUS": "true",
            "OCI_INSECURE_REGISTRIES": "r:5000",
            "OCI_TRUST_POLICY": "enabled: true",
            "HTTP_PORT": "81",
            "CERT_ROTATION_ENABLED": "false",
            "APPRISE_NOTIFY_LEVEL": "success",
        }
    )
    assert settings.not_acted_on == ("GIT_COMMIT_STATUS", "OCI_TRUST_POLICY", "OCI_INSECURE_REGISTRIES")


def test_the_level_of_notifications_falls_back_to_info() -> None:
    assert load_settings({"APPRISE_NOTIFY_LEVEL": "Failure"}).notify.level == "info"
    settings = load_settings({"APPRISE_API_URL": "http://a/notify", "APPRISE_NOTIFY_URLS": "ntfy://x"})
    assert settings.notify.enabled and settings.notify.level == "success"


def test_the_options_of_a_secret_provider() -> None:
    settings = load_settings(
        {
            "SECRET_PROVIDER": "1password",
            "SECRET_PROVIDER_ACCESS_TOKEN": "ops_x",
            "SECRET_PROVIDER_CACHE_ENABLED": "true",
            "SECRET_PROVIDER_REGION": "of another provider",
        }
    )
    assert settings.secret_provider.options == {
        "access_token": Secret("ops_x"),
        "cache_enabled": True,
        "cache_ttl": 300.0,
        "cache_max_size": 100,
    }
    defaults = load_settings({"SECRET_PROVIDER": "bitwarden_sm", "SECRET_PROVIDER_ACCESS_TOKEN": "x"}).secret_provider
    assert defaults.options["api_url"] == "https://vault.bitwarden.com/api"


def test_no_secret_shows_in_the_settings_or_can_be_serialised() -> None:
    secrets = {variable.name: "hunter2" for variable in ALL if variable.secret and variable.kind == "secret"}
    secrets.pop("GITHUB_APP_PRIVATE_KEY")
    secrets |= {"HTTP_PROXY": "http://u:hunter2@p", "DATABASE_URL": "postgresql://u:hunter2@h/x"}
    settings = load_settings(
        secrets
        | {"SECRET_PROVIDER": "openbao", "SECRET_PROVIDER_SITE_URL": "https://b"}
        | {"GIT_AUTH_DOMAINS": "- domains: [h]\n  git_access_token: hunter2\n  ssh_private_key: hunter2"}
    )
    assert "hunter2" not in repr(settings)
    secret = Secret("hunter2")
    assert f"{secret} {secret!r} {secret:>10}" == "*** *** ***"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_secrets_compare_by_content() -> None:
    assert Secret("a") == Secret("a") and Secret("a") != Secret("b") and Secret("a") != "a"
    assert Secret("ä").matches("ä") and Secret("ä").matches("ä".encode()) and not Secret("ä").matches("\ud800")
    assert not Secret("") and len({Secret("a"), Secret("a")}) == 1


def test_settings_cannot_be_changed() -> None:
    settings: Any = load_settings({})
    with pytest.raises(AttributeError):
        settings.log_level = "debug"
