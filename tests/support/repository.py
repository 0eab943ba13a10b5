"""A local Git repository to deploy from: write files, commit, look at the commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

IMAGE = "moored/busybox:1"


class LocalRepository:
    """A work tree with one branch, followed by its `file://` URL."""

    def __init__(self, path: Path, branch: str = "main") -> None:
        self.path = path
        path.mkdir(parents=True)
        self._git("init", "-q", "-b", branch)

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    @property
    def head(self) -> str:
        return self._git("rev-parse", "HEAD").strip()

    def commit(self, files: dict[str, str | None], message: str = "change") -> str:
        """Write `files` (None: delete), commit, return the commit."""
        for name, text in files.items():
            path = self.path / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self._git("add", "-A")
        self._git("commit", "-q", "--allow-empty", "-m", message)
        return self.head

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments], check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout


def service(name: str, **lines: str) -> str:
    """A small long-running service in YAML."""
    body = {"image": IMAGE, "command": "sleep 3600", "init": "true", "stop_grace_period": "1s", **lines}
    return f"  {name}:\n" + "".join(f"    {key}: {value}\n" for key, value in body.items())


def compose(*services: str, more: str = "") -> str:
    return "services:\n" + "".join(services) + more


def deploy_config(name: str, **lines: str) -> str:
    return f"name: {name}\n" + "".join(f"{key}: {value}\n" for key, value in lines.items())
