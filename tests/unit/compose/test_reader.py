"""A repository cannot make the loader read what lies outside of it, and everything read is recorded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from reconciler.compose import ComposeError, DiskReader, InputFile, LoadRequest, MemoryReader, load_project

PLAIN = "services: {a: {image: x}}\n"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "outside"
    folder.mkdir()
    (folder / "secret.yaml").write_text("services: {b: {image: x}}\n")
    (folder / "secret.env").write_text("PASSWORD=hunter2\n")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "checkout"
    folder.mkdir()
    return folder


def load(root: Path, text: str) -> None:
    (root / "compose.yaml").write_text(text)
    load_project(LoadRequest(files=("compose.yaml",), project_name="case", cwd=str(root)), DiskReader(str(root)))


@pytest.mark.parametrize(
    "text",
    [
        "include: [../outside/secret.yaml]\nservices: {a: {image: x}}\n",
        "services: {a: {image: x, extends: {file: ../outside/secret.yaml, service: b}}}\n",
        "services: {a: {image: x, env_file: ../outside/secret.env}}\n",
        "services: {a: {image: x, label_file: ../outside/secret.env}}\n",
        "services: {a: {image: x, env_file: link.env}}\n",
        "services: {a: {image: x, env_file: folder/secret.env}}\n",
        "include: [{path: compose2.yaml, env_file: ../outside/secret.env}]\nservices: {a: {image: x}}\n",
        "services: {a: {image: x, env_file: /etc/passwd}}\n",
    ],
)
def test_files_outside_of_the_root_are_not_read(root: Path, outside: Path, text: str) -> None:
    (root / "link.env").symlink_to(outside / "secret.env")
    (root / "folder").symlink_to(outside)
    (root / "compose2.yaml").write_text("services: {c: {image: x}}\n")
    with pytest.raises(ComposeError) as caught:
        load(root, text)
    assert "hunter2" not in str(caught.value)


def test_symbolic_links_within_the_root_are_followed(root: Path) -> None:
    (root / "real.env").write_text("A=1\n")
    (root / "link.env").symlink_to("real.env")
    load(root, "services: {a: {image: x, env_file: link.env}}\n")


def test_a_file_that_is_too_large_is_refused(root: Path) -> None:
    (root / "compose.yaml").write_text(PLAIN + "#" * 2_000)
    reader = DiskReader(str(root), max_bytes=1_000)
    with pytest.raises(ComposeError, match="larger than 1000 bytes"):
        load_project(LoadRequest(files=("compose.yaml",), cwd=str(root)), reader)


def test_binds_to_absolute_host_paths_are_no_reads(root: Path) -> None:
    load(root, "services: {a: {image: x, volumes: ['/etc/passwd:/p']}}\n")


def test_everything_that_was_read_is_recorded_and_what_was_looked_for_too() -> None:
    files = {
        "/p/compose.yaml": "include: [s/inc.yaml]\n"
        "services: {a: {extends: {file: base.yaml, service: b}, "
        "env_file: [e.env, {path: none.env, required: false}], label_file: l}}\n",
        "/p/s/inc.yaml": "services: {c: {image: x}}\n",
        "/p/base.yaml": "services: {b: {image: x}}\n",
        "/p/.env": "A=1\n",
        "/p/e.env": "B=1\n",
        "/p/l": "x=1\n",
    }
    project = load_project(LoadRequest(files=("/p/compose.yaml",), project_name="case"), MemoryReader(files))
    digests = {item.path: item.digest for item in project.inputs}
    assert {path for path, digest in digests.items() if digest} == set(files)
    assert digests["/p/none.env"] == digests["/p/s/.env"] == ""
    assert InputFile("/p/l", hashlib.sha256(b"x=1\n").hexdigest()) in project.inputs


def test_remote_references_need_a_resolver() -> None:
    text = "include: ['https://example.org/team/stack.git#main:compose.yaml']\nservices: {a: {image: x}}\n"
    request = LoadRequest(files=("/p/compose.yaml",), project_name="case")
    with pytest.raises(ComposeError, match=r"cannot load https://example\.org"):
        load_project(request, MemoryReader({"/p/compose.yaml": text}))

    class Resolver:
        def fetch(self, reference: str) -> str:
            return "/remote/compose.yaml"

    reader = MemoryReader({"/p/compose.yaml": text, "/remote/compose.yaml": "services: {r: {image: y}}\n"})
    assert set(load_project(request, reader, resolver=Resolver()).services) == {"a", "r"}
