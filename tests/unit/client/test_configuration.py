from __future__ import annotations

import socket
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from api.services import ApiOptions
from reconciler.client.configuration import Flags, read_configuration, resolve_endpoint
from reconciler.client.exits import Misused
from tests.unit.api.conftest import SECRET, Kit
from tests.unit.client.conftest import Moored

FILE = """
current: home
contexts:
  home: {server: "http://home:8080/", api_key: home-key}
  work: {server: https://work.example, api_key_file: work.key, ca_file: ca.pem}
"""


def resolve(moored: Moored, flags: Flags = Flags(), /, **environ: str) -> tuple[str, str]:  # noqa: B008 - frozen
    values = {"HOME": str(moored.home), "MOORED_CONFIG": str(moored.file), **environ}
    endpoint = resolve_endpoint(flags, values, read_configuration(values))
    return endpoint.server, endpoint.api_key


def test_the_first_that_names_an_agent_counts_and_keys_go_only_where_they_belong(bare: Moored) -> None:
    bare.configure(FILE)
    (bare.file.parent / "work.key").write_text("work-key\n")
    own = {"HTTP_PORT": "8123", "API_SECRET": "own-key"}
    assert resolve(bare, Flags(), **own) == ("http://home:8080", "home-key")
    assert resolve(bare, MOORED_CONTEXT="work") == ("https://work.example", "work-key")
    assert resolve(bare, MOORED_API_KEY="given") == ("http://home:8080", "given")
    assert resolve(bare, MOORED_SERVER="http://else:1", **own) == ("http://else:1", "")
    assert resolve(bare, Flags(server="http://else:2"), MOORED_SERVER="http://else:1") == ("http://else:2", "")
    assert resolve(bare, Flags(context="work"), MOORED_SERVER="http://else:1", MOORED_API_KEY="given") == (
        "https://work.example", "work-key",
    )  # fmt: skip
    assert resolve(bare, Flags(context="work", api_key="flag")) == ("https://work.example", "flag")
    bare.file.unlink()
    assert resolve(bare, Flags(), **own) == ("http://localhost:8123", "own-key")
    assert resolve(bare, API_SECRET="x", HTTP_BIND="::1") == ("http://[::1]:80", "x")


@pytest.mark.parametrize(
    ("flags", "environ", "words"),
    [
        (Flags(), {}, "which agent?"),
        (Flags(context="nope"), {}, "no context 'nope'"),
        (Flags(server="http://a", context="b"), {}, "--server and --context"),
        (Flags(server="localhost:80"), {}, "--server: expected an address"),
        (Flags(server="http://me:hidden@host"), {}, "no place for credentials"),
        (Flags(server="http://a", api_key="x", api_key_file="y"), {}, "--api-key and --api-key-file"),
        (Flags(server="http://a"), {"MOORED_API_KEY_FILE": "/nonexistent"}, "No such file"),
        (Flags(server="http://a", api_key="hid\nden"), {}, "line break"),
    ],
)
def test_what_is_wrong_is_named_without_secrets(
    bare: Moored, flags: Flags, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(Misused) as found:
        resolve(bare, flags, **environ)
    assert words in str(found.value)
    assert "hid" not in str(found.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("contexts: [", "line 1"),
        ("contexts: {a: {server: http://a, colour: red}}", "contexts.a: unknown key 'colour'"),
        ("contexts: {a: {api_key: x}}", "contexts.a: server is missing"),
        ("contexts: {a: {server: http://a, api_key: 5}}", "contexts.a.api_key: expected text"),
        ("contexts: {a: {server: http://a, insecure: 'no'}}", "contexts.a.insecure: expected true or false"),
        ("contexts: {a: {server: ftp://a}}", "contexts.a.server: expected an address"),
        ("[]", "which agent?"),
        ("- a", "expected a mapping"),
    ],
)
def test_faults_of_the_file_are_named_by_place(bare: Moored, text: str, words: str) -> None:
    bare.configure(text)
    answer = bare.now("status")
    assert answer.status == 2
    assert words in answer.err


