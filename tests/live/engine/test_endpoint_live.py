"""Reaching an Engine over TCP: with TLS, with client certificates, and what is said when they do not fit.

A small proxy speaks TLS in front of the Engine's socket, as `dockerd --tlsverify` would.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.abc
import pytest
from anyio.streams.tls import TLSListener

from reconciler.engine.client import OUR_API_VERSION, open_engine, parse_version
from reconciler.engine.endpoint import resolve_endpoint
from reconciler.engine.errors import EngineError, EngineUnreachable, UnsupportedEngine

SOCKET = "/var/run/docker.sock"


def _openssl(*arguments: str, cwd: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """`ca.pem`, and `server/` and `client/` folders with what each side presents."""
    folder = tmp_path_factory.mktemp("tls")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(
        "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca", "-days", "2", cwd=folder
    )
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    for side in ("server", "client"):
        (folder / side).mkdir()
        _openssl("req", *key, "-keyout", f"{side}/key.pem", "-out", f"{side}.csr", "-subj", f"/CN={side}", cwd=folder)
        _openssl(
            *("x509", "-req", "-in", f"{side}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{side}/cert.pem", "-days", "2", "-extfile", "ext"),
            cwd=folder,
        )
        (folder / side / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())
    return folder


async def _forward(client: anyio.abc.ByteStream) -> None:
    async with client, await anyio.connect_unix(SOCKET) as engine, anyio.create_task_group() as tasks:

        async def pump(source: anyio.abc.ByteReceiveStream, sink: anyio.abc.ByteSendStream) -> None:
            try:
                async for chunk in source:
                    await sink.send(chunk)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError):
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(pump, client, engine)
        await pump(engine, client)


@pytest.fixture
async def tls_host(certificates) -> AsyncIterator[str]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "server/cert.pem", certificates / "server/key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    listener = TLSListener(plain, context, standard_compatible=False)
    port = plain.listeners[0].extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, _forward)
        yield f"tcp://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def test_an_engine_behind_tls_is_reached_with_the_right_certificate(tls_host, certificates):
    environ = {"DOCKER_HOST": tls_host, "DOCKER_CERT_PATH": str(certificates / "client"), "DOCKER_TLS_VERIFY": "1"}
    async with open_engine(resolve_endpoint("default", environ), "far") as engine:
        facts = await engine.facts()
        assert facts.version
        assert parse_version(facts.api_version) <= parse_version(OUR_API_VERSION)


async def test_an_engine_that_a_stranger_pretends_to_be_is_refused(tls_host, certificates, tmp_path):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_bytes((certificates / "client" / name).read_bytes())
    environ = {"DOCKER_HOST": tls_host, "DOCKER_CERT_PATH": str(tmp_path), "DOCKER_TLS_VERIFY": "1"}
    async with open_engine(resolve_endpoint("default", environ), "far") as engine:
        with pytest.raises(EngineUnreachable, match="certificate"):
            await engine.facts()
    # Without DOCKER_TLS_VERIFY nobody asks who the other side is, as in Docker's own client.
    async with open_engine(resolve_endpoint("default", {**environ, "DOCKER_TLS_VERIFY": ""}), "far") as engine:
        assert (await engine.facts()).version


async def test_without_a_client_certificate_the_engine_hangs_up(tls_host, certificates, tmp_path):
    (tmp_path / "ca.pem").write_bytes((certificates / "ca.pem").read_bytes())
    environ = {"DOCKER_HOST": tls_host, "DOCKER_CERT_PATH": str(tmp_path), "DOCKER_TLS_VERIFY": "1"}
    async with open_engine(resolve_endpoint("default", environ), "far") as engine:
        with pytest.raises(EngineError, match="127"):
            await engine.facts()


async def test_a_pinned_version_is_used_and_one_the_engine_lacks_is_told():
    async with open_engine(resolve_endpoint("default", {"DOCKER_API_VERSION": "1.40"}), "near") as engine:
        assert (await engine.facts()).api_version == "1.40"
    async with open_engine(resolve_endpoint("default", {"DOCKER_API_VERSION": "1.99"}), "near") as engine:
        with pytest.raises((UnsupportedEngine, EngineError), match=r"1\.99"):
            await engine.facts()
