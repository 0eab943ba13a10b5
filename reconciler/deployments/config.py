"""The deploy configuration: the contract of `.doco-cd.yml`.

One YAML document (or one object of a poll configuration's `deployments`) is one
deployment. Loading decodes first and judges then: a value of the wrong kind, a rule
broken, a name used twice, all of them are reported at once with file, line, column,
document and key. All or nothing: a file with one invalid document deploys nothing, so
that a half-read file never looks like stacks that were removed. A key nobody knows is a
warning that names the nearest one that exists.

`config_json` and `from_json` carry a configuration through the store; their form is
stable, because its hash tells whether anything changed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from reconciler.deployments.document import Path, Scalar, key_place_of, place_of, plain, read_documents
from reconciler.deployments.errors import ConfigFileNotFound, InvalidDeployConfig, Problem
from reconciler.deployments.fields import (
    Flag,
    Lowered,
    OptionalFlag,
    OptionalWhole,
    RuleBroken,
    Text,
    TextMap,
    Texts,
    Trimmed,
    Whole,
    decode,
    describe,
    key_path,
    prepare,
    shorthand,
    text_map,
    texts,
    trimmed,
)
from reconciler.sources.errors import InvalidURL
from reconciler.sources.urls import parse_git_url
from state.model import JsonObject

DEFAULT_COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
DEFAULT_REFERENCE = "refs/heads/main"
DEFAULT_VERSION = "doco.v1"
REMOTE_PREFIX = "remote:"
"""Of `env_files` that lie beside the Compose files in the repository that `repository_url` names."""
EVENTS = ("die", "destroy", "update", "stop", "kill", "oom", "unhealthy")

STAMPED = frozenset({"target"})
"""Fields that are set by loading, not by the file."""

NOT_ACTED_ON: dict[str, Callable[[DeployConfig], bool]] = {
    "source: oci": lambda config: config.source == "oci",
    "swarm.config_retention": lambda config: config.swarm.config_retention is not None,
    "swarm.secret_retention": lambda config: config.swarm.secret_retention is not None,
    "external_secrets": lambda config: bool(config.external_secrets),
    "oci": lambda config: config.oci is not None,
    "reconciliation.restart_signal": lambda config: bool(config.reconciliation.restart_signal),
    "reconciliation.restart_timeout": lambda config: config.reconciliation.restart_timeout not in (0, 10),
    "reconciliation.restart_limit": lambda config: config.reconciliation.restart_limit != 5,
    "reconciliation.restart_window": lambda config: config.reconciliation.restart_window != 300,
}
"""What a configuration may ask for and this version does not do yet. Delete the line of a
key together with teaching it."""

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*$")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SwarmConfig(_Part):
    config_retention: OptionalWhole = None
    secret_retention: OptionalWhole = None


class BuildConfig(_Part):
    force_image_pull: Flag = False
    no_cache: Flag = False
    quiet: Flag = False
    args: TextMap = {}


class DestroyConfig(_Part):
    enabled: Flag = False
    remove_volumes: Flag = True
    remove_images: Flag = True
    remove_dir: Flag = True


class AutoDiscoveryConfig(_Part):
    enabled: Flag = False
    depth: Whole = 0
    """0: no limit."""
    delete: Flag = False
    remove_volumes: Flag = False
    remove_images: Flag = True


def _events(value: Any) -> tuple[str, ...]:
    names: list[str] = []
    for raw in texts(value):
        name = raw.strip().lower()
        if not name:
            raise RuleBroken("reconciliation.events contains an empty event")
        name = "destroy" if name in ("remove", "delete") else name
        if name not in EVENTS:
            raise RuleBroken(f'unsupported reconciliation event "{raw.strip()}", expected one of {", ".join(EVENTS)}')
        if name not in names:
            names.append(name)
    return tuple(names)


def _upper(value: Any) -> str:
    return trimmed(value).upper()


class ReconciliationConfig(_Part):
    enabled: Flag = True
    events: Annotated[tuple[str, ...], BeforeValidator(_events)] = ("unhealthy",)
    restart_timeout: Whole = 10
    restart_signal: Annotated[str, BeforeValidator(_upper)] = ""
    restart_limit: Whole = 5
    restart_window: Whole = 300


def _identities(value: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list, found {describe(value)}")
    return tuple(text_map(item) for item in value)


class OciConfig(_Part):
    verify: OptionalFlag = None
    keyless_identities: Annotated[tuple[dict[str, str], ...], BeforeValidator(_identities)] = ()
    """Each of `issuer`, `subject`, `subject_regexp`."""
    public_keys: Texts = ()
    ignore_tlog: OptionalFlag = None


def _external_secrets(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {describe(value)}")
    secrets: dict[str, Any] = {}
    for name, reference in value.items():
        found = plain(reference)
        if isinstance(found, dict):
            if "storeRef" in found or "remoteRef" in found:
                raise ValueError(f"{name}: use snake_case keys store_ref and remote_ref")
            if not isinstance(found.get("store_ref"), str) or not isinstance(found.get("remote_ref"), dict):
                raise ValueError(f"{name}: expected store_ref (text) and remote_ref (object)")
        elif not isinstance(found, str):
            raise ValueError(f"{name}: expected string or object, found {describe(found)}")
        secrets[str(name)] = found
    return secrets


class DeployConfig(_Part):
    """One deployment, with defaults. Every key of the contract is a field."""

    name: Trimmed = ""
    source: Lowered = "git"
    version: Text = DEFAULT_VERSION
    reference: Trimmed = ""
    """Never empty once loaded: what is not written is the trigger's reference."""
    repository_url: Trimmed = ""
    context: Trimmed = ""
    working_dir: Text = "."
    compose_files: Texts = DEFAULT_COMPOSE_FILES
    environment: TextMap = {}
    env_files: Texts = (".env",)
    profiles: Texts = ()
    webhook_filter: Text = ""
    remove_orphans: Flag = True
    prune_images: Flag = True
    swarm: SwarmConfig = SwarmConfig()
    force_recreate: Flag = False
    wait_running_jobs: Flag = True
    force_image_pull: Flag = False
    timeout: Whole = 180
    """Seconds."""
    git_depth: Whole = 0
    """0: what `GIT_CLONE_DEPTH` says."""
    build: BuildConfig = BuildConfig()
    destroy: Annotated[DestroyConfig, BeforeValidator(shorthand("destroy"))] = DestroyConfig()
    auto_discovery: Annotated[AutoDiscoveryConfig, BeforeValidator(shorthand("auto_discovery"))] = AutoDiscoveryConfig()
    reconciliation: Annotated[ReconciliationConfig, BeforeValidator(shorthand("reconciliation"))] = (
        ReconciliationConfig()
    )
    external_secrets: Annotated[dict[str, Any], BeforeValidator(_external_secrets)] = {}
    oci: OciConfig | None = None
    target: str = ""
    """Of the file it was read from; stamped by loading."""

    def accepts(self, reference: str) -> bool:
        """Whether `webhook_filter` lets a webhook for this reference through."""
        if not self.webhook_filter:
            return True
        import re2

        return re2.search(self.webhook_filter, reference) is not None


