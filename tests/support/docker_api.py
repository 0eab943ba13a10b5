"""A few calls to a Docker Engine, with nothing but Python's standard library.

The scripts at the top level run on machines that have neither a `docker` command nor our
libraries yet, and tests need a second pair of eyes that shares no code with the product:
both use this. One connection a call, JSON in and out, every call with a deadline.

As a command (`python3 tests/support/docker_api.py …`):
    ping                     exit 0 when an Engine answers, else say why not
    version                  name the Engine and its API version
    import-busybox IMAGE…    an image from this machine's static busybox under these names, unless there
    remove-project NAME      remove what carries that Compose project's label, volumes too
    wait-project NAME N SECONDS   until N containers of it run (healthy where they have a check)
"""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

DEFAULT_SOCKET = "/var/run/docker.sock"
LABEL_PROJECT = "com.docker.compose.project"

BUSYBOX_APPLETS = """
    awk basename cat chmod chown cp cut date dirname echo env expr false find grep head hostname httpd id ip kill ln ls
    md5sum mkdir mktemp mv nc netstat nslookup ping printf ps pwd readlink rm sed seq sh sha256sum sleep sort stat sync
    tail tee test time timeout touch tr true uname uniq wc wget whoami xargs yes
"""


class EngineError(Exception):
    """An answer of the Engine that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerApi:
    """One Engine, reached over its Unix socket."""

    def __init__(self, socket_path: str = DEFAULT_SOCKET, timeout: float = 60) -> None:
        self.socket_path = socket_path
        self.timeout = timeout

    def call(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The answer, decoded where it is JSON. Bytes and open files as `body` go out as they are."""
        query = {
            key: json.dumps(value) if isinstance(value, (dict, list)) else str(value)
            for key, value in (query or {}).items()
        }
        url = path + (f"?{urlencode(query)}" if query else "")
        raw_body = body is None or isinstance(body, bytes) or hasattr(body, "read")
        payload = body if raw_body else json.dumps(body).encode()
        connection = _UnixConnection(self.socket_path, timeout or self.timeout)
        try:
            content = {"Content-Type": content_type} if payload is not None else {}
            connection.request(method, url, payload, content | (headers or {}))
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            try:
                message = json.loads(raw)["message"]
            except (ValueError, KeyError, TypeError):
                message = raw.decode(errors="replace").strip()
            raise EngineError(response.status, message)
        if response.getheader("Content-Type", "").startswith("application/json") and raw:
            try:
                return json.loads(raw)
            except ValueError:
                # A stream of JSON lines, as image imports and pulls send.
                return [json.loads(line) for line in raw.splitlines() if line.strip()]
        return raw

    def answers(self) -> bool:
        try:
            self.call("GET", "/_ping", timeout=5)
        except (OSError, http.client.HTTPException, EngineError):
            return False
        return True

    def version(self) -> dict[str, Any]:
        version: dict[str, Any] = self.call("GET", "/version")
        return version

    def containers(self, *labels: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call(
            "GET", "/containers/json", {"all": 1, "filters": {"label": list(labels)}}
        )
        return found

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/containers/{quote(container, safe='')}/json")
        return found

    def has_image(self, reference: str) -> bool:
        try:
            self.call("GET", f"/images/{quote(reference, safe=':/')}/json")
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    def logs(self, container: str, tail: int = 200) -> str:
        """Standard output and error of a container, in order, without the Engine's framing."""
        raw: bytes = self.call("GET", f"/containers/{container}/logs", {"stdout": 1, "stderr": 1, "tail": tail})
        text, position = [], 0
        while position + 8 <= len(raw) and raw[position] in (0, 1, 2):
            size = int.from_bytes(raw[position + 4 : position + 8], "big")
            text.append(raw[position + 8 : position + 8 + size])
            position += 8 + size
        return b"".join(text or [raw]).decode(errors="replace")

    def remove_labelled(self, *labels: str) -> int:
        """Remove the containers, networks, volumes and images that carry all these labels."""
        filters = {"filters": {"label": list(labels)}}
        removed = 0
        for container in self.containers(*labels):
            removed += self._remove(f"/containers/{container['Id']}", {"force": 1, "v": 1})
        for network in self.call("GET", "/networks", filters):
            removed += self._remove_network(network["Id"])
        for volume in self.call("GET", "/volumes", filters)["Volumes"] or []:
            removed += self._remove(f"/volumes/{quote(volume['Name'], safe='')}", {"force": 1})
        for image in self.call("GET", "/images/json", filters):
            removed += self._remove(f"/images/{image['Id']}", {"force": 1})
        return removed

    def remove_project(self, project: str) -> int:
        """Remove all that carries a Compose project's label, and images it built by default name."""
        removed = self.remove_labelled(f"{LABEL_PROJECT}={project}")
        for image in self.call("GET", "/images/json", {"filters": {"reference": [f"{project}-*", f"{project}_*"]}}):
            removed += self._remove(f"/images/{image['Id']}", {"force": 1})
        return removed

    def _remove_network(self, network_id: str) -> int:
        """Engine 20.10 sometimes counts an endpoint that no longer exists: no call removes such a
        network before the Engine's next start, so this is no test's failure."""
        path = f"/networks/{network_id}"
        try:
            return self._remove(path, seconds=5)
        except EngineError as error:
            if "active endpoints" not in error.message:
                return self._remove(path)
            if self.call("GET", path)["Containers"]:
                raise
            warnings.warn(f"left behind: {error.message}", stacklevel=2)
            return 0

    def _remove(self, path: str, query: dict[str, Any] | None = None, *, seconds: float = 30) -> int:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.call("DELETE", path, query)
                return 1
            except EngineError as error:
                if error.status == 404:
                    return 0
                # 409: it is being removed already, or an endpoint is still being torn down.
                if error.status not in (403, 409, 500) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def import_tar(
        self, reference: str, tar: bytes | IO[bytes], changes: Iterable[str] = (), *, timeout: float | None = None
    ) -> None:
        repository, _, tag = reference.rpartition(":")
        query: list[tuple[str, str]] = [("fromSrc", "-"), ("repo", repository), ("tag", tag)]
        query += [("changes", change) for change in changes]
        path = f"/images/create?{urlencode(query)}"
        self.call("POST", path, body=tar, content_type="application/x-tar", timeout=timeout)
        if not self.has_image(reference):
            raise EngineError(500, f"imported {reference}, but the Engine does not know it")


def find_busybox() -> str:
    """The path of a statically linked busybox: Debian's `busybox-static`."""
    for path in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox") or ""):
        if path and Path(path).is_file():
            with open(path, "rb") as file:
                # A dynamic executable names its loader; the static one has none to name.
                if b"/ld-linux" not in file.read(4096):
                    return path
    raise FileNotFoundError("no static busybox on this machine: apt-get install busybox-static")


def busybox_tar() -> bytes:
    """A root file system in which `sh`, `httpd`, `wget`, `sleep`, … are that busybox."""
    path = find_busybox()
    has = set(subprocess.run([path, "--list"], capture_output=True, text=True, check=True, timeout=30).stdout.split())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:

        def add(name: str, kind: bytes, mode: int, *, link: str = "", content: bytes = b"") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.linkname, member.size = kind, mode, link, len(content)
            tar.addfile(member, io.BytesIO(content))

        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("run", 0o755), ("tmp", 0o1777)):
            add(folder, tarfile.DIRTYPE, mode)
        with open(path, "rb") as file:
            add("bin/busybox", tarfile.REGTYPE, 0o755, content=file.read())
        for applet in BUSYBOX_APPLETS.split():
            if applet in has:
                add(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        add(
            "etc/passwd",
            tarfile.REGTYPE,
            0o644,
            content=b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
        )
        add("etc/group", tarfile.REGTYPE, 0o644, content=b"root:x:0:\nuser:x:1000:\n")
    return buffer.getvalue()


def import_busybox(api: DockerApi, *references: str) -> list[str]:
    """Make the image under these names unless they are there; says which had to be made."""
    missing = [reference for reference in references if not api.has_image(reference)]
    if missing and len(missing) == len(references):
        api.import_tar(missing[0], busybox_tar(), ['CMD ["sh"]', "ENV PATH=/bin"])
    present = next(reference for reference in references if api.has_image(reference))
    for reference in missing:
        repository, _, tag = reference.rpartition(":")
        api.call("POST", f"/images/{quote(present, safe=':/')}/tag", {"repo": repository, "tag": tag})
    return missing


def wait_project(api: DockerApi, project: str, count: int, seconds: float) -> None:
    """Until `count` containers of the project run, healthy where they have a health check."""
    deadline = time.monotonic() + seconds
    while True:
        states = []
        for container in api.containers(f"{LABEL_PROJECT}={project}"):
            # "Up 3 seconds (health: starting)", "Up 5 seconds (healthy)", "Up 5 seconds"
            status = container["Status"]
            ready = container["State"] == "running" and ("(health" not in status or "(healthy)" in status)
            states.append((container["Names"][0].lstrip("/"), ready, status))
        if sum(ready for _, ready, _ in states) >= count:
            return
        if time.monotonic() > deadline:
            seen = ", ".join(f"{name}: {status}" for name, _, status in sorted(states)) or "no container"
            raise TimeoutError(f"project {project}: expected {count} ready containers within {seconds:g} s, saw {seen}")
        time.sleep(0.2)


def main(arguments: list[str]) -> int:
    api = DockerApi(os.environ.get("MOORED_DOCKER_SOCKET", DEFAULT_SOCKET))
    match arguments:
        case ["ping"]:
            api.call("GET", "/_ping", timeout=5)
        case ["version"]:
            version = api.version()
            print(f"Docker Engine {version['Version']}, API {version['ApiVersion']}")
        case ["import-busybox", _, *_]:
            made = import_busybox(api, *arguments[1:])
            print(", ".join(f"{name}: {'made' if name in made else 'there already'}" for name in arguments[1:]))
        case ["remove-project", project]:
            print(f"{project}: {api.remove_project(project)} things removed")
        case ["wait-project", project, count, seconds]:
            wait_project(api, project, int(count), float(seconds))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, http.client.HTTPException, EngineError) as error:
        print(f"docker_api.py: {error}", file=sys.stderr)
        sys.exit(1)
