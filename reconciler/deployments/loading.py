"""Which deployments a revision asks for: inline ones, or those of its deploy file.

Reads only what is tracked in the checkout. Auto-discovery is carried out against the
tree that its document names, so it comes second, once that tree is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.deployments.config import DeployConfig, find_config_file, load_deploy_configs, parse_inline
from reconciler.deployments.discovery import discover
from reconciler.deployments.errors import InvalidDeployConfig, Problem
from state.model import SourceSpec


@dataclass(frozen=True)
class RequestedDeployments:
    """What a revision asks for."""

    configs: tuple[DeployConfig, ...]
    warnings: tuple[str, ...] = ()
    file: str = ""
    """The deploy file they were read from; empty for inline ones."""


@dataclass(frozen=True)
class Expanded:
    """What one document stands for, discovery carried out."""

    configs: tuple[DeployConfig, ...]
    failures: tuple[tuple[str, str], ...] = ()
    """Name and fault of stacks that were found but cannot be deployed."""
    warnings: tuple[str, ...] = ()
    complete: bool = True
    """Whether the tree was read completely: only then something may count as gone."""


def requested_deployments(
    spec: SourceSpec, root: Path, objects: Mapping[str, str], base_dir: str
) -> RequestedDeployments:
    """Read the deploy configuration. Blocking. Raises `DeployConfigError`."""
    if spec.deployments:
        inline = parse_inline(spec.deployments, spec.reference, target=spec.target)
        return RequestedDeployments(tuple(inline.configs), tuple(inline.warnings))
    file = find_config_file(str(root), base_dir, spec.target, lambda path: _tracked(root, objects, path))
    path = Path(file) if Path(file).is_absolute() else root / file
    shown = path.relative_to(root).as_posix()
    loaded = load_deploy_configs(_read(root, shown), shown, reference=spec.reference, target=spec.target)
    return RequestedDeployments(loaded.configs, loaded.warnings, shown)


def expand(
    config: DeployConfig, root: Path, objects: Mapping[str, str], *, repository: str, config_file: str
) -> Expanded:
    """Carry out a document's auto-discovery, if it has one. Blocking."""
    if not config.auto_discovery.enabled:
        return Expanded((config,))
    found = discover(
        config,
        objects.keys(),
        lambda path: _read(root, path),
        repository=repository,
        config_file=config_file,
    )
    failures = tuple((problem.name, problem.message) for problem in found.problems)
    warnings = list(found.warnings)
    if not found.configs and not failures:
        warnings.append(
            f"auto-discovery found no stack below {config.working_dir}: taken for a mistake, so nothing is removed"
        )
    return Expanded(tuple(found.configs), failures, tuple(warnings), complete=found.complete and bool(found.configs))


def _read(root: Path, path: str) -> bytes:
    """A deploy file. A link is followed inside the repository, and nowhere else."""
    file = (root / path).resolve()
    fault = ""
    if root.resolve() not in file.parents:
        fault = "leads out of the repository"
    elif not file.is_file():
        fault = "leads to nothing"
    if fault:
        raise InvalidDeployConfig([Problem(f"the deploy file is a link that {fault}", file=path)])
    return file.read_bytes()


def _tracked(root: Path, objects: Mapping[str, str], path: str) -> bool:
    name = Path(path)
    relative = name.relative_to(root).as_posix() if name.is_absolute() else name.as_posix()
    return relative in objects
