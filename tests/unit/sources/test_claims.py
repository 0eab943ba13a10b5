"""Who gets which folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.sources.claims import Claims
from reconciler.sources.errors import CheckoutFailed
from reconciler.sources.urls import parse_git_url

SHOP = parse_git_url("https://h/o/shop")


def test_the_first_reference_has_the_plain_folder_for_good(tmp_path: Path) -> None:
    claims = Claims(tmp_path, tmp_path / ".git-store")
    first = claims.path_for(SHOP, "refs/heads/main")
    other = claims.path_for(SHOP, "release/1.0")
    assert first == tmp_path / "h/o/shop"
    assert other.parent == tmp_path / ".worktrees/h/o/shop"
    again = Claims(tmp_path, tmp_path / ".git-store")
    assert again.path_for(parse_git_url("git@h:o/shop.git"), "main") == first
    assert again.path_for(SHOP, "refs/heads/release/1.0") == other
    assert again.path_for(SHOP, "release_1.0") not in (first, other)


def test_no_checkout_lies_in_another(tmp_path: Path) -> None:
    claims = Claims(tmp_path, tmp_path / ".git-store")
    outer = claims.path_for(parse_git_url("https://h/group/app"), "main")
    inner = claims.path_for(parse_git_url("https://h/group/app/web"), "main")
    deep = claims.path_for(parse_git_url("https://k/a/b/c"), "main")
    above = claims.path_for(parse_git_url("https://k/a/b"), "main")
    for one, two in ((outer, inner), (deep, above)):
        assert one not in two.parents
        assert two not in one.parents


def test_names_that_share_a_folder_are_kept_apart(tmp_path: Path) -> None:
    claims = Claims(tmp_path, tmp_path / ".git-store")
    assert claims.path_for(parse_git_url("http://h:80/o/r"), "main") != claims.path_for(
        parse_git_url("http://h_80/o/r"), "main"
    )


def test_a_released_folder_can_be_claimed_again(tmp_path: Path) -> None:
    claims = Claims(tmp_path, tmp_path / ".git-store")
    path = claims.path_for(SHOP, "main")
    claims.release(SHOP, "refs/heads/main")
    assert claims.all() == ()
    assert claims.path_for(SHOP, "prod") == path


def test_an_unreadable_list_is_never_guessed(tmp_path: Path) -> None:
    claims = Claims(tmp_path, tmp_path / ".git-store")
    claims.path_for(SHOP, "main")
    (tmp_path / ".git-store/claims.json").write_text("{ broken")
    with pytest.raises(CheckoutFailed, match="cannot read"):
        claims.path_for(SHOP, "prod")
