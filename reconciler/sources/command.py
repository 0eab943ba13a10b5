"""Running git: one place, with a deadline, a clean environment and nothing to leak.

GitPython's command layer starts the system's git; it is imported on first use. Every
call belongs to a `Work`: what one worker thread does for one awaiting task. When the
task's deadline passes or it is cancelled, the work's process groups are killed (git
spawns helpers: `git-remote-https`, `ssh`), the thread runs into the end of its pipes and
is gone a moment later. A remote that hangs holds only the slots of its own host.

What git may see: no system or user configuration but the file written here, no hooks, no
prompts, no transports but those in use, and none of the agent's own environment, which
holds secrets (`env -u` drops it before git starts; GitPython can only add). A token goes
through the environment of this one process into a credential helper that git asks only
for the host it was set for, so it is neither on a command line nor sent after a redirect.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from reconciler.sources.credentials import Credential
from reconciler.sources.errors import GitFailed, SourceTimeout
from reconciler.sources.urls import GitURL

_T = TypeVar("_T")

_INHERITED = (
    "PATH",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
)
_KILL_GRACE = 5.0
_HELPER = (
    '!f() { test "$1" = get && printf \'username=%s\\npassword=%s\\n\' "$MOORED_GIT_USER" "$MOORED_GIT_TOKEN"; }; f'
)

_CONFIGURATION = """\
# Written by Moored: the only configuration its git reads.
[safe]
\tdirectory = *
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\tcommitGraph = true
[credential]
\thelper =
[gc]
\tautoDetach = false
[fetch]
\trecurseSubmodules = false
[transfer]
\tcredentialsInUrl = die
[http]
\tlowSpeedLimit = 1
\tlowSpeedTime = 60
[advice]
\tobjectNameWarning = false
"""


class GitCommandFailed(Exception):
    """git ended with an error; `stderr` has no credentials in it."""

    def __init__(self, command: str, status: int, stderr: str) -> None:
        super().__init__(f"git {command}: {stderr.strip() or f'exit status {status}'}")
        self.command = command
        self.status = status
        self.stderr = stderr


class Cancelled(Exception):
    """The work was given up by whoever awaited it."""


class Work:
    """What one worker thread does for one task: its processes, and whether to go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[Any] = set()
        self.cancelled = False

    def check(self) -> None:
        """Raise if nobody awaits the result any more."""
        if self.cancelled:
            raise Cancelled

    def add(self, process: Any) -> None:
        with self._lock:
            self._processes.add(process)
        if self.cancelled:
            _kill(process)

    def remove(self, process: Any) -> None:
        with self._lock:
            self._processes.discard(process)

    def cancel(self) -> None:
        """Kill the process groups and let the thread stop at its next step."""
        self.cancelled = True
        with self._lock:
            processes = tuple(self._processes)
        for process in processes:
            _kill(process)


