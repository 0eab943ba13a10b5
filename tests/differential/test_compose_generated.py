"""Generated values against the real Compose, many in one process."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.compose.dotenv import parse_dotenv
from reconciler.compose.interpolation import substitute
from reconciler.compose.scalars import shell_words
from tests.support.compose_oracle import Compose

FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
VARIABLES = {"A": "1", "B": "b c", "E": "", "_x": "$A"}


def undoubled(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, dict):
        return {undoubled(key): undoubled(item) for key, item in value.items()}
    return [undoubled(item) for item in value] if isinstance(value, list) else value


def compose_config(files: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_bytes(text.encode())
        loaded = Compose().config(Path(folder), ["compose.yaml"], "case", env=VARIABLES)
    result: dict[str, Any] = undoubled(loaded)
    return result


text = st.text(st.sampled_from("ab 1.,-:+?\"'\\#é"), max_size=5)
name = st.sampled_from(["A", "B", "E", "U", "_x"])
templates = st.recursive(
    st.one_of(text, st.just("$$"), name.map("${}".format).map(lambda t: t.replace("{", "").replace("}", ""))),
    lambda inner: st.one_of(
        st.builds(lambda n, o, w: f"${{{n}{o}{w}}}", name, st.sampled_from([":-", "-", ":+", "+"]), inner),
        st.builds(lambda n: f"${{{n}}}", name),
        st.builds(lambda a, b: a + b, inner, inner),
    ),
    max_leaves=6,
)


@FEW
@given(st.lists(templates, min_size=80, max_size=120))
def test_variables_are_replaced_as_compose_does(values: list[str]) -> None:
    accepted = {}
    for index, value in enumerate(values):
        try:
            accepted[f"k{index}"] = (value, substitute(value, VARIABLES, lambda message: None))
        except ValueError:
            continue  # what is refused is covered by the cases
    document = {"services": {"a": {"image": "x"}}, "x-v": {key: value for key, (value, _) in accepted.items()}}
    assert compose_config({"compose.yaml": json.dumps(document)})["x-v"] == {
        key: result for key, (_, result) in accepted.items()
    }


lines = st.builds(
    lambda export, key, equals, value, end: export + key + equals + value + end,
    st.sampled_from(["", "", "export ", "  "]),
    st.sampled_from(["A", "KEY", "k.e-y", "1a", "é", "[x]"]),
    st.sampled_from(["=", " = ", ": ", "=  ", ""]),
    st.one_of(
        text,
        text.map(lambda t: "'" + t.replace("'", "\\'") + "'"),
        text.map(lambda t: '"' + t.replace("\\", "\\\\").replace('"', '\\"') + '"'),
        st.sampled_from(["$A", "${B:-x}", '"a\\nb"', '"\\0101\\x"', "a #c", "a#c", '"two\nlines"', "\\$A", '"\\$A"']),
    ),
    st.sampled_from(["\n", "\n\n", "\r\n", " # c\n", "\n#c\n"]),
)


@FEW
@given(st.lists(st.lists(lines, max_size=4).map("".join), min_size=60, max_size=80))
def test_env_files_are_read_as_compose_does(contents: list[str]) -> None:
    expected: dict[str, dict[str, str]] = {}
    files: dict[str, str] = {}
    for index, content in enumerate(contents):
        values: dict[str, str] = {}
        try:
            parse_dotenv(content.encode(), values, lambda variable: VARIABLES.get(variable), lambda message: None)
        except ValueError:
            continue
        expected[f"s{index}"] = values
        files[f"e{index}"] = content
    services = {name: {"image": "x", "env_file": f"e{name[1:]}"} for name in expected}
    loaded = compose_config({"compose.yaml": json.dumps({"services": services}), **files}) if services else {}
    for service, values in expected.items():
        assert loaded["services"][service].get("environment", {}) == values


commands = st.text(st.sampled_from("ab1 'é=-/."), max_size=12)


@FEW
@given(st.lists(commands, min_size=80, max_size=120))
def test_commands_are_split_as_compose_does(values: list[str]) -> None:
    """Without what Compose 5.5 splits otherwise than the 2.40.3 that is asked here: escapes, brackets."""
    expected = {}
    for index, value in enumerate(values):
        try:
            expected[f"s{index}"] = (value, shell_words(value))
        except ValueError:
            continue
    services = {key: {"image": "x", "command": value} for key, (value, _) in expected.items()}
    loaded = compose_config({"compose.yaml": json.dumps({"services": services})})
    for service, (_, words) in expected.items():
        assert loaded["services"][service]["command"] == words
