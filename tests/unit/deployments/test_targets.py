"""Poll targets, as the API and the settings check them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.deployments.targets import parse_interval, target_validator, validate_target
from state.model import SourceKind
from state.targets import InvalidTarget

URL = "http://h/o/r.git"


def refused(raw: Any, **options: Any) -> InvalidTarget:
    with pytest.raises(InvalidTarget) as error:
        validate_target(raw, 0, **options)
    return error.value


def test_a_minimal_target() -> None:
    target = validate_target({"url": URL}, 0)
    assert target.repository == "h/o/r"
    assert target.warnings == ()
    spec = target.spec
    assert (spec.kind, spec.url, spec.reference, spec.target) == (SourceKind.GIT, URL, "refs/heads/main", "")
    assert (spec.interval, spec.run_once, spec.watch, spec.deployments) == (180.0, False, True, ())


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"reference": "main"}, "key not found: url"),
        ({"url": ""}, "key not found: url"),
        (
            {"url": "not a url"},
            "invalid poll configuration: invalid Git URL: URL must start with http, https, ssh or file "
            "(or be an absolute local path), got 'not a url'",
        ),
        (
            {"url": URL, "source": "svn"},
            'invalid poll configuration: invalid source type "svn": must be "git" or "oci"',
        ),
        ({"url": URL, "deployments": [{"timeout": 1}]}, "invalid deploy configuration: key not found: name"),
        (
            {"url": URL, "deployments": [{"name": "a"}, {"name": "a"}]},
            "duplicate project/stack name found in configuration file: a",
        ),
    ],
)
def test_a_broken_rule_spoils_one_target(raw: dict[str, Any], message: str) -> None:
    error = refused(raw)
    assert str(error) == message
    assert not error.wrong_type


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (5, "[0]: expected an object, found number 5"),
        ({"url": 5}, "[0].url: expected text, found number 5"),
        ({"url": URL, "run_once": "yes"}, '[0].run_once: expected true or false, found text "yes"'),
        ({"url": URL, "deployments": {}}, "[0].deployments: expected a list, found an object"),
        ({"url": URL, "deployments": [{"name": 5}]}, "[0].deployments[0].name: expected text, found number 5"),
        (
            {"url": URL, "interval": "soon"},
            '[0].interval: expected whole seconds or a duration such as "5m", found text "soon"',
        ),
    ],
)
def test_a_wrong_kind_spoils_the_whole_body(raw: Any, message: str) -> None:
    error = refused(raw)
    assert str(error) == message
    assert error.wrong_type


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (60, 60),
        (60.0, 60),
        (1e2, 100),
        ("300", 300),
        ("1e2", 100),
        ("5m", 300),
        ("1m30s", 90),
        ("1.5m", 90),
        ("2h", 7200),
        ("0", 0),
        (0, 0),
        ("1000ms", 1),
    ],
)
def test_intervals(value: Any, seconds: float) -> None:
    assert parse_interval(value) == seconds


@pytest.mark.parametrize(
    "value", [True, 1.5, "", "500ms", "1d", "5 m", "m", None, [], float("inf"), "1.5", "nan", 10**400, 1e300, "1e300"]
)
def test_no_intervals(value: Any) -> None:
    with pytest.raises(ValueError, match="expected whole seconds or a duration"):
        parse_interval(value)


def test_an_interval_is_judged_only_where_it_is_followed() -> None:
    assert validate_target({"url": URL, "interval": 5}, 0).spec.interval == 5
    for value in (5, -1, "9s"):
        assert str(refused({"url": URL, "interval": value}, lenient=True)) == (
            "invalid poll configuration: poll interval too low: must be at least 10s"
        )
    empty = validate_target({"url": URL, "interval": None}, 3, lenient=True)
    assert empty.spec.interval == 0
    assert empty.warnings == (
        "interval of poll configuration 3 is empty and taken as 0: it is not polled at an interval",
    )


def test_unknown_keys_are_named() -> None:
    target = validate_target({"url": URL, "colour": "red", "branch": "dev", "targets": 1}, 0)
    assert target.warnings == (
        'unknown key "colour" in poll configuration 0',
        'unknown key "branch" in poll configuration 0; did you mean "reference"?',
        'unknown key "targets" in poll configuration 0; did you mean "target"?',
    )


def test_json_keys_match_in_any_case() -> None:
    assert validate_target({"URL": URL, "Run_Once": True}, 0).spec.run_once


def test_yaml_scalars_are_text_and_what_is_stored_is_json() -> None:
    text = f"url: {URL}\nreference: 1.5\ndeployments: [{{name: a, environment: {{DAY: 2021-01-01, N: 1}}}}, ~]\n"
    target = validate_target(yaml.safe_load(text), 0, lenient=True)
    assert target.spec.reference == "1.5"
    assert json.loads(json.dumps(target.spec.deployments)) == [
        {"name": "a", "environment": {"DAY": "2021-01-01", "N": 1}}
    ]
    assert refused({"url": URL, "reference": 1.5}).wrong_type


def test_rewrites_decide_the_name() -> None:
    validate = target_validator({"https://h": "http://in:3000"})
    target = validate({"url": "https://u:p@h/o/r.git"}, 0)
    assert target.spec.url == "https://u:p@h/o/r.git", "with user information it is another prefix"
    target = validate({"url": "https://h/o/r.git"}, 0)
    assert (target.spec.url, target.repository) == ("http://in:3000/o/r.git", "in:3000/o/r")
    assert validate({"url": "/srv/app"}, 0).spec.url == "file:///srv/app"


def test_an_artifact_takes_its_reference_from_its_name() -> None:
    target = validate_target({"url": "ghcr.io:443/a/b:1.2", "source": " OCI ", "reference": "x"}, 0)
    assert (target.spec.kind, target.spec.reference, target.repository) == (SourceKind.OCI, "1.2", "ghcr.io:443/a/b")
    assert validate_target({"url": "ghcr.io/a/b", "source": "oci"}, 0).spec.reference == "latest"
    assert validate_target({"url": "ghcr.io/a/b@sha256:ab", "source": "oci"}, 0).spec.reference == "sha256:ab"


def test_the_answers_recorded_from_doco_cd(corpus: Path) -> None:
    """Every poll target of the record that it refused by a rule is refused here in the same words."""
    compared = 0
    for step in json.loads((corpus / "api/recorded.json").read_text()):
        request, answer = step["request"], step["response"]
        if not request["path"].startswith("/v1/api/poll/run") or answer["status"] != 400:
            continue
        body = json.loads(answer["body"].splitlines()[0])
        if not body["error"].startswith("invalid poll configuration at index 0"):
            continue
        (raw,) = json.loads(request["body"])
        assert str(refused(raw)) == body["content"]
        compared += 1
    assert compared >= 3
