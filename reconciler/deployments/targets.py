"""One entry of a poll configuration: from what was written to what can be followed.

The same check serves `POLL_CONFIG` (YAML, `lenient`: `reference: 1.0` means `1.0`) and
the body of `POST /v1/api/poll/run` (JSON: kinds are strict, keys match in any case, as
Go's decoder does both). Kinds are judged before rules, because a wrong kind spoils the
whole body while a broken rule spoils one target.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.deployments.config import parse_inline
from reconciler.deployments.errors import InvalidDeployConfig
from reconciler.deployments.fields import describe, nearest
from reconciler.durations import go_duration
from reconciler.sources.errors import InvalidURL
from reconciler.sources.urls import parse_git_url, rewrite_url
from state.model import SourceKind, SourceSpec
from state.targets import InvalidTarget, ValidatedTarget

DEFAULT_REFERENCE = "refs/heads/main"
DEFAULT_INTERVAL = 180.0
MIN_INTERVAL = 10
MOST_SECONDS = 2**63
"""What Go's integers hold."""
KEYS = ("source", "url", "reference", "interval", "target", "run_once", "watch", "deployments")


def validate_target(
    raw: Any, index: int, *, rewrites: Mapping[str, str] | None = None, lenient: bool = False
) -> ValidatedTarget:
    """Check entry `index` of a poll configuration; raises `InvalidTarget`.

    `rewrites` is `SOURCE_URL_REWRITES`; with `lenient`, `raw` comes from the settings' YAML
    and its interval will be followed, so that it may not be too low.
    """
    where = f"poll configuration {index}"
    if not isinstance(raw, Mapping):
        raise InvalidTarget(f"[{index}]: expected an object, found {describe(raw)}", wrong_type=True)
    values, warnings = _known(raw, where, fold_case=not lenient)

    source = _text(values, "source", index, lenient).strip().lower() or "git"
    url = _text(values, "url", index, lenient).strip()
    reference = _text(values, "reference", index, lenient).strip()
    target = _text(values, "target", index, lenient).strip()
    run_once = _flag(values, "run_once", index, default=False)
    watch = _flag(values, "watch", index, default=True)
    interval = DEFAULT_INTERVAL
    if "interval" in values:
        if values["interval"] is None:
            warnings.append(f"interval of {where} is empty and taken as 0: it is not polled at an interval")
        interval = 0.0 if values["interval"] is None else _interval(values["interval"], index)
    deployments = _deployments(values, index)
    inline = _inline(deployments, reference or DEFAULT_REFERENCE, target, where, index, lenient)

    if not url:
        raise InvalidTarget("key not found: url")
    if source not in ("git", "oci"):
        raise InvalidTarget(f'invalid poll configuration: invalid source type "{source}": must be "git" or "oci"')
    if lenient and (interval < 0 or 0 < interval < MIN_INTERVAL):
        raise InvalidTarget(f"invalid poll configuration: poll interval too low: must be at least {MIN_INTERVAL}s")
    spec_url, repository = _followed(url, source, rewrites or {})
    if source == "oci":
        reference = _artifact_tag(spec_url)
    return ValidatedTarget(
        SourceSpec(
            kind=SourceKind(source),
            url=spec_url,
            reference=reference or DEFAULT_REFERENCE,
            target=target,
            deployments=tuple(deployments),
            interval=interval,
            run_once=run_once,
            watch=watch,
        ),
        repository,
        (*warnings, *inline),
    )


def _known(raw: Mapping[str, Any], where: str, *, fold_case: bool) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    warnings: list[str] = []
    for key, value in raw.items():
        name = str(key)
        name = name.lower() if fold_case and name not in KEYS else name
        if name in KEYS:
            values[name] = value
            continue
        near = "reference" if name == "branch" else nearest(str(key), KEYS)
        warnings.append(f'unknown key "{key}" in {where}' + (f'; did you mean "{near}"?' if near else ""))
    return values, warnings


def _text(values: Mapping[str, Any], key: str, index: int, lenient: bool) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if lenient and not isinstance(value, (Mapping, list)):
        return ("true" if value else "false") if isinstance(value, bool) else str(value)
    raise InvalidTarget(f"[{index}].{key}: expected text, found {describe(value)}", wrong_type=True)


def _flag(values: Mapping[str, Any], key: str, index: int, *, default: bool) -> bool:
    value = values.get(key)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    raise InvalidTarget(f"[{index}].{key}: expected true or false, found {describe(value)}", wrong_type=True)


def _interval(value: Any, index: int) -> float:
    try:
        return parse_interval(value)
    except ValueError as error:
        raise InvalidTarget(f"[{index}].interval: {error}", wrong_type=True) from None


def parse_interval(value: Any) -> float:
    """Seconds: a whole number, its text, or a Go duration of whole seconds; else `ValueError`."""
    expected = f'expected whole seconds or a duration such as "5m", found {describe(value)}'
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(expected)
    if isinstance(value, (int, float)):
        if not abs(value) < MOST_SECONDS or value != int(value):
            raise ValueError(expected)
        return float(value)
    text = value.strip()
    try:
        seconds = float(text) if re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?", text) else None
    except ValueError:
        seconds = None
    if seconds is None:
        try:
            seconds = go_duration(text)
        except ValueError:
            raise ValueError(expected) from None
    if not abs(seconds) < MOST_SECONDS or seconds != int(seconds):
        raise ValueError(expected)
    return seconds


def _deployments(values: Mapping[str, Any], index: int) -> list[Any]:
    value = values.get("deployments")
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidTarget(f"[{index}].deployments: expected a list, found {describe(value)}", wrong_type=True)
    return [_storable(item) for item in value if item is not None]


def _storable(value: Any) -> Any:
    """Only what JSON has: YAML also gives dates, which were meant as text."""
    if isinstance(value, Mapping):
        return {str(key): _storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _inline(
    deployments: list[Any], reference: str, target: str, where: str, index: int, lenient: bool
) -> tuple[str, ...]:
    """Check inline deployments; returns their warnings."""
    if not deployments:
        return ()
    try:
        return parse_inline(deployments, reference, target=target, where=where, lenient=lenient).warnings
    except InvalidDeployConfig as error:
        wrong = [problem for problem in error.problems if problem.wrong_type]
        if wrong:
            message = "; ".join(f"[{index}].{problem.message}" for problem in wrong)
            raise InvalidTarget(message, wrong_type=True) from None
        raise InvalidTarget(str(error)) from None


def _followed(url: str, source: str, rewrites: Mapping[str, str]) -> tuple[str, str]:
    """The URL after rewrites, and the repository's name."""
    if source == "oci":
        return rewrite_url(url, rewrites), _artifact_name(url)
    try:
        parse_git_url(url)
        rewritten = rewrite_url(url, rewrites)
        parsed = parse_git_url(rewritten)
    except InvalidURL as error:
        raise InvalidTarget(f"invalid poll configuration: {error}") from None
    return (parsed.remote if parsed.local else rewritten), parsed.repository


def _artifact_name(url: str) -> str:
    name = url.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _artifact_tag(url: str) -> str:
    name, at, digest = url.partition("@")
    if at:
        return digest
    return name.rpartition("/")[2].partition(":")[2] or "latest"


def target_validator(rewrites: Mapping[str, str], *, lenient: bool = False) -> Callable[[Any, int], ValidatedTarget]:
    """`validate_target` with its settings filled in: what the API and the settings are handed."""

    def validate(raw: Any, index: int) -> ValidatedTarget:
        return validate_target(raw, index, rewrites=rewrites, lenient=lenient)

    return validate
