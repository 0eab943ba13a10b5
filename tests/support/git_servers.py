"""Real git servers for tests: smart HTTP, SSH, and repositories to push to.

    with GitHTTPServer(tmp_path) as server:
        repository = server.create_repo("acme/shop")
        commit = repository.commit({"compose.yaml": "services: {}\n"})
        url = repository.url            # http://127.0.0.1:PORT/acme/shop.git

`GitHTTPServer` is the real `git http-backend` behind a small bridge, with optional basic
auth and faults that can be switched on at any time (`server.fault = Fault.HANG`).
`GitSSHServer` is the real `sshd` on a high port, with one client key. Both listen on
loopback and end with their `with` block.
"""

from __future__ import annotations

import base64
import enum
import getpass
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port

_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ann Author",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann Author",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
    "HOME": "/nonexistent",
}


def run_git(*arguments: str, cwd: Path | None = None, stdin: bytes | None = None) -> str:
    """Run git undisturbed by anybody's configuration; what it prints, stripped."""
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env=_ENVIRONMENT, input=stdin, capture_output=True, check=False, timeout=60
    )
    if done.returncode != 0:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr.decode()}")
    return done.stdout.decode().strip()


class Repository:
    """A bare repository on disk, with the means to commit to it."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self._work = path.with_name(path.name + ".work")
        path.parent.mkdir(parents=True, exist_ok=True)
        run_git("init", "-q", "--bare", "-b", "main", str(path))
        run_git("config", "http.receivepack", "true", cwd=path)

    def git(self, *arguments: str) -> str:
        """Run git in the bare repository."""
        return run_git(*arguments, cwd=self.path)

    def commit(
        self,
        files: Mapping[str, str | bytes | None],
        message: str = "change",
        *,
        branch: str = "main",
        links: Mapping[str, str] | None = None,
        executable: tuple[str, ...] = (),
        submodules: Mapping[str, tuple[str, str]] | None = None,
        orphan: bool = False,
    ) -> str:
        """Commit `files` (None removes) on top of `branch`; returns the commit's id.

        `links`: path -> symbolic link target. `submodules`: path -> (URL, commit).
        `orphan` starts the branch anew (a force push that rewrites history).
        """
        index = self.path / "test-index"
        index.unlink(missing_ok=True)
        environment = {**_ENVIRONMENT, "GIT_INDEX_FILE": str(index), "GIT_DIR": str(self.path)}

        def plumb(*arguments: str, stdin: bytes = b"") -> str:
            done = subprocess.run(
                ["git", *arguments], env=environment, input=stdin, capture_output=True, check=True, timeout=60
            )
            return done.stdout.decode().strip()

        parent = ""
        if not orphan:
            parent = self.tip(branch)
        if parent:
            plumb("read-tree", parent)
        lines: list[str] = []
        for path, content in files.items():
            if content is None:
                lines.append(f"0 {'0' * 40}\t{path}")
                continue
            raw = content.encode() if isinstance(content, str) else content
            mode = "100755" if path in executable else "100644"
            lines.append(f"{mode} {plumb('hash-object', '-w', '--stdin', stdin=raw)}\t{path}")
        for path, target in (links or {}).items():
            lines.append(f"120000 {plumb('hash-object', '-w', '--stdin', stdin=target.encode())}\t{path}")
        if submodules:
            modules = "".join(
                f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, (url, _) in submodules.items()
            )
            blob = plumb("hash-object", "-w", "--stdin", stdin=modules.encode())
            lines.append(f"100644 {blob}\t.gitmodules")
            lines += [f"160000 {commit}\t{path}" for path, (_, commit) in submodules.items()]
        plumb("update-index", "--index-info", stdin=("\n".join(lines) + "\n").encode() if lines else b"")
        tree = plumb("write-tree")
        commit = plumb("commit-tree", tree, *(("-p", parent) if parent else ()), "-m", message)
        plumb("update-ref", f"refs/heads/{branch}", commit)
        index.unlink(missing_ok=True)
        return commit

    def tip(self, branch: str = "main") -> str:
        done = subprocess.run(
            ["git", "rev-parse", "-q", "--verify", f"refs/heads/{branch}"],
            cwd=self.path,
            env=_ENVIRONMENT,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return done.stdout.decode().strip()

    def tag(self, name: str, commit: str, *, annotated: bool = False) -> None:
        self.git("tag", *(("-a", "-m", f"tag {name}") if annotated else ()), "-f", name, commit)

    def set_branch(self, branch: str, commit: str) -> None:
        self.git("update-ref", f"refs/heads/{branch}", commit)

    def delete_branch(self, branch: str) -> None:
        self.git("update-ref", "-d", f"refs/heads/{branch}")


class Fault(enum.Enum):
    """How a server misbehaves."""

    NONE = "none"
    HANG = "hang"
    """Accepts the request and never answers."""
    HANG_MIDWAY = "hang midway"
    """Sends the head and some bytes of the pack, then nothing more."""
    RESET = "reset"
    """Resets the connection."""
    SLOW = "slow"
    """Answers after `delay` seconds, or when all is well again."""
    STATUS = "status"
    """Answers with `status`."""
    REDIRECT = "redirect"
    """Redirects to `redirect_to` + path."""


class GitHTTPServer:
    """`git http-backend` on loopback."""

    def __init__(self, folder: Path, *, user: str = "", password: str = "") -> None:
        self.root = folder / f"http-{os.urandom(4).hex()}"
        self.root.mkdir(parents=True)
        self.user = user
        self.password = password
        self.fault = Fault.NONE
        self.fault_path = ""
        """Only requests whose path contains it suffer the fault."""
        self.delay = 0.2
        self.status = 500
        self.redirect_to = ""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path with query, Authorization header, in order of arrival."""
        self.hanging = threading.Event()
        """Set when a request hangs."""
        self._release = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def create_repo(self, name: str) -> Repository:
        """An empty repository `name` (without `.git`)."""
        return Repository(self.root / f"{name}.git", f"{self.base}/{name}.git")

    def recover(self) -> None:
        """End every fault, and let what hangs fail."""
        self.fault = Fault.NONE
        self._release.set()
        self._release = threading.Event()
        self.hanging.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def _serve(self) -> None:
                self.close_connection = True
                authorization = self.headers.get("Authorization", "")
                server.requests.append((self.command, self.path, authorization))
                body = self._body()
                suffers = server.fault_path in self.path
                if suffers and server.fault is not Fault.NONE and self._misbehave(server.fault):
                    return
                expected = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
                if server.password and authorization != f"Basic {expected}":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self._backend(body, cut=suffers and server.fault is Fault.HANG_MIDWAY)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "") == "chunked":
                    pieces = []
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        pieces.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(pieces)
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))

            def _misbehave(self, fault: Fault) -> bool:
                if fault is Fault.HANG:
                    self._hang()
                    return True
                if fault is Fault.RESET:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return True
                if fault is Fault.SLOW:
                    server._release.wait(server.delay)
                if fault is Fault.STATUS:
                    self.send_response(server.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return True
                if fault is Fault.REDIRECT:
                    self.send_response(302)
                    self.send_header("Location", server.redirect_to + self.path)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return True
                return False

            def _hang(self) -> None:
                release = server._release
                server.hanging.set()
                release.wait(600)

            def _backend(self, body: bytes, *, cut: bool) -> None:
                path, _, query = self.path.partition("?")
                environment = {
                    **_ENVIRONMENT,
                    "GIT_PROJECT_ROOT": str(server.root),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "REQUEST_METHOD": self.command,
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "REMOTE_ADDR": "127.0.0.1",
                    "REMOTE_USER": server.user or "tester",
                }
                done = subprocess.run(
                    ["git", "http-backend"], env=environment, input=body, capture_output=True, check=False, timeout=60
                )
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                status, headers = 200, []
                for line in head.decode().split("\r\n"):
                    name, _, value = line.partition(":")
                    if name.lower() == "status":
                        status = int(value.split()[0])
                    elif name:
                        headers.append((name, value.strip()))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if cut and self.command == "POST":
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    self._hang()
                    return
                self.wfile.write(content)

        return Handler


class GitSSHServer:
    """`sshd` on a high port of loopback, with one accepted client key."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / f"ssh-{os.urandom(4).hex()}"
        self.root.mkdir(parents=True)
        self.client_key = self.make_key("client")
        (self.root / "authorized").write_text((self.root / "client.pub").read_text())
        self.make_key("host")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def make_key(self, name: str, passphrase: str = "", kind: str = "ed25519") -> str:
        """A new key pair in `root/name`; returns the private key."""
        path = self.root / name
        path.unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", name, "-f", str(path)], check=True, timeout=60
        )
        return path.read_text()

    def accept(self, name: str) -> None:
        """Accept the key made as `name`, too."""
        with (self.root / "authorized").open("a") as file:
            file.write((self.root / f"{name}.pub").read_text())

    def create_repo(self, name: str) -> Repository:
        path = self.root / f"{name}.git"
        return Repository(path, f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}")

    def change_host_key(self) -> None:
        """Come back with another host key, as an impostor would."""
        self._stop()
        self.make_key("host")
        self._start()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        configuration = self.root / "sshd_config"
        configuration.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.root / 'host'}\n"
            f"AuthorizedKeysFile {self.root / 'authorized'}\nStrictModes no\nPidFile none\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\n"
        )
        self._process = subprocess.Popen(
            [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(configuration)],
            stderr=(self.root / "sshd.log").open("ab"),
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"sshd did not start: {(self.root / 'sshd.log').read_text()}")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None
