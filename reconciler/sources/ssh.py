"""SSH for git: keys, host keys, and the one command line that uses them.

A private key is written once into the agent's data folder, readable by its owner alone;
one with a passphrase is decrypted there by `ssh-keygen`, which asks for the passphrase
through a small script that takes it from the environment of that one process, so that it
never stands on a command line. From then on git runs unattended.

A host's key is trusted on first contact and remembered in the data folder, so it survives
the container. A changed key is refused: accepting it would make the check worthless. Keys
from a user's own files (`SSH_KNOWN_HOSTS`, `~/.ssh/known_hosts`) are honoured too.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from reconciler.sources.command import Git, GitCommandFailed, Work
from reconciler.sources.credentials import Credential
from reconciler.sources.errors import AuthenticationFailed, GitFailed

_ASKPASS = "#!/bin/sh\nprintf '%s\\n' \"$MOORED_PASSPHRASE\"\n"


class Ssh:
    """The SSH side of a data folder."""

    def __init__(self, git: Git, folder: Path, known_hosts: Sequence[Path], connect_seconds: int) -> None:
        self._git = git
        self._folder = folder
        self._known_hosts = tuple(known_hosts)
        self._connect_seconds = connect_seconds
        self._ready: dict[str, Path] = {}
        self._lock = threading.Lock()

    @property
    def known_hosts(self) -> Path:
        """Where keys of hosts met for the first time are written."""
        return self._folder / "known_hosts"

    def environment(self, work: Work, credential: Credential) -> dict[str, str]:
        """What git must know to speak SSH with this credential."""
        if shutil.which("ssh") is None:
            raise GitFailed("ssh is not installed, or not in PATH")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": " ".join(f'"{path}"' for path in (self.known_hosts, *self._known_hosts)),
            "UpdateHostKeys": "no",
            "ConnectTimeout": str(self._connect_seconds),
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "IdentityAgent": "none",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
        }
        command = ["ssh", "-F", "/dev/null"]
        for name, value in options.items():
            command += ["-o", f"{name}={value}"]
        command += ["-i", str(self._identity(work, credential))] if credential.ssh_key else ["-o", "IdentityFile=none"]
        return {"GIT_ALLOW_PROTOCOL": "ssh", "GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}

    def _identity(self, work: Work, credential: Credential) -> Path:
        """The file of an unencrypted copy of the key."""
        digest = hashlib.sha256(f"{credential.ssh_key}\0{credential.ssh_passphrase}".encode()).hexdigest()[:24]
        with self._lock:
            ready = self._ready.get(digest)
            if ready is not None and ready.exists():
                return ready
            path = self._folder / f"key-{digest}"
            part = self._folder / f"key-{digest}.{os.getpid()}"
            _write_private(part, credential.ssh_key.replace("\r\n", "\n").strip("\n") + "\n")
            try:
                self._decrypt(work, part, credential.ssh_passphrase)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            self._ready[digest] = path
            return path

    def _decrypt(self, work: Work, path: Path, passphrase: str) -> None:
        askpass = self._folder / "askpass"
        if not askpass.exists():
            _write_private(askpass, _ASKPASS)
            askpass.chmod(0o700)
        environment = {
            "SSH_ASKPASS": str(askpass),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": ":",
            "MOORED_PASSPHRASE": passphrase,
        }
        arguments = ["-q", "-p", "-N", "", "-f", str(path)]
        try:
            self._git.run(work, arguments, environment=environment, program="ssh-keygen")
        except GitCommandFailed as error:
            text = error.stderr.lower()
            if "passphrase" in text:
                found = "does not open" if passphrase else "is missing for"
                raise AuthenticationFailed(f"SSH_PRIVATE_KEY_PASSPHRASE {found} the SSH private key") from None
            raise AuthenticationFailed(
                "SSH private key cannot be read: expected an OpenSSH or PEM private key, complete with its first and "
                "last line"
            ) from None


def _write_private(path: Path, content: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
