"""The encoded list of projects is kept for as long as nothing changes, and no longer."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from api.listing import ProjectLists
from state.observed import ObservedContainer, ObservedContext

LABELS = {"com.docker.compose.config-hash": "0" * 64, "com.docker.compose.project.config_files": "/srv/compose.yaml"}


def container(project: str, state: str = "running") -> ObservedContainer:
    labels = {**LABELS, "com.docker.compose.project": project}
    return ObservedContainer(
        id=f"id-{project}", name=f"{project}-web-1", image="web", image_id="sha256:1", labels=labels, state=state
    )


def names(encoded: bytes) -> list[str]:
    return [row["Name"] for row in json.loads(encoded)] if encoded else []


def test_the_list_is_made_anew_only_when_something_changed() -> None:
    context, lists = ObservedContext("default"), ProjectLists()
    context.put_container(container("shop"))
    first = lists.encoded([context], all_states=False)
    assert names(first) == ["shop"]
    assert lists.encoded([context], all_states=False) is first
    context.put_container(container("blog"))
    assert names(lists.encoded([context], all_states=False)) == ["blog", "shop"]
    context.put_container(container("shop", "exited"), 1.0)
    assert names(lists.encoded([context], all_states=False)) == ["blog"]
    assert names(lists.encoded([context], all_states=True)) == ["blog", "shop"]
    context.drop_container("id-blog", 2.0)
    assert lists.encoded([context], all_states=False) == b""


def test_a_lost_engine_and_another_context_of_that_name_are_changes() -> None:
    context, lists = ObservedContext("default"), ProjectLists()
    context.put_container(container("shop"))
    lists.encoded([context], all_states=False)
    context.lost("gone", datetime(2026, 1, 2, tzinfo=UTC))
    assert b"stale_since" in lists.encoded([context], all_states=False)
    reopened = ObservedContext("default")
    reopened.put_container(container("other"))
    reopened.put_container(container("one"))
    assert names(lists.encoded([reopened], all_states=False)) == ["one", "other"]
