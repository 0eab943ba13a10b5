"""`load_project`: the way from a request to a validated project, top to bottom.

    request ── which files, environment, name          (request)
      │
    composition ── files → one canonical tree          (yamltree, interpolation, merge, canonical,
      │                                                  validate, paths; include and extends)
    normalise ── what is implied                       (normalize)
      │
    decode ── typed values in printable form           (decode, objects)
      │
    profiles, consistency, env files, label files      (here, consistency)
      ▼
    Project

Pure but for the reader: the same bytes and the same environment give the same project.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .composition import SECRET_VALUE, Composition
from .consistency import check_consistency, container_name_clashes
from .decode import Decoding, Object
from .dotenv import parse_dotenv, parse_raw
from .errors import ComposeError, Problem, problem_at
from .files import Files, RemoteResolver
from .interpolation import substitute
from .model import Model, Project
from .normalize import NormaliseProblem, normalise
from .objects import FILE_OBJECT, MODEL, NETWORK, SERVICE, VOLUME
from .paths import LONG_BIND
from .reader import Reader
from .request import LoadRequest, Prepared, dotenv_problem, is_remote, normalise_name, prepare
from .yamltree import Document


def load_project(request: LoadRequest, reader: Reader, *, resolver: RemoteResolver | None = None) -> Project:
    """Load a project as Docker Compose would; raises `ComposeError` and nothing else."""
    files = Files(reader, request.stdin, resolver)
    prepared = prepare(request, files)
    return _Load(request, files, prepared).project()


class _Load:
    def __init__(self, request: LoadRequest, files: Files, prepared: Prepared) -> None:
        self.request, self.files, self.prepared = request, files, prepared
        self.environment = prepared.environment

    def project(self) -> Project:
        prepared, files = self.prepared, self.files
        paths = tuple(files.local(name, True) if is_remote(name) else name for name in prepared.files)
        composition = Composition(
            files,
            self.environment,
            prepared.working_dir,
            prepared.working_dir,
            interpolating=self.request.interpolate,
            home=self.environment.get("HOME", ""),
        )
        for path in paths:
            files.source(path)
        documents = {path: composition.documents(path) for path in paths}
        name = self.name(documents)
        self.environment["COMPOSE_PROJECT_NAME"] = name
        tree = composition.model(paths, documents)
        if not tree:
            raise ComposeError(Problem("empty compose file", file=paths[0]))
        if not name:
            raise ComposeError(Problem("project name must not be empty", file=paths[0]))
        try:
            normalise(tree, name, self.environment)
        except NormaliseProblem as problem:
            raise self.files.fail([problem_at(problem.path, problem.message)]) from problem
        return self.decoded(tree, name, paths)

    def name(self, documents: dict[str, list[Document]]) -> str:
        if self.prepared.project_name:
            return self.prepared.project_name
        written = in_first_document = ""
        for path, parts in documents.items():
            for index, document in enumerate(parts):
                value = document.value.get("name") if isinstance(document.value, dict) else None
                if isinstance(value, str) and value:
                    written = value
                    if index == 0:
                        in_first_document = in_first_document or path
        name = written
        if self.request.interpolate:
            try:
                name = substitute(written, self.environment, self.files.warn)
            except ValueError as error:
                message = f"error while interpolating name: {error}"
                raise self.files.fail([problem_at(("name",), message, found=written)]) from error
        name = normalise_name(name)
        if not name and not in_first_document:
            name = normalise_name(self.prepared.working_dir.rpartition("/")[2])
        return name

    # Typed values

    def decoded(self, tree: dict[str, Any], name: str, paths: tuple[str, ...]) -> Project:
        run = Decoding(self.files.warn)
        secret_values = self.put_values_aside(tree)
        services = self.section(tree, "services", SERVICE, run)
        networks = self.section(tree, "networks", NETWORK, run)
        volumes = self.section(tree, "volumes", VOLUME, run)
        secrets = self.section(tree, "secrets", FILE_OBJECT, run)
        configs = self.section(tree, "configs", FILE_OBJECT, run)
        models = self.section(tree, "models", MODEL, run)
        if run.problems:
            raise self.files.fail(run.problems)
        for section, resources in (("secrets", secrets), ("configs", configs)):
            for key, resource in resources.items():
                if resource.get("environment"):
                    value = resource.pop("content", None)
                    if value is not None:
                        secret_values.setdefault(f"{section}.{key}", value)
        enabled, disabled = self.by_profile(services)
        if problems := check_consistency(enabled, disabled, networks, volumes, secrets, configs, models):
            raise self.files.fail(problems)
        for key, service in enabled.items():
            self.environment_of(key, service)
        for key, service in enabled.items():
            self.labels_of(key, service)
        for service in disabled.values():
            service.pop("env_file", None)
        if problems := container_name_clashes(enabled):
            raise self.files.fail(problems)
        return Project(
            name=name,
            working_dir=self.prepared.working_dir,
            compose_files=paths,
            services=enabled,
            networks=networks,
            volumes=volumes,
            secrets=secrets,
            configs=configs,
            models=models,
            extensions={key: value for key, value in tree.items() if key.startswith("x-")},
            disabled_services=disabled,
            env_files=self.prepared.env_files,
            environment=self.environment,
            secret_values=secret_values,
            inputs=self.files.inputs(),
            warnings=self.files.located_warnings(),
            long_binds=_long_binds(enabled),
        )

    def section(self, tree: dict[str, Any], section: str, form: Object, run: Decoding) -> dict[str, Model]:
        resources = tree.get(section) or {}
        return {name: form.decode(resources[name], (section, name), run) for name in sorted(resources)}

    def put_values_aside(self, tree: dict[str, Any]) -> dict[str, str]:
        """Content of secrets that comes from the environment: never part of the model."""
        values: dict[str, str] = {}
        for key, secret in (tree.get("secrets") or {}).items():
            if isinstance(secret, dict) and SECRET_VALUE in secret:
                values[f"secrets.{key}"] = secret.pop(SECRET_VALUE)
        return values

    def by_profile(self, services: dict[str, Model]) -> tuple[dict[str, Model], dict[str, Model]]:
        active = set(self.prepared.profiles)
        enabled: dict[str, Model] = {}
        disabled: dict[str, Model] = {}
        for name, service in services.items():
            profiles = service.get("profiles")
            on = not profiles or "*" in active or not active.isdisjoint(profiles)
            (enabled if on else disabled)[name] = service
        return enabled, disabled

    # Files of variables and labels

    def environment_of(self, name: str, service: Model) -> None:
        env_files = service.pop("env_file", ())
        own: dict[str, str | None] = dict(service.get("environment") or {})
        for variable, value in own.items():
            if value is None and variable in self.environment:
                own[variable] = self.environment[variable]
        values = {variable: value for variable, value in own.items() if value is not None}
        given = dict(values)

        def lookup(variable: str) -> str | None:
            found = self.environment.get(variable)
            return given.get(variable) if found is None else found

        for index, env_file in enumerate(env_files):
            path = env_file.get("path", "")
            if not self.files.exists(path):
                if env_file.get("required", False):
                    self.missing("env", path, ("services", name, "env_file", index))
                continue
            self.fill(values, path, env_file.get("format", ""), lookup, ("services", name, "env_file", index))
        merged: dict[str, str | None] = {**values, **own}
        if merged:
            service["environment"] = dict(sorted(merged.items()))

    def labels_of(self, name: str, service: Model) -> None:
        label_files = service.get("label_file")
        if not label_files:
            return
        labels: dict[str, str] = {}
        for index, path in enumerate(label_files):
            place = ("services", name, "label_file", index)
            if not self.files.exists(path):
                self.missing("label", path, place)
            found: dict[str, str] = {}
            self.fill(found, path, "", dict(labels).get, place)
            labels.update(found)
        labels.update(service.get("labels") or {})
        if labels:
            service["labels"] = dict(sorted(labels.items()))

    def missing(self, word: str, path: str, place: tuple[str | int, ...]) -> None:
        message = f"{word} file {path} not found: stat {path}: no such file or directory"
        raise self.files.fail([problem_at(place, message, found=path)])

    def fill(
        self,
        values: dict[str, str],
        path: str,
        form: str,
        lookup: Callable[[str], str | None],
        place: tuple[str | int, ...],
    ) -> None:
        if form not in ("", ".env", "raw"):
            raise self.files.fail([problem_at((*place, "format"), f'unsupported env_file format "{form}"', found=form)])
        if self.files.is_dir(path):
            raise self.files.fail([problem_at(place, f"failed to read {path}: read {path}: is a directory")])
        content = self.files.read(path)
        try:
            if form == "raw":
                parse_raw(content, values, lookup)
            else:
                parse_dotenv(content, values, lookup, lambda message: self.files.warn(message, file=path))
        except ValueError as error:
            if form == "raw":
                raise ComposeError(Problem(f"failed to parse env_file {path}: {error}", file=path)) from error
            raise ComposeError(dotenv_problem(path, error)) from error


def _long_binds(services: dict[str, Model]) -> dict[str, tuple[str, ...]]:
    """Targets of long-syntax bind mounts without `create_host_path`, taken out of the model."""
    found: dict[str, tuple[str, ...]] = {}
    for name, service in services.items():
        for volume in service.get("volumes") or ():
            if (volume.get("bind") or {}).pop(LONG_BIND, None):
                found[name] = (*found.get(name, ()), volume.get("target", ""))
    return found