def test_contexts_are_kept_privately_and_keys_never_shown(bare: Moored) -> None:
    assert bare.now("context", "set", "home", "--server", "http://home:8080", "--api-key", "hidden").status == 0
    assert bare.now("context", "set", "work", "--server", "https://work", "--api-key-file", "key").status == 0
    assert stat.S_IMODE(bare.file.stat().st_mode) == 0o600
    assert [path.name for path in bare.file.parent.iterdir()] == ["config.yaml"]
    answer = bare.now("context", "list", "-o", "json")
    assert answer.json["current"] == "home"
    assert [item["key"] for item in answer.json["contexts"]] == ["stored", f"file {Path.cwd() / 'key'}"]
    assert bare.now("context", "use", "work").status == 0
    answer = bare.now("context", "list")
    assert "hidden" not in answer.out
    assert [line.split()[:2] for line in answer.out.splitlines()[1:]] == [
        ["home", "http://home:8080"], ["*", "work"],
    ]  # fmt: skip
    assert bare.now("context", "set", "work", "--insecure").status == 0
    assert bare.now("context", "list", "-o", "json").json["contexts"][1]["certificates"] == "not checked"
    assert bare.now("context", "remove", "work").status == 0
    assert bare.now("context", "list", "-o", "json").json["current"] == ""
    assert bare.now("context", "use", "work").status == 2
    assert bare.now("context", "set", "new").status == 2


def test_a_file_that_others_can_read_is_warned_about(bare: Moored) -> None:
    bare.configure(FILE, 0o644)
    answer = bare.now("context", "list")
    assert answer.status == 0
    assert f"{bare.file} has mode 0644" in answer.err


async def test_a_wrong_key_and_none_are_not_authorised(kit: Kit, moored: Moored) -> None:
    answer = await moored("status", "--api-key", "wrong-key")
    assert answer.status == 4
    assert "invalid api key" in answer.err
    assert "wrong-key" not in answer.err
    server = f"http://127.0.0.1:{kit.ports.http}"
    await moored("context", "set", "bare", "--server", server)
    answer = await moored("status", "--context", "bare")
    assert answer.status == 4
    assert "no API key given" in answer.err


async def test_the_agents_own_environment_is_enough(
    kit: Kit, bare: Moored, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    monkeypatch.setenv("HTTP_PORT", str(kit.ports.http))
    monkeypatch.setenv("API_SECRET_FILE", str(tmp_path / "secret"))
    assert (await bare("status")).status == 0
    assert (await bare("status", "--api-key-file", str(tmp_path / "secret"))).status == 0


def test_nobody_there_is_unreachable(bare: Moored) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    answer = bare.now("status", "--server", f"http://127.0.0.1:{port}", "--api-key", "hidden")
    assert (answer.status, answer.err) == (3, f"moored: http://127.0.0.1:{port}: Connection refused\n")


async def test_what_is_no_agent_is_said_to_be_none(kit: Kit, moored: Moored) -> None:
    server = f"http://127.0.0.1:{kit.ports.metrics}"
    answer = await moored("status", "--server", server)
    assert answer.status == 3
    assert "no API there" in answer.err


def certificate(folder: Path) -> tuple[Path, Path]:
    key, cert = folder / "tls.key", folder / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=moored.example",
         "-addext", "subjectAltName=DNS:moored.example,IP:127.0.0.1"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return cert, key


class TestTLS:
    @pytest.fixture
    def options(self, options: ApiOptions, tmp_path: Path) -> ApiOptions:
        cert, key = certificate(tmp_path)
        return replace(options, tls_cert_file=cert, tls_key_file=key)

    async def test_certificates_are_checked_unless_told_otherwise(
        self, kit: Kit, moored: Moored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = f"https://127.0.0.1:{kit.ports.http}"
        answer = await moored("status", "--server", server)
        assert answer.status == 3
        assert "certificate is not trusted" in answer.err
        assert (await moored("status", "--server", server, "--ca-file", str(tmp_path / "tls.crt"))).status == 0
        assert (await moored("status", "--server", server, "--insecure")).status == 0
        answer = await moored("status", "--server", server, "--ca-file", str(tmp_path / "none.pem"))
        assert answer.status == 2
        # On the agent's own host its certificate is known, whatever name it bears.
        monkeypatch.delenv("MOORED_SERVER")
        monkeypatch.setenv("HTTP_PORT", str(kit.ports.http))
        monkeypatch.setenv("HTTP_TLS_CERT_FILE", str(tmp_path / "tls.crt"))
        assert (await moored("status")).status == 0
