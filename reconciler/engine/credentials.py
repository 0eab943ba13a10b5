"""Registry credentials as Docker's own client keeps them, read anew at each use.

`DOCKER_AUTH_CONFIG` wins over `$DOCKER_CONFIG/config.json`; in the file a registry's own
helper (`credHelpers`) wins over the common store (`credsStore`), and that over `auths`.
Helpers are the `docker-credential-*` programs on `PATH`; they are the only programs this
package runs.

What was tried is kept beside what was found, because "access denied" alone helps nobody:
an error names the file, the registry and the mechanism, never a value.
"""

from __future__ import annotations

import base64
import binascii
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from reconciler.engine.endpoint import docker_config_folder

HELPER_DEADLINE = 20.0
TOKEN_USER = "<token>"  # noqa: S105 - the helpers' protocol: the secret is an identity token
NO_CREDENTIALS = "credentials not found"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is known for one registry, and how it was looked for."""

    registry: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    config_file: str = ""
    mechanism: str = "none"
    """`DOCKER_AUTH_CONFIG`, `auths`, `docker-credential-NAME`, or `none`."""
    problems: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return bool(self.username or self.identity_token)

    def header(self) -> str:
        """Value of `X-Registry-Auth`; an empty object without credentials."""
        auth: dict[str, str] = {}
        if self.identity_token:
            auth = {"identitytoken": self.identity_token, "serveraddress": self.registry}
        elif self.username:
            auth = {"username": self.username, "password": self.password, "serveraddress": self.registry}
        return base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()

    def hint(self) -> str:
        """What to look at when a registry refuses."""
        parts = [f"docker config path: {self.config_file}"]
        parts += self.problems
        if self.known:
            parts.append(f"credentials for {self.registry} came from {self.mechanism}")
        else:
            parts.append(f"no credentials configured for registry: {self.registry}")
        return "registry auth hint: " + "; ".join(parts)


async def find_credentials(registry: str, environ: Mapping[str, str]) -> Credentials:
    """Look a registry up (`host[:port]`, or Hub's key)."""
    file = docker_config_folder(environ) / "config.json"
    problems: list[str] = []
    found = _from_auths(_environment_auths(environ, problems), registry)
    if found:
        return Credentials(registry, *found, str(file), "DOCKER_AUTH_CONFIG")
    config = await _read_config(file, problems)
    helper = _matching(config.get("credHelpers"), registry) or config.get("credsStore")
    if helper:
        program = f"docker-credential-{helper}"
        secret = await _ask_helper(program, registry, environ, problems)
        if secret:
            return Credentials(registry, *secret, str(file), program, tuple(problems))
    found = _from_auths(config.get("auths"), registry)
    if found:
        return Credentials(registry, *found, str(file), "auths", tuple(problems))
    return Credentials(registry, config_file=str(file), problems=tuple(problems))


async def all_credentials(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Every registry with credentials in the configuration, as `X-Registry-Config` wants it."""
    problems: list[str] = []
    config = await _read_config(docker_config_folder(environ) / "config.json", problems)
    registries = {*(_environment_auths(environ, problems) or ()), *(config.get("auths") or ())}
    registries |= set(config.get("credHelpers") or ())
    found: dict[str, dict[str, str]] = {}
    for registry in sorted(registries):
        credentials = await find_credentials(registry, environ)
        if credentials.known:
            found[registry] = json.loads(base64.urlsafe_b64decode(credentials.header()))
    return found


def _hostname(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _matching(mapping: Any, registry: str) -> Any:
    """By exact key, else by host name, for keys may be written as URLs."""
    if not isinstance(mapping, Mapping):
        return None
    if registry in mapping:
        return mapping[registry]
    host = _hostname(registry)
    return next((value for key, value in mapping.items() if _hostname(key) == host), None)


def _from_auths(auths: Any, registry: str) -> tuple[str, str, str] | None:
    entry = _matching(auths, registry)
    if not isinstance(entry, Mapping):
        return None
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            text = base64.b64decode(str(entry["auth"])).decode("utf-8").rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, _, password = text.partition(":")
    token = str(entry.get("identitytoken") or "")
    return (username, password, token) if username or token else None


def _environment_auths(environ: Mapping[str, str], problems: list[str]) -> Any:
    text = environ.get("DOCKER_AUTH_CONFIG")
    if not text:
        return None
    try:
        return json.loads(text)["auths"]
    except (ValueError, KeyError, TypeError):
        problems.append('DOCKER_AUTH_CONFIG is ignored: expected {"auths": {"HOST": {"auth": "..."}}}')
        return None


async def _read_config(file: Path, problems: list[str]) -> dict[str, Any]:
    try:
        config = json.loads(await anyio.Path(file).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{file} cannot be read: {error}")
        return {}
    return config if isinstance(config, dict) else {}


async def _ask_helper(
    program: str, registry: str, environ: Mapping[str, str], problems: list[str]
) -> tuple[str, str, str] | None:
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None:
        problems.append(f"missing helper binary: {program}")
        return None
    try:
        with anyio.fail_after(HELPER_DEADLINE):
            done = await anyio.run_process(
                [path, "get"], input=registry.encode(), check=False, env=dict(environ), stderr=subprocess.DEVNULL
            )
        if done.returncode != 0:
            if NO_CREDENTIALS not in done.stdout.decode("utf-8", "replace"):
                problems.append(f"{program} failed with exit code {done.returncode}")
            return None
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except TimeoutError:
        problems.append(f"{program} did not answer within {HELPER_DEADLINE:g} s")
        return None
    except (OSError, ValueError, KeyError, TypeError):
        problems.append(f"{program} gave no usable answer")
        return None
    return ("", "", secret) if username == TOKEN_USER else (username, secret, "")
