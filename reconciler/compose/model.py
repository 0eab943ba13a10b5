"""What a loaded Compose project is.

`load_project` (in `loader.py`) turns bytes and an environment into a `Project`. From
there on nobody looks at YAML again: the planner maps it to Engine objects, the store
keeps it as JSON, `moored config` prints it.

Services, networks, volumes, configs and secrets are kept in the canonical form that
`docker compose config --format json` prints (section 6 of the specification this
package follows), with three differences: `$` is not doubled, nothing that no enabled
service refers to is left out of `Project` (the printer does that), and the content of
secrets and configs that come from the environment is carried beside the model, in
`Project.secret_values`, so that the model itself can be printed and logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Model: TypeAlias = dict[str, Any]
"""One canonical object (a service, a network, ...): JSON values only."""


@dataclass(frozen=True, slots=True)
class LoadWarning:
    """Something a user should know that does not stop the load."""

    message: str
    path: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was read while loading: when it changes, the project may have changed."""

    path: str
    digest: str
    """SHA-256 of its bytes, hexadecimal; empty for an optional file that was not there."""


@dataclass(frozen=True)
class Project:
    """A validated, normalised Compose project.

    Every path in it is absolute. Services hold their resolved environment
    (`env_file` and `environment` merged, a null value stays null) and labels
    (`label_file` merged); `env_file` is gone, `label_file` stays as a list of absolute
    paths because the config hash contains it.
    """

    name: str
    working_dir: str
    compose_files: tuple[str, ...]
    services: dict[str, Model]
    networks: dict[str, Model] = field(default_factory=dict)
    volumes: dict[str, Model] = field(default_factory=dict)
    secrets: dict[str, Model] = field(default_factory=dict)
    configs: dict[str, Model] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    extensions: dict[str, Any] = field(default_factory=dict)
    disabled_services: dict[str, Model] = field(default_factory=dict)
    """Services that no active profile enables: neither started nor orphans."""
    env_files: tuple[str, ...] = ()
    """Absolute paths of explicitly given `--env-file`s (label `project.environment_file`)."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The project environment that interpolation used. May hold secrets."""
    secret_values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Content of `environment` secrets (`secrets.NAME`) and configs (`configs.NAME`)."""
    inputs: tuple[InputFile, ...] = ()
    warnings: tuple[LoadWarning, ...] = ()
    long_binds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By service, targets of bind mounts in long syntax that do not mention `create_host_path`.

    Compose 5 takes it as true there, Compose 2 as false: only its form of the config hash and of
    the printed project needs to tell them apart."""
