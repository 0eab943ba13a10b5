"""What is written down of a rendering, and when that still holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.controllers.lastrendering import LastRendering, remember
from reconciler.controllers.rendering import Rendering, SyncedTree
from reconciler.deployments.config import DestroyConfig
from reconciler.deployments.render import Rendered
from state.model import StackKey, StackOutcome
from tests.support.values import stack

KEY = StackKey("default", "web")
STACK = stack(KEY.name, source_id="source", desired_hash="hash")


def rendering(config: dict[str, object] | None = None, *untracked: tuple[str, str]) -> Rendering:
    tree = SyncedTree(root=Path("/nowhere"), commit="c0ffee", objects={})
    one = Rendered("web", "default", config or {}, {}, "hash", (), untracked)
    return Rendering(trees={"": tree}, heads=[("", "c0ffee")], warnings=["w"], rendered=[(tree, one)])


def test_a_plain_rendering_is_written_down() -> None:
    assert remember(rendering(), {KEY: "hash"}) == LastRendering((("", "c0ffee"),), {KEY: "hash"}, {}, ("w",))


@pytest.mark.parametrize("wish", ["force_recreate", "force_image_pull"])
def test_one_that_wishes_something_at_each_request_is_not(wish: str) -> None:
    assert remember(rendering({wish: True}), {}) is None


def test_one_that_is_not_whole_is_not() -> None:
    failed, filtered, incomplete, destroyed = (rendering() for _ in range(4))
    failed.failed.append(StackOutcome(stack="other", context="default"))
    filtered.filtered = True
    incomplete.complete = False
    destroyed.destroyed[KEY] = DestroyConfig()
    assert [remember(work, {}) for work in (failed, filtered, incomplete, destroyed)] == [None] * 4


def test_the_stacks_must_be_known_as_they_were_rendered() -> None:
    last = LastRendering((), {KEY: "hash"}, {}, ())
    assert last.known("source", {KEY: STACK}) == [STACK]
    for other in (
        replace(STACK, desired_hash="another"),
        replace(STACK, source_id="another"),
        replace(STACK, deleting=True),
    ):
        assert last.known("source", {KEY: other}) is None
    assert last.known("source", {}) is None


def test_files_that_git_does_not_track_must_be_as_they_were(tmp_path: Path) -> None:
    there, absent = tmp_path / "there", tmp_path / "absent"
    there.write_text("one")
    digest = hashlib.sha256(b"one").hexdigest()
    last = LastRendering((), {}, {str(there): digest, str(absent): ""}, ())
    assert last.files_unchanged()
    absent.write_text("now it is")
    assert not last.files_unchanged()
    absent.unlink()
    there.write_text("two")
    assert not last.files_unchanged()
