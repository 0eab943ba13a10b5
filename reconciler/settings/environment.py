"""Reading variables: from the environment or from a file, every fault noted, none thrown.

`Environment.get` returns the value of a variable, its default if it is unset or empty, and
also if it is bad, in which case the problem is kept: the caller goes on, so that one start
tells everything that is wrong. Files are read once, whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from reconciler.redaction import redact_text
from reconciler.settings.model import Problem
from reconciler.settings.secret import Secret
from reconciler.settings.variables import Variable

T = TypeVar("T")

Decrypt = Callable[[bytes, str], str]
"""(content, path) to plain text; raises `ValueError` with the reason."""

MAX_FILE_BYTES = 4 << 20


class Environment:
    """The variables of one start."""

    def __init__(self, environ: Mapping[str, str], decrypt: Decrypt | None = None) -> None:
        self._environ = environ
        self._decrypt = decrypt
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.seen: dict[str, str] = {}
        """Variables that are set, and where from: `environment` or a path."""
        self.changed: set[str] = set()
        """Those of them that say something else than the default."""

    def get(self, variable: Variable[T]) -> T:
        text = self.text(variable)
        if text is None:
            return variable.default
        try:
            value = variable.parse(text)
            if value != variable.default:
                self.changed.add(variable.name)
            return value
        except ValueError as error:
            shown = "***" if variable.secret else _quoted(text)
            self.problem(variable, f"{error}, found {shown}")
            return variable.default

    def secret(self, variable: Variable[str]) -> Secret | None:
        content = self.get(variable)
        return Secret(content) if content else None

    def is_set(self, variable: Variable[Any]) -> bool:
        return variable.name in self.seen

    def problem(self, variable: Variable[Any], message: str, *, line: int = 0) -> None:
        origin = self.seen.get(variable.name, "environment")
        if line:
            origin = f"line {line}" if origin == "environment" else f"{origin}, line {line}"
        self.problems.append(Problem(variable.name, message, origin))

    def text(self, variable: Variable[Any]) -> str | None:
        """The text of a variable; None: unset, empty, or not to be had."""
        name = variable.name
        direct = self._environ.get(name) or None
        file = (self._environ.get(f"{name}_FILE") or None) if variable.file else None
        if direct is not None:
            self.seen[name] = "environment"
        if file is None:
            return direct
        if direct is not None:
            both = "POLL_CONFIG and POLL_CONFIG_FILE" if name == "POLL_CONFIG" else "secrets"
            message = f"both {both} are set, please use one or the other"
            self.problem(variable, message if name == "POLL_CONFIG" else f"{message}: {name} or {name}_FILE")
            return None
        content = self._read(variable, Path(file.strip()))
        if content:
            self.seen[name] = file.strip()
        return content or None

    def _read(self, variable: Variable[Any], path: Path) -> str | None:
        name = f"{variable.name}_FILE"
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
            if len(raw) > MAX_FILE_BYTES:
                raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
            if variable.name == "POLL_CONFIG":
                return raw.decode()
            if b"sops" in raw and b"ENC[" in raw:
                if self._decrypt is None:
                    raise ValueError("encrypted with SOPS, which cannot be decrypted here")
                return self._decrypt(raw, str(path)).strip()
            return raw.decode().strip()
        except UnicodeDecodeError:
            reason = "not UTF-8 text"
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except ValueError as error:
            reason = str(error)
        self.problems.append(Problem(name, f"expected a readable file, but {_quoted(str(path))}: {reason}"))
        return None


def _quoted(text: str) -> str:
    """A found value, short, on one line, without credentials of URLs."""
    shown = redact_text(text)
    return repr(shown if len(shown) <= 80 else shown[:77] + "...")
