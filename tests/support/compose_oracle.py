"""The real Docker Compose, to compare with: what it loads, how it hashes, what it deploys.

`test.sh` puts the binary into the virtual environment. It is run directly, never through the
`docker-compose` script beside it, which swallows the exit status; and with an environment of
its own, so that what the developer's shell has set changes no expectation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class ComposeFailed(Exception):
    """Compose ended with an error; the text is what it said last."""

    def __init__(self, status: int, stderr: str) -> None:
        lines = [line for line in stderr.strip().splitlines() if line.strip()]
        super().__init__(lines[-1] if lines else f"exit status {status}")
        self.status = status
        self.stderr = stderr


def compose_binary() -> Path:
    path = Path(os.environ.get("MOORED_COMPOSE") or Path(sysconfig.get_path("purelib")) / "compose" / "docker-compose")
    if not path.is_file():
        raise RuntimeError(f"no Docker Compose at {path}: ./test.sh puts it there")
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return path


class Compose:
    """Runs Compose in a folder."""

    def __init__(self, docker_host: str = "") -> None:
        """`docker_host`: an Engine other than the machine's own, as `unix://…`."""
        self.binary = compose_binary()
        self._docker_host = docker_host

    def run(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/root")}
        if self._docker_host:
            environment["DOCKER_HOST"] = self._docker_host
        done = subprocess.run(
            [str(self.binary), *arguments],
            cwd=cwd,
            env=environment | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode != 0:
            raise ComposeFailed(done.returncode, done.stderr)
        return done

    def _project(
        self, files: Sequence[str], project: str, profiles: Sequence[str], env_files: Sequence[str]
    ) -> list[str]:
        return [
            *(f"--file={file}" for file in files),
            *([f"--project-name={project}"] if project else []),
            *(f"--profile={profile}" for profile in profiles),
            *(f"--env-file={file}" for file in env_files),
        ]

    def config(
        self,
        cwd: Path,
        files: Sequence[str] = (),
        project: str = "",
        *,
        env: Mapping[str, str] | None = None,
        profiles: Sequence[str] = (),
        env_files: Sequence[str] = (),
    ) -> dict[str, Any]:
        """`config --format json`, decoded."""
        arguments = [*self._project(files, project, profiles, env_files), "config", "--format", "json"]
        loaded: dict[str, Any] = json.loads(self.run(*arguments, cwd=cwd, env=env).stdout)
        return loaded

    def hashes(
        self, cwd: Path, files: Sequence[str] = (), project: str = "", *, env: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Each service's config hash."""
        arguments = [*self._project(files, project, (), ()), "config", "--hash", "*"]
        lines = self.run(*arguments, cwd=cwd, env=env).stdout.splitlines()
        return dict(line.split(" ", 1) for line in lines if line.strip())

    def up(self, cwd: Path, project: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        """`up --detach`, with nothing pulled."""
        self.run(f"--project-name={project}", "up", "--detach", "--quiet-pull", *arguments, cwd=cwd, env=env)

    def down(self, cwd: Path, project: str, *arguments: str) -> None:
        self.run(f"--project-name={project}", "down", "--volumes", "--timeout=1", *arguments, cwd=cwd)
