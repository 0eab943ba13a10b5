"""Auto-discovery: one document of a deploy file stands for a whole folder tree.

Every folder below `working_dir` that holds one of the document's `compose_files` becomes
a deployment named after the folder, which may refine what it inherits with a
`.doco-cd.yaml` of its own. The folders are those of the commit (`files`), not those on
disk: what an application writes into the checkout never becomes a stack.

A folder that cannot be used (a name Compose refuses, a broken nested file) fails alone:
it is reported beside the others. Whoever removes stacks that disappeared must not do so
for a discovery with problems, nor for an empty listing.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.deployments.config import (
    STAMPED,
    DeployConfig,
    invalid_name,
    repeated_names,
    violations,
)
from reconciler.deployments.document import Document, Path, key_place_of, place_of, read_documents
from reconciler.deployments.errors import InvalidDeployConfig, Problem
from reconciler.deployments.fields import decode, key_path, prepare

NESTED_FILES = (".doco-cd.yaml", ".doco-cd.yml")
SKIPPED_FOLDERS = frozenset({".git", ".github", ".vscode", ".idea", "node_modules"})
INHERITED_ONLY = frozenset({"reference", "repository_url", "auto_discovery", "git_depth", "source"})
"""Keys that a nested file cannot change."""


@dataclass(frozen=True)
class FolderProblem:
    """A folder that could not become a deployment."""

    folder: str
    name: str
    message: str


@dataclass(frozen=True)
class Discovered:
    """What a document with auto-discovery stands for."""

    configs: tuple[DeployConfig, ...]
    problems: tuple[FolderProblem, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every folder was understood: only then may vanished stacks be removed."""
        return not self.problems


def discover(
    config: DeployConfig,
    files: Collection[str],
    read: Callable[[str], bytes],
    *,
    repository: str,
    config_file: str = "",
) -> Discovered:
    """The deployments that `config` (with `auto_discovery.enabled`) stands for.

    `files` are the plain files of the commit, relative to the repository's root; `read`
    gives the content of one of them; `repository` is the repository's name. In the folder
    of `config_file`, from which `config` was read, no nested file is looked for: what lies
    there are deploy files themselves.
    """
    own_folder = (posixpath.dirname(config_file) or ".") if config_file else ""
    configs: list[DeployConfig] = []
    problems: list[FolderProblem] = []
    warnings: list[str] = []
    for folder in compose_folders(config, files):
        name = posixpath.basename(folder) if folder != "." else posixpath.basename(repository)
        if name == posixpath.basename(repository) and config.name:
            name = config.name
        found = config.model_copy(update={"name": name, "working_dir": folder})
        try:
            if folder != own_folder:
                found = _refined(found, folder, files, read, warnings)
        except InvalidDeployConfig as error:
            problems.append(_problem(folder, name, str(error)))
            continue
        broken = next((message for _, message in violations(found)), "")
        if broken:
            hint = f" (folder {folder})" if broken == invalid_name(found.name) else ""
            problems.append(_problem(folder, found.name, f"invalid deploy configuration: {broken}{hint}"))
            continue
        configs.append(found)
    repeated = dict(repeated_names(configs))
    problems += [
        FolderProblem(
            configs[index].working_dir, configs[index].name, f"{message} (folder {configs[index].working_dir})"
        )
        for index, message in repeated.items()
    ]
    kept = tuple(found for index, found in enumerate(configs) if index not in repeated)
    return Discovered(kept, tuple(problems), tuple(warnings))


def _problem(folder: str, name: str, message: str) -> FolderProblem:
    """A problem that can be written down: the name of a folder may be any bytes."""
    return FolderProblem(*(os.fsencode(text).decode(errors="replace") for text in (folder, name, message)))


def compose_folders(config: DeployConfig, files: Collection[str]) -> tuple[str, ...]:
    """The folders with a Compose file, in the scan's reach, sorted; `.` is the root."""
    start = "" if config.working_dir in (".", "") else config.working_dir
    names = {name for name in config.compose_files if "/" not in name}
    found: set[str] = set()
    for path in files:
        folder, _, name = path.rpartition("/")
        if name not in names or not (not start or folder == start or folder.startswith(start + "/")):
            continue
        below = [part for part in folder[len(start) :].split("/") if part]
        if SKIPPED_FOLDERS.intersection(below):
            continue
        if config.auto_discovery.depth and len(below) > config.auto_discovery.depth:
            continue
        found.add(folder or ".")
    return tuple(sorted(found))


def _refined(
    config: DeployConfig,
    folder: str,
    files: Collection[str],
    read: Callable[[str], bytes],
    warnings: list[str],
) -> DeployConfig:
    """`config` with what the folder's own deploy file says; explicit `false` and `0` count."""
    for name in NESTED_FILES:
        path = name if folder == "." else f"{folder}/{name}"
        if path not in files:
            continue
        documents = read_documents(read(path), path)
        if len(documents) > 1:
            message = "nested .doco-cd configuration file must contain only a single YAML document"
            place = (documents[1].line, documents[1].column, documents[1].number)
            raise InvalidDeployConfig([Problem(message, "", path, *place)])
        return _overridden(config, documents[0], path, warnings) if documents else config
    return config


def _overridden(config: DeployConfig, document: Document, path: str, warnings: list[str]) -> DeployConfig:
    def place(at: Path) -> tuple[int, int]:
        return place_of(document.root, at)

    def problem(at: Path, message: str) -> Problem:
        line, column = place(at)
        key = key_path(at)
        text = f"failed to decode yaml: {key}: {message}" if key else f"failed to decode yaml: {message}"
        return Problem(text, key, path, line, column, document.number, wrong_type=True)

    def unknown(at: Path, key: str, near: str) -> None:
        line, column = key_place_of(document.root, at)
        hint = f'; did you mean "{near}"?' if near else ""
        warnings.append(f'unknown key "{key}"{hint} ({path}:{line}:{column})')

    prepared = prepare(DeployConfig, document.root, stamped=STAMPED, unknown=unknown)
    if isinstance(prepared, dict):
        for key in sorted(INHERITED_ONLY.intersection(prepared)):
            line, column = key_place_of(document.root, (key,))
            warnings.append(f"{key} cannot be changed by a nested file and is ignored ({path}:{line}:{column})")
            del prepared[key]
        if not prepared.get("compose_files", True):
            del prepared["compose_files"]
    nested, problems = decode(DeployConfig, prepared, problem)
    if nested is None:
        raise InvalidDeployConfig(problems)
    given = nested.model_dump(mode="json", exclude_unset=True)
    merged = _merged(config.model_dump(mode="json"), given)
    working_dir = merged.get("working_dir", config.working_dir)
    if "working_dir" in given:
        working_dir = posixpath.normpath(str(working_dir)).lstrip("/") or "."
    return DeployConfig.model_validate({**merged, "working_dir": working_dir})


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`: objects key by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result
