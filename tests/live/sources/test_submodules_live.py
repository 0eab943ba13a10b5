"""Submodules: recursive, with relative URLs, switched like everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.sources.errors import SubmoduleFailed
from tests.live.sources.conftest import MakeSource
from tests.support.git_servers import GitHTTPServer


async def test_nested_submodules_with_relative_urls(server: GitHTTPServer, source: MakeSource) -> None:
    leaf = server.create_repo("acme/leaf")
    leaf_one = leaf.commit({"leaf": "1"})
    middle = server.create_repo("acme/middle")
    middle_one = middle.commit({"middle": "1"}, submodules={"deep/leaf": ("../leaf.git", leaf_one)})
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"}, submodules={"mod": ("../middle.git", middle_one)})
    shop = source(repository.url)
    commit = await shop.resolve()
    path = (await shop.checkout(commit)).path
    assert (path / "mod/middle").read_text() == "1"
    assert (path / "mod/deep/leaf/leaf").read_text() == "1"
    ids = await shop.object_ids(commit)
    assert "mod/deep/leaf/leaf" in ids
    assert "a" in ids

    inode = (path / "mod/middle").stat().st_ino
    (path / "mod/data").write_text("precious")
    middle_two = middle.commit({"middle": "2"}, submodules={"deep/leaf": ("../leaf.git", leaf_one)})
    repository.commit({}, submodules={"mod": ("../middle.git", middle_two)})
    checkout = await shop.checkout(await shop.resolve())
    assert checkout.changed_files == frozenset({"mod/middle"})
    assert (path / "mod/middle").read_text() == "2"
    assert (path / "mod/middle").stat().st_ino == inode
    assert (path / "mod/data").read_text() == "precious"


async def test_submodules_may_be_left_out(server: GitHTTPServer, source: MakeSource) -> None:
    module = server.create_repo("acme/module")
    inner = module.commit({"m": "1"})
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"}, submodules={"mod": (module.url, inner)})
    shop = source(repository.url, submodules=False)
    path = (await shop.checkout(await shop.resolve())).path
    assert list((path / "mod").iterdir()) == []


async def test_a_submodule_may_not_name_a_folder_of_this_machine(
    server: GitHTTPServer, source: MakeSource, tmp_path: Path
) -> None:
    module = server.create_repo("acme/module")
    inner = module.commit({"m": "1"})
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"}, submodules={"mod": (f"file://{module.path}", inner)})
    shop = source(repository.url)
    with pytest.raises(SubmoduleFailed, match="submodule mod: it names a folder of this machine"):
        await shop.checkout(await shop.resolve())
    repository.commit({"a": "1"}, submodules={"mod": ("ext::sh -c touch% x", inner)})
    with pytest.raises(SubmoduleFailed, match="submodule mod: invalid Git URL"):
        await shop.checkout(await shop.resolve())


async def test_a_submodule_that_cannot_be_had_fails_the_checkout_and_changes_nothing(
    server: GitHTTPServer, source: MakeSource
) -> None:
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    shop = source(repository.url)
    path = (await shop.checkout(await shop.resolve())).path
    repository.commit({"a": "2"}, submodules={"mod": ("../none.git", "1" * 40)})
    with pytest.raises(SubmoduleFailed, match="submodule mod: no repository at"):
        await shop.checkout(await shop.resolve())
    assert (path / "a").read_text() == "1"


async def test_submodules_of_local_repositories(tmp_path: Path, server: GitHTTPServer, source: MakeSource) -> None:
    module = server.create_repo("acme/module")
    inner = module.commit({"m": "1"})
    repository = server.create_repo("acme/shop")
    repository.commit({"a": "1"}, submodules={"mod": ("../module.git", inner)})
    shop = source(str(repository.path))
    path = (await shop.checkout(await shop.resolve())).path
    assert (path / "mod/m").read_text() == "1"


@pytest.mark.parametrize("damage", ["pack", "everything"])
async def test_a_damaged_store_of_a_submodule_is_fetched_anew(
    server: GitHTTPServer, source: MakeSource, damage: str
) -> None:
    module = server.create_repo("acme/module")
    inner = module.commit({f"m{number}": "x" * number for number in range(120)})
    repository = server.create_repo("acme/shop")
    commit = repository.commit({"a": "1"}, submodules={"mod": ("../module.git", inner)})
    shop = source(repository.url)
    path = (await shop.checkout(commit)).path
    (store,) = (path.parents[2] / ".git-store/modules").glob("*.git")
    for file in (store / "objects").rglob("*"):
        if file.is_file() and (damage == "everything" or file.suffix == ".pack"):
            file.chmod(0o600)
            content = bytearray(file.read_bytes())
            content[40 : len(content) // 2] = b"\0" * max(0, len(content) // 2 - 40)
            file.write_bytes(content if damage == "pack" else b"")
    (path / "mod/m7").unlink()
    await source(repository.url).checkout(commit)
    assert (path / "mod/m7").read_text() == "x" * 7
