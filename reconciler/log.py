"""The log: one line an event, as JSON for machines or readable in a terminal.

Events are short fixed phrases with fields; context (`job_id`, `stack`, …) is bound once at
the edge. A JSON line begins with `time` (RFC 3339, UTC), `level` and `msg`, the keys that
readers of Doco-CD's log know, followed by the fields in order of their names. Every value
passes `reconciler.redaction` on its way out. What libraries say through `logging` comes out
of the same pipe, from warnings upwards.

Take loggers from here (`get_logger`): structlog loads `rich` if it happens to be installed,
only to make tracebacks pretty, and that would double the time of our start.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, TypeAlias

from reconciler.redaction import redact, redact_text


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Make modules look as if they were not installed, unless they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # None is how Python marks it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _hidden("rich", "better_exceptions"):
    import structlog
    from structlog.typing import FilteringBoundLogger

Logger: TypeAlias = FilteringBoundLogger
Format: TypeAlias = Literal["auto", "json", "console"]

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_BUILT_IN = ("time", "level", "msg")
_COLOURS = {"debug": 90, "info": 32, "warning": 33, "error": 31, "critical": 35}


def get_logger(**context: Any) -> Logger:
    """A logger with `context` bound to all of its events; may be made before the set-up."""
    logger: Logger = structlog.get_logger(**context)
    return logger


def configure_logging(level: str = "info", format: Format = "auto", stream: TextIO | None = None) -> None:
    """Set up the log: `level` by name, `format` (`auto`: console on a terminal, else JSON)."""
    output = sys.stderr if stream is None else stream
    threshold = LEVELS[level.lower()]
    console = format == "console" or (format == "auto" and output.isatty())
    render = _Console(colours=output.isatty()) if console else _render_json
    write = _Writer(output)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _arrange,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: write,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(_FromLogging())
    root.setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(True)


class _Writer:
    """Where rendered lines go. A stream that is broken or closed stops no work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return

    debug = info = warn = warning = error = critical = fatal = exception = log = msg


class _FromLogging(logging.Handler):
    """Hands records of the standard library's `logging` on."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        level = next((name for name, number in reversed(list(LEVELS.items())) if number <= record.levelno), "debug")
        getattr(get_logger(), level)(message, **fields)


def _arrange(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Our own keys first, then the fields by name, all redacted."""
    level, message = str(event.pop("level")), str(event.pop("event", ""))
    arranged: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": level,
        "msg": redact_text(message),
    }
    for name, value in redact(event).items():
        arranged[f"{name}#01" if name in _BUILT_IN else name] = value
    return arranged


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return redact_text(str(value))


def _render_json(_logger: Any, _method: str, event: Mapping[str, Any]) -> str:
    line = json.dumps(event, ensure_ascii=False, default=_plain, separators=(",", ":"))
    return line if line.isascii() else line.encode("utf-8", "replace").decode()


class _Console:
    """`12:00:00 INFO  deploying stack  stack=shop`; what could steer a terminal is escaped."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        moment, level, message = (str(event.pop(name)) for name in _BUILT_IN)
        traceback = event.pop("exception", None)
        fields = "".join(f"  {name}={self._field(value)}" for name, value in event.items())
        shown = f"{level.upper():<8}"
        if self._colours:
            shown = f"\x1b[{_COLOURS.get(level, 0)}m{shown}\x1b[0m"
        line = f"{moment[11:19]} {shown} {_printable(message)}{fields}"
        if traceback is not None:
            line += "\n" + "\n".join(_printable(part) for part in str(traceback).splitlines())
        return line

    def _field(self, value: Any) -> str:
        if isinstance(value, (dict, list)):
            value = json.dumps(value, ensure_ascii=False, default=_plain)
        else:
            value = str(value) if isinstance(value, str) else str(_plain(value))
            if not value or any(character.isspace() or character == '"' for character in value):
                value = json.dumps(value, ensure_ascii=False)
        return _printable(value)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
