"""The value of the label `com.docker.compose.config-hash`.

SHA-256 of a service (network, volume) as Go's JSON encoder writes it, which is why attribute
order, number formats and escapes matter here and nowhere else. Two forms: what Compose 5 writes
and what Compose 2 writes; they differ for bind mounts and for networks with IPAM options.

The order comes from `objects`, not from the model at hand, so a model that has been through a
store which sorts keys hashes the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .decode import Always, ListOf, MapOf, Object, Printed, ulimit
from .model import Model, Project
from .objects import NETWORK, SERVICE, VOLUME
from .render import Form, network_form, service_form
from .scalars import plain_decimal, shortest_digits

_NOT_HASHED = ("build", "pull_policy", "scale", "depends_on", "profiles", "env_file")


def service_hash(project: Project, name: str, *, form: Form = "5", references: Mapping[str, str] | None = None) -> str:
    """The hash of one service.

    With `references`, the value of the label that `up` writes: it maps service names to the ids of
    their containers, because `network_mode`, `ipc` and `pid` of `service:X` and the entries of
    `volumes_from` hold container ids when the hash is taken; and `use_api_socket` has become a mount,
    a config and a variable by then. Without `references`, the service is hashed as written, which is
    what `docker compose config --hash` shows.
    """
    service = service_form(project.services[name], form, project.long_binds.get(name, ()))
    for key in _NOT_HASHED:
        service.pop(key, None)
    if "replicas" in (service.get("deploy") or ()):
        service["deploy"] = {key: value for key, value in service["deploy"].items() if key != "replicas"}
    if references is not None:
        _refer(service, references)
        if service.get("use_api_socket"):
            _mount_api_socket(service)
    return _digest(service, SERVICE)


def _refer(service: Model, references: Mapping[str, str]) -> None:
    for namespace in ("network_mode", "ipc", "pid"):
        joined = service.get(namespace, "")
        if joined.startswith("service:") and (other := joined[len("service:") :]) in references:
            service[namespace] = f"container:{references[other]}"
    sources = []
    for source in service.get("volumes_from") or ():
        if source.startswith("container:"):
            source = source[len("container:") :]
        elif (other := source.partition(":")[0]) in references:
            source = references[other]
        sources.append(source)
    if sources:
        service["volumes_from"] = sources


def _mount_api_socket(service: Model) -> None:
    socket = "/var/run/docker.sock"
    service["volumes"] = [*(service.get("volumes") or ()), {"type": "bind", "source": socket, "target": socket}]
    service["environment"] = dict(
        sorted({"DOCKER_CONFIG": "/run/secrets/docker", **(service.get("environment") or {})}.items())
    )
    credentials = {"source": "#apisocket", "target": "/run/secrets/docker/config.json"}
    service["configs"] = [*(service.get("configs") or ()), credentials]


def network_hash(network: Model, form: Form = "5") -> str:
    return _digest(network_form(network, form), NETWORK)


def volume_hash(volume: Model, form: Form = "5") -> str:
    return _digest({**volume, "driver": volume.get("driver") or "local"}, VOLUME)


def _digest(model: Model, form: Object) -> str:
    return hashlib.sha256(go_json(_ordered(model, form)).encode("utf-8", "replace")).hexdigest()


def _ordered(value: Any, form: Any) -> Any:
    """The model with its attributes in Compose's order, free maps sorted by key."""
    if isinstance(form, Always):
        form = form.element
    if isinstance(form, ListOf) and isinstance(value, list):
        return [_ordered(item, form.element) for item in value]
    if isinstance(form, MapOf) and isinstance(value, dict):
        return {name: _ordered(value[name], form.element) for name in sorted(value)}
    if not isinstance(value, dict):
        return value
    if isinstance(form, Printed):
        return {name: value[name] for name in form.zeros if name in value}
    if isinstance(form, Object):
        return {name: _ordered(value[name], inner) for name, inner in form.attributes.items() if name in value}
    if form is ulimit:
        return {name: value[name] for name in ("soft", "hard") if name in value}
    return dict(sorted(value.items()))


_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029", "\x7f": "\x7f"}
)


def go_json(value: Any) -> str:
    """Compact JSON as Go's `encoding/json` writes it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).translate(_ESCAPES)
    if isinstance(value, dict):
        return "{" + ",".join(f"{go_json(key)}:{go_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(go_json, value)) + "]"
    if isinstance(value, float):
        return _go_float(value)
    return json.dumps(value)


def _go_float(value: float) -> str:
    sign = "-" if value < 0 else ""
    digits, exponent = shortest_digits(abs(value))
    if -7 < exponent < 21:
        return sign + plain_decimal(digits, exponent)
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{mantissa}e{exponent:+d}"
