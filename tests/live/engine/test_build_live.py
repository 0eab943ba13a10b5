"""Builds on the real Engine, with BuildKit and with the classic builder."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.build import build_digest, build_image
from reconciler.engine.errors import BuildFailed
from reconciler.engine.images import remove_image
from reconciler.planner.specs import BuildRequest, NamedContext
from state.observed import ObservedContext

BUILDERS = pytest.mark.parametrize("environ", [{}, {"DOCKER_BUILDKIT": "0"}], ids=["buildkit", "classic"])


def request_for(folder: Path, tag: str, **fields: Any) -> BuildRequest:
    base: dict[str, Any] = {
        "service": "web",
        "context": str(folder),
        "remote": False,
        "dockerfile": "Dockerfile",
        "dockerfile_inline": "",
        "tags": (tag,),
        "args": {},
        "labels": {"origin": "test"},
    }
    return BuildRequest(**{**base, **fields})


@pytest.fixture
async def tag(engine, project_name) -> AsyncIterator[str]:
    tag = f"{project_name}:built"
    yield tag
    await remove_image(engine, ObservedContext("x"), tag)


@pytest.fixture
def observed() -> ObservedContext:
    return ObservedContext("default")


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def log(lines):
    async def log(line: str) -> None:
        lines.append(line)

    return log


async def _run(engine, image: str, *command: str) -> str:
    """What a command prints in a container of the image."""
    done = subprocess.run(["docker", "run", "--rm", image, *command], capture_output=True, text=True, check=True)
    return done.stdout


@BUILDERS
async def test_a_folder_is_built_with_arguments_labels_and_target(engine, observed, log, lines, tag, tmp_path, environ):
    (tmp_path / "file.txt").write_text("content\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM moored/busybox:1 AS first\nARG WHO\nCOPY file.txt /file.txt\nRUN echo hello-$WHO && echo $WHO > /who\n"
        "FROM first AS second\nRUN exit 1\n"
    )
    request = request_for(tmp_path, tag, args={"WHO": "moored"}, target="first")
    image = await build_image(engine, observed, request, environ=environ, log=log)
    assert image.labels["origin"] == "test"
    assert await _run(engine, tag, "cat", "/file.txt", "/who") == "content\nmoored\n"
    assert any("hello-moored" in line for line in lines)


@BUILDERS
async def test_an_inline_dockerfile_is_built_as_written(engine, observed, log, tag, tmp_path, environ):
    (tmp_path / "Dockerfile").write_text("FROM moored/busybox:1\nRUN exit 1\n")
    (tmp_path / "here.txt").write_text("here\n")
    inline = "FROM moored/busybox:1\nCOPY here.txt /\nCMD cat /here.txt\n"
    request = request_for(tmp_path, tag, dockerfile="", dockerfile_inline=inline)
    await build_image(engine, observed, request, environ=environ, log=log)
    assert await _run(engine, tag) == "here\n"


@BUILDERS
async def test_a_dockerfile_outside_the_context_is_used(engine, observed, log, tag, tmp_path, environ):
    context = tmp_path / "context"
    context.mkdir()
    (tmp_path / "Other.docker").write_text("FROM moored/busybox:1\nCOPY . /all\nCMD ls -A /all\n")
    (context / "a").write_text("")
    await build_image(
        engine, observed, request_for(context, tag, dockerfile="../Other.docker"), environ=environ, log=log
    )
    listed = (await _run(engine, tag)).split()
    assert "a" in listed


@BUILDERS
async def test_images_as_additional_contexts(engine, observed, log, tag, tmp_path, environ):
    (tmp_path / "Dockerfile").write_text("FROM base\nCOPY --from=tool /bin/busybox /copied\n")
    base = f"{tag}-base"
    inline = "FROM moored/busybox:1\nRUN echo from-the-base > /who\n"
    contexts = (NamedContext("base", base, built_here=True), NamedContext("tool", "moored/busybox:1", built_here=False))
    try:
        first = request_for(tmp_path, base, dockerfile="", dockerfile_inline=inline)
        await build_image(engine, observed, first, environ=environ, log=log)
        request = request_for(tmp_path, tag, contexts=contexts)
        await build_image(engine, observed, request, environ=environ, log=log)
        # What was built here is nowhere else: who asks for newer bases does not look for it.
        (tmp_path / "Dockerfile").write_text("FROM base\nRUN echo again > /copied\n")
        request = request_for(tmp_path, tag, contexts=contexts[:1], pull=True)
        await build_image(engine, observed, request, environ=environ, log=log)
        assert await _run(engine, tag, "cat", "/who") == "from-the-base\n"
        assert await _run(engine, tag, "cat", "/copied") == "again\n"
    finally:
        await remove_image(engine, ObservedContext("x"), base)


@BUILDERS
async def test_a_failing_step_fails_with_its_last_lines(engine, observed, log, tag, tmp_path, environ):
    (tmp_path / "Dockerfile").write_text("FROM moored/busybox:1\nRUN echo about-to-fail; exit 7\n")
    with pytest.raises(BuildFailed) as caught:
        await build_image(engine, observed, request_for(tmp_path, tag), environ=environ, log=log)
    assert "service web" in str(caught.value)
    assert "7" in str(caught.value)
    assert "about-to-fail" in str(caught.value)


async def test_run_mounts_of_buildkit_work(engine, observed, log, tag, tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "FROM moored/busybox:1\nRUN --mount=type=cache,target=/cache echo x > /cache/f && cp /cache/f /kept\n"
    )
    await build_image(engine, observed, request_for(tmp_path, tag), environ={}, log=log)
    assert await _run(engine, tag, "cat", "/kept") == "x\n"


IGNORES = {
    "*": ["!keep.txt", "!sub/inner.txt"],
    "**/*.log": [],
    "sub": ["!sub/inner.txt"],
    "sub/*.txt": ["!sub/inner.txt", "# a comment"],
    "/keep.txt": ["  sub/deep/  "],
    "su?": [],
    "**/deep": [],
    "Dockerfile": [".dockerignore"],
    "./sub/../keep.txt": [],
    "sub/deep/**": ["!sub/deep/more/one.log"],
}


@pytest.mark.parametrize("first", sorted(IGNORES))
async def test_dockerignore_means_what_docker_says(engine, observed, log, tag, tmp_path, first):
    """The oracle is Docker's own client, which filters a context on its side too."""
    (tmp_path / ".dockerignore").write_text("\n".join([first, *IGNORES[first]]) + "\n")
    (tmp_path / "Dockerfile").write_text("FROM moored/busybox:1\nCOPY . /all\nCMD cd /all && find . -type f | sort\n")
    for name in (
        "keep.txt",
        "a.log",
        "sub/inner.txt",
        "sub/other.txt",
        "sub/b.log",
        "sub/deep/c.txt",
        "sub/deep/more/one.log",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    environ = {"DOCKER_BUILDKIT": "0"}
    await build_image(engine, observed, request_for(tmp_path, tag), environ=environ, log=log)
    ours = await _run(engine, tag)
    subprocess.run(
        ["docker", "build", "-q", "-t", tag, str(tmp_path)],
        env={"DOCKER_BUILDKIT": "0", "PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    assert ours == await _run(engine, tag)


def test_the_digest_changes_with_each_input_and_with_nothing_else(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY a /\n")
    (tmp_path / ".dockerignore").write_text("ignored\n")
    (tmp_path / "a").write_text("1")
    request = request_for(tmp_path, "x:1")
    first = build_digest(request)
    (tmp_path / "ignored").write_text("whatever")
    (tmp_path / "a").touch()
    assert build_digest(request) == first
    assert build_digest(request_for(tmp_path, "y:2", no_cache=True)) == first
    assert build_digest(request_for(tmp_path, "x:1", args={"A": "1"})) != first
    (tmp_path / "a").write_text("2")
    second = build_digest(request)
    assert second != first
    (tmp_path / "a").chmod(0o755)
    assert build_digest(request) != second


def test_a_missing_context_or_dockerfile_is_named(tmp_path):
    with pytest.raises(BuildFailed, match="expected a folder, found nothing"):
        build_digest(request_for(tmp_path / "absent", "x:1"))
    with pytest.raises(BuildFailed, match="Dockerfile"):
        build_digest(request_for(tmp_path, "x:1"))
