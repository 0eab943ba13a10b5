from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import cli
from reconciler.client.arguments import COMMANDS, parser_of
from reconciler.client.completion import options_of, words_of
from reconciler.client.exits import Exit
from reconciler.client.printing import Printer, age, lasted, short
from tests.unit.api.conftest import SECRET, Kit
from tests.unit.client.conftest import Moored

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "cli.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_page_names_every_command_and_no_other() -> None:
    assert [re.findall(r"`moored ([a-z]+)", row[0])[0] for row in rows("Commands")] == list(COMMANDS)


def test_the_page_names_the_options_of_every_command() -> None:
    common = {"--help", "--server", "--context", "--api-key", "--api-key-file", "--ca-file", "--insecure", "--output"}
    for row in rows("Commands"):
        name = re.findall(r"`moored ([a-z]+)", row[0])[0]
        options = {flag for option in options_of(parser_of(name)) for flag in option.flags if flag.startswith("--")}
        expected = options if name == "context" else options - common
        told = set(re.findall(r"--[a-z-]+", row[0]))
        if name == "context":
            expected -= {"--help", "--output", "--no-insecure"}
        assert told == expected, name


def test_the_page_names_every_exit_status() -> None:
    assert [int(row[0]) for row in rows("Exit status")] == [int(status) for status in Exit]


def test_the_dispatcher_and_the_commands_say_the_same() -> None:
    assert {name: command.summary for name, command in COMMANDS.items()} == cli.CLIENT_COMMANDS


def test_run_alone_is_the_agent_and_run_with_an_id_asks_for_the_run(
    bare: Moored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconciler import agent

    called: list[list[str]] = []

    def run_command(arguments: list[str]) -> int:
        called.append(arguments)
        return 7

    monkeypatch.setattr(agent, "run_command", run_command)
    assert bare.now("run").status == 7
    assert called == [[]]
    answer = bare.now("run", "0198", "--follow")
    assert (answer.status, called) == (2, [[]])
    assert "which agent?" in answer.err
    answer = bare.now("run", "--follow")
    assert (answer.status, called) == (2, [[]])


@pytest.mark.parametrize("arguments", [["status", "--nope"], ["stop"], ["runs", "--limit", "0"], ["--context", "x"]])
def test_wrong_usage_exits_2(bare: Moored, arguments: list[str]) -> None:
    assert bare.now(*arguments).status == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(bare: Moored, name: str) -> None:
    answer = bare.now(name, "--help")
    assert answer.status == 0
    assert answer.out.startswith(f"usage: moored {name}")


def test_the_client_loads_neither_the_agent_nor_its_libraries() -> None:
    code = (
        "import sys; from reconciler.cli import main;"
        "main(['status', '--server', 'http://127.0.0.1:1', '--api-key', 'x']);"
        "heavy = {'state', 'api', 'aiodocker', 'sanic', 'anyio', 'pydantic', 'asyncio', 'yaml', 'structlog'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, env=_environment()
    )
    assert done.stdout == "[]\n", done


async def test_a_reader_that_goes_away_ends_the_command_silently(kit: Kit, moored: Moored) -> None:
    import anyio

    environment = _environment() | {"MOORED_SERVER": f"http://127.0.0.1:{kit.ports.http}", "MOORED_API_KEY": SECRET}
    read, write = os.pipe()
    os.close(read)
    process = await anyio.open_process(
        [sys.executable, "-m", "reconciler.cli", "status"],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
    )
    os.close(write)
    assert process.stderr is not None
    with anyio.fail_after(60):
        told = b"".join([chunk async for chunk in process.stderr])
        assert (await process.wait(), told) == (141, b"")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def complete(tmp_path: Path, *words: str, names: str = "") -> list[str]:
    """What bash offers for the last of `words`; `moored completion names …` answers `names`."""
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "moored").write_text(f"#!/bin/sh\nprintf '%s' '{names}'\n")
    (tools / "moored").chmod(0o755)
    script = tmp_path / "moored.bash"
    done = subprocess.run(
        [sys.executable, "-m", "reconciler.cli", "completion", "bash"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120, env=_environment(),
    )  # fmt: skip
    script.write_text(done.stdout)
    quoted = " ".join(f"'{word}'" for word in ("moored", *words))
    asked = f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _moored; "
    asked += "printf '%s\\n' \"${COMPREPLY[@]}\""
    found = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True, timeout=120,
        env={"PATH": f"{tools}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert found.stderr == ""
    return found.stdout.split()


def test_bash_completes_commands_options_values_and_names(tmp_path: Path) -> None:
    assert complete(tmp_path, "st") == ["status", "stacks", "start", "stop"]
    assert complete(tmp_path, "remove", "--vol") == ["--volumes"]
    assert complete(tmp_path, "runs", "--status", "s") == ["succeeded", "skipped"]
    assert complete(tmp_path, "status", "-o", "") == ["table", "json", "yaml"]
    assert complete(tmp_path, "stop", "sh", names="shop\nblog\nshed") == ["shop", "shed"]
    assert complete(tmp_path, "override", "") == ["clear"]
    assert complete(tmp_path, "override", "clear", "", names="shop") == ["shop"]
    assert complete(tmp_path, "status", "--context", "h", names="home\nwork") == ["home"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_know_every_command_and_option(bare: Moored, shell: str) -> None:
    script = bare.now("completion", shell).out
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", script)
        for option in options_of(parser_of(name)):
            for flag in option.flags:
                shown = flag if shell == "zsh" else f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                assert shown in script, (name, flag)
        for word in words_of(parser_of(name)):
            assert word in script


async def test_names_for_completion_are_plain_words_or_nothing(
    kit: Kit, moored: Moored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.api.conftest import container

    kit.default.put_container(container("x-web-1", "$(touch owned)"))
    assert (await moored("completion", "names", "projects")).out.split() == ["shop"]
    monkeypatch.setenv("MOORED_SERVER", "http://127.0.0.1:1")
    answer = await moored("completion", "names", "projects")
    assert (answer.status, answer.out, answer.err) == (0, "", "")
    moored.configure("contexts: {home: {server: http://a}}")
    assert moored.now("completion", "names", "contexts").out == "home\n"


def test_columns_are_as_wide_as_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer(out=sys.stdout, err=sys.stderr)
    printer.table(("A", "B", "C"), [("日本", "x", "1"), ("e\u0301", "\x1b[2J", "two\nlines")])
    assert capsys.readouterr().out.splitlines() == [
        "A     B        C",
        "日本  x        1",
        "e\u0301     \\x1b[2J  two lines",
    ]


def test_colours_do_not_move_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Printer(colours=True, out=sys.stdout).table(("STATUS", "NAME"), [("failed", "x")])
    coloured = capsys.readouterr().out
    assert "\x1b[31mfailed\x1b[0m  x" in coloured
    Printer(out=sys.stdout).table(("STATUS", "NAME"), [("failed", "x")])
    assert re.sub(r"\x1b\[\d+m", "", coloured) == capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")])
def test_durations_are_short(seconds: int, text: str) -> None:
    assert short(seconds) == text


def test_times_that_are_none_are_left_out() -> None:
    assert (age(""), age("never"), lasted("", "2026-08-22T12:00:00Z")) == ("", "", "")
    assert lasted("2026-08-22T12:00:00Z", "2026-08-22T12:00:01.5Z") == "1.5 s"
