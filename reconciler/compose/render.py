"""A project as `docker compose config` prints it.

`render` gives the object that JSON and YAML are made of; `to_json` and `to_yaml` the texts.
Two forms exist, because Compose 5 prints a few things otherwise than Compose 2 (see
`docs/compose.md`). In both, resources that no enabled service refers to are left out, and every
`$` is doubled, in keys as well, so that the output can be loaded again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from .errors import ComposeError, problem_at
from .model import Model, Project
from .scalars import plain_decimal, resolve, shortest_digits

Form = Literal["2", "5"]


def render(project: Project, *, form: Form = "5") -> dict[str, Any]:
    """What `docker compose config --format json` prints, parsed."""
    used = referenced(project)
    printed: dict[str, Any] = {"name": project.name}
    printed["services"] = {
        name: service_form(service, form, project.long_binds.get(name, ()))
        for name, service in project.services.items()
    }
    if form == "2":
        for service in printed["services"].values():
            service.pop("label_file", None)
    networks = {key: network_form(network, form) for key, network in _used(project.networks, used["networks"])}
    for section, resources in (
        ("networks", networks),
        ("volumes", dict(_used(project.volumes, used["volumes"]))),
        ("secrets", dict(_used(project.secrets, used["secrets"]))),
        ("configs", dict(_used(project.configs, used["configs"]))),
    ):
        printed.update({section: resources} if resources else {})
    printed.update(project.extensions)
    doubled: dict[str, Any] = _doubled(printed)
    return doubled


def _used(resources: Mapping[str, Model], names: set[str]) -> Iterable[tuple[str, Model]]:
    return ((key, resource) for key, resource in resources.items() if key in names)


def referenced(project: Project) -> dict[str, set[str]]:
    """Names of the resources that enabled services refer to, by section."""
    used: dict[str, set[str]] = {section: set() for section in ("networks", "volumes", "secrets", "configs", "models")}
    for service in project.services.values():
        used["networks"].update(service.get("networks") or ())
        used["models"].update(service.get("models") or ())
        used["volumes"].update(
            volume["source"]
            for volume in service.get("volumes") or ()
            if volume.get("type") == "volume" and volume.get("source")
        )
        for section in ("secrets", "configs"):
            used[section].update(item.get("source", "") for item in service.get(section) or ())
        used["secrets"].update(item.get("source", "") for item in (service.get("build") or {}).get("secrets") or ())
    return used


def service_form(service: Model, form: Form, long_binds: Iterable[str] = ()) -> Model:
    """A service in the form of Compose 5, which is how a project holds it, or of Compose 2."""
    if form == "5" or not service.get("volumes"):
        return dict(service)
    long = set(long_binds)
    volumes = []
    for volume in service["volumes"]:
        if (bind := volume.get("bind")) is not None:
            ordered = {key: bind[key] for key in ("selinux", "propagation") if key in bind}
            if "create_host_path" not in bind and volume.get("target", "") not in long:
                ordered["create_host_path"] = True
            if "recursive" in bind:
                ordered["recursive"] = bind["recursive"]
            volume = {**volume, "bind": ordered}
        volumes.append(volume)
    return {**service, "volumes": volumes}


def network_form(network: Model, form: Form) -> Model:
    if form == "5" or "options" not in network.get("ipam", ()):
        return network
    return {**network, "ipam": {key: value for key, value in network["ipam"].items() if key != "options"}}


_WHOLE = 1e21
"""Below it Go writes a whole number without a point, with the shortest digits filled up by zeros."""


def _doubled(value: Any) -> Any:
    if value.__class__ is str:
        return value.replace("$", "$$") if "$" in value else value
    if value.__class__ is dict:
        return {_doubled(key): _doubled(item) for key, item in value.items()}
    if value.__class__ is list:
        return [_doubled(item) for item in value]
    if value.__class__ is float and value.is_integer() and abs(value) < _WHOLE:
        whole = int(plain_decimal(*shortest_digits(abs(value)))) if value else 0
        return -whole if value < 0 else whole
    return str(value) if isinstance(value, str) else value


def to_json(project: Project, *, form: Form = "5") -> str:
    """The text of `config --format json`, keys in Compose's order."""
    for name, service in project.services.items():
        for key in (service.get("build") or {}).get("ssh") or ():
            if isinstance(key, dict):
                raise ComposeError(
                    problem_at(
                        ("services", name, "build", "ssh", key["id"]),
                        "an ssh key with a path has no form in JSON (Compose fails here as well)",
                        hint="print the project as YAML",
                    )
                )
    return json.dumps(render(project, form=form), indent=2, ensure_ascii=False)


def to_yaml(project: Project, *, form: Form = "5") -> str:
    """The text of `config`. Where Compose writes YAML otherwise than JSON, so does this."""
    import yaml

    printed = render(project, form=form)
    tree: dict[str, Any] = {key: printed.pop(key) for key in ("name", "services")}
    for section in ("networks", "volumes", "secrets", "configs"):
        if section in printed:
            tree[section] = printed.pop(section)
    used = referenced(project)["models"]
    if models := {key: model for key, model in project.models.items() if key in used}:
        tree["models"] = _doubled(models)
    tree.update(printed)
    for service in tree["services"].values():
        _service_as_yaml(service)
    for network in tree.get("networks", {}).values():
        _drop_empty(network, "ipam")

    class Dumper(yaml.CSafeDumper):
        """Quotes what YAML 1.2 would read as something else than text."""

    def text(dumper: Dumper, value: str) -> yaml.ScalarNode:
        resolved = resolve(value)
        style = None if resolved.__class__ is str else "'"
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1 << 20)


def _service_as_yaml(service: Model) -> None:
    """What is printed in JSON for lack of a choice goes; a few structures have another shape."""
    _drop_empty(service, "command", "entrypoint")
    for hook in [*(service.get(kind) or () for kind in ("pre_start", "post_start", "pre_stop"))]:
        for item in hook:
            _drop_empty(item, "command")
    _drop_empty(service.get("deploy") or {}, "resources", "placement")
    for watch in (service.get("develop") or {}).get("watch") or ():
        _drop_empty(watch["exec"], "command")
        _drop_empty(watch, "exec")
    for holder in (service, service.get("build") or {}):
        for name, limit in (holder.get("ulimits") or {}).items():
            if isinstance(limit, dict):
                holder["ulimits"][name] = {"soft": limit.get("soft", 0), "hard": limit.get("hard", 0)}
    blkio = service.get("blkio_config") or {}
    for key, devices in blkio.items():
        if isinstance(devices, list):
            blkio[key] = [{name.lower(): value for name, value in device.items()} for device in devices]
    build = service.get("build") or {}
    if "ssh" in build:
        build["ssh"] = [key if isinstance(key, str) else f"{key['id']}: {key['path']}" for key in build["ssh"]]


def _drop_empty(holder: Model, *keys: str) -> None:
    for key in keys:
        if key in holder and (holder[key] is None or holder[key] == {}):
            del holder[key]