def _kill(process: Any) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class Workers:
    """Worker threads, a few for each host."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._limiters: dict[str, anyio.CapacityLimiter] = {}

    async def run(self, host: str, seconds: float, what: str, function: Callable[[Work], _T]) -> _T:
        """Run `function` in a thread of `host`, for at most `seconds` (waiting included).

        Raises `SourceTimeout` naming `what` when they are over.
        """
        limiter = self._limiters.get(host)
        if limiter is None:
            limiter = self._limiters[host] = anyio.CapacityLimiter(self._per_host)
        work = Work()
        started = threading.Event()
        ended = anyio.Event()

        def body() -> _T:
            started.set()
            try:
                work.check()
                return function(work)
            finally:
                with suppress(RuntimeError):  # the event loop is gone: nobody waits
                    anyio.from_thread.run_sync(ended.set)

        try:
            with anyio.fail_after(seconds):
                return await anyio.to_thread.run_sync(body, limiter=limiter, abandon_on_cancel=True)
        except TimeoutError:
            raise SourceTimeout(f"{what}: no answer within {seconds:g} seconds") from None
        finally:
            work.cancel()
            if started.is_set() and not ended.is_set():
                with anyio.CancelScope(shield=True), anyio.move_on_after(_KILL_GRACE):
                    await ended.wait()


@dataclass(frozen=True, slots=True)
class Remote:
    """A URL together with what is needed to speak to it."""

    url: GitURL
    environment: Mapping[str, str]
    secrets: tuple[str, ...] = ()


class Git:
    """Starts git processes with the environment described in the module's head."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._configuration = home / "gitconfig"
        self._engine: Any = None
        self._droppable: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Write the configuration and load GitPython. Blocking; once is enough."""
        if self._engine is not None:
            return
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._configuration.exists() or self._configuration.read_text() != _CONFIGURATION:
            part = self._configuration.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            part.write_text(_CONFIGURATION)
            part.replace(self._configuration)
        try:
            from git import Git as Engine
        except ImportError:
            raise GitFailed("git is not installed, or not in PATH") from None
        kept = {*_INHERITED, "LANGUAGE", "LC_ALL"}
        self._droppable = tuple(name for name in os.environ if name not in kept)
        self._engine = Engine(str(self._home))

    def start(
        self,
        work: Work,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        git_dir: Path | None = None,
        stdin: int = subprocess.DEVNULL,
        program: str = "git",
    ) -> Any:
        """Start a process that belongs to `work`, its output in pipes."""
        work.check()
        self.prepare()
        own = {
            "HOME": str(self._home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self._configuration),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_CEILING_DIRECTORIES": str(self._home),
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_ADVICE": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            **(environment or {}),
        }
        if git_dir is not None:
            own["GIT_DIR"] = str(git_dir)
        dropped = [part for name in self._droppable if name not in own for part in ("-u", name)]
        started = self._engine.execute(
            ["env", *dropped, program, *arguments],
            istream=stdin,
            as_process=True,
            env=own,
            shell=False,
            process_group=0,
        )
        # GitPython's wrapper terminates the process when it is collected; its life is ours to end.
        process, started.proc = started.proc, None
        work.add(process)
        return process

    def run(
        self,
        work: Work,
        arguments: Sequence[str],
        *,
        remote: Remote | None = None,
        environment: Mapping[str, str] | None = None,
        git_dir: Path | None = None,
        program: str = "git",
    ) -> bytes:
        """Run git to its end and return what it wrote; raises `GitCommandFailed`."""
        merged = {**(environment or {}), **(remote.environment if remote is not None else {})}
        process = self.start(work, arguments, environment=merged, git_dir=git_dir, program=program)
        try:
            out, err = process.communicate()
        finally:
            self.finish(work, process)
        work.check()
        if process.returncode != 0:
            text = str(err.decode(errors="replace"))
            raise GitCommandFailed(arguments[0], process.returncode, redacted(text, remote))
        return bytes(out)

    def finish(self, work: Work, process: Any) -> None:
        """End a process whatever it does, and reap it."""
        if process.poll() is None:
            _kill(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()
        work.remove(process)


def redacted(text: str, remote: Remote | None) -> str:
    """Text without the secrets of a remote and without user information in URLs."""
    from reconciler.sources.urls import redact_url

    for secret in remote.secrets if remote is not None else ():
        text = text.replace(secret, "***")
    return redact_url(text)


def http_environment(url: GitURL, credential: Credential, *, verify_tls: bool, proxy: str) -> dict[str, str]:
    """What git must know to speak HTTP(S) to this host: configuration through its environment."""
    settings: list[tuple[str, str]] = []
    environment = {"GIT_ALLOW_PROTOCOL": "http:https"}
    if credential.token:
        environment |= {"MOORED_GIT_USER": credential.user, "MOORED_GIT_TOKEN": credential.token}
        settings.append((f"credential.{url.scheme}://{url.authority}.helper", _HELPER))
        if url.scheme == "http" and url.port is None:
            settings.append((f"credential.https://{url.authority}.helper", _HELPER))
    if not verify_tls:
        settings.append(("http.sslVerify", "false"))
    if proxy:
        settings.append(("http.proxy", proxy))
        environment |= {"no_proxy": "", "NO_PROXY": ""}
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for index, (key, value) in enumerate(settings):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment


def local_environment() -> dict[str, str]:
    """What git must know to read a repository on this machine."""
    return {"GIT_ALLOW_PROTOCOL": "file"}
