"""The object store: depth, force pushes, damage."""

from __future__ import annotations

import shutil

import pytest

from reconciler.sources.errors import RevisionGone
from tests.live.sources.conftest import MakeSource
from tests.support.git_servers import GitHTTPServer, Repository, run_git


@pytest.fixture
def repository(server: GitHTTPServer) -> Repository:
    return server.create_repo("acme/shop")


def history(repository: Repository, length: int) -> list[str]:
    return [repository.commit({"a": str(number)}) for number in range(length)]


async def test_a_shallow_store_is_deepened_until_the_commit_is_there(
    repository: Repository, source: MakeSource
) -> None:
    commits = history(repository, 12)
    shop = source(repository.url, depth=1)
    path = (await shop.checkout(await shop.resolve())).path
    (path / "data").write_text("precious")
    assert shop._store.shallow
    assert await shop.log(commits[-3], commits[-1]) == ()
    await shop.checkout(commits[-3])
    assert shop._store.shallow, "three commits back: found by deepening, not by fetching everything"
    await shop.checkout(commits[0])
    assert not shop._store.shallow
    assert (path / "a").read_text() == "0"
    assert (path / "data").read_text() == "precious"


async def test_depth_may_disagree_without_any_store_being_cut(repository: Repository, source: MakeSource) -> None:
    commits = history(repository, 5)
    shop = source(repository.url)
    await shop.checkout(await shop.resolve())
    newest = repository.commit({"a": "new"})
    await shop.checkout(await shop.resolve(), depth=1)
    assert not shop._store.shallow
    assert [commit.hash for commit in await shop.log(commits[-1], newest)] == [newest]


async def test_a_shallow_store_becomes_full_in_place_when_the_setting_says_so(
    repository: Repository, source: MakeSource
) -> None:
    commits = history(repository, 5)
    shallow = source(repository.url, depth=1)
    path = (await shallow.checkout(await shallow.resolve())).path
    inode = path.stat().st_ino
    repository.commit({"a": "new"})
    full = source(repository.url)
    await full.checkout(await full.resolve())
    assert not full._store.shallow
    assert len(await full.log(commits[0], await full.resolve())) == 5
    assert path.stat().st_ino == inode


async def test_fewer_commits_than_the_depth(repository: Repository, source: MakeSource) -> None:
    commit = repository.commit({"a": "1"})
    shop = source(repository.url, depth=10)
    for _ in range(3):
        assert (await shop.checkout(await shop.resolve())).commit == commit


async def test_a_force_push_is_followed(repository: Repository, source: MakeSource) -> None:
    old = repository.commit({"a": "1", "b": "1"})
    shop = source(repository.url)
    path = (await shop.checkout(await shop.resolve())).path
    new = repository.commit({"a": "2"}, orphan=True)
    checkout = await shop.checkout(await shop.resolve())
    assert checkout.commit == new
    assert checkout.changed_files == frozenset({"a", "b"})
    assert not (path / "b").exists()
    back = await shop.checkout(old)
    assert back.changed_files == frozenset({"a", "b"}), "the former commit is kept for going back"


async def test_a_commit_pushed_away_between_looking_and_fetching(repository: Repository, source: MakeSource) -> None:
    seen = repository.commit({"a": "1"})
    shop = source(repository.url)
    assert await shop.resolve() == seen
    repository.commit({"a": "2"}, orphan=True)
    assert ((await shop.checkout(seen)).path / "a").read_text() == "1", "the server still has it"
    unseen = repository.commit({"a": "3"})
    assert await shop.resolve() == unseen
    final = repository.commit({"a": "4"}, orphan=True)
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "-q", "--prune=now")
    with pytest.raises(RevisionGone, match="force push"):
        await shop.checkout(unseen)
    assert (await shop.checkout(await shop.resolve())).commit == final


async def test_a_commit_in_the_store_needs_no_network(
    server: GitHTTPServer, repository: Repository, source: MakeSource
) -> None:
    first, second = history(repository, 2)
    shop = source(repository.url)
    await shop.checkout(await shop.resolve())
    server.requests.clear()
    again = source(repository.url)
    for commit in (first, second):
        assert (await again.checkout(commit)).commit == commit
    assert server.requests == []


@pytest.mark.parametrize("damage", ["empty objects", "no objects", "no HEAD", "broken pack"])
async def test_a_damaged_store_is_fetched_anew(repository: Repository, source: MakeSource, damage: str) -> None:
    repository.commit({f"f{number}": "x" * number for number in range(120)})
    shop = source(repository.url)
    path = (await shop.checkout(await shop.resolve())).path
    inode = (path / "f1").stat().st_ino
    store = shop._store.path
    objects = [file for file in (store / "objects").rglob("*") if file.is_file()]
    if damage == "empty objects":
        # What a power loss leaves of loose objects.
        run_git("repack", "-q", "-a", "-d", cwd=store)
        packs = list((store / "objects/pack").glob("*.pack"))
        loose = packs[0].read_bytes()
        for file in (store / "objects/pack").iterdir():
            file.unlink()
        run_git("unpack-objects", "-q", cwd=store, stdin=loose)
        for file in (store / "objects").rglob("??????????*"):
            if file.is_file():
                file.chmod(0o600)
                file.write_bytes(b"")
    elif damage == "no objects":
        for file in objects:
            file.unlink()
    elif damage == "no HEAD":
        (store / "HEAD").unlink()
        shutil.rmtree(store / "objects")
    else:
        pack = next(file for file in objects if file.suffix == ".pack")
        pack.chmod(0o600)
        content = bytearray(pack.read_bytes())
        content[40 : len(content) // 2] = b"\0" * (len(content) // 2 - 40)
        pack.write_bytes(bytes(content))
    (path / "f7").unlink()
    repository.commit({"f2": "new"})
    again = source(repository.url)
    checkout = await again.checkout(await again.resolve())
    assert (path / "f2").read_text() == "new"
    assert (path / "f7").read_text() == "x" * 7
    assert (path / "f1").stat().st_ino == inode, "repairing the store touches no checkout"
    assert checkout.path == path
    assert run_git("rev-parse", "--is-bare-repository", cwd=store) == "true"
    assert sorted(entry.name for entry in store.parent.iterdir() if entry.name.startswith(store.name)) == [
        store.name,
        f"{store.name}.lock",
    ]


async def test_a_checkout_whose_record_is_lost_is_looked_at_again(repository: Repository, source: MakeSource) -> None:
    commit = repository.commit({"a": "1", "b": "2"})
    shop = source(repository.url)
    path = (await shop.checkout(commit)).path
    before = (path / "a").stat()
    (path / "b").write_text("9")
    shop._workspace.record(path).write_text("{ broken")
    checkout = await source(repository.url).checkout(commit)
    assert checkout.changed_files is None
    after = (path / "a").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert (path / "b").read_text() == "2"
