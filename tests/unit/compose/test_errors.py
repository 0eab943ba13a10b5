"""What a person gets to read when a Compose file is wrong: everything at once, with places and hints."""

from __future__ import annotations

import pytest

from reconciler.compose import ComposeError, LoadRequest, MemoryReader, Problem, load_project


def problems(text: str, **further: str) -> tuple[Problem, ...]:
    files = {"/p/compose.yaml": text, **{f"/p/{name.replace('__', '.')}": content for name, content in further.items()}}
    with pytest.raises(ComposeError) as caught:
        load_project(LoadRequest(files=("/p/compose.yaml",), project_name="case"), MemoryReader(files))
    return caught.value.problems


def test_all_schema_problems_are_reported_with_line_and_path() -> None:
    found = problems(
        "services:\n"
        "  web:\n"
        "    image: x\n"
        "    restrat: always\n"
        "    ports: 80\n"
        "    command: [a, 5]\n"
        "  db:\n"
        "    image: 5\n"
    )
    assert {(p.path, p.line, p.column) for p in found} == {
        ("services.web.restrat", 4, 5),
        ("services.web.ports", 5, 5),
        ("services.web.command[1]", 6, 18),
        ("services.db.image", 8, 5),
    }
    by_path = {p.path: p for p in found}
    assert by_path["services.web.restrat"].hint == "did you mean `restart`?"
    assert by_path["services.web.ports"].message == "must be a array"
    assert by_path["services.db.image"].found == "5"
    assert by_path["services.db.image"].expected == "string"


def test_a_problem_reads_as_one_line_with_its_place() -> None:
    (problem,) = problems("services:\n  web:\n    image: x\n    restrat: always\n")
    assert str(problem) == (
        "/p/compose.yaml:4:5: services.web.restrat: additional properties 'restrat' not allowed "
        "(did you mean `restart`?)"
    )


def test_all_variables_that_are_missing_are_reported() -> None:
    found = problems("services:\n  a:\n    image: ${TAG:?pick a tag}\n    user: ${1}\n    hostname: ok\n")
    assert [p.line for p in found] == [3, 4]
    assert "required variable TAG is missing a value: pick a tag" in found[0].message


def test_all_values_that_cannot_be_read_are_reported() -> None:
    found = problems(
        "services:\n  a:\n    image: x\n    mem_limit: 5x\n    stop_grace_period: '5'\n  b:\n    image: x\n"
        "    shm_size: y\n"
    )
    assert {p.path for p in found} == {
        "services.a.mem_limit",
        "services.a.stop_grace_period",
        "services.b.shm_size",
    }
    assert {p.line for p in found} == {4, 5, 8}


def test_all_contradictions_are_reported_with_the_nearest_name() -> None:
    found = problems(
        "services:\n"
        "  web:\n"
        "    image: x\n"
        "    depends_on: [databse]\n"
        "    networks: [fornt]\n"
        "    volumes: ['datta:/d']\n"
        "  database: {image: x}\n"
        "networks: {front: }\n"
        "volumes: {data: }\n"
    )
    assert {(p.line, p.hint) for p in found} == {
        (4, "did you mean `database`?"),
        (5, "did you mean `front`?"),
        (6, "did you mean `data`?"),
    }


def test_a_problem_of_an_included_file_names_that_file() -> None:
    (problem,) = problems(
        "include: [inc.yaml]\nservices: {a: {image: x}}\n", inc__yaml="services:\n  b:\n    imaeg: x\n"
    )
    assert (problem.file, problem.line) == ("/p/inc.yaml", 3)


def test_a_problem_of_the_merged_model_names_the_file_that_wrote_the_value() -> None:
    files = {
        "/p/a.yaml": "services:\n  a:\n    image: x\n    mem_limit: 5x\n",
        "/p/b.yaml": "services:\n  a:\n    hostname: h\n",
    }
    request = LoadRequest(files=("/p/a.yaml", "/p/b.yaml"), project_name="case")
    with pytest.raises(ComposeError) as caught:
        load_project(request, MemoryReader(files))
    assert (caught.value.problems[0].file, caught.value.problems[0].line) == ("/p/a.yaml", 4)


def test_a_yaml_error_has_line_and_column() -> None:
    (problem,) = problems("services:\n  a: {image: x\n")
    assert problem.line == 3
    (duplicate,) = problems("services:\n  a:\n    image: x\n    image: y\n")
    assert (duplicate.line, duplicate.path) == (4, "services.a")
    assert 'mapping key "image" already defined at line 3' in duplicate.message


def test_a_key_that_is_not_text_is_named_with_its_path() -> None:
    (problem,) = problems("services:\n  a:\n    image: x\n    labels:\n      1: y\n")
    assert (problem.line, problem.path) == (5, "services.a.labels")
    assert "non-string key" in problem.message


def test_a_dotenv_error_has_its_line() -> None:
    (problem,) = problems("services: {a: {image: x, env_file: e}}\n", e="A=1\n\nB@=2\n")
    assert (problem.file, problem.line) == ("/p/e", 3)


def test_a_disabled_dependency_is_told_from_a_missing_one() -> None:
    (problem,) = problems("services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, profiles: [debug]}\n")
    assert problem.hint == "it is there, but only with one of the profiles debug"


def test_no_error_shows_the_value_of_a_secret() -> None:
    request = LoadRequest(
        files=("/p/compose.yaml",), project_name="case", environment={"TOKEN": "s3cr3t-value", "HOME": "/h"}
    )
    text = "services: {a: {image: x, secrets: [t], mem_limit: 5x}}\nsecrets: {t: {environment: TOKEN}}\n"
    with pytest.raises(ComposeError) as caught:
        load_project(request, MemoryReader({"/p/compose.yaml": text}))
    assert "s3cr3t" not in str(caught.value)


def test_warnings_say_where() -> None:
    files = {"/p/compose.yaml": "services:\n  a:\n    image: x${TAG}\n    tty: 'yes'\n"}
    project = load_project(LoadRequest(files=("/p/compose.yaml",), project_name="case"), MemoryReader(files))
    assert [(w.path, w.line) for w in project.warnings] == [("services.a.image", 3), ("services.a.tty", 4)]
