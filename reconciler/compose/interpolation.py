"""Variables in values: `$NAME`, `${NAME:-default}` and their relatives.

`substitute` is the template engine, a faithful port including its oddities (the closing brace
that is searched by counting, the rest of a line being part of an expression with an operator);
dotenv files use it as well. `interpolate` walks a whole document, replaces in every text value
and, at the paths where Compose wants a number or a boolean, turns the text into one. It builds a
new tree, so what YAML aliases share is no longer shared afterwards, and it counts what it builds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Problem, problem_at
from .scalars import float32, parse_bool, parse_float, parse_int

MAX_VALUES = 250_000
"""How many values one document may hold once its aliases are written out."""
MAX_NESTING = 200
"""How deep defaults may stand in defaults; Compose has no limit, but needs time that grows with the square."""

_NAME = r"[_a-zA-Z\u017f\u212a][_a-zA-Z0-9\u017f\u212a]*"
_EXPRESSION = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>"
    + _NAME
    + r")|\{(?:(?P<braced>"
    + _NAME
    + r"(?::?[-+?](?:.*))?)\}|(?P<invalid>)))"
)
_OPERATOR = re.compile(r":?[-+?]")

Warn = Callable[[str], None]


class TemplateError(ValueError):
    """The text is not a valid template; `template` is the part to blame."""

    def __init__(self, template: str) -> None:
        super().__init__(f'Invalid template: "{template}"')
        self.template = template


class MissingVariableError(ValueError):
    """A variable that must be set is not."""


class NestingError(ValueError):
    """Defaults in defaults, so deep that looking for their braces would take seconds."""


def substitute(template: str, variables: Mapping[str, str], warn: Warn) -> str:
    """The text with its variables replaced.

    A chosen default and the rest of a line are templates of their own. They wait on a stack, so
    that neither hundreds of variables in one line nor defaults in defaults need a deep recursion.
    """
    if "$" not in template:
        return template
    failure: ValueError | None = None
    result: list[str] = []
    waiting = [(template, 0, 0)]
    while waiting:
        text, position, depth = waiting.pop()
        if depth > MAX_NESTING:
            raise NestingError(f"defaults are nested more than {MAX_NESTING} deep")
        match = _EXPRESSION.search(text, position)
        if match is None:
            result.append(text[position:])
            continue
        result.append(text[position : match.start()])
        waiting.append((text, match.end(), depth))
        try:
            value, chosen, rest = _replacement(match, text, variables, warn)
        except ValueError as error:
            failure = failure or error
            continue
        result.append(value)
        waiting += ((rest, 0, depth), (chosen, 0, depth + 1)) if rest or chosen else ()
    if failure is not None:
        raise failure
    return "".join(result)


def _replacement(match: re.Match[str], template: str, variables: Mapping[str, str], warn: Warn) -> tuple[str, str, str]:
    """What stands for the expression: the value, or a template that gives it; and the template behind it."""
    if match["escaped"]:
        return "$", "", ""
    name = match["named"]
    if name is None:
        expression, rest = match.group(), ""
        if (closing := _closing_brace(expression)) > -1:
            expression, rest = expression[: closing + 1], expression[closing + 1 :]
            inner = _EXPRESSION.match(expression)
        else:
            inner = match
        name = inner["braced"] if inner is not None else None
        if name is None:
            raise TemplateError(template)
        if (operator := _OPERATOR.search(name)) is not None:
            value, chosen = _with_operator(
                name[: operator.start()], operator.group(), name[operator.end() :], variables, warn
            )
            return value, chosen, rest
    value = variables.get(name)  # type: ignore[assignment]
    if value is None:
        warn(f'The "{name}" variable is not set. Defaulting to a blank string.')
        return "", "", ""
    return value, "", ""


def _with_operator(name: str, operator: str, word: str, variables: Mapping[str, str], warn: Warn) -> tuple[str, str]:
    """The value, or the word that is to be replaced and to stand instead."""
    value = variables.get(name)
    counts = value is not None and (operator[0] != ":" or value != "")
    if operator[-1] == "+":
        return ("", word) if counts else (value or "", "")
    if counts:
        return value or "", ""
    if operator[-1] == "-":
        return "", word
    try:
        reason = substitute(word, variables, warn)
    except RecursionError:
        reason = word
    raise MissingVariableError(f"required variable {name} is missing a value" + (f": {reason}" if reason else ""))


_BRACE = re.compile(r"\{.?|\}", re.DOTALL)


def _closing_brace(text: str) -> int:
    """Compose's search for the brace that closes the expression: what follows a `{` is skipped."""
    depth = 0
    for match in _BRACE.finditer(text):
        if match.group() != "}":
            depth += 1
        elif (depth := depth - 1) == 0:
            return match.start()
    return -1


# Casts


def _integer(text: str, warn: Warn) -> int:
    return parse_int(text)


def _integer64(text: str, warn: Warn) -> int:
    return parse_int(text, "ParseInt")


def _float(text: str, warn: Warn) -> float:
    return parse_float(text)


def _float32(text: str, warn: Warn) -> float:
    return float32(parse_float(text))


def _boolean(text: str, warn: Warn) -> bool:
    value, warning = parse_bool(text)
    if warning:
        warn(warning)
    return value