@dataclass(frozen=True)
class LoadedConfigs:
    """What a deploy file says."""

    configs: tuple[DeployConfig, ...]
    warnings: tuple[str, ...] = ()


def load_deploy_configs(text: bytes | str, filename: str, *, reference: str, target: str) -> LoadedConfigs:
    """Load a deploy file; raises `InvalidDeployConfig` with everything that is wrong in it.

    `reference` is the trigger's: what a document without its own deploys.
    """
    documents = read_documents(text, filename)
    if not documents:
        raise InvalidDeployConfig([Problem("no yaml documents found in file", file=filename)])
    problems: list[Problem] = []
    warnings: list[str] = []
    configs: list[DeployConfig] = []
    places: list[tuple[int, int, int]] = []
    for document in documents:

        def place(path: Path, root: Any = document.root, start: Any = document) -> tuple[int, int]:
            line, column = place_of(root, path)
            return (line, column) if line else (start.line, start.column)

        def problem(path: Path, message: str, number: int = document.number, place: Any = place) -> Problem:
            key = key_path(path)
            line, column = place(path)
            return Problem(_named(key, message), key, filename, line, column, number, wrong_type=True)

        def unknown(path: Path, key: str, near: str, number: int = document.number, root: Any = document.root) -> None:
            line, column = key_place_of(root, path)
            warnings.append(f"{_unknown(path, near)} ({filename}:{line}:{column}, document {number})")

        prepared = prepare(DeployConfig, document.root, stamped=STAMPED, unknown=unknown)
        config, found = decode(DeployConfig, prepared, problem)
        if config is None:
            problems += [_decoding(item) for item in found]
            continue
        config = _settled(config, reference, target)
        for path, message in violations(config):
            line, column = place(path)
            text_ = f"invalid deploy configuration: {message}"
            problems.append(Problem(text_, key_path(path), filename, line, column, document.number))
        configs.append(config)
        places.append((*place(("name",)), document.number))
    problems += [Problem(message, "name", filename, *places[index]) for index, message in repeated_names(configs)]
    if problems:
        raise InvalidDeployConfig(problems)
    return LoadedConfigs(tuple(configs), tuple(warnings))


