"""From a checkout and one deploy configuration to the desired state of a stack.

This is where a commit becomes a stack: pick the Compose files, layer the environment
that interpolation sees, load the project, hash what it mounts. Everything it needs lies
in the checkout, nothing of Docker is asked, and a fault in it concerns this stack alone:
what runs stays as it is, and the error says file, line and what was expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.compose import ComposeError, DiskReader, InputFile, LoadRequest, load_project
from reconciler.deployments.config import DEFAULT_COMPOSE_FILES, REMOTE_PREFIX, DeployConfig, config_json, not_acted_on
from reconciler.deployments.content import ContentError, RepositoryFiles, content_digests
from reconciler.deployments.desired import canonical, tool_labels
from reconciler.deployments.hostpaths import HostPaths, on_host
from reconciler.deployments.profiles import seccomp_profiles
from reconciler.deployments.remotefiles import MissingFiles, layered_environment
from reconciler.deployments.snapshot import desired_hash, snapshot
from reconciler.planner.compare import HIDDEN, is_secret_name
from state.model import JsonObject

SHORTEST_SECRET = 4
"""Shorter values are not looked for in messages: they would be found everywhere."""


class RenderError(Exception):
    """A stack cannot be rendered from its revision. The message is for its users."""


@dataclass(frozen=True)
class RenderContext:
    """What all stacks of a checkout share."""

    root: Path
    """The checkout."""
    objects: Mapping[str, str]
    """Tracked paths -> Git object ids."""
    executables: frozenset[str]
    """The executable ones of them."""
    config_root: Path
    """The checkout that the deploy configuration is in; another one with `repository_url`."""
    config_objects: Mapping[str, str]
    """As `objects`, of that checkout."""
    revision: str
    reference: str
    repository: str
    """`host/owner/repo`."""
    source_name: str
    source_url: str
    """Without credentials."""
    trigger: str
    target: str
    process_environment: Mapping[str, str]
    """The agent's own environment if `PASS_ENV` is on, else empty."""
    paths: HostPaths
    key: bytes
    """Keys the digests of secret values."""
    instance: str
    version: str
    timestamp: str


@dataclass(frozen=True)
class Rendered:
    """The desired state of one stack."""

    name: str
    context: str
    config: JsonObject
    desired: JsonObject
    desired_hash: str
    warnings: tuple[str, ...]
    untracked: tuple[tuple[str, str], ...] = ()
    """Files that were read though Git does not track them, with the SHA-256 of their content; empty:
    there was none."""


def working_directory(root: Path, config: DeployConfig) -> Path:
    """The folder of a deployment inside the checkout; raises `RenderError` if it is not there."""
    path = root / config.working_dir.lstrip("/")
    resolved = path.resolve()
    if resolved != root.resolve() and root.resolve() not in resolved.parents:
        raise RenderError(f"working_dir: {config.working_dir} leads out of the repository")
    if not resolved.is_dir():
        raise RenderError(f"working_dir: the repository has no folder {config.working_dir}")
    return path


def compose_files(directory: Path, config: DeployConfig) -> tuple[str, ...]:
    """The Compose files of a deployment, in merge order; raises `RenderError`.

    The default list takes those that exist, a list of one's own must exist entirely.
    """
    names = tuple(config.compose_files)
    present = tuple(str(directory / name) for name in names if (directory / name).is_file())
    if names == DEFAULT_COMPOSE_FILES:
        if not present:
            raise RenderError(f"no compose files found: {config.working_dir} has none of {', '.join(names)}")
        return present
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise RenderError(f"could not find compose file: {', '.join(missing)} in {config.working_dir}")
    return present


