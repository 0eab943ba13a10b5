"""How many containers an Engine is asked to start at the same time."""

from __future__ import annotations

import pytest

from reconciler.engine.execute import starts_at_once


@pytest.mark.parametrize(("cpus", "expected"), [(0, 4), (1, 4), (2, 4), (4, 8), (12, 24), (96, 24)])
def test_it_grows_with_the_processors_within_bounds(cpus: int, expected: int) -> None:
    assert starts_at_once(cpus) == expected
