"""From Compose files to one canonical tree.

The middle of the pipeline. Every YAML document of every file goes through the same steps: its
variables are replaced, what it includes is loaded and merged under it, the `!reset`s in it are
applied to what came before, its `extends` are resolved, and the result is laid over what the
earlier documents gave; then that whole is validated and brought into canonical form.

`Composition.model` does this for one project: the root, or an included one, which is the very
same thing with another folder and environment. Nothing in here knows of profiles, names or
implied attributes: those exist once, at the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from .canonical import CanonicalProblem, canonicalise
from .errors import ComposeError, Problem, nearest, problem_at
from .files import Files
from .interpolation import interpolate
from .merge import MergeProblem, merge_models, merge_resource, merge_service, unify
from .paths import PathProblem, PathResolver, folder_of, join, set_defaults
from .request import is_remote, read_env_files
from .scalars import to_text
from .validate import check, validate
from .yamltree import Document, YamlProblem, parse

Path = tuple[str | int, ...]

SECRET_VALUE = "x-#value"  # noqa: S105 - the name of a key
"""Where the content of an `environment` secret waits until it is put aside."""

_SECTIONS = ("services", "volumes", "networks", "secrets", "configs", "models")
_MAX_FILES = 2_000
_MAX_CHAIN = 100


@dataclass(slots=True)
class _ExtendedFile:
    """A file that services extend: its services, ready to be merged, and its `!reset`s."""

    path: str
    services: dict[str, Any]
    resets: tuple[Path, ...]


@dataclass(slots=True)
class Composition:
    """One project under construction."""

    files: Files
    environment: Mapping[str, str]
    folder: str
    """What relative paths in the files are relative to."""
    base: str
    """What `include` and `extends` are relative to: the same, but for odd project directories."""
    interpolating: bool = True
    chain: tuple[str, ...] = ()
    """The files whose `include`s led here."""
    extended: dict[str, _ExtendedFile] = field(default_factory=dict)
    included: dict[Any, dict[str, Any]] = field(default_factory=dict)
    home: str = ""

    def model(self, paths: tuple[str, ...], documents: Mapping[str, list[Document]] | None = None) -> dict[str, Any]:
        """The canonical tree of the files laid over one another, with absolute paths."""
        model: dict[str, Any] = {}
        for path in paths:
            for document in (documents or {}).get(path) or self.documents(path):
                model = self.lay_over(model, document, path)
        set_defaults(model)
        if problems := check(model):
            raise self.files.fail(problems, paths[-1])
        self.absolute(model, self.folder)
        self.look_up(model)
        return model

    def documents(self, path: str) -> list[Document]:
        if len(self.files.sources) > _MAX_FILES:
            raise ComposeError(Problem(f"more than {_MAX_FILES} Compose files", file=path))
        try:
            return list(parse(self.files.source(path)))
        except YamlProblem as problem:
            raise ComposeError(
                problem_at(tuple(problem.path), f"failed to parse {path}: {problem.message}").at(
                    path, problem.line, problem.column
                )
            ) from problem

    # One document

    def lay_over(self, model: dict[str, Any], document: Document, path: str) -> dict[str, Any]:
        tree = self.interpolated(document, path)
        if "include" in tree:
            self.include(tree, document, path)
        if document.resets:
            reset(model, document.resets)
        if (services := tree.get("services")) is not None:
            self.extend(services, document, path)
        try:
            model = merge_models(model, tree)
            unify(model)
            if problems := validate(model, has_odd_values=self.files.odd_values):
                raise self.files.fail(problems, path)
            if "version" in model:
                del model["version"]
                self.warn_of_version(path)
            canonicalise(model, self.warner(path))
            unify(model)
        except (MergeProblem, CanonicalProblem) as problem:
            raise self.files.fail([problem_at(problem.path, problem.message)], path) from problem
        return model

    def interpolated(self, document: Document, path: str) -> dict[str, Any]:
        if not isinstance(document.value, dict):
            raise ComposeError(Problem("top-level object must be a mapping", file=path, line=1, column=1))
        warn = self.warner(path)
        tree, problems, odd_values = interpolate(document.value, self.environment, warn, enabled=self.interpolating)
        if problems:
            raise self.files.fail(problems, path)
        if odd_values or document.has_odd_values:
            self.files.odd_values = True
        return tree

    def warner(self, file: str) -> Any:
        def warn(message: str, path: Path) -> None:
            self.files.warn(message, path, file)

        return warn

    def warn_of_version(self, path: str) -> None:
        message = (
            f"{path}: the attribute `version` is obsolete, it will be ignored, "
            "please remove it to avoid potential confusion"
        )
        if all(warning.message != message for warning in self.files.warnings):
            self.files.warn(message, ("version",), path)

    def absolute(self, model: dict[str, Any], folder: str) -> None:
        def warn(message: str, path: Path) -> None:
            self.files.warn(message, path)

        try:
            PathResolver(folder, self.home, self.files.reader, warn, is_remote).model(model)
        except PathProblem as problem:
            raise self.files.fail([problem_at(problem.path, str(problem))]) from problem

    def look_up(self, model: dict[str, Any]) -> None:
        """Values that come from this project's environment and nobody else's."""
        for service in model.get("services", {}).values():
            if isinstance(service, dict) and isinstance(variables := service.get("environment"), list):
                service["environment"] = [
                    f"{entry}={self.environment[entry]}" if entry in self.environment else entry
                    for entry in variables
                    if isinstance(entry, str)
                ]
        for section, key in (("secrets", SECRET_VALUE), ("configs", "content")):
            for resource in model.get(section, {}).values():
                if isinstance(resource, dict) and resource.get("environment") in self.environment:
                    resource[key] = self.environment[resource["environment"]]

    # include

    def include(self, tree: dict[str, Any], document: Document, path: str) -> None:
        """Load what the document includes and merge it under the document."""
        entries = tree.pop("include")
        if entries is None:
            return
        if not isinstance(entries, list):
            raise self.files.fail([problem_at(("include",), f"`include` must be a list, got {to_text(entries)}")], path)
        chain = (*self.chain, path)
        if len(chain) > _MAX_CHAIN:
            raise ComposeError(Problem(f"includes nested deeper than {_MAX_CHAIN} files", file=path))
        for index, entry in enumerate(entries):
            place: Path = ("include", index)
            try:
                imported = self.imported(entry, place, chain)
            except ComposeError as error:
                raise self.files.fail(error.problems, "") from error
            for section in _SECTIONS:
                self.take_over(section, imported.get(section), tree, document, path)

    def imported(self, entry: Any, place: Path, chain: tuple[str, ...]) -> dict[str, Any]:
        file = chain[-1]
        if isinstance(entry, str):
            entry = {"path": entry}
        if not isinstance(entry, dict):
            raise self.files.fail([problem_at(place, "must be a path or a mapping", expected="a path")], file)
        names = self.names(entry.get("path"), (*place, "path"), file)
        if not names:
            raise self.files.fail([problem_at(place, "include needs a `path`")], file)
        paths = tuple(self.files.local(name, True) if is_remote(name) else _under(self.base, name) for name in names)
        for included in paths:
            if included in chain:
                trail = "\n include ".join([*chain[chain.index(included) :], included])
                raise self.files.fail([problem_at(place, f"include cycle detected:\n{trail}")], file)
        directory = entry.get("project_directory") or ""
        if not isinstance(directory, str):
            raise self.files.fail([problem_at(place, "project_directory must be a string")], file)
        if not directory:
            base = folder = folder_of(paths[0])
        elif directory.startswith("/"):
            base = folder = directory
        else:
            base = folder = join(self.folder, directory)
            if not self.files.is_dir(folder):
                folder = _under(self.base, folder_of(directory))
        environment = self.included_environment(entry, base, place, file)
        key = (paths, folder, base, frozenset(environment.items()))
        if key not in self.included:
            project = Composition(
                self.files,
                environment,
                folder,
                base,
                interpolating=self.interpolating,
                chain=chain,
                included=self.included,
                home=self.home,
            )
            self.included[key] = project.model(paths)
        return deepcopy(self.included[key])

    def included_environment(self, entry: dict[str, Any], base: str, place: Path, file: str) -> Mapping[str, str]:
        env_files: list[str] = []
        for name in self.names(entry.get("env_file"), (*place, "env_file"), file):
            if name == "/dev/null":
                continue
            env_file = _under(self.folder, name)
            if not name.startswith("/"):
                if not self.files.exists(env_file):
                    raise self.files.fail(
                        [problem_at((*place, "env_file"), f"stat {env_file}: no such file or directory")], file
                    )
                if self.files.is_dir(env_file):
                    raise self.files.fail([problem_at((*place, "env_file"), f"{env_file} is not a file")], file)
            env_files.append(env_file)
        if not entry.get("env_file") and self.files.is_file(default := join(base, ".env")):
            env_files = [default]
        if not env_files:
            return self.environment
        values = read_env_files(self.environment, tuple(env_files), self.files)
        return {**values, **self.environment}

    def names(self, value: Any, place: Path, file: str) -> list[str]:
        names = [value] if isinstance(value, str) else value or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.files.fail([problem_at(place, "must be a string or a list of strings")], file)
        return names

    def take_over(self, section: str, imported: Any, tree: dict[str, Any], document: Document, path: str) -> None:
        """Included resources of one section; where a name is known already, that definition is laid over."""
        if not imported:
            return
        known = tree.setdefault(section, {})
        if not isinstance(known, dict):
            raise self.files.fail([problem_at((section,), f"{section} must be a mapping")], path)
        for name, resource in imported.items():
            if name not in known:
                known[name] = resource
                continue
            if document.resets:
                reset({section: {name: resource}}, document.resets)
            try:
                known[name] = merge_resource(section, name, resource, known[name])
            except MergeProblem as problem:
                raise self.files.fail([problem_at(problem.path, problem.message)], path) from problem

    # extends

    def extend(self, services: Any, document: Document, path: str) -> None:
        """Resolve `extends` of all services of a document, in place."""
        if not isinstance(services, dict):
            raise self.files.fail([problem_at(("services",), "services must be a mapping")], path)
        own = _ExtendedFile(path, services, document.resets)
        for name in services:
            self.resolved(name, own, ())

    def resolved(self, name: str, file: _ExtendedFile, trail: tuple[tuple[str, str], ...]) -> Any:
        """The service with everything that it extends merged under it."""
        service = file.services[name]
        if service is None:
            return None
        place: Path = ("services", name)
        if not isinstance(service, dict):
            raise self.files.fail([problem_at(place, f"services.{name} must be a mapping")], file.path)
        if "extends" not in service:
            return service
        reference, target = self.extended_from(service["extends"], name, file)
        trail = (*trail, (file.path, name))
        if (target.path, reference) in trail or len(trail) > _MAX_CHAIN:
            (first_file, first), *others = [*trail, (target.path, reference)]
            lines = [f"  {first} in {first_file}", *(f"  extends {n} in {f}" for f, n in others)]
            message = "Circular reference:\n" + "\n".join(lines)
            raise self.files.fail([problem_at((*place, "extends"), message)], file.path)
        base = self.resolved(reference, target, trail)
        if base is None:
            return service
        base = deepcopy(base)
        if file.resets:
            reset({"services": {name: base}}, file.resets)
        try:
            merged = merge_service(base, service, name)
        except MergeProblem as problem:
            raise self.files.fail([problem_at(problem.path, problem.message)], file.path) from problem
        merged.pop("extends", None)
        file.services[name] = merged
        return merged

    def extended_from(self, extends: Any, name: str, file: _ExtendedFile) -> tuple[str, _ExtendedFile]:
        place: Path = ("services", name, "extends")
        other_file = None
        if isinstance(extends, dict):
            reference, other_file = extends.get("service"), extends.get("file")
            if not isinstance(reference, str):
                raise self.files.fail([problem_at(place, f"extends.{name}.service is required")], file.path)
        else:
            reference = extends if isinstance(extends, str) else ""
        target = file
        where = ""
        if other_file is not None:
            if not isinstance(other_file, str):
                raise self.files.fail([problem_at((*place, "file"), "must be a string")], file.path)
            target = self.extended_file(other_file, name)
            where = f" in {other_file}"
        if reference not in target.services:
            message = f'cannot extend service "{name}" in {file.path}: service "{reference}" not found{where}'
            hint = nearest(reference, target.services)
            raise self.files.fail([problem_at(place, message, hint=hint)], file.path)
        return reference, target

    def extended_file(self, reference: str, name: str) -> _ExtendedFile:
        path = self.files.local(reference, True) if is_remote(reference) else _under(self.base, reference)
        if path not in self.extended:
            model: dict[str, Any] = {}
            resets: tuple[Path, ...] = ()
            for document in self.documents(path):
                tree = self.interpolated(document, path)
                tree.pop("include", None)
                if document.resets:
                    reset(model, document.resets)
                resets = document.resets
                try:
                    model = merge_models(model, tree)
                    unify(model)
                    canonicalise(model, self.warner(path))
                    unify(model)
                except (MergeProblem, CanonicalProblem) as problem:
                    raise self.files.fail([problem_at(problem.path, problem.message)], path) from problem
            services = model.get("services")
            if not isinstance(services, dict):
                word = "no services section" if services is None else "services must be a mapping"
                raise ComposeError(Problem(f'cannot extend service "{name}" in {path}: {word}', file=path))
            self.absolute({"services": services}, folder_of(path))
            self.extended[path] = _ExtendedFile(path, services, resets)
        return self.extended[path]


def _under(folder: str, path: str) -> str:
    return path if path.startswith("/") else join(folder, path)


def reset(tree: dict[str, Any], paths: tuple[Path, ...]) -> None:
    """Take out what `!reset` and `!override` name; only through mappings, list positions never match."""
    for path in paths:
        if not path:
            continue
        parent: Any = tree
        for part in path[:-1]:
            parent = parent.get(part) if isinstance(parent, dict) and isinstance(part, str) else None
        if isinstance(parent, dict):
            parent.pop(path[-1], None)
