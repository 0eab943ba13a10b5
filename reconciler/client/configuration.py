"""Which agent is meant, and with which key.

The first of these that names a server counts: `--server`, `--context`, `MOORED_SERVER`,
`MOORED_CONTEXT`, the current context of the configuration file, and last the environment of
the agent itself (`HTTP_PORT`, `API_SECRET`), so that `docker exec agent moored status` works
without any configuration.

A key is sent only where it belongs. Keys that were given for this call (`--api-key`,
`MOORED_API_KEY`) go to whatever server is asked; the key of a context goes to the server of that
context alone, and `API_SECRET` only to the agent of this host. A context that was named by
`--context` uses its own key, whatever the environment says.

The file holds keys, or better: paths of files with keys. It is written with mode 0600, and read
with a warning when others may read it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler.client.exits import Misused

_ALL_INTERFACES = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An agent, and how to speak to it."""

    server: str
    """`http://host:port`, or `https://…`, without a slash at the end."""
    api_key: str = field(default="", repr=False)
    ca_file: str = ""
    insecure: bool = False
    own_certificate: str = ""
    """The agent's own certificate file, where we share its host: trusted as it is, under any name."""


@dataclass(frozen=True, slots=True)
class Context:
    """An agent in the configuration file."""

    server: str
    api_key: str = field(default="", repr=False)
    api_key_file: str = ""
    ca_file: str = ""
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration file."""

    path: Path
    current: str = ""
    contexts: Mapping[str, Context] = field(default_factory=dict)
    warning: str = ""

    def context(self, name: str, asked_by: str) -> Context:
        """The context of this name; raises `Misused`."""
        found = self.contexts.get(name)
        if found is None:
            known = ", ".join(self.contexts) or "none"
            raise Misused(f"{asked_by}: no context {name!r} in {self.path} (there: {known})")
        return found


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says about the agent."""

    server: str = ""
    context: str = ""
    api_key: str = field(default="", repr=False)
    api_key_file: str = ""
    ca_file: str = ""
    insecure: bool = False


def configuration_path(environ: Mapping[str, str]) -> Path:
    if environ.get("MOORED_CONFIG"):
        return Path(environ["MOORED_CONFIG"]).expanduser()
    base = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "moored" / "config.yaml"


def read_configuration(environ: Mapping[str, str]) -> Configuration:
    """The configuration file, empty when there is none; raises `Misused`."""
    path = configuration_path(environ)
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        return Configuration(path)
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{path}: {_cause(error)}") from None
    import yaml

    try:
        content = yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Misused(f"{path}:{place} {error.problem}") from None
    except yaml.YAMLError:
        raise Misused(f"{path}: not YAML") from None
    _mapping(content, str(path), ("current", "contexts"))
    current = content.get("current") or ""
    contexts = content.get("contexts") or {}
    if not isinstance(current, str):
        raise Misused(f"{path}: current: expected the name of a context")
    if not isinstance(contexts, dict):
        raise Misused(f"{path}: contexts: expected a mapping of names")
    warning = ""
    if mode & 0o077:
        warning = f"{path} has mode {mode:04o}, others may read the keys in it: chmod 600 {path}"
    return Configuration(
        path, current, {str(name): _context(path, str(name), value) for name, value in contexts.items()}, warning
    )