def environment_files(root: Path, directory: Path, config: DeployConfig) -> tuple[str, ...]:
    """Dotenv files for interpolation; a missing one is an error unless the list is the default."""
    names = [name.removeprefix(REMOTE_PREFIX) for name in config.env_files]
    if names == [".env"]:
        return ()
    paths = [directory / name for name in names]
    outside = [name for name, path in zip(names, paths, strict=True) if root.resolve() not in path.resolve().parents]
    if outside:
        raise RenderError(f"env_files: {', '.join(outside)} lies outside the repository, of which alone files are read")
    missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if missing:
        raise RenderError(f"env_files: could not find {', '.join(missing)} in {config.working_dir}")
    return tuple(map(str, paths))


def render(config: DeployConfig, context: RenderContext) -> Rendered:
    """Render one stack. Blocking (reads files): call it in a worker thread. Raises `RenderError`."""
    directory = working_directory(context.root, config)
    environment = {**context.process_environment, **config.environment}
    env_files: tuple[str, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    if config.repository_url:
        try:
            environment, inputs = layered_environment(
                config, context.process_environment, here=context.config_root, there=context.root, directory=directory
            )
        except (ComposeError, MissingFiles) as error:
            raise RenderError(_relative(_relative(str(error), context.root), context.config_root)) from error
    else:
        env_files = environment_files(context.root, directory, config)
    request = LoadRequest(
        working_dir=str(directory),
        files=compose_files(directory, config),
        environment=environment,
        project_name=config.name,
        env_files=env_files,
        profiles=tuple(config.profiles),
        cwd=str(directory),
    )
    reader = DiskReader(str(context.root))
    try:
        project = load_project(request, reader)
    except ComposeError as error:
        raise RenderError(_hidden(_relative(str(error), context.root), environment)) from error

    files = RepositoryFiles(
        root=str(context.root),
        objects=context.objects,
        executables=context.executables,
        read=lambda path: Path(path).read_bytes(),
        exists=lambda path: Path(path).exists(),
        resolve=lambda path: str(Path(path).resolve()),
    )
    try:
        content, content_warnings = content_digests(project, files, key=context.key)
        profiles = seccomp_profiles(project, files, content)
    except ContentError as error:
        raise RenderError(str(error)) from error

    values = config_json(config)
    project = on_host(project, context.paths)
    body = dict(snapshot(project, content, profiles))
    digest = desired_hash(body, values)
    body["labels"] = tool_labels(
        name=config.name,
        config=values,
        config_sha=hashlib.sha256(canonical(values).encode()).hexdigest(),
        desired_sha=digest,
        working_dir=project.working_dir,
        target=context.target,
        reference=config.reference or context.reference,
        revision=context.revision,
        trigger=context.trigger,
        source_name=context.source_name,
        source_url=context.source_url,
        timestamp=context.timestamp,
        version=context.version,
        instance=context.instance,
    )
    warnings = [_relative(str(warning.message), context.root) for warning in project.warnings]
    warnings += content_warnings
    warnings += [f"{key} is not acted on yet" for key in not_acted_on(config)]
    return Rendered(
        name=config.name,
        context=config.context or "default",
        config=values,
        desired=body,
        desired_hash=digest,
        warnings=tuple(warnings),
        untracked=_untracked((*inputs, *project.inputs), context),
    )


def _untracked(inputs: Iterable[InputFile], context: RenderContext) -> tuple[tuple[str, str], ...]:
    """Files that were read and are in neither commit, with their digests."""
    tracked = ((context.root, context.objects), (context.config_root, context.config_objects))

    def known(path: str) -> bool:
        return any(path.removeprefix(f"{root}/") in objects for root, objects in tracked)

    return tuple((item.path, item.digest) for item in inputs if not known(item.path))


def _hidden(text: str, environment: Mapping[str, str]) -> str:
    """A message without the values of variables whose names say that they are secret."""
    for name, value in environment.items():
        if len(value) >= SHORTEST_SECRET and is_secret_name(name):
            text = text.replace(value, HIDDEN)
    return text


def _relative(text: str, root: Path) -> str:
    """Name files as the repository does."""
    return text.replace(f"{root}/", "")
