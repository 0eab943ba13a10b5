"""Sockets, TLS, metrics, and how the server stops."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from api import app, serving
from api.services import ApiOptions
from api.serving import bind, tls_context
from tests.unit.api.conftest import LIMIT, SECRET, Kit

ONE = [{"url": "https://git.example/acme/shop.git"}]


async def metrics_of(kit: Kit, method: str = "GET", path: str = "/metrics") -> httpx.Response:
    scheme = kit.client.base_url.scheme
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=LIMIT) as client:
        return await client.request(method, f"{scheme}://127.0.0.1:{kit.ports.metrics}{path}")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_metrics_are_on_their_own_port_for_any_method(kit: Kit, method: str) -> None:
    kit.services.metrics.announce("1.2.3", "info")
    kit.services.metrics.deployments.labels("git.example/shop", "shop").inc()
    answer = await metrics_of(kit, method)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    assert 'doco_cd_info{log_level="info",start_time="' in answer.text
    assert 'doco_cd_deployments_total{deployment="shop",repository="git.example/shop"} 1.0' in answer.text
    assert "process_resident_memory_bytes" in answer.text
    assert "_created" not in answer.text


async def test_only_metrics_are_there_and_they_are_only_there(kit: Kit) -> None:
    assert (await metrics_of(kit, path="/v1/health")).status_code == 404
    assert (await kit.get("/metrics")).status_code == 404


async def test_answers_are_counted_by_route_not_by_path(kit: Kit) -> None:
    await kit.get("/v1/api/run/one")
    await kit.get("/v1/api/run/two")
    await kit.call("BREW", "/v1/api/run/two")
    text = (await metrics_of(kit)).text
    assert 'moored_api_requests_total{method="GET",route="/v1/api/run/<job_id>",status="404"} 2.0' in text
    assert 'method="other"' in text


async def test_stopping_lets_a_waiting_caller_know_that_its_work_goes_on(kit: Kit) -> None:
    kit.controller.outcome = None
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await kit.post("/v1/api/poll/run", json=ONE))

    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as group:
            with kit.store.watch.subscribe(("intents",)) as changed:
                group.start_soon(ask)
                while not await kit.store.open_intents():
                    await changed.wait()
            kit.stop()
    assert (answers[0].status_code, answers[0].json()["content"]) == (202, "poll jobs started")
    assert len(await kit.store.open_intents()) == 1


async def test_a_stopped_server_takes_no_connections(kit: Kit) -> None:
    async with await anyio.connect_tcp("127.0.0.1", kit.ports.http) as idle:
        kit.stop()
        with anyio.fail_after(LIMIT), pytest.raises(anyio.EndOfStream):
            await idle.receive()
    with anyio.fail_after(LIMIT):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", kit.ports.http)
            except OSError:
                break
            await stream.aclose()


async def test_a_client_that_never_ends_its_request_is_cut_off(kit: Kit) -> None:
    async with await anyio.connect_tcp("127.0.0.1", kit.ports.http) as slow:
        head = f"POST /v1/api/poll/run HTTP/1.1\r\nHost: x\r\nx-api-key: {SECRET}\r\nContent-Length: 100\r\n\r\n["
        await slow.send(head.encode())
        await kit.get("/v1/health")
        kit.stop()
        with anyio.fail_after(LIMIT), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                await slow.receive()


def presented(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=LIMIT)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path / "first")


@pytest.fixture
def other_certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path / "second")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    folder.mkdir()
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "1", "-subj", "/CN=localhost",
        "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


class TestImpatience:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(app, "HEAD_DEADLINE", 0.5)

    async def test_a_head_that_drips_in_is_cut_off(self, kit: Kit) -> None:
        async with await anyio.connect_tcp("127.0.0.1", kit.ports.http) as slow:
            await slow.send(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: ")
            with anyio.fail_after(LIMIT), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                while True:
                    await slow.send(b"x")
                    with anyio.move_on_after(0.02):
                        await slow.receive()

    async def test_a_long_wait_is_not(self, kit: Kit) -> None:
        kit.controller.outcome = None
        answer = await kit.post("/v1/api/poll/run?timeout=1", json=ONE)
        assert answer.status_code == 202


class TestTls:
    @pytest.fixture
    def options(self, options: ApiOptions, certificate: tuple[Path, Path]) -> ApiOptions:
        return replace(options, tls_cert_file=certificate[0], tls_key_file=certificate[1])

    async def test_both_ports_speak_tls(self, kit: Kit) -> None:
        assert (await kit.get("/v1/health")).status_code == 200
        assert (await metrics_of(kit)).status_code == 200

    async def test_a_renewed_certificate_is_taken_over(
        self, kit: Kit, certificate: tuple[Path, Path], other_certificate: tuple[Path, Path]
    ) -> None:
        first = await anyio.to_thread.run_sync(presented, kit.ports.http)
        for old, new in zip(certificate, other_certificate, strict=True):
            old.write_bytes(new.read_bytes())
        with anyio.fail_after(LIMIT):
            while await anyio.to_thread.run_sync(presented, kit.ports.http) == first:
                await anyio.lowlevel.checkpoint()

    @pytest.fixture(autouse=True)
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serving, "CERTIFICATE_CHECK", 0.01)

    async def test_nothing_older_than_tls_1_2(self, options: ApiOptions) -> None:
        context = tls_context(options)
        assert context is not None
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_taken_port_names_its_setting() -> None:
    with bind("127.0.0.1", 0, "HTTP_PORT") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"HTTP_PORT {port}: Address already in use"):
            bind("127.0.0.1", port, "HTTP_PORT")


def test_without_an_address_both_protocols_are_served() -> None:
    with bind("", 0, "HTTP_PORT") as listening:
        port = listening.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT).close()
        if socket.has_dualstack_ipv6():
            socket.create_connection(("::1", port), timeout=LIMIT).close()


def test_the_api_knows_neither_docker_nor_the_reconciler() -> None:
    code = "import sys, api.app; print(*{name.partition('.')[0] for name in sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"reconciler", "aiodocker", "git", "pydantic", "sqlalchemy"} & set(shown.stdout.split())
