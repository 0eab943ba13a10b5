"""What the real Docker Compose deployed is taken over without touching it.

Every case of the catalogue was deployed by Docker Compose 2.40.3 on a real Engine; here we
look at what it left and want nothing to be done, by the hash and, with an unknown hash, by
the fields alone.
"""

from __future__ import annotations

import pytest

from reconciler.planner import describe, plan
from reconciler.planner.model import PlanError
from tests.support.engine_cases import EngineCase, engine_cases
from tests.support.planning import case_observed, case_stack

CASES = list(engine_cases())
REFUSED = {
    "annotations": "services.a.annotations",
}
"""Cases that Compose accepted though the Engine drops the attribute in silence."""
DIFFERENT = {
    "volumes-from-ro": "services.app.volumes_from",
}
"""Cases where we make of the file what it says and Compose does not."""


def _name(case: EngineCase) -> str:
    return case.name[4:]


ADOPTED = [case for case in CASES if _name(case) not in REFUSED]


def test_the_catalogue_is_there() -> None:
    assert len(CASES) >= 120


@pytest.mark.parametrize("case", ADOPTED, ids=_name)
def test_nothing_is_done_where_the_hash_is_known(case: EngineCase) -> None:
    found = plan(case_stack(case), case_observed(case))
    assert found.empty, describe(found)
    assert not found.blocked and not found.drift


@pytest.mark.parametrize("case", [case for case in ADOPTED if _name(case) not in DIFFERENT], ids=_name)
def test_nothing_is_done_where_the_hash_is_unknown_and_no_field_differs(case: EngineCase) -> None:
    found = plan(case_stack(case), case_observed(case, relabel="f" * 64))
    assert found.empty, describe(found)
    assert not found.blocked and not found.drift


@pytest.mark.parametrize("case", [case for case in CASES if _name(case) in DIFFERENT], ids=_name)
def test_a_field_that_compose_lost_is_named(case: EngineCase) -> None:
    found = plan(case_stack(case), case_observed(case, relabel="f" * 64))
    fields = [change.field for action in found.actions for reason in action.reasons for change in reason.changes]
    assert fields == [DIFFERENT[_name(case)]] * len(fields) and fields


@pytest.mark.parametrize("case", [case for case in CASES if _name(case) in REFUSED], ids=_name)
def test_what_the_engine_would_drop_is_refused_by_name(case: EngineCase) -> None:
    with pytest.raises(PlanError, match=REFUSED[_name(case)]):
        plan(case_stack(case), case_observed(case))