def _mapping(value: Any, where: str, known: tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise Misused(f"{where}: expected a mapping with {', '.join(known)}")
    unknown = next((key for key in value if key not in known), None)
    if unknown is not None:
        raise Misused(f"{where}: unknown key {unknown!r}, expected {', '.join(known)}")


def _context(path: Path, name: str, value: Any) -> Context:
    where = f"{path}: contexts.{name}"
    _mapping(value, where, ("server", "api_key", "api_key_file", "ca_file", "insecure"))
    for key in ("server", "api_key", "api_key_file", "ca_file"):
        if not isinstance(value.get(key, ""), str):
            raise Misused(f"{where}.{key}: expected text (quote it)")
    if not isinstance(value.get("insecure", False), bool):
        raise Misused(f"{where}.insecure: expected true or false")
    if value.get("api_key") and value.get("api_key_file"):
        raise Misused(f"{where}: has both api_key and api_key_file")
    context = Context(**value) if value.get("server") else None
    if context is None:
        raise Misused(f"{where}: server is missing")
    return replace(
        context,
        server=server_url(context.server, f"{where}.server"),
        api_key_file=_beside(path, context.api_key_file),
        ca_file=_beside(path, context.ca_file),
    )


def _beside(path: Path, name: str) -> str:
    """A path of the configuration file, relative ones beside it."""
    return str(path.parent / Path(name).expanduser()) if name else ""


def write_configuration(configuration: Configuration) -> None:
    """Replace the file as a whole, readable by its owner only; raises `Misused`."""
    import yaml

    contexts = {
        name: {key: value for key, value in asdict(context).items() if value}
        for name, context in configuration.contexts.items()
    }
    text = yaml.safe_dump({"current": configuration.current, "contexts": contexts}, sort_keys=False)
    # A link stays a link: configuration kept elsewhere is written there.
    path = configuration.path.resolve()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Mode 0600 from its first moment.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise Misused(f"{path}: {_cause(error)}") from None


def server_url(text: str, where: str) -> str:
    """A server's address in its plain form; raises `Misused`. Never repeats what may be a password."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise Misused(f"{where}: expected an address like https://moored.example.com or http://localhost:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise Misused(f"{where}: the address has no place for credentials, query or fragment")
    return text.rstrip("/")


def read_key(path: str, where: str) -> str:
    """The trimmed content of a file, `-` is standard input; raises `Misused`."""
    import sys

    try:
        text = sys.stdin.read() if path == "-" else Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{where}: {path}: {_cause(error)}") from None
    if "ENC[AES256_GCM" in text:
        raise Misused(f"{where}: {path} is encrypted with SOPS, give the key itself with MOORED_API_KEY")
    return text.strip()


def _cause(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "not UTF-8 text"


def _one_of(key: str, file: str, names: tuple[str, str]) -> str:
    """A key given as it is or as a file's name, not both."""
    if key and file:
        raise Misused(f"{names[0]} and {names[1]} are both given, one is enough")
    return read_key(file, names[1]) if file else key


def resolve_endpoint(flags: Flags, environ: Mapping[str, str], configuration: Configuration) -> Endpoint:
    """The agent to ask; raises `Misused` when nothing names one."""
    endpoint = _server(flags, environ, configuration)
    given = _one_of(flags.api_key, flags.api_key_file, ("--api-key", "--api-key-file"))
    if not given and not flags.context:
        names = ("MOORED_API_KEY", "MOORED_API_KEY_FILE")
        given = _one_of(environ.get(names[0], ""), environ.get(names[1], ""), names)
    if given:
        endpoint = replace(endpoint, api_key=given)
    if any(not character.isprintable() for character in endpoint.api_key):
        raise Misused("the API key has a line break or another character that no key can have")
    return endpoint


def _server(flags: Flags, environ: Mapping[str, str], configuration: Configuration) -> Endpoint:
    """The server with the key that belongs to it."""
    named, asked_by = flags.context, "--context"
    if flags.server and flags.context:
        raise Misused("--server and --context are both given: a context has a server of its own")
    if not flags.context:
        server, where = flags.server, "--server"
        if not server:
            server, where = environ.get("MOORED_SERVER", ""), "MOORED_SERVER"
        if server:
            return Endpoint(server_url(server, where), "", flags.ca_file, flags.insecure)
        named, asked_by = environ.get("MOORED_CONTEXT", ""), "MOORED_CONTEXT"
        if not named:
            named, asked_by = configuration.current, "current"
    if named:
        context = configuration.context(named, asked_by)
        key = context.api_key
        overridden = flags.api_key or flags.api_key_file
        if context.api_key_file and not overridden:
            key = read_key(context.api_key_file, f"context {named}")
        return Endpoint(context.server, key, flags.ca_file or context.ca_file, flags.insecure or context.insecure)
    return _own_agent(flags, environ)


def _own_agent(flags: Flags, environ: Mapping[str, str]) -> Endpoint:
    """The agent whose environment this is."""
    if not any(environ.get(name) for name in ("API_SECRET", "API_SECRET_FILE", "HTTP_PORT")):
        raise Misused(
            "which agent? Name it with --server, with MOORED_SERVER, or once for all with `moored context set`"
        )
    names = ("API_SECRET", "API_SECRET_FILE")
    certificate = environ.get("HTTP_TLS_CERT_FILE", "")
    bind = environ.get("HTTP_BIND", "").strip("[]")
    host = "localhost" if bind in _ALL_INTERFACES else f"[{bind}]" if ":" in bind else bind
    address = f"{'https' if certificate else 'http'}://{host}:{environ.get('HTTP_PORT') or '80'}"
    return Endpoint(
        server_url(address, "HTTP_PORT"),
        _one_of(environ.get(names[0], ""), environ.get(names[1], ""), names),
        flags.ca_file,
        flags.insecure,
        "" if flags.ca_file or flags.insecure else certificate,
    )
