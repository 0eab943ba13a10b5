"""`moored config` prints what it loaded, in this process and folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.compose.command import config_command

TEXT = """\
services:
  web:
    image: web:${TAG:-1}
    volumes: ["data:/d"]
    environment: {COST: $$5}
  debug: {build: ., profiles: [tools]}
volumes: {data: , unused: }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "compose.yaml").write_text(TEXT)
    (tmp_path / "x.env").write_text("TAG=2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    return tmp_path


def test_json_with_options_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--format", "json", "-p", "shop", "--env-file", "x.env", "-f", "compose.yaml", "--profile", "tools"]
    assert config_command(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["name"] == "shop"
    assert printed["services"]["web"]["image"] == "web:2"
    assert printed["services"]["web"]["environment"] == {"COST": "$$5"}
    assert set(printed["services"]) == {"web", "debug"}
    assert set(printed["volumes"]) == {"data"}


def test_yaml_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert config_command(["-p", "shop"]) == 0
    assert capsys.readouterr().out.startswith("name: shop\nservices:\n  web:\n")


@pytest.mark.parametrize(
    ("option", "lines"),
    [
        ("--services", ["web"]),
        ("--volumes", ["data"]),
        ("--images", ["web:1"]),
        ("--profiles", ["tools"]),
        ("--quiet", []),
    ],
)
def test_single_listings(option: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert config_command(["-p", "shop", option]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert config_command(["-p", "shop", "--hash", "*"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("web ")
    assert len(line) == len("web ") + 64
    assert config_command(["-p", "shop", "--hash", "wbe"]) == 1
    assert "did you mean `web`?" in capsys.readouterr().err


def test_a_refusal_goes_to_standard_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "compose.yaml").write_text("services:\n  a:\n    image: x\n    colour: red\n    ports: 5\n")
    assert config_command(["-p", "shop", "--format", "json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.rpartition("compose.yaml:")[2][:4] for line in captured.err.splitlines()] == ["4:5:", "5:5:"]


def test_a_warning_does_not_disturb_the_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "compose.yaml").write_text("services:\n  a:\n    image: x$NOPE\n")
    assert config_command(["-p", "shop", "--format", "json"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert 'compose.yaml:3: services.a.image: The "NOPE" variable is not set.' in captured.err


def test_variables_can_be_left_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert config_command(["-p", "shop", "--no-interpolate", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["services"]["web"]["image"] == "web:$${TAG:-1}"
