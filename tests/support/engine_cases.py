"""The catalogue of Compose files with what the real Compose made of them on a real Engine.

Each folder of `tests/differential/engine_cases` holds a `compose.yaml` (and its files) and
an `expected.json` with:

    project      the loaded project (`config --format json`, `$` not doubled)
    requests     the bodies Compose sent to create networks, volumes and containers
    containers   what the Engine answers about them (`inspect`, without times and counters)
    networks, volumes    likewise

All run as project `moored-case` in a folder of a fixed name, so that hashes can be compared;
ids are replaced by ones made from names. Made again with
`python -m tests.support.engine_cases [part of a name …]`, one run at a time.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.compose_oracle import Compose, ComposeFailed
from tests.support.docker_api import DockerApi
from tests.support.recording_proxy import RecordingProxy

FOLDER = Path(__file__).parents[1] / "differential" / "engine_cases"
PROJECT = "moored-case"
PLACE = Path("/srv/moored-case")
"""Where the cases lie while they run; part of the recorded hashes."""
PLAIN, RICH = "moored/busybox:1", "moored-case/rich:1"
_RICH_DOCKERFILE = f"""FROM {PLAIN}
ENV IMAGE_A=1 IMAGE_B=2
LABEL image.label=from-image other.image.label=x
EXPOSE 8080 9090/udp
VOLUME /data /cache
WORKDIR /srv
USER 1000:1000
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=9s --retries=4 CMD true
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["sleep 600"]
"""


@dataclass(frozen=True)
class EngineCase:
    """One case of the catalogue."""

    name: str
    folder: Path
    expected: dict[str, Any]

    @property
    def working_dir(self) -> Path:
        return PLACE / self.name


def engine_cases() -> Iterator[EngineCase]:
    """All recorded cases, by name."""
    for folder in sorted(FOLDER.iterdir()):
        if (folder / "expected.json").is_file():
            yield EngineCase(folder.name, folder, json.loads((folder / "expected.json").read_text()))


def image_facts() -> dict[str, dict[str, Any]]:
    """`{reference: {Id, Config}}` of the images the cases use."""
    facts: dict[str, dict[str, Any]] = json.loads((FOLDER / "images.json").read_text())
    return facts


def build_rich_image(api: DockerApi) -> None:
    """The image with every field that a container inherits."""
    if api.has_image(RICH):
        return
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        member = tarfile.TarInfo("Dockerfile")
        content = _RICH_DOCKERFILE.encode()
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    api.call("POST", "/build", {"t": RICH, "rm": 1}, context.getvalue(), content_type="application/x-tar")


def made_up_id(what: str) -> str:
    """A stable id in the place of a random one."""
    return hashlib.sha256(what.encode()).hexdigest()


_CONTAINER_FIELDS = ("Id", "Name", "Image", "Config", "HostConfig", "Mounts")
_LIVE_ENDPOINT = ("EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address",
                  "GlobalIPv6PrefixLen", "MacAddress")  # fmt: skip


def _slim_container(inspect: dict[str, Any]) -> dict[str, Any]:
    slim = {field: inspect.get(field) for field in _CONTAINER_FIELDS}
    for part in ("Config", "HostConfig"):
        slim[part] = {key: value for key, value in inspect[part].items() if value is not None}
    networks = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    slim["NetworkSettings"] = {
        "Networks": {
            name: {key: value for key, value in endpoint.items() if key not in _LIVE_ENDPOINT}
            for name, endpoint in networks.items()
        }
    }
    slim["Mounts"] = sorted(slim["Mounts"] or [], key=lambda mount: str(mount["Destination"]))
    return slim


def record(api: DockerApi, proxy: RecordingProxy, folder: Path) -> dict[str, Any]:
    """Run Compose on a case and tell what came of it."""
    place = PLACE / folder.name
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("expected.json"))
    compose = Compose(proxy.url)
    try:
        model = json.loads(compose.run(f"--project-name={PROJECT}", "config", "--format", "json", cwd=place).stdout)
        proxy.take()
        compose.run(f"--project-name={PROJECT}", "up", "--no-start", "--pull=never", cwd=place)
        requests = [{"path": r.path, "query": r.query, "body": r.body} for r in proxy.take()]
        label = f"com.docker.compose.project={PROJECT}"
        containers = [api.inspect(entry["Id"]) for entry in api.containers(label)]
        filters = {"label": [label]}
        networks = api.call("GET", "/networks", {"filters": filters})
        volumes = api.call("GET", "/volumes", {"filters": filters})["Volumes"] or []
        return _with_made_up_ids(
            {
                "project": _undoubled(model),
                "requests": requests,
                "containers": sorted(map(_slim_container, containers), key=lambda c: str(c["Name"])),
                "networks": sorted(
                    ({**n, "Created": None, "Containers": {}} for n in networks), key=lambda n: n["Name"]
                ),
                "volumes": sorted(({**v, "CreatedAt": None} for v in volumes), key=lambda v: v["Name"]),
            },
            containers,
            networks,
            {reference: api.call("GET", f"/images/{reference}/json")["Id"] for reference in (PLAIN, RICH)},
        )
    finally:
        compose.run(f"--project-name={PROJECT}", "down", "--volumes", "--timeout=0", cwd=place, check=False)
        api.remove_project(PROJECT)
        shutil.rmtree(place)


def _undoubled(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_undoubled(item) for item in value]
    if isinstance(value, dict):
        return {_undoubled(key): _undoubled(item) for key, item in value.items()}
    return value


def _with_made_up_ids(
    expected: dict[str, Any],
    containers: list[dict[str, Any]],
    networks: list[dict[str, Any]],
    image_ids: dict[str, str],
) -> dict[str, Any]:
    text = json.dumps(expected, indent=1, sort_keys=True)
    for container in containers:
        # Where containers share namespaces or volumes the config hash contains real ids.
        if '"container:' not in text and '"volumes_from"' not in text:
            made_up = made_up_id(f"container {container['Name']}")
            text = text.replace(container["Id"], made_up).replace(container["Id"][:12], made_up[:12])
        for mount in container.get("Mounts") or ():
            name = mount.get("Name") or ""
            if len(name) == 64:
                text = text.replace(name, made_up_id(f"volume {container['Name']} {mount['Destination']}"))
    for reference, image_id in image_ids.items():
        text = text.replace(image_id, f"sha256:{made_up_id(f'image {reference}')}")
    for network in networks:
        text = text.replace(network["Id"], made_up_id(f"network {network['Name']}"))
    result: dict[str, Any] = json.loads(text)
    return result


def main(arguments: list[str]) -> int:
    """Record the cases whose names contain one of the arguments, or all."""
    api = DockerApi()
    build_rich_image(api)
    failed = 0
    PLACE.mkdir(parents=True, exist_ok=False)
    try:
        with RecordingProxy(api.socket_path) as proxy:
            for folder in sorted(path for path in FOLDER.iterdir() if path.is_dir()):
                if arguments and not any(part in folder.name for part in arguments):
                    continue
                try:
                    expected = record(api, proxy, folder)
                except ComposeFailed as error:
                    failed += 1
                    print(f"{folder.name}: {error}", file=sys.stderr)
                    continue
                (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
        facts = {
            reference: {
                "Id": f"sha256:{made_up_id(f'image {reference}')}",
                "Config": api.call("GET", f"/images/{reference}/json")["Config"],
            }
            for reference in (PLAIN, RICH)
        }
        (FOLDER / "images.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    finally:
        shutil.rmtree(PLACE)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
