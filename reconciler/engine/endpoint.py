"""Where an Engine listens: from the environment, or from a Docker context's files.

A context is what `docker context create` leaves in `$DOCKER_CONFIG/contexts`. The
environment (`DOCKER_HOST`, `DOCKER_CERT_PATH`, `DOCKER_API_VERSION`) is applied after the
context and wins, as in Docker's own client. Nothing is connected here.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.engine.errors import UnsupportedEndpoint
from state.model import DEFAULT_CONTEXT

DEFAULT_HOST = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class EngineEndpoint:
    """The address of an Engine and how to prove who is who."""

    host: str = DEFAULT_HOST
    cert_path: str = ""
    """Folder with any of `ca.pem`, `cert.pem`, `key.pem`; empty: plain HTTP on `tcp://`."""
    verify: bool = True
    """Whether the Engine's certificate is checked."""
    api_version: str = ""
    """Pins the API version; empty: the newest that both sides know."""

    def check(self) -> None:
        """Refuse what we cannot speak to, in words that say what to do instead."""
        scheme, separator, rest = self.host.partition("://")
        if not separator or not rest:
            raise UnsupportedEndpoint(
                f'Docker host "{self.host}": expected unix:///path/to/docker.sock or tcp://host:port'
            )
        if scheme == "ssh":
            raise UnsupportedEndpoint(
                f'Docker host "{self.host}": ssh:// is not supported; '
                "use tcp:// with TLS, or forward its socket (ssh -L /local.sock:/var/run/docker.sock) and use unix://"
            )
        if scheme not in ("unix", "tcp", "http", "https"):
            raise UnsupportedEndpoint(f'Docker host "{self.host}": unsupported scheme "{scheme}": expected unix or tcp')

    @property
    def tls(self) -> bool:
        return bool(self.cert_path) or self.host.startswith("https://")

    @property
    def url(self) -> str:
        """What aiohttp is to connect to."""
        _, _, rest = self.host.partition("://")
        if self.host.startswith("unix://"):
            return self.host
        return f"{'https' if self.tls else 'http'}://{rest.rstrip('/')}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings, or None for a socket or plain HTTP."""
        if self.host.startswith("unix://") or not self.tls:
            return None
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
        folder = Path(self.cert_path) if self.cert_path else None
        try:
            if folder is not None and (folder / "ca.pem").exists():
                context.load_verify_locations(cafile=str(folder / "ca.pem"))
            if folder is not None and (folder / "cert.pem").exists():
                # An empty password makes an encrypted key an error instead of a prompt.
                context.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"), password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise UnsupportedEndpoint(
                f'Docker host "{self.host}": cannot read TLS files in "{self.cert_path}": {error}'
            ) from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def docker_config_folder(environ: Mapping[str, str]) -> Path:
    """`DOCKER_CONFIG`, else `~/.docker`."""
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "~").expanduser() / ".docker")


def resolve_endpoint(context: str, environ: Mapping[str, str]) -> EngineEndpoint:
    """The endpoint of a Docker context, under the environment's variables."""
    endpoint = EngineEndpoint() if context in ("", DEFAULT_CONTEXT) else _context_endpoint(context, environ)
    if host := environ.get("DOCKER_HOST"):
        endpoint = replace(endpoint, host=host)
    if cert_path := environ.get("DOCKER_CERT_PATH"):
        endpoint = replace(endpoint, cert_path=cert_path, verify=bool(environ.get("DOCKER_TLS_VERIFY")))
    if version := environ.get("DOCKER_API_VERSION"):
        endpoint = replace(endpoint, api_version=version.removeprefix("v"))
    endpoint.check()
    return endpoint


def _context_endpoint(name: str, environ: Mapping[str, str]) -> EngineEndpoint:
    digest = hashlib.sha256(name.encode()).hexdigest()
    contexts = docker_config_folder(environ) / "contexts"
    file = contexts / "meta" / digest / "meta.json"
    try:
        content = json.loads(file.read_bytes())
        docker = content["Endpoints"]["docker"]
        host = docker["Host"]
    except FileNotFoundError:
        raise UnsupportedEndpoint(f'Docker context "{name}" does not exist: no {file}') from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedEndpoint(f'Docker context "{name}": cannot use {file}: {error!r}') from error
    tls = contexts / "tls" / digest / "docker"
    return EngineEndpoint(
        host=str(host),
        cert_path=str(tls) if tls.is_dir() else "",
        verify=not docker.get("SkipTLSVerify", False),
    )
