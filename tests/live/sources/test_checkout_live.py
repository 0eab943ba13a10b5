"""What happens to the files of a checkout when its commit changes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anyio
import pytest

from reconciler.sources.errors import CheckoutConflict, UnsafePath
from reconciler.sources.git import GitSource
from tests.live.sources.conftest import MakeSource
from tests.support.git_servers import GitHTTPServer, Repository, run_git


@pytest.fixture
def repository(server: GitHTTPServer) -> Repository:
    return server.create_repo("acme/shop")


async def bring(source: GitSource) -> Path:
    return (await source.checkout(await source.resolve())).path


async def test_the_first_reference_lies_where_doco_cd_had_it(
    repository: Repository, server: GitHTTPServer, source: MakeSource, data: Path
) -> None:
    repository.commit({"a": "1"})
    repository.commit({"a": "dev"}, branch="dev")
    main = await bring(source(repository.url, "main"))
    dev = await bring(source(repository.url, "dev"))
    assert main == data / f"127.0.0.1_{server.port}/acme/shop"
    assert (main / "a").read_text() == "1"
    assert (dev / "a").read_text() == "dev"
    assert await bring(source(repository.url, "refs/heads/main")) == main
    assert await bring(source(repository.url, "refs/heads/dev")) == dev


async def test_only_files_whose_content_changed_are_touched(repository: Repository, source: MakeSource) -> None:
    repository.commit({"same": "1", "changed": "long content", "d/gone": "x"})
    shop = source(repository.url)
    path = await bring(shop)
    same, changed = (path / "same").stat(), (path / "changed").stat()
    open_file = (path / "changed").open()
    repository.commit({"changed": "short", "d/gone": None, "new": "n"})
    checkout = await shop.checkout(await shop.resolve())
    assert checkout.changed_files == frozenset({"changed", "d/gone", "new"})
    after = (path / "same").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (same.st_ino, same.st_mtime_ns, same.st_ctime_ns)
    assert (path / "changed").stat().st_ino == changed.st_ino, "a bind mount of the file must see the new content"
    assert open_file.read() == "short"
    assert not (path / "d").exists()
    assert (path / "new").read_text() == "n"


async def test_untracked_files_survive_updates_force_push_and_restart(
    repository: Repository, source: MakeSource
) -> None:
    repository.commit({"d/a": "1"})
    path = await bring(source(repository.url))
    (path / "d/data.db").write_text("precious")
    (path / "own").mkdir()
    (path / "own/x").write_text("y")
    repository.commit({"d/a": None, "e": "2"})
    await bring(source(repository.url))
    repository.commit({"z": "3"}, orphan=True)
    await bring(source(repository.url))
    assert (path / "d/data.db").read_text() == "precious"
    assert (path / "own/x").read_text() == "y"
    assert sorted(entry.name for entry in path.iterdir()) == ["d", "own", "z"]


async def test_modified_and_deleted_tracked_files_are_restored(repository: Repository, source: MakeSource) -> None:
    commit = repository.commit({"a": "1", "b": "2", "c": "3"}, executable=("c",))
    shop = source(repository.url)
    path = await bring(shop)
    inode = (path / "a").stat().st_ino
    (path / "a").write_text("9")
    (path / "b").unlink()
    (path / "c").chmod(0o644)
    checkout = await shop.checkout(commit)
    assert checkout.changed_files == frozenset()
    assert [(path / name).read_text() for name in "abc"] == ["1", "2", "3"]
    assert (path / "a").stat().st_ino == inode
    assert os.access(path / "c", os.X_OK)


async def test_a_change_within_one_time_stamp_is_noticed(repository: Repository, source: MakeSource) -> None:
    commit = repository.commit({"a": "1"})
    shop = source(repository.url)
    path = await bring(shop)
    before = (path / "a").stat()
    (path / "a").write_text("2")
    os.utime(path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    await shop.checkout(commit)
    assert (path / "a").read_text() == "1"


async def test_modes_and_links_follow_the_commit(repository: Repository, source: MakeSource) -> None:
    repository.commit({"run": "#!/bin/sh\n", "t": "x"}, links={"link": "t"})
    shop = source(repository.url)
    path = await bring(shop)
    assert (path / "link").readlink() == Path("t")
    assert not os.access(path / "run", os.X_OK)
    assert (path / "t").stat().st_mode & 0o777 == 0o644
    repository.commit({"run": "#!/bin/sh\n"}, links={"link": "run"}, executable=("run",))
    await bring(shop)
    assert (path / "link").readlink() == Path("run")
    assert os.access(path / "run", os.X_OK)
    repository.commit({"link": "a file now"})
    await bring(shop)
    assert (path / "link").read_text() == "a file now"
    assert (path / "t").read_text() == "x"


async def test_a_folder_may_become_a_file_and_back(repository: Repository, source: MakeSource) -> None:
    repository.commit({"x/one": "1", "x/two": "2"})
    shop = source(repository.url)
    path = await bring(shop)
    repository.commit({"x/one": None, "x/two": None, "x": "file"})
    await bring(shop)
    assert (path / "x").read_text() == "file"
    repository.commit({"x": None, "x/deep/er": "3"})
    await bring(shop)
    assert (path / "x/deep/er").read_text() == "3"


async def test_an_empty_folder_docker_made_gives_way_to_a_file(repository: Repository, source: MakeSource) -> None:
    repository.commit({"a": "1"})
    shop = source(repository.url)
    path = await bring(shop)
    (path / "conf.yml").mkdir()
    repository.commit({"conf.yml": "x: 1"})
    await bring(shop)
    assert (path / "conf.yml").read_text() == "x: 1"


async def test_untracked_data_in_the_way_is_refused_by_name(repository: Repository, source: MakeSource) -> None:
    repository.commit({"a": "1"})
    shop = source(repository.url)
    path = await bring(shop)
    (path / "conf").mkdir()
    (path / "conf/data").write_text("precious")
    (path / "dir").write_text("precious")
    repository.commit({"conf": "file"})
    with pytest.raises(CheckoutConflict, match="folder with untracked files stands there: conf/data"):
        await bring(shop)
    repository.commit({"conf": None, "dir/file": "x"})
    with pytest.raises(CheckoutConflict, match="dir is a folder in the repository, but an untracked file stands"):
        await bring(shop)
    assert (path / "conf/data").read_text() == "precious"
    assert (path / "dir").read_text() == "precious"


async def test_links_are_never_followed_out_of_the_checkout(
    repository: Repository, source: MakeSource, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    (outside / "gone").write_text("untouched")
    repository.commit({"d/file": "1", "d/gone": "1", "f": "1"})
    shop = source(repository.url)
    path = await bring(shop)
    # A container plants links where tracked files and folders were.
    for name in ("file", "gone"):
        (path / "d" / name).unlink()
    (path / "d").rmdir()
    (path / "d").symlink_to(outside)
    (path / "f").unlink()
    (path / "f").symlink_to(outside / "file")
    repository.commit({"d/file": "2", "d/gone": None, "f": "2"})
    await bring(shop)
    assert (outside / "file").read_text() == "untouched"
    assert (outside / "gone").read_text() == "untouched"
    assert not (path / "d").is_symlink()
    assert not (path / "f").is_symlink()
    assert (path / "d/file").read_text() == (path / "f").read_text() == "2"
    # The repository itself names a link out of it, then a folder in its place.
    repository.commit({"d/file": None}, links={"d": str(outside)})
    await bring(shop)
    repository.commit({"d": None, "d/file": "3"})
    await bring(shop)
    assert (outside / "file").read_text() == "untouched"
    assert (path / "d/file").read_text() == "3"


async def test_a_hard_link_to_elsewhere_is_not_written_through(
    repository: Repository, source: MakeSource, tmp_path: Path
) -> None:
    repository.commit({"a": "1"})
    shop = source(repository.url)
    path = await bring(shop)
    (tmp_path / "other").hardlink_to(path / "a")
    repository.commit({"a": "2"})
    await bring(shop)
    assert (path / "a").read_text() == "2"
    assert (tmp_path / "other").read_text() == "1"


async def test_a_running_program_is_replaced(repository: Repository, source: MakeSource) -> None:
    program = Path("/bin/sleep").resolve().read_bytes()
    repository.commit({"run": program}, executable=("run",))
    shop = source(repository.url)
    path = await bring(shop)
    with subprocess.Popen([str(path / "run"), "60"]) as running:
        repository.commit({"run": "#!/bin/sh\n"}, executable=("run",))
        await bring(shop)
        running.kill()
    assert (path / "run").read_text() == "#!/bin/sh\n"


async def test_a_path_that_leaves_the_checkout_is_refused(repository: Repository, source: MakeSource) -> None:
    blob = run_git("hash-object", "-w", "--stdin", cwd=repository.path, stdin=b"evil")
    tree = bytes.fromhex(blob)
    inner = run_git(
        "hash-object", "-w", "-t", "tree", "--literally", "--stdin", cwd=repository.path, stdin=b"100644 hook\0" + tree
    )
    outer = run_git(
        "hash-object",
        "-w",
        "-t",
        "tree",
        "--literally",
        "--stdin",
        cwd=repository.path,
        stdin=b"40000 ..\0" + bytes.fromhex(inner),
    )
    commit = run_git("commit-tree", outer, "-m", "evil", cwd=repository.path)
    repository.set_branch("main", commit)
    with pytest.raises(UnsafePath, match=r"'\.\./hook', which would leave the checkout"):
        await bring(source(repository.url))


async def test_a_crash_in_the_middle_is_repaired_by_the_next_checkout(
    repository: Repository, source: MakeSource
) -> None:
    first = repository.commit({f"f{number}": "1" for number in range(40)})
    path = await bring(source(repository.url))
    repository.commit({**{f"f{number}": "2" for number in range(39)}, "f39": None, "new": "2"})

    shop = source(repository.url)
    second = await shop.resolve()
    from reconciler.sources import worktree

    written = 0
    original = worktree._write

    def write_and_die(*arguments: object) -> object:
        nonlocal written
        written += 1
        if written == 21:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    worktree._write = write_and_die  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            await shop.checkout(second)
    finally:
        worktree._write = original
    third = repository.commit({"f0": "3", "new": None})
    again = source(repository.url)
    checkout = await again.checkout(await again.resolve())
    assert checkout.commit == third
    everything = frozenset(f"f{number}" for number in range(40))
    assert checkout.changed_files == everything, "compared with the last complete commit"
    assert {entry.name: entry.read_text() for entry in path.iterdir()} == {
        "f0": "3",
        **{f"f{number}": "2" for number in range(1, 39)},
    }
    assert first != third


async def test_two_references_at_once(repository: Repository, source: MakeSource) -> None:
    branches = [f"b{number}" for number in range(4)]
    for branch in branches:
        repository.commit({"a": branch, "common": "x"}, branch=branch)
    workspace = source(repository.url)._workspace
    from state.model import SourceKind, SourceSpec

    found: dict[str, Path] = {}

    async def one(branch: str) -> None:
        found[branch] = await bring(workspace.source(SourceSpec(SourceKind.GIT, repository.url, branch)))

    async with anyio.create_task_group() as tasks:
        for branch in branches:
            tasks.start_soon(one, branch)
    assert {branch: (path / "a").read_text() for branch, path in found.items()} == {name: name for name in branches}
    assert len(set(found.values())) == 4


async def test_a_local_repository_with_a_file_named_config(tmp_path: Path, source: MakeSource, data: Path) -> None:
    folder = tmp_path / "srv/app"
    folder.mkdir(parents=True)
    run_git("init", "-q", "-b", "main", cwd=folder)
    (folder / "config").write_text("mine")
    run_git("add", "-A", cwd=folder)
    run_git("commit", "-q", "-m", "first", cwd=folder)
    for url in (str(folder), f"file://{folder}"):
        path = await bring(source(url))
        assert path == data / str(folder).lstrip("/")
        assert (path / "config").read_text() == "mine"


async def test_a_checkout_of_doco_cd_is_taken_over(
    repository: Repository, server: GitHTTPServer, source: MakeSource, data: Path
) -> None:
    repository.commit({"stays": "1", "goes": "1"})
    path = data / f"127.0.0.1_{server.port}/acme/shop"
    path.parent.mkdir(parents=True)
    run_git("clone", "-q", repository.url, str(path))
    (path / "data.db").write_text("precious")
    before = (path / "stays").stat()
    repository.commit({"goes": None, "comes": "2"})
    assert await bring(source(repository.url)) == path
    after = (path / "stays").stat()
    # Reading a file moves its access time; writing it would move one of these.
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert not (path / "goes").exists()
    assert (path / "data.db").read_text() == "precious"
    assert (path / "comes").read_text() == "2"


async def test_object_ids_and_the_log(repository: Repository, source: MakeSource) -> None:
    first = repository.commit({"a": "1", "d/b": "2"})
    second = repository.commit({"a": "2"}, "second: say “why”")
    third = repository.commit({"a": "3"}, "third")
    shop = source(repository.url)
    await bring(shop)
    assert await shop.object_ids(first) == {
        "a": run_git("hash-object", "--stdin", stdin=b"1"),
        "d/b": run_git("hash-object", "--stdin", stdin=b"2"),
    }
    assert [(commit.hash, commit.subject, commit.author) for commit in await shop.log(first, third)] == [
        (third, "third", "Ann Author"),
        (second, "second: say “why”", "Ann Author"),
    ]
    assert await shop.log("0" * 40, third) == ()
