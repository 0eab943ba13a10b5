"""Newer Docker Engines than the machine's own: those of later Debians, in containers.

Debian 12 has Engine 20.10 (API 1.41); its successor, 26.1 (API 1.45), and what Debian prepares
next (28.5, API 1.51, at the time of writing) show what newer Engines report and accept
otherwise. Each is made once with `debootstrap` (a minute or two, only with
MOORED_TEST_NEWER_ENGINE=1), kept as an image, and started as a full Engine of its own. The
capabilities are named one by one because not every machine may grant all of `--privileged`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.docker_api import DockerApi, import_busybox
from tests.support.engine import BUSYBOX
from tests.support.names import LABEL_TEST, unique_name
from tests.support.waiting import wait_for

STABLE, NEXT = "trixie", "sid"
"""Debian 13, and what comes after it."""
CAPABILITIES = (
    "NET_ADMIN SYS_ADMIN SYS_PTRACE DAC_READ_SEARCH IPC_LOCK SYS_NICE LINUX_IMMUTABLE NET_BROADCAST LEASE SYSLOG"
    " MAC_ADMIN AUDIT_CONTROL SYS_MODULE SYS_RAWIO SYS_BOOT SYS_TIME SYS_TTY_CONFIG IPC_OWNER"
)


def wanted() -> bool:
    return os.environ.get("MOORED_TEST_NEWER_ENGINE") == "1"


def make_image(api: DockerApi, suite: str) -> str:
    """The image of a Debian suite's Engine, made unless it is there."""
    image = f"moored-test/engine:{suite}"
    if api.has_image(image):
        return image
    folder = Path(tempfile.mkdtemp(prefix="moored-debian-"))
    try:
        root = folder / "root"
        subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                "--include=docker.io,iptables,ca-certificates",
                suite,
                str(root),
                *_mirror(),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=900,
        )
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
        tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
        assert tar.stdout is not None
        with tar.stdout:
            api.import_tar(image, tar.stdout, timeout=300)
        assert tar.wait(timeout=30) == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return image


def _mirror() -> list[str]:
    """On Debian, the mirror that the machine itself installs from; elsewhere debootstrap's own."""
    if "\nID=debian\n" not in f"\n{Path('/etc/os-release').read_text()}":
        return []
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()
    return [site for site in listed if "security" not in site][:1]


class NewerEngine:
    """The Engine in its container. Use as a context manager."""

    def __init__(self, host: DockerApi, suite: str = STABLE) -> None:
        self._host = host
        self.suite = suite
        self.name = unique_name("moored-engine")
        # On the same path inside, so that what lies here can be mounted there.
        self.folder = Path(tempfile.mkdtemp(prefix="moored-newer-"))
        self.socket_path = str(self.folder / "docker.sock")
        self.url = f"unix://{self.socket_path}"
        self.api = DockerApi(self.socket_path)

    def __enter__(self) -> NewerEngine:
        try:
            image = make_image(self._host, self.suite)
            created = self._host.call("POST", "/containers/create", {"name": self.name}, self._container(image))
            self._host.call("POST", f"/containers/{created['Id']}/start")
            wait_for(self._answers, "the newer Engine answers", seconds=90, pause=0.2)
            import_busybox(self.api, BUSYBOX)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answers(self) -> bool:
        if not self._host.inspect(self.name)["State"]["Running"]:
            raise RuntimeError(f"the newer Engine ended while starting:\n{self._host.logs(self.name)[-2000:]}")
        return self.api.answers()

    def _container(self, image: str) -> dict[str, Any]:
        # Where it may, it turns /sys writable for its bridges' settings.
        start = f"mount -o remount,rw /sys; exec dockerd --host={self.url}"
        return {
            "Image": image,
            "Cmd": ["sh", "-c", start],
            "Labels": {LABEL_TEST: self.name},
            "Volumes": {"/var/lib/docker": {}},
            "HostConfig": {
                "Binds": [f"{self.folder}:{self.folder}", "/sys/fs/cgroup:/sys/fs/cgroup:rw"],
                "CapAdd": CAPABILITIES.split(),
                "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
                # What the command line calls systempaths=unconfined.
                "MaskedPaths": [],
                "ReadonlyPaths": [],
                "CgroupnsMode": "host",
                # For ports published on ::1.
                "Sysctls": {"net.ipv6.conf.lo.disable_ipv6": "0"},
                "DeviceCgroupRules": ["a *:* rwm"],
            },
        }

    def close(self) -> None:
        self._host.remove_labelled(f"{LABEL_TEST}={self.name}")
        shutil.rmtree(self.folder, ignore_errors=True)
