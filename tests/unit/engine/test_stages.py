"""Additional contexts that are images, written into a Dockerfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.engine.context import open_context
from reconciler.engine.errors import BuildFailed
from reconciler.engine.stages import with_stages
from reconciler.planner.specs import NamedContext

NAMED = (NamedContext("base", "shop-base", built_here=True), NamedContext("tool", "tool:1", built_here=False))
STAGES = "FROM shop-base AS base\nFROM tool:1 AS tool\n"


def _written(folder: Path, dockerfile: str) -> str:
    context = with_stages(open_context(str(folder), "Dockerfile", dockerfile), NAMED)
    assert context.content is not None
    return context.content.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "FROM base\n"),
        ("# syntax=docker/dockerfile:1\n# from here\n\n", "from base\nFROM tool\n"),
        ("ARG A=1\nARG B \\\n  FROM=2\n", "FROM base\n"),
        ("# escape=`\nARG A `\n  B\n", "  FROM base\n"),
        ("ARG FROM=1\r\n", "FROM base\r\n"),
    ],
)
def test_the_stages_come_before_the_first_and_after_global_arguments(tmp_path: Path, before: str, after: str) -> None:
    assert _written(tmp_path, before + after) == before + STAGES + after


def test_a_stage_that_a_context_would_replace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"additional_contexts\.tool: the Dockerfile has a stage of that name"):
        _written(tmp_path, "FROM x AS first\nFROM y AS Tool\n")