def _decoding(problem: Problem) -> Problem:
    if not problem.wrong_type:
        return problem
    return replace(problem, message=f"failed to decode yaml: {problem.message}")


def parse_inline(
    deployments: Sequence[JsonObject], reference: str, *, target: str = "", where: str = "", lenient: bool = True
) -> LoadedConfigs:
    """Deploy configurations written into a poll configuration.

    Explicit `false` and `0` are kept. Any scalar will do as text, as in YAML; a body of JSON is
    checked without `lenient` when it arrives, and read again later from the store with it.
    `where` is named in warnings. Raises `InvalidDeployConfig`; problems of kind (`expected text,
    found number 5`) are marked `wrong_type`.
    """
    problems: list[Problem] = []
    warnings: list[str] = []
    configs: list[DeployConfig] = []
    for index, raw in enumerate(deployments):
        if raw is None:
            continue
        base: Path = ("deployments", index)

        def problem(path: Path, message: str, base: Path = base) -> Problem:
            key = key_path((*base, *path))
            return Problem(_named(key, message), key, wrong_type=True)

        def unknown(path: Path, key: str, near: str, base: Path = base) -> None:
            warnings.append(_unknown((*base, *path), near, where))

        value = _scalars_of(raw) if lenient else raw
        prepared = prepare(DeployConfig, value, stamped=STAMPED, fold_case=True, unknown=unknown)
        config, found = decode(DeployConfig, prepared, problem)
        if config is None:
            problems += found
            continue
        config = _settled(config, reference, target)
        problems += [
            Problem(f"invalid deploy configuration: {message}", key_path((*base, *path)))
            for path, message in violations(config)
        ]
        configs.append(config)
    problems += [Problem(message, "name") for _, message in repeated_names(configs)]
    if problems:
        raise InvalidDeployConfig(problems)
    return LoadedConfigs(tuple(configs), tuple(warnings))


def _scalars_of(value: Any) -> Any:
    """Plain values of a YAML loader as `Scalar`s, so that numbers will do as text."""
    if isinstance(value, dict):
        return {str(key): _scalars_of(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_scalars_of(inner) for inner in value]
    if value is None or isinstance(value, Scalar):
        return value
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return Scalar(value, text, 0, 0)


def _named(key: str, message: str) -> str:
    return f"{key}: {message}" if key and not message.startswith(("invalid ", "reconciliation.")) else message


def _unknown(path: Path, near: str, where: str = "") -> str:
    hint = f'; did you mean "{near}"?' if near else ""
    inside = ", ".join(part for part in (where, key_path(path[:-1])) if part)
    return f'unknown key "{path[-1]}"{f" in {inside}" if inside else ""}{hint}'


# --- rules --------------------------------------------------------------------------------


def _settled(config: DeployConfig, reference: str, target: str) -> DeployConfig:
    """Fill in what follows from the trigger, and clean paths."""
    folder = posixpath.normpath(config.working_dir.strip() or ".").lstrip("/") or "."
    repository = config.repository_url
    if repository.startswith("/"):
        repository = f"file://{posixpath.normpath(repository)}"
    return config.model_copy(
        update={
            "reference": config.reference or reference or DEFAULT_REFERENCE,
            "target": target,
            "working_dir": folder,
            "repository_url": repository,
        }
    )


def violations(config: DeployConfig) -> Iterator[tuple[Path, str]]:
    """The rules a decoded configuration breaks."""
    if not config.name and not config.auto_discovery.enabled:
        yield ("name",), "key not found: name"
    elif config.name and _NAME.match(config.name) is None:
        yield ("name",), invalid_name(config.name)
    if config.source not in ("git", "oci"):
        yield ("source",), f'invalid source type "{config.source}": must be "git" or "oci"'
    elif config.source == "oci" and config.version != DEFAULT_VERSION:
        yield ("version",), f'unsupported oci version "{config.version}"'
    if config.repository_url:
        try:
            parse_git_url(config.repository_url)
        except InvalidURL as error:
            yield ("repository_url",), f"RepositoryUrl: {error}"
    if _leaves(config.working_dir):
        yield ("working_dir",), f"working_dir leads out of the repository: {config.working_dir}"
    if not config.compose_files:
        yield ("compose_files",), "key not found: compose_files"
    for index, name in enumerate(config.compose_files):
        if not name or name.startswith("/") or _leaves(name):
            yield ("compose_files", index), f"invalid file path: {name}"
    if config.webhook_filter:
        fault = _regex_fault(config.webhook_filter)
        if fault:
            yield ("webhook_filter",), f'webhook_filter: invalid regular expression "{config.webhook_filter}": {fault}'
    yield from _number_rules(config)


def _number_rules(config: DeployConfig) -> Iterator[tuple[Path, str]]:
    for key in ("config_retention", "secret_retention"):
        value = getattr(config.swarm, key)
        if value is not None and value < -1:
            yield ("swarm", key), f"swarm.{key} must be >= -1"
    if config.git_depth < 0:
        yield ("git_depth",), "git_depth must be >= 0"
    if config.auto_discovery.depth < 0:
        yield ("auto_discovery", "depth"), "auto_discovery.depth must be >= 0"
    reconciliation = config.reconciliation
    for key in ("restart_timeout", "restart_limit", "restart_window"):
        if getattr(reconciliation, key) < 0:
            yield ("reconciliation", key), f"reconciliation.{key} must be >= 0"
    if reconciliation.restart_limit > 0 and reconciliation.restart_window == 0:
        message = "reconciliation.restart_window must be > 0 if reconciliation.restart_limit is > 0"
        yield ("reconciliation", "restart_window"), message


def _leaves(path: str) -> bool:
    normal = posixpath.normpath(path)
    return normal == ".." or normal.startswith("../")


def _regex_fault(pattern: str) -> str:
    import re2

    try:
        options = re2.Options()
        options.log_errors = False
        re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0] if error.args else error
        return detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
    return ""


