"""Compose files of our own, case by case, against what the real Compose made of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.differential.cases import Case, agrees, all_cases, golden, ours
from tests.differential.regenerate import ask
from tests.support.compose_oracle import compose_binary

CASES = all_cases()
EXPECTED = golden()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_answered_as_compose_answers_it(case: Case, tmp_path: Path) -> None:
    answer = ours(case, tmp_path.resolve())
    assert agrees(answer, EXPECTED[case.name]), (case.about, answer, EXPECTED[case.name])


def test_every_golden_answer_belongs_to_a_case() -> None:
    assert set(EXPECTED) == {case.name for case in CASES}


@pytest.mark.parametrize("case", random.Random(7).sample(CASES, 12), ids=lambda case: case.name)
def test_the_golden_answers_are_those_of_the_real_compose(case: Case) -> None:
    """A sample; `python -m tests.differential.regenerate` asks for all."""
    recorded = {key: value for key, value in EXPECTED[case.name].items() if key != "newer"}
    assert agrees(ask(str(compose_binary()), case), recorded)


@pytest.mark.parametrize("case", [case for case in CASES if "refused" in EXPECTED[case.name]], ids=lambda c: c.name)
def test_a_refusal_names_a_place(case: Case, tmp_path: Path) -> None:
    """Better than the text of Compose: whoever reads it knows the file, and mostly line and path."""
    from reconciler.compose import ComposeError

    try:
        case.load(case.lay_out(tmp_path.resolve()))
    except ComposeError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.message
            assert problem.file or "project name" in problem.message or "ParseBool" in problem.message
