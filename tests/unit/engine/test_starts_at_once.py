"""How many containers an Engine is asked to start at the same time."""

from __future__ import annotations

import pytest

from reconciler.engine.execute import starts_at_once


@pytest.mark.parametrize(("cpus", "expected"), [(0, 6), (1, 6), (2, 6), (4, 12), (8, 24), (96, 24)])
def test_it_grows_with_the_processors_within_bounds(cpus: int, expected: int) -> None:
    assert starts_at_once(cpus) == expected
