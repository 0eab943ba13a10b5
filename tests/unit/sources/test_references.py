"""Choosing a commit from what a remote advertises."""

from __future__ import annotations

import pytest

from reconciler.sources.errors import ReferenceNotFound, RepositoryEmpty
from reconciler.sources.references import (
    checked_reference,
    is_commit_id,
    may_be_short_id,
    not_found,
    parse_advertised,
    select,
    select_by_id,
)

A, B, C = "a" * 40, "b" * 40, "c" * 40
ADVERTISED = parse_advertised(
    f"ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/main\n{B}\trefs/heads/x\n{C}\trefs/tags/x\n"
    f"{B}\trefs/tags/v1\n{A}\trefs/tags/v1^{{}}\n".encode()
)


@pytest.mark.parametrize(
    ("reference", "commit"),
    [
        ("main", A),
        ("refs/heads/main", A),
        ("HEAD", A),
        ("x", B),
        ("refs/tags/x", C),
        ("v1", A),
        ("nope", None),
        ("heads/main", None),
        ("refs/heads/v1", None),
    ],
)
def test_select(reference: str, commit: str | None) -> None:
    found = select(ADVERTISED, reference)
    assert (found.commit if found else None) == commit


def test_an_abbreviated_id_must_be_unambiguous() -> None:
    found = select_by_id(ADVERTISED, "aaaa")
    assert found is not None
    assert (found.commit, found.name) == (A, "refs/heads/main")
    assert select_by_id(ADVERTISED, "dddd") is None
    assert select_by_id({"refs/heads/1": "abcd" + "0" * 36, "refs/heads/2": "abcd" + "1" * 36}, "abcd") is None


def test_what_counts_as_an_id() -> None:
    assert is_commit_id(A)
    assert is_commit_id("0" * 64)
    assert not is_commit_id("a" * 39)
    assert may_be_short_id("deadbee")
    assert not may_be_short_id("main")
    assert not may_be_short_id(A)


@pytest.mark.parametrize(
    "reference", ["", "-x", "a..b", "a b", "a~1", "a^", "a:b", "a/", "x.lock", "a@{1}", "a\nb", "*"]
)
def test_a_name_git_cannot_have_is_refused(reference: str) -> None:
    with pytest.raises(ReferenceNotFound, match="invalid reference, should be a tag or a branch"):
        checked_reference(reference)


def test_the_error_names_what_is_there() -> None:
    assert "did you mean the branch main?" in str(not_found(ADVERTISED, "origin/main"))
    assert "did you mean main?" in str(not_found(ADVERTISED, "maim"))
    assert "branches there: main, x" in str(not_found(ADVERTISED, "production"))
    assert "but tags: v1" in str(not_found({"refs/tags/v1": A}, "production"))
    assert isinstance(not_found({"HEAD": A}, "main"), RepositoryEmpty)