def invalid_name(name: str) -> str:
    """What is said of a project name that Compose would refuse."""
    return (
        f'invalid project name "{name}": must consist only of lowercase alphanumeric characters, hyphens, '
        "and underscores as well as start with a letter or number"
    )


def repeated_names(configs: Sequence[DeployConfig]) -> Iterator[tuple[int, str]]:
    """Names used twice: index of the later one, and what is said about it."""
    seen: set[str] = set()
    for index, config in enumerate(configs):
        if config.name and config.name in seen:
            yield index, f"duplicate project/stack name found in configuration file: {config.name}"
        seen.add(config.name)


def not_acted_on(config: DeployConfig) -> tuple[str, ...]:
    """What this configuration asks for and this version does not do yet."""
    return tuple(key for key, asked in NOT_ACTED_ON.items() if asked(config))


# --- finding the file, and the store --------------------------------------------------------


def config_file_names(target: str) -> tuple[str, str]:
    middle = f".{target}" if target else ""
    return f".doco-cd{middle}.yaml", f".doco-cd{middle}.yml"


def find_config_file(root: str, base_dir: str, target: str, exists: Callable[[str], bool]) -> str:
    """The deploy file of a target: `root/base_dir/.doco-cd[.target].yaml`, else `.yml`.

    `exists` tells whether a path is a plain file. Raises `ConfigFileNotFound`.
    """
    names = config_file_names(target)
    folder = posixpath.normpath(base_dir.strip() or "/").strip("/")
    folder = "" if folder == "." else folder
    usable = "/" not in target and "\0" not in target and not _leaves(folder or ".")
    if usable:
        for name in names:
            path = posixpath.join(root, folder, name)
            if exists(path):
                return path
    where = f"{folder}/" if folder else ""
    looked = " and ".join(where + name for name in names)
    pattern = names[0].removesuffix("aml") + "(a)ml"
    raise ConfigFileNotFound(f"configuration file not found in repository: {pattern} (looked for {looked})")


def config_json(config: DeployConfig) -> dict[str, Any]:
    """The configuration as JSON, every field written."""
    return config.model_dump(mode="json")


def from_json(values: JsonObject) -> DeployConfig:
    """The configuration that `config_json` wrote; fields a later version dropped are ignored."""
    return _restored(DeployConfig, values)


def _restored(model: type[DeployConfig], values: JsonObject) -> DeployConfig:
    def ignore(path: Path, key: str, near: str) -> None:
        """A field of another version."""

    config: DeployConfig = model.model_validate(prepare(model, dict(values), unknown=ignore))
    return config
