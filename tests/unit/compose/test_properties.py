"""What must hold for any input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.compose import ComposeError, LoadRequest, MemoryReader, Project, load_project, render, to_json, to_yaml
from reconciler.compose.confighash import service_hash
from tests.differential.cases import Case, all_cases, golden

EXPECTED = golden()
ACCEPTED = [case for case in all_cases() if "config" in EXPECTED[case.name].get("newer", EXPECTED[case.name])]


def load(*texts: str, environment: dict[str, str] | None = None) -> Project:
    files = {f"/p/{index}.yaml": text for index, text in enumerate(texts)}
    request = LoadRequest(files=tuple(files), project_name="case", environment=environment or {})
    return load_project(request, MemoryReader(files))


WORDS = """
image build ports volumes environment labels depends_on networks command healthcheck deploy test
a b x ${A} ${A:-b} $$ 80:80 ./x:/y true null 5 1.5 service:a extends file service include
"""
words = st.sampled_from(WORDS.split())
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words, st.text(max_size=8))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["services", "networks", "volumes", "secrets", "x-a", "include"]), trees))
def test_any_tree_gives_a_project_or_a_compose_error(tree: dict[str, Any]) -> None:
    try:
        load(json.dumps(tree))
    except ComposeError as error:
        assert error.problems


@given(st.dictionaries(words, trees, max_size=6))
def test_any_service_gives_a_project_or_a_compose_error(service: dict[str, Any]) -> None:
    text = json.dumps({"services": {"a": {"image": "x", **service}}})
    for files in ((text,), (text, text)):
        try:
            load(*files)
        except ComposeError as error:
            assert error.problems


@given(st.dictionaries(words, trees, max_size=4))
def test_any_extended_service_gives_a_project_or_a_compose_error(service: dict[str, Any]) -> None:
    """What is extended is not validated before it is merged."""
    files = {
        "/p/0.yaml": "services: {a: {image: x, extends: {file: 1.yaml, service: b}}}",
        "/p/1.yaml": json.dumps({"services": {"b": service}}),
    }
    try:
        load_project(LoadRequest(files=("/p/0.yaml",), project_name="case"), MemoryReader(files))
    except ComposeError as error:
        assert error.problems


@given(st.binary(max_size=200))
def test_any_bytes_give_a_project_or_a_compose_error(content: bytes) -> None:
    files = {"/p/0.yaml": content, "/p/.env": content}
    for request in (
        LoadRequest(files=("/p/0.yaml",), project_name="case"),
        LoadRequest(files=("/p/0.yaml",), use_default_env_file=False),
    ):
        try:
            load_project(request, MemoryReader(files))
        except ComposeError as error:
            assert error.problems


def from_memory(case: Case, *, printed: str | None = None) -> Project:
    """The case (or what was printed of it) as a project in /p."""
    files = {f"/p/{name}": text for name, text in case.files.items()}
    request = case.request(Path("/p") / case.folder)
    if printed is None:
        return load_project(request, MemoryReader(files))
    again = LoadRequest(files=("/p/printed.yaml",), profiles=("*",), use_default_env_file=False)
    return load_project(again, MemoryReader({**files, "/p/printed.yaml": printed}))


def in_memory(case: Case) -> bool:
    """Links need a disk; what is not there in memory cannot be discovered."""
    return not case.links and "env-file-folder" not in case.name


PRINTED_AND_NOT_READ_AGAIN = frozenset(
    (
        # The printed form of Compose itself does not load again to the same:
        "deploy-devices-count-zero",  # a zero is left out, and then means all
        "env-file-last-line-without-newline",  # a variable without a name
        "environment-list",
        "extends-null-base",  # the reference stays
        "group-add-duplicates",  # equal once they are text
        "merge-group-add",
        "hooks-null-command",  # left out, and required
        "interpolation-not-in-keys",  # `$` is doubled in keys, but not replaced in them
        "labels-dollars",
        "merge-build-maps",  # equal hosts after their separators became equal
        "merge-extra-hosts",
        "merge-build-ssh-maps",  # a key without a path
        "network-mode-empty",  # an empty text counts on the way in, and is left out on the way out
        "ports-long-empty-mode",
        "volumes-empty-name",
        "networks-key-with-space",  # a name the schema checks in one place only
        "ports-identity",  # equal once the published port is text
        "ports-long-target-zero",  # a zero is left out, and required
        "profiles-disabled-optional",  # refers to a service that is not printed
    )
)


@pytest.mark.parametrize(
    "case",
    [case for case in ACCEPTED if in_memory(case) and case.name not in PRINTED_AND_NOT_READ_AGAIN],
    ids=lambda case: case.name,
)
def test_what_is_printed_loads_again_to_the_same(case: Case) -> None:
    project = from_memory(case)
    assert render(from_memory(case, printed=to_yaml(project))) == render(project)


@pytest.mark.parametrize("case", [case for case in ACCEPTED if in_memory(case)], ids=lambda case: case.name)
def test_loading_twice_gives_the_same_project_and_hashes(case: Case) -> None:
    first, second = from_memory(case), from_memory(case)
    assert first == second
    for name in first.services:
        assert service_hash(first, name) == service_hash(second, name)


def test_a_hash_does_not_depend_on_the_order_of_keys() -> None:
    """A store may sort them."""
    for case in ACCEPTED:
        if not in_memory(case):
            continue
        project = from_memory(case)
        text = json.dumps(project.services, sort_keys=True)
        for name, service in json.loads(text).items():
            before = service_hash(project, name)
            project.services[name] = service
            assert service_hash(project, name) == before


pairs = st.dictionaries(st.sampled_from("ABCDEF"), st.sampled_from(["1", "2", "x y", ""]), max_size=5)
names = st.lists(st.sampled_from(["NET_ADMIN", "SYS_TIME", "CHOWN"]), unique=True, max_size=3)
mounts = st.lists(st.sampled_from(["/a:/x", "/b:/x", "/c:/y:ro", "/z"]), unique=True, max_size=4)
services = st.fixed_dictionaries(
    {"image": st.just("x")},
    optional={
        "environment": pairs,
        "labels": pairs,
        "cap_add": names,
        "volumes": mounts,
        "dns": st.lists(st.sampled_from(["1.1.1.1", "2.2.2.2"]), unique=True),
        "ports": st.lists(st.sampled_from(["80:80", "81:81", "82"]), unique=True),
        "command": st.sampled_from(["a b", ["a"]]),
        "hostname": st.sampled_from(["h", "i"]),
    },
)


@given(services)
def test_a_file_over_itself_changes_nothing(service: dict[str, Any]) -> None:
    text = json.dumps({"services": {"a": service}})
    assert render(load(text, text)) == render(load(text))


@given(services, services)
def test_the_last_file_laid_over_once_more_changes_nothing(base: dict[str, Any], over: dict[str, Any]) -> None:
    first, second = (json.dumps({"services": {"a": service}}) for service in (base, over))
    assert render(load(first, second, second)) == render(load(first, second))


@given(services, services)
def test_extending_is_merging(base: dict[str, Any], over: dict[str, Any]) -> None:
    merged = load(*(json.dumps({"services": {"a": service}}) for service in (base, over)))
    extended = load(json.dumps({"services": {"b": base, "a": {**over, "extends": "b"}}}))
    assert extended.services["a"] == merged.services["a"]


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["A", "B", "PWD"]), st.text(max_size=10)))
def test_values_of_variables_are_never_read_again(environment: dict[str, str]) -> None:
    project = load('services: {a: {image: x, environment: {V: "${A}|${B}"}}}', environment=environment)
    expected = f"{environment.get('A', '')}|{environment.get('B', '')}"
    assert project.services["a"]["environment"]["V"] == expected
    assert json.loads(to_json(project))["services"]["a"]["environment"]["V"] == expected.replace("$", "$$")
