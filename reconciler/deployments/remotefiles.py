"""The environment of a deployment whose Compose files lie in another repository.

`env_files` names files of two repositories then: those with `remote:` lie in the `working_dir`
of the other one, the rest at the root of the repository that has the deploy file. From high to
low: `environment`, the remote files, the local ones, the agent's own environment (`PASS_ENV`).
Below them all comes the `.env` beside the Compose files, which loading adds by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.compose import DiskReader, InputFile
from reconciler.compose.files import Files
from reconciler.compose.request import read_env_files
from reconciler.deployments.config import REMOTE_PREFIX, DeployConfig


class MissingFiles(Exception):
    """Env files that are not there."""


def layered_environment(
    config: DeployConfig, process: Mapping[str, str], *, here: Path, there: Path, directory: Path
) -> tuple[dict[str, str], tuple[InputFile, ...]]:
    """What interpolation sees, and the files it came from.

    `here` and `there` are the two checkouts, `directory` the working directory in the latter.
    Raises `MissingFiles` or `ComposeError`.
    """
    names = config.env_files
    local = [str(here / name) for name in names if not name.startswith(REMOTE_PREFIX)]
    remote = [str(directory / name.removeprefix(REMOTE_PREFIX)) for name in names if name.startswith(REMOTE_PREFIX)]
    known = {**process, **config.environment}
    local_values, local_inputs = _read(local, known, here, "the repository of the deploy file")
    remote_values, remote_inputs = _read(remote, {**local_values, **known}, there, config.repository_url)
    return {**process, **local_values, **remote_values, **config.environment}, (*local_inputs, *remote_inputs)


def _read(
    paths: Sequence[str], environment: Mapping[str, str], root: Path, where: str
) -> tuple[dict[str, str], tuple[InputFile, ...]]:
    files = Files(DiskReader(str(root)))
    found = tuple(path for path in paths if files.is_file(path))
    missing = [path.removeprefix(f"{root}/") for path in paths if path not in found and Path(path).name != ".env"]
    if missing:
        raise MissingFiles(f"env_files: could not find {', '.join(missing)} in {where}")
    return read_env_files(dict(environment), found, files), files.inputs()
