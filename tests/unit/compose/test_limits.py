"""Files made to exhaust the loader are refused, quickly."""

from __future__ import annotations

import re
import time

import pytest

from reconciler.compose import ComposeError, LoadRequest, MemoryReader, load_project


def refused(files: dict[str, str], seconds: float = 5) -> str:
    # Time at work: what others on the machine do is not the loader's fault.
    start = time.process_time()
    with pytest.raises(ComposeError) as caught:
        load_project(LoadRequest(files=("/p/compose.yaml",), project_name="case"), MemoryReader(files))
    assert time.process_time() - start < seconds
    return str(caught.value)


def test_a_billion_laughs_are_refused() -> None:
    levels = "".join(f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 10))
    text = "x-0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + levels + "services: {a: {image: x}}\n"
    assert "aliases" in refused({"/p/compose.yaml": text})


def test_deep_nesting_is_refused() -> None:
    for depth in (300, 5_000):
        text = "services: {a: {image: x}}\nx-a: " + "[" * depth + "]" * depth + "\n"
        assert re.search("nested deeper|nesting depth", refused({"/p/compose.yaml": text}))


def test_defaults_deep_in_defaults_are_refused() -> None:
    for operator in (":-", ":?"):
        text = f'services: {{a: {{image: "{("${A" + operator) * 5_000}x{"}" * 5_000}"}}}}\n'
        assert re.search("nested more than|required variable A", refused({"/p/compose.yaml": text}))


def test_an_alias_within_its_own_anchor_is_refused() -> None:
    assert "cycle" in refused({"/p/compose.yaml": "x-a: &a {b: [*a]}\nservices: {a: {image: x}}\n"})
    assert "cycle" in refused({"/p/compose.yaml": "x-a: &a {<<: *a}\nservices: {a: {image: x}}\n"})


def test_includes_without_end_are_refused() -> None:
    files = {f"/p/{n}.yaml": f"include: [{n + 1}.yaml]\nservices: {{a{n}: {{image: x}}}}\n" for n in range(150)}
    files["/p/compose.yaml"] = "include: [0.yaml]\nservices: {a: {image: x}}\n"
    assert "nested deeper" in refused(files)


def test_an_include_tree_that_doubles_at_each_level_is_loaded_once_a_file() -> None:
    files = {
        f"/p/{n}.yaml": f"include: [{n + 1}.yaml, {n + 1}.yaml]\nservices: {{a{n}: {{image: x}}}}\n" for n in range(12)
    }
    files["/p/12.yaml"] = "services: {last: {image: x}}\n"
    files["/p/compose.yaml"] = "include: [0.yaml]\n"
    start = time.process_time()
    project = load_project(LoadRequest(files=("/p/compose.yaml",), project_name="case"), MemoryReader(files))
    assert time.process_time() - start < 5
    assert len(project.services) == 13


def test_extends_in_a_circle_over_files_is_refused() -> None:
    files = {
        "/p/compose.yaml": "services: {a: {image: x, extends: {file: b.yaml, service: b}}}\n",
        "/p/b.yaml": "services: {b: {image: x, extends: {file: compose.yaml, service: a}}}\n",
    }
    assert "Circular reference" in refused(files)


def test_a_long_chain_of_extends_is_refused_or_loaded_but_never_crashes() -> None:
    services = "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(3_000))
    files = {"/p/compose.yaml": f"services:\n{services}  s3000: {{image: x}}\n"}
    refused(files, seconds=20)


def test_a_long_chain_of_dependencies_is_loaded() -> None:
    services = "".join(f"  s{n}: {{image: x, depends_on: [s{n + 1}]}}\n" for n in range(2_000))
    files = {"/p/compose.yaml": f"services:\n{services}  s2000: {{image: x}}\n"}
    project = load_project(LoadRequest(files=("/p/compose.yaml",), project_name="case"), MemoryReader(files))
    assert len(project.services) == 2_001
