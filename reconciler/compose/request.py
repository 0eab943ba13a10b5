"""What is to be loaded: files, environment, names.

Before any Compose file is read, it must be known which variables interpolation sees, which files
make up the project, and what the project is called. All three depend on one another (`.env` may
set `COMPOSE_FILE`, the first file decides where `.env` lies), so this is one sequence of steps,
kept in Compose's order by `prepare`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from .dotenv import DotenvError, parse_dotenv
from .errors import ComposeError, Problem
from .files import Files
from .paths import folder_of, join

_FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDE_NAMES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


@dataclass(frozen=True)
class LoadRequest:
    """A project to load.

    `environment` is what Compose would find in its process environment; it wins over all env
    files. Relative paths of `files` and `env_files` start at `cwd`, those inside of the files at
    `working_dir` or, without it, at the folder of the first file. Without `files`, Compose's
    usual discovery takes place (`COMPOSE_FILE`, then `compose.yaml` and so on, also in parent
    folders). `-` as a file means `stdin`.
    """

    working_dir: str | None = None
    files: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    project_name: str | None = None
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    cwd: str = "."
    use_default_env_file: bool = True
    """Whether a `.env` beside the files is read; off where the caller has merged it already."""
    interpolate: bool = True
    stdin: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class Prepared:
    """A request with everything decided that can be decided before reading Compose files."""

    files: tuple[str, ...]
    working_dir: str
    environment: dict[str, str]
    env_files: tuple[str, ...]
    profiles: tuple[str, ...]
    project_name: str
    """Given by option or environment; empty if the files or the folder decide."""


def prepare(request: LoadRequest, files: Files) -> Prepared:
    cwd = request.cwd if request.cwd.startswith("/") else posixpath.abspath(request.cwd)
    environment = dict(request.environment)
    environment.setdefault("PWD", cwd)
    fixed = None if not request.working_dir else _absolute(cwd, request.working_dir)
    chosen = tuple(_absolute(cwd, name) if name != "-" and not is_remote(name) else name for name in request.files)
    explicit = request.env_files or tuple(
        part for part in request.environment.get("COMPOSE_ENV_FILES", "").split(",") if part
    )
    env_files = tuple(_absolute(cwd, name) for name in explicit)

    def working_dir() -> str:
        if fixed is not None:
            return fixed
        for name in chosen:
            if is_remote(name):
                break
            if name != "-":
                return folder_of(name)
        return cwd

    default = _default_env_file(request, working_dir(), files) if not explicit else ()
    _merge(environment, read_env_files(environment, env_files or default, files))
    if not chosen:
        chosen = _from_environment(environment, cwd, files) or _discover(working_dir(), files)
        if not explicit:
            later = _default_env_file(request, working_dir(), files) or default
            _merge(environment, read_env_files(environment, later, files))
    if not chosen:
        raise ComposeError(Problem("no configuration file provided: not found", file=working_dir()))
    return Prepared(
        files=chosen,
        working_dir=working_dir(),
        environment=environment,
        env_files=tuple(_absolute(cwd, name) for name in request.env_files),
        profiles=request.profiles or tuple(part.strip() for part in environment.get("COMPOSE_PROFILES", "").split(",")),
        project_name=_given_name(request, environment),
    )


def _absolute(cwd: str, path: str) -> str:
    return join("/", path) if path.startswith("/") else join(cwd, path)


def _merge(environment: MutableMapping[str, str], further: Mapping[str, str]) -> None:
    for name, value in further.items():
        environment.setdefault(name, value)


def _given_name(request: LoadRequest, environment: Mapping[str, str]) -> str:
    name = request.project_name or environment.get("COMPOSE_PROJECT_NAME", "")
    if name and normalise_name(name) != name:
        raise ComposeError(
            Problem(
                f'invalid project name "{name}": must consist only of lowercase alphanumeric characters, '
                "hyphens, and underscores as well as start with a letter or number",
                found=name,
                hint=f"`{normalise_name(name)}` would do" if normalise_name(name) else "",
            )
        )
    return name


def normalise_name(name: str) -> str:
    """Lower case, odd characters dropped, starting with a letter or digit."""
    return "".join(character for character in name.lower() if character in _NAME_CHARACTERS).lstrip("_-")


def _default_env_file(request: LoadRequest, working_dir: str, files: Files) -> tuple[str, ...]:
    disabled = request.environment.get("COMPOSE_DISABLE_ENV_FILE")
    if disabled is not None:
        if disabled not in ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"):
            raise ComposeError(Problem(f'strconv.ParseBool: parsing "{disabled}": invalid syntax'))
        if disabled in ("1", "t", "T", "TRUE", "true", "True"):
            return ()
    path = join(working_dir, ".env")
    if not request.use_default_env_file or not files.is_file(path):
        return ()
    return (path,)


def _from_environment(environment: Mapping[str, str], cwd: str, files: Files) -> tuple[str, ...]:
    names = environment.get("COMPOSE_FILE")
    if names is None:
        return ()
    separator = environment.get("COMPOSE_PATH_SEPARATOR") or ":"
    chosen = []
    for name in names.split(separator):
        path = name if name == "-" else _absolute(cwd, name)
        if path != "-" and not files.exists(path):
            raise ComposeError(Problem(f"stat {path}: no such file or directory", file=path))
        chosen.append(path)
    return tuple(chosen)


def _discover(folder: str, files: Files) -> tuple[str, ...]:
    while True:
        found = [path for name in _FILE_NAMES if files.exists(path := join(folder, name))]
        if found:
            chosen = [_first(found, "config", files)]
            overrides = [path for name in _OVERRIDE_NAMES if files.exists(path := join(folder, name))]
            if overrides:
                chosen.append(_first(overrides, "override", files))
            return tuple(chosen)
        parent = posixpath.dirname(folder)
        if parent == folder:
            return ()
        folder = parent


def _first(found: list[str], word: str, files: Files) -> str:
    if len(found) > 1:
        files.warn(f"Found multiple {word} files with supported names: {', '.join(found)}")
        files.warn(f"Using {found[0]}")
    return found[0]


def read_env_files(environment: Mapping[str, str], paths: tuple[str, ...], files: Files) -> dict[str, str]:
    """What the files define, later ones over earlier ones; `environment` answers first for `$NAME`s in them."""
    values: dict[str, str] = {}
    for path in paths:
        if not files.exists(path):
            raise ComposeError(Problem(f"couldn't find env file: {path}", file=path))
        if files.is_dir(path):
            raise ComposeError(Problem(f"{path} is a directory", file=path))

        def lookup(name: str) -> str | None:
            found = environment.get(name)
            return values.get(name) if found is None else found

        def warn(message: str, path: str = path) -> None:
            files.warn(message, file=path)

        try:
            parse_dotenv(files.read(path), values, lookup, warn)
        except ValueError as error:
            raise ComposeError(dotenv_problem(path, error)) from error
    return values


def dotenv_problem(path: str, error: ValueError) -> Problem:
    message = str(error)
    line = 0
    if isinstance(error, DotenvError) and message.startswith("line "):
        number = message[len("line ") :].partition(":")[0]
        line = int(number) if number.isdigit() else 0
    return Problem(f"failed to read {path}: {message}", file=path, line=line, column=1 if line else 0)


def is_remote(reference: str) -> bool:
    """Whether Compose would fetch this file from git or a registry."""
    if reference.startswith(("oci://", "git://", "ssh://", "git@", "github.com/")):
        return True
    return reference.startswith(("http://", "https://")) and reference.partition("#")[0].partition("?")[0].endswith(
        ".git"
    )