_UPDATE: dict[str, Any] = {"parallelism": _integer, "max_failure_ratio": _float}
_SERVICE: dict[str, Any] = {
    **dict.fromkeys(
        ("cpu_count", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares"), _integer64
    ),
    **dict.fromkeys(("oom_score_adj", "pids_limit"), _integer64),
    **dict.fromkeys(("init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty"), _boolean),
    "cpu_percent": _float,
    "cpus": _float32,
    "scale": _integer,
    "depends_on": {"*": {"required": _boolean, "restart": _boolean}},
    "deploy": {
        "replicas": _integer,
        "update_config": _UPDATE,
        "rollback_config": _UPDATE,
        "restart_policy": {"max_attempts": _integer},
        "placement": {"max_replicas_per_node": _integer},
    },
    "healthcheck": {"retries": _integer, "disable": _boolean},
    "ports": {"[]": {"target": _integer}},
    "ulimits": {"*": {"": _integer, "hard": _integer, "soft": _integer}},
    "volumes": {"[]": {"read_only": _boolean, "volume": {"nocopy": _boolean}}},
}
_EXTERNAL = {"*": {"external": _boolean}}
_CASTS: dict[str, Any] = {
    "services": {"*": _SERVICE},
    "networks": {"*": dict.fromkeys(("external", "internal", "attachable", "enable_ipv4", "enable_ipv6"), _boolean)},
    "volumes": _EXTERNAL,
    "secrets": _EXTERNAL,
    "configs": _EXTERNAL,
}


@dataclass(slots=True)
class _Walk:
    variables: Mapping[str, str]
    warn: Callable[[str, tuple[str | int, ...]], None]
    enabled: bool
    problems: list[Problem] = field(default_factory=list)
    left: int = MAX_VALUES
    odd_values: bool = False
    path: list[str | int] = field(default_factory=list)

    def mapping(self, source: dict[str, Any], casts: Any) -> dict[str, Any]:
        self.left -= len(source)
        if self.left < 0:
            raise OverflowError
        result: dict[str, Any] = {}
        path = self.path
        wild = None if casts is None else casts.get("*")
        for key, value in source.items():
            cast = None if casts is None else casts.get(key, wild)
            kind = value.__class__
            if kind is str:
                if cast is None and "$" not in value:
                    result[key] = value
                    continue
                path.append(key)
                result[key] = self.text(value, cast)
                path.pop()
            elif kind is dict:
                path.append(key)
                result[key] = self.mapping(value, cast if cast.__class__ is dict else None)
                path.pop()
            elif kind is list:
                path.append(key)
                result[key] = self.sequence(value, cast if cast.__class__ is dict else None)
                path.pop()
            else:
                result[key] = value
        return result

    def sequence(self, source: list[Any], casts: Any) -> list[Any]:
        self.left -= len(source)
        if self.left < 0:
            raise OverflowError
        result: list[Any] = []
        inner = None if casts is None else casts.get("[]") or casts.get("*")
        for position, value in enumerate(source):
            kind = value.__class__
            if kind is str:
                if "$" in value:
                    self.path.append(position)
                    value = self.text(value, inner)
                    self.path.pop()
            elif kind is dict or kind is list:
                self.path.append(position)
                deeper = inner if inner.__class__ is dict else None
                value = self.mapping(value, deeper) if kind is dict else self.sequence(value, deeper)
                self.path.pop()
            result.append(value)
        return result

    def text(self, value: str, cast: Any) -> Any:
        path = tuple(self.path)

        def warn(message: str) -> None:
            self.warn(message, path)

        if not self.enabled:
            return value
        try:
            value = substitute(value, self.variables, warn)
        except TemplateError as error:
            self.problem(
                path,
                f"invalid interpolation format for {_wildcard(path)}.\n"
                f"You may need to escape any $ with another $.\n{error.template}",
                error.template,
            )
            return value
        except (MissingVariableError, NestingError) as error:
            self.problem(path, f"error while interpolating {_wildcard(path)}: {error}", value)
            return value
        if cast.__class__ is dict:
            cast = cast.get("")
        if cast is None:
            return value
        try:
            result = cast(value, warn)
            if result.__class__ is float and not math.isfinite(result):
                self.odd_values = True
            return result
        except ValueError as error:
            self.problem(
                path, f"error while interpolating {_wildcard(path)}: failed to cast to expected type: {error}", value
            )
            return value

    def problem(self, path: tuple[str | int, ...], message: str, found: str) -> None:
        self.problems.append(problem_at(path, message, found=found))


def _wildcard(path: tuple[str | int, ...]) -> str:
    return ".".join("[]" if isinstance(part, int) else part for part in path)


def interpolate(
    document: dict[str, Any],
    variables: Mapping[str, str],
    warn: Callable[[str, tuple[str | int, ...]], None],
    *,
    enabled: bool = True,
) -> tuple[dict[str, Any], list[Problem], bool]:
    """The document as a tree of its own, with variables replaced and texts cast; and what went wrong.

    The last part of the answer: whether a cast gave a number that JSON does not know."""
    walk = _Walk(variables, warn, enabled)
    try:
        result = walk.mapping(document, _CASTS)
    except OverflowError:
        return (
            {},
            [
                Problem(
                    f"more than {MAX_VALUES} values once aliases are written out (a YAML bomb, or a mistake with `*`)"
                )
            ],
            False,
        )
    walk.problems.sort(key=lambda problem: problem.path.split("."))
    return result, walk.problems, walk.odd_values
