"""The engine package's pure parts: references, endpoints, records, progress messages."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from reconciler.engine.build import base_images
from reconciler.engine.buildkit import TraceReader
from reconciler.engine.client import event_time
from reconciler.engine.credentials import find_credentials
from reconciler.engine.endpoint import EngineEndpoint, resolve_endpoint
from reconciler.engine.errors import UnsupportedEndpoint
from reconciler.engine.output import demultiplex, last_lines
from reconciler.engine.records import container_record, parse_time
from reconciler.engine.reference import parse_reference
from reconciler.engine.registry import is_loopback
from state.observed import PublishedPort


@pytest.mark.parametrize(
    ("text", "full", "version"),
    [
        ("nginx", "docker.io/library/nginx:latest", "latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27", "1.27"),
        ("a/b", "docker.io/a/b:latest", "latest"),
        ("index.docker.io/a/b:1", "docker.io/a/b:1", "1"),
        ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1", "1"),
        ("localhost/x", "localhost/x:latest", "latest"),
        ("host:5000/x", "host:5000/x:latest", "latest"),
        ("x@sha256:" + "a" * 64, "docker.io/library/x@sha256:" + "a" * 64, "sha256:" + "a" * 64),
        ("x:1@sha256:" + "a" * 64, "docker.io/library/x:1@sha256:" + "a" * 64, "sha256:" + "a" * 64),
    ],
)
def test_references_are_completed_as_docker_does(text, full, version):
    reference = parse_reference(text)
    assert str(reference) == full
    assert reference.version == version


def test_an_image_id_is_in_no_registry():
    assert parse_reference("sha256:" + "a" * 64) is None
    assert parse_reference("a" * 64) is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost:5000", True), ("127.0.0.1:5000", True), ("127.3.2.1", True), ("[::1]:5000", True), ("ghcr.io", False)],
)
def test_only_loopback_registries_may_speak_plain_http(host, loopback):
    assert is_loopback(host) is loopback


def test_the_environment_wins_over_the_context(tmp_path):
    digest = hashlib.sha256(b"far").hexdigest()
    folder = tmp_path / "contexts" / "meta" / digest
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(
        json.dumps({"Name": "far", "Endpoints": {"docker": {"Host": "tcp://far:2376", "SkipTLSVerify": True}}})
    )
    tls = tmp_path / "contexts" / "tls" / digest / "docker"
    tls.mkdir(parents=True)
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    far = resolve_endpoint("far", environ)
    assert (far.host, far.cert_path, far.verify) == ("tcp://far:2376", str(tls), False)
    assert far.url == "https://far:2376"
    near = resolve_endpoint("far", {**environ, "DOCKER_HOST": "unix:///x.sock", "DOCKER_API_VERSION": "1.41"})
    assert (near.host, near.api_version) == ("unix:///x.sock", "1.41")


def test_unknown_contexts_and_addresses_are_named(tmp_path):
    with pytest.raises(UnsupportedEndpoint, match='context "nowhere" does not exist'):
        resolve_endpoint("nowhere", {"DOCKER_CONFIG": str(tmp_path)})
    with pytest.raises(UnsupportedEndpoint, match="ssh:// is not supported"):
        EngineEndpoint(host="ssh://me@host").check()
    with pytest.raises(UnsupportedEndpoint, match="expected unix"):
        EngineEndpoint(host="docker.sock").check()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", "1.000000000"),
        ("1970-01-01T00:00:01.5Z", "1.500000000"),
        ("1970-01-01T01:00:01.123456789+01:00", "1.123456789"),
    ],
)
def test_an_engines_clock_is_read_to_the_nanosecond(text, expected):
    assert event_time(text) == expected


def test_nanoseconds_and_zero_times_are_understood():
    assert parse_time("2026-01-02T03:04:05.123456789Z").microsecond == 123456
    assert parse_time("0001-01-01T00:00:00Z") is None
    assert parse_time("") is None


def test_a_container_record_ignores_what_changes_without_meaning():
    inspect = {
        "Id": "a" * 64,
        "Name": "/p-web-1",
        "Path": "sh",
        "Args": ["-c", "sleep 1"],
        "State": {"Status": "running", "Health": {"Status": "healthy", "Log": [{"Output": "one"}]}},
        "Config": {"Image": "i", "Labels": {"com.docker.compose.project": "p"}},
        "Mounts": [
            {"Type": "volume", "Name": "v", "Destination": "/b"},
            {"Type": "bind", "Source": "/s", "Destination": "/a"},
        ],
        "NetworkSettings": {
            "Networks": {"p_default": {}},
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": None},
        },
    }
    first = container_record(inspect)
    other = json.loads(json.dumps(inspect))
    other["State"]["Health"]["Log"] = [{"Output": "two"}]
    other["Mounts"].reverse()
    assert container_record(other) == first
    assert first.command == "sh -c 'sleep 1'", "as docker ps has it"
    assert first.mounts == ("/s", "v")
    assert first.local_volumes == 1
    assert first.ports == (PublishedPort("", 53, 0, "udp"), PublishedPort("0.0.0.0", 80, 8080, "tcp"))
    assert first.inspect["Config"]["Image"] == "i"


def test_base_images_follow_arguments_and_skip_stages():
    dockerfile = (
        "ARG TAG=1\nARG BASE\nFROM --platform=linux/amd64 moored/busybox:${TAG} AS one\n"
        "FROM $BASE as two\nFROM one\nFROM scratch\nFROM ${NONE:-x:2}\nCOPY --from=two / /\n"
    )
    assert base_images(dockerfile, {"BASE": "b:9"}) == ["moored/busybox:1", "b:9", "x:2"]


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def test_a_trace_tells_each_step_once_and_its_output():
    started = _field(1, _field(1, b"sha256:a") + _field(3, b"[1/2] FROM x") + _field(5, b"\x08\x01"))
    output = _field(3, _field(1, b"sha256:a") + _field(4, b"hel"))
    more = _field(3, _field(1, b"sha256:a") + _field(4, b"lo\n"))
    reader = TraceReader()
    assert reader.lines(base64.b64encode(started + output).decode()) == ["[1/2] FROM x"]
    assert reader.lines(base64.b64encode(started + more).decode()) == ["hello"]
    assert reader.lines("not base64!") == []
    assert reader.lines(base64.b64encode(b"\x0a\xff").decode()) == []


def test_multiplexed_output_is_joined_and_cut_to_its_last_lines():
    frame = b"\x01\0\0\0" + (4).to_bytes(4, "big") + b"a\nb\n"
    assert demultiplex(frame + frame) == b"a\nb\na\nb\n"
    assert last_lines(b"".join(b"%d\n" % n for n in range(50)), 3) == ["47", "48", "49"]


async def test_the_environments_credentials_win_over_the_file(tmp_path):
    def auth(text: str) -> dict[str, str]:
        return {"auth": base64.b64encode(text.encode()).decode()}

    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {"https://index.docker.io/v1/": auth("hub:1"), "https://reg.example/v2/": auth("file:2")}})
    )
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    hub = await find_credentials(parse_reference("nginx").credentials_key, environ)
    assert (hub.username, hub.mechanism) == ("hub", "auths")
    by_host = await find_credentials("reg.example", environ)
    assert by_host.username == "file"
    environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"reg.example": auth("env:3")}})
    first = await find_credentials("reg.example", environ)
    assert (first.username, first.mechanism) == ("env", "DOCKER_AUTH_CONFIG")
    environ["DOCKER_AUTH_CONFIG"] = "{"
    ignored = await find_credentials("absent.example", environ)
    assert "DOCKER_AUTH_CONFIG is ignored" in ignored.hint()
