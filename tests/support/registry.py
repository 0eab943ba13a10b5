"""A real image registry on this machine: Debian's `docker-registry`.

It keeps its files in a folder of its own and listens on 127.0.0.1, where Engines accept plain
HTTP. The Engine under test pushes and pulls; digests and deletions are asked of the registry
itself, so a test does not depend on what the Engine believes.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.docker_api import DockerApi
from tests.support.ports import free_port
from tests.support.waiting import wait_for

MANIFEST_TYPES = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


class Registry:
    """One registry process. `htpasswd` lines (bcrypt) switch basic authentication on."""

    def __init__(self, *, htpasswd: str = "", user: str = "", password: str = "") -> None:
        self.user, self.password = user, password
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="moored-registry-"))
        self._process: subprocess.Popen[bytes] | None = None
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.address, "secret": secrets.token_hex(16)},
        }
        if htpasswd:
            (self.folder / "htpasswd").write_text(htpasswd)
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(self.folder / "htpasswd")}}
        # JSON is YAML.
        (self.folder / "config.yml").write_text(json.dumps(config))

    def __enter__(self) -> Registry:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        log = self.folder / "registry.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self.folder / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

        def answers() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"docker-registry ended while starting:\n{log.read_text()[-1000:]}")
            return self.request("GET", "/v2/")[0] in (200, 401)

        wait_for(answers, f"the registry answers on port {self.port}")

    def stop(self) -> None:
        """As if the network were gone; `start` brings it back with all it had."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with lower-case names, body."""
        headers = dict(headers or {})
        if self.user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def push(self, api: DockerApi, image: str, name: str, tag: str = "1") -> str:
        """Push an image that the Engine has, as `name:tag`; returns the full reference."""
        repository = f"{self.address}/{name}"
        api.call("POST", f"/images/{image}/tag", {"repo": repository, "tag": tag})
        credentials = {"username": self.user, "password": self.password, "serveraddress": self.address}
        encoded = base64.urlsafe_b64encode(json.dumps(credentials if self.user else {}).encode()).decode()
        lines = api.call(
            "POST", f"/images/{repository}/push", {"tag": tag}, headers={"X-Registry-Auth": encoded}, timeout=120
        )
        for line in lines if isinstance(lines, list) else [lines]:
            assert "error" not in line, f"push of {repository}:{tag}: {line['error']}"
        return f"{repository}:{tag}"

    def digest(self, name: str, tag: str = "1") -> str:
        status, headers, _ = self.request("HEAD", f"/v2/{name}/manifests/{tag}", headers={"Accept": MANIFEST_TYPES})
        assert status == 200, f"{name}:{tag} is not in the registry: {status}"
        return headers["docker-content-digest"]

    def delete(self, name: str, tag: str = "1") -> None:
        status, _, body = self.request("DELETE", f"/v2/{name}/manifests/{self.digest(name, tag)}")
        assert status == 202, body

    def put_blob(self, name: str, content: bytes) -> str:
        """Store a blob; returns its digest. With `put_manifest` this makes any artifact."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        status, headers, body = self.request("POST", f"/v2/{name}/blobs/uploads/")
        assert status == 202, body
        location = headers["location"].partition(self.address)[2] or headers["location"]
        separator = "&" if "?" in location else "?"
        status, _, body = self.request(
            "PUT",
            f"{location}{separator}digest={digest}",
            content,
            {"Content-Type": "application/octet-stream"},
        )
        assert status == 201, body
        return digest

    def put_manifest(self, name: str, tag: str, manifest: dict[str, Any]) -> str:
        """Store a manifest under a tag; returns its digest."""
        status, headers, body = self.request(
            "PUT", f"/v2/{name}/manifests/{tag}", json.dumps(manifest).encode(), {"Content-Type": manifest["mediaType"]}
        )
        assert status == 201, body
        return headers["docker-content-digest"]
