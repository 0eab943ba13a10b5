"""Log lines: their keys, their order, their levels, and that they survive anything."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

import reconciler.log
from reconciler.log import configure_logging, get_logger
from reconciler.settings.secret import Secret


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def json_lines(write: Callable[[], None], **settings: Any) -> list[dict[str, Any]]:
    stream = io.StringIO()
    configure_logging(stream=stream, format="json", **settings)
    write()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def console(write: Callable[[], None]) -> str:
    stream = io.StringIO()
    configure_logging(stream=stream, format="console")
    write()
    return stream.getvalue()


def test_a_line_begins_with_time_level_and_msg_then_fields_by_name() -> None:
    (line,) = json_lines(lambda: get_logger(job_id="0198").info("deploying stack", stack="shop", attempt=2))
    assert list(line) == ["time", "level", "msg", "attempt", "job_id", "stack"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
    assert (line["level"], line["msg"], line["stack"], line["attempt"]) == ("info", "deploying stack", "shop", 2)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_levels_are_printed_by_their_names(level: str) -> None:
    (line,) = json_lines(lambda: getattr(get_logger(), level)("x"), level="debug")
    assert line["level"] == level


def test_what_is_below_the_level_is_not_printed() -> None:
    def write() -> None:
        log = get_logger()
        log.info("a")
        log.warning("b")
        log.error("c")

    lines = json_lines(write, level="WARN")
    assert [line["msg"] for line in lines] == ["b", "c"]


def test_secrets_do_not_come_out() -> None:
    def write() -> None:
        get_logger().error(
            "clone of https://u:hunter2@h failed",
            url="https://u:hunter2@h",
            held=Secret("hunter2"),
            api_secret="hunter2",
            deploy={"config": {"environment": {"X": "hunter2"}}},
            error=ValueError("https://u:hunter2@h"),
        )
        try:
            raise ValueError("bad https://u:hunter2@h")
        except ValueError:
            get_logger().exception("failed")

    stream = io.StringIO()
    for form in ("json", "console"):
        configure_logging(stream=stream, format=form)
        write()
    assert "hunter2" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_groups_stay_groups_and_odd_values_are_printed() -> None:
    moment = datetime(2026, 8, 22, tzinfo=UTC)
    (line,) = json_lines(
        lambda: get_logger().info("x", deploy={"stack": "a", "b": 1}, at=moment, path=Path("/x"), n=None)
    )
    assert line["deploy"] == {"b": 1, "stack": "a"}
    assert list(line["deploy"]) == ["b", "stack"]
    assert (line["at"], line["path"], line["n"]) == ("2026-08-22T00:00:00+00:00", "/x", None)


def test_a_field_named_like_a_built_in_one_is_kept_beside_it() -> None:
    (line,) = json_lines(lambda: get_logger().info("x", msg="mine", time="now"))
    assert (line["msg"], line["msg#01"], line["time#01"]) == ("x", "mine", "now")


def test_unprintable_text_stays_one_line() -> None:
    nasty = 'a\nb\x1b[31m\0\ud800⚓"'
    (line,) = json_lines(lambda: get_logger().info(nasty, field=nasty))
    assert "⚓" in line["field"]
    shown = console(lambda: get_logger().info(nasty, field=nasty))
    assert shown.count("\n") == 1 and "\x1b" not in shown and "⚓" in shown


def test_the_console_form() -> None:
    shown = console(
        lambda: get_logger().warning("slow engine", stack="shop", note="two words", empty="", group={"a": 1})
    )
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d WARNING  slow engine  empty=""  group=\{"a": 1\}  note="two words"  stack=shop\n', shown
    )


def test_the_form_follows_the_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, pipe = Terminal(), io.StringIO()
    configure_logging(stream=terminal)
    get_logger().info("hello")
    configure_logging(stream=pipe)
    get_logger().info("hello")
    assert "\x1b[32mINFO" in terminal.getvalue()
    assert json.loads(pipe.getvalue())["msg"] == "hello"


def test_libraries_come_out_of_the_same_pipe_from_warnings_upwards() -> None:
    def write() -> None:
        logging.getLogger("sanic.root").info("chatty")
        logging.getLogger("aiohttp").warning("odd %s", "answer")
        logging.getLogger("x").critical("bad %d", "format")
        try:
            raise OSError("broken")
        except OSError:
            logging.getLogger("asyncio").exception("task failed")
        warnings.warn("old", stacklevel=1)

    lines = json_lines(write, level="debug")
    assert [(line["level"], line["logger"], line["msg"]) for line in lines[:3]] == [
        ("warning", "aiohttp", "odd answer"),
        ("critical", "x", "bad %d"),
        ("error", "asyncio", "task failed"),
    ]
    assert "OSError: broken" in lines[2]["exception"]
    assert (lines[3]["level"], lines[3]["logger"]) == ("warning", "py.warnings")


def test_a_broken_stream_stops_no_work() -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    configure_logging(stream=Broken(), format="json")
    get_logger().info("nobody hears")
    closed = io.StringIO()
    configure_logging(stream=closed, format="json")
    closed.close()
    get_logger().info("nobody hears")


def test_a_logger_made_before_the_set_up_works() -> None:
    early = get_logger(component="early")
    (line,) = json_lines(lambda: early.info("x"))
    assert line["component"] == "early"


def test_pretty_printers_are_not_loaded() -> None:
    code = "import sys, reconciler.log; assert 'rich' not in sys.modules; import structlog"
    root = Path(reconciler.log.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=300)
