"""Docker Engines to test with: the machine's own, and private ones that a test may break.

The shared Engine answers at the usual socket; tests only ever touch what they made there.
Fault tests need an Engine they can kill, freeze and restart: a `PrivateEngine` is a `dockerd`
with folders, socket and network namespace of its own. The namespace matters: a second
`dockerd` beside the first would take its bridge and rewrite its packet filter. A process that
only sleeps holds the namespace, and a `containerd` of its own holds the containers, so both
survive the death of the `dockerd`, as they do on a real host.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.docker_api import DEFAULT_SOCKET, DockerApi, import_busybox
from tests.support.waiting import wait_for

BUSYBOX = "moored/busybox:1"
KEPT = "moored-test/busybox:kept"
"""A second name: removing a project removes its images, and nothing here can be pulled again."""


def shared_engine() -> DockerApi:
    """The machine's Engine, with the busybox image in it."""
    api = DockerApi(os.environ.get("MOORED_DOCKER_SOCKET", DEFAULT_SOCKET))
    if not api.answers():
        raise RuntimeError(f"no Docker Engine answers at {api.socket_path}: ./test.sh starts one")
    keep_busybox(api)
    return api


def keep_busybox(api: DockerApi) -> None:
    """Give the image its name back if a test has removed it."""
    import_busybox(api, BUSYBOX, KEPT)


class PrivateEngine:
    """A `dockerd` for one test. Use as a context manager; needs root."""

    def __init__(self, *arguments: str, image: bool = True) -> None:
        """`arguments` go to `dockerd`, for example `--live-restore`."""
        self.arguments: Sequence[str] = arguments
        self._image = image
        # A short path: a Unix socket's may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="moored-engine-"))
        self.socket_path = str(self.folder / "docker.sock")
        self.url = f"unix://{self.socket_path}"
        self.api = DockerApi(self.socket_path)
        self._log = self.folder / "dockerd.log"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PrivateEngine:
        try:
            self._holder = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
            assert self._holder.stdout is not None
            assert self._holder.stdout.readline() == b"up\n", "no network namespace of its own: is this root?"
            self._start_containerd()
            self.start()
            if self._image:
                import_busybox(self.api, BUSYBOX)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        assert self._daemon is not None, "this Engine is not running"
        return self._daemon.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self, *, seconds: float = 60) -> None:
        """Start the `dockerd` and wait until it answers. What it ran before is still there."""
        assert self._daemon is None, "this Engine is running already"
        command = [
            *self.inside,
            "dockerd",
            f"--data-root={self.folder / 'data'}",
            f"--exec-root={self.folder / 'exec'}",
            f"--pidfile={self.folder / 'docker.pid'}",
            f"--containerd={self.folder / 'containerd.sock'}",
            f"--host={self.url}",
            *self.arguments,
        ]
        with self._log.open("ab") as log:
            self._daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

        def answers() -> bool:
            assert self._daemon is not None
            if self._daemon.poll() is not None:
                raise RuntimeError(f"dockerd ended while starting:\n{self.log[-2000:]}")
            return self.api.answers()

        wait_for(answers, "the private dockerd answers", seconds=seconds)

    def _start_containerd(self) -> None:
        config = self.folder / "containerd.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        address = self.folder / "containerd.sock"
        command = [
            "containerd",
            f"--config={config}",
            f"--address={address}",
            f"--root={self.folder / 'containerd'}",
            f"--state={self.folder / 'containerd-state'}",
        ]
        with (self.folder / "containerd.log").open("ab") as log:
            self._containerd = subprocess.Popen(
                [*self.inside, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(address.is_socket, "the private containerd listens", seconds=30)

    def stop(self, *, seconds: float = 180) -> None:
        """An orderly end: containers are stopped, unless `--live-restore`."""
        self._end(signal.SIGTERM, seconds)

    def kill(self) -> None:
        """A sudden end: the containers go on without their `dockerd`."""
        self._end(signal.SIGKILL, 60)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """The `dockerd` accepts connections and says nothing, until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")

        def all_stopped() -> bool:
            # The state stands behind the command's name, which is in brackets.
            return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads.glob("*/stat"))

        wait_for(all_stopped, "the private dockerd is frozen", pause=0.005)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def enter(self, *command: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command where this Engine's published ports and bridges are."""
        return subprocess.run([*self.inside, *command], capture_output=True, text=True, timeout=seconds, check=False)

    def close(self) -> None:
        """End all of it, containers included, and remove its folder."""
        if self._daemon is not None and self._daemon.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            try:
                for container in self.api.containers():
                    self.api.call("DELETE", f"/containers/{container['Id']}", {"force": 1, "v": 1})
                self.stop()
            except (OSError, subprocess.TimeoutExpired):
                self.kill()
        if self._containerd is not None:
            self._containerd.kill()
            self._containerd.wait(timeout=60)
        self._end_leftovers()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait(timeout=60)
            if self._holder.stdout is not None:
                self._holder.stdout.close()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            mount = line.split()[4]
            if mount.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True, timeout=60)
        self._remove_folder()

    def _remove_folder(self) -> None:
        """What was killed just now may still have written while the folder was being removed."""
        for _ in range(100):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.1)

    @property
    def inside(self) -> list[str]:
        """What a command begins with to run in this Engine's network."""
        assert self._holder is not None
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]

    def _end(self, how: signal.Signals, seconds: float) -> None:
        assert self._daemon is not None, "this Engine is not running"
        self._daemon.send_signal(how)
        self._daemon.wait(timeout=seconds)
        self._daemon = None

    def _end_leftovers(self) -> None:
        """What a killed `dockerd` left: shims name our folder, proxies live in our namespace, and
        containers in control groups with their ids."""
        ours = os.fsencode(f"{self.folder}/")
        containers = [path.name for path in (self.folder / "data/containers").glob("*")]

        def is_ours(process: Path) -> bool:
            if ours in (process / "cmdline").read_bytes() or self._shares_namespace(process):
                return True
            groups = (process / "cgroup").read_text()
            return any(container in groups for container in containers)

        for process in Path("/proc").glob("[0-9]*"):
            pid = int(process.name)
            try:
                if pid not in (os.getpid(), self._holder and self._holder.pid) and is_ours(process):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # It ended meanwhile.

    def _shares_namespace(self, process: Path) -> bool:
        if self._holder is None or self._holder.poll() is not None:
            return False
        return (process / "ns/net").readlink() == Path(f"/proc/{self._holder.pid}/ns/net").readlink()
