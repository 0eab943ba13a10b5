"""What a reference means, asked of a real server."""

from __future__ import annotations

import pytest

from reconciler.sources.errors import ReferenceNotFound, RepositoryEmpty, RepositoryNotFound
from tests.live.sources.conftest import MakeSource
from tests.support.git_servers import GitHTTPServer


@pytest.mark.parametrize("reference", ["main", "refs/heads/main", "HEAD"])
async def test_a_branch_is_its_tip(server: GitHTTPServer, source: MakeSource, reference: str) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    tip = repository.commit({"a": "2"})
    assert await source(repository.url, reference).resolve() == tip
    checkout = await source(repository.url, reference).checkout(tip)
    assert (checkout.path / "a").read_text() == "2"


@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize("reference", ["v1", "refs/tags/v1"])
async def test_a_tag_is_the_commit_it_points_to(
    server: GitHTTPServer, source: MakeSource, reference: str, annotated: bool
) -> None:
    repository = server.create_repo("acme/shop")
    tagged = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    repository.tag("v1", tagged, annotated=annotated)
    tag = source(repository.url, reference)
    assert await tag.resolve() == tagged
    assert ((await tag.checkout(tagged)).path / "a").read_text() == "1"


async def test_a_branch_beats_a_tag_of_the_same_name(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    first = repository.commit({"a": "1"})
    second = repository.commit({"a": "2"})
    repository.set_branch("x", second)
    repository.tag("x", first)
    assert await source(repository.url, "x").resolve() == second
    assert await source(repository.url, "refs/tags/x").resolve() == first


@pytest.mark.parametrize("length", [40, 12])
async def test_a_commit_id_is_that_commit_even_behind_the_tips(
    server: GitHTTPServer, source: MakeSource, length: int
) -> None:
    repository = server.create_repo("acme/shop")
    old = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    pinned = source(repository.url, old[:length])
    assert await pinned.resolve() == old
    assert ((await pinned.checkout(old)).path / "a").read_text() == "1"


async def test_a_commit_of_no_branch_is_refused(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    stray = repository.commit({"a": "evil"}, branch="fork", orphan=True)
    repository.delete_branch("fork")
    with pytest.raises(ReferenceNotFound, match="no commit of any branch or tag"):
        await source(repository.url, stray).resolve()


async def test_a_pinned_commit_needs_the_server_only_once(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    pinned = source(repository.url, commit)
    await pinned.resolve()
    asked = len(server.requests)
    assert await pinned.resolve() == commit
    assert len(server.requests) == asked


async def test_a_missing_reference_names_what_was_meant(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    with pytest.raises(ReferenceNotFound) as missing:
        await source(repository.url, "origin/main").resolve()
    assert str(missing.value) == (
        "invalid reference, should be a tag or a branch: origin/main; did you mean the branch main?"
    )
    with pytest.raises(ReferenceNotFound, match="should be a tag or a branch: nope; branches there: main"):
        await source(repository.url, "nope").resolve()


async def test_a_branch_deleted_upstream_is_said_to_be_gone(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    tip = repository.commit({"a": "2"}, branch="feature")
    feature = source(repository.url, "feature")
    await feature.resolve()
    repository.delete_branch("feature")
    with pytest.raises(ReferenceNotFound, match=f"it was there before, at {tip[:12]}, and is gone"):
        await feature.resolve()


async def test_an_empty_repository_is_said_to_be_empty(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/empty")
    with pytest.raises(RepositoryEmpty, match="empty"):
        await source(repository.url, "main").resolve()


async def test_a_repository_that_does_not_exist(server: GitHTTPServer, source: MakeSource) -> None:
    with pytest.raises(RepositoryNotFound, match=r"no repository at http://127\.0\.0\.1"):
        await source(f"{server.base}/none/such.git").resolve()
    with pytest.raises(RepositoryNotFound, match="no repository at file:///nonexistent/repo"):
        await source("/nonexistent/repo").resolve()


async def test_an_unchanged_poll_asks_once_and_fetches_nothing(server: GitHTTPServer, source: MakeSource) -> None:
    repository = server.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    shop = source(repository.url)
    await shop.checkout(await shop.resolve())
    server.requests.clear()
    assert await shop.resolve() == commit
    assert all("git-upload-pack" in path for _, path, _ in server.requests)
    assert len(server.requests) <= 2, "protocol 2: capabilities, then the references"
