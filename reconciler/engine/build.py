"""Building an image on the Engine.

By default with BuildKit inside the Engine (`POST /build?version=2`, no session): fast,
cached, `RUN --mount`. Without a session it has no registry credentials, so base images
are pulled beforehand with ours wherever they are missing or a newer one is asked for. The
classic builder (`DOCKER_BUILDKIT=0`, or an Engine that lacks BuildKit) gets credentials in
its own header. A Git or HTTP context is fetched by the Engine.

`build_digest` is what "rebuild only when an input changed" compares: the content of the
context and everything of the request that shapes the result.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import IO, Any

import anyio
import anyio.to_thread

from reconciler.engine.buildkit import TraceReader
from reconciler.engine.client import Engine
from reconciler.engine.context import CHUNK, BuildContext, context_digest, open_context, write_archive
from reconciler.engine.credentials import all_credentials, find_credentials
from reconciler.engine.errors import BuildFailed, EngineError, Refused
from reconciler.engine.images import Log, pull_image
from reconciler.engine.reference import parse_reference
from reconciler.engine.snapshot import inspect_image
from reconciler.engine.stages import with_stages
from reconciler.planner.specs import BuildRequest
from state.observed import ObservedContext, ObservedImage

BUILD_DEADLINE = 3600.0
BUILD_SILENCE = 900.0
"""A build that says nothing for so long is dead."""
LAST_LINES = 20
IN_MEMORY = 8 << 20

_FROM = re.compile(r"^\s*FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE | re.MULTILINE)
_ARG = re.compile(r"^\s*ARG\s+(\w+)(?:=(\S*))?\s*$", re.IGNORECASE | re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)")


async def build_image(
    engine: Engine,
    observed: ObservedContext,
    request: BuildRequest,
    *,
    environ: Mapping[str, str],
    log: Log,
) -> ObservedImage:
    """Build and tag; returns what the first tag is locally from now on."""
    classic = environ.get("DOCKER_BUILDKIT") == "0"
    # The classic builder pulls by itself, but then also what was built here and is nowhere else.
    builder_pulls = request.remote or (classic and not any(named.built_here for named in request.contexts))
    params = _params(request, classic=classic, pull=request.pull and builder_pulls)
    headers = {"Content-Type": "application/x-tar"}
    if classic:
        config = json.dumps(await all_credentials(environ)).encode()
        headers["X-Registry-Config"] = base64.urlsafe_b64encode(config).decode()
    if request.remote:
        params["remote"] = request.context
        image_id = await _send(engine, request, params, headers, None, log)
    else:
        context = await anyio.to_thread.run_sync(
            open_context, request.context, request.dockerfile, request.dockerfile_inline
        )
        if request.contexts:
            context = await anyio.to_thread.run_sync(with_stages, context, request.contexts)
        params["dockerfile"] = context.dockerfile
        if not builder_pulls:
            await _pull_bases(engine, observed, request, context, environ, log)
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as archive:
            await anyio.to_thread.run_sync(lambda: write_archive(context, archive, hide_dockerfile=classic))
            archive.seek(0)
            image_id = await _send(engine, request, params, headers, _chunks(archive), log)
    image = await inspect_image(engine, request.tags[0])
    if image is None:
        raise BuildFailed(f"image {request.tags[0]} of service {request.service}: built as {image_id}, but not tagged")
    for tag in request.tags:
        observed.images[tag] = image
    return image


def build_digest(request: BuildRequest) -> str:
    """SHA-256 of everything that shapes the image. Blocking: it reads the context."""
    shape = asdict(request)
    for transient in ("no_cache", "pull", "cache_from", "service", "context", "tags"):
        del shape[transient]
    shape["labels"] = {
        key: value for key, value in request.labels.items() if not key.startswith(("com.docker.", "io.moored."))
    }
    if request.remote:
        shape["context"] = request.context
    else:
        shape["context"] = context_digest(request.context, request.dockerfile, request.dockerfile_inline)
    return hashlib.sha256(json.dumps(shape, sort_keys=True, default=list).encode()).hexdigest()


def base_images(dockerfile: str, args: Mapping[str, str]) -> list[str]:
    """The external images a Dockerfile starts from, as far as its global arguments tell."""
    first = re.search(r"^\s*FROM\s", dockerfile, re.IGNORECASE | re.MULTILINE)
    head = dockerfile[: first.start()] if first else ""
    values = {name: args.get(name, default.strip("\"'")) for name, default in _ARG.findall(head)}

    def fill(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(3)
        return values.get(name) or match.group(2) or ""

    stages: set[str] = set()
    bases: list[str] = []
    for reference, stage in _FROM.findall(dockerfile):
        base = _VARIABLE.sub(fill, reference)
        if base and base != "scratch" and base.lower() not in stages and base not in bases:
            bases.append(base)
        if stage:
            stages.add(stage.lower())
    return bases


def _params(request: BuildRequest, *, classic: bool, pull: bool) -> dict[str, Any]:
    params: dict[str, Any] = {
        "version": "1" if classic else "2",
        "t": list(request.tags),
        "rm": True,
        "forcerm": True,
        "buildargs": json.dumps(dict(request.args), sort_keys=True),
        "labels": json.dumps(dict(request.labels), sort_keys=True),
    }
    if request.dockerfile:
        params["dockerfile"] = request.dockerfile
    optional = {
        "target": request.target,
        "networkmode": request.network,
        "platform": request.platform,
        "extrahosts": list(request.extra_hosts),
        "nocache": request.no_cache,
        "pull": pull,
        "shmsize": request.shm_size,
        "cachefrom": json.dumps(list(request.cache_from)) if request.cache_from else "",
        "ulimits": json.dumps(list(request.ulimits)) if request.ulimits else "",
    }
    return params | {key: value for key, value in optional.items() if value}


async def _pull_bases(
    engine: Engine,
    observed: ObservedContext,
    request: BuildRequest,
    context: BuildContext,
    environ: Mapping[str, str],
    log: Log,
) -> None:
    content = await anyio.to_thread.run_sync(context.read_dockerfile)
    built_here = {named.reference for named in request.contexts if named.built_here}
    for base in base_images(content.decode("utf-8", "replace"), request.args):
        if base in built_here:
            continue
        reference = parse_reference(base)
        if reference is None:
            continue
        present = await inspect_image(engine, base) is not None
        if present and not request.pull:
            continue
        if request.pull or (await find_credentials(reference.credentials_key, environ)).known:
            await pull_image(engine, observed, base, environ=environ, log=log, platform=request.platform)


async def _send(
    engine: Engine,
    request: BuildRequest,
    params: Mapping[str, Any],
    headers: Mapping[str, str],
    body: AsyncIterator[bytes] | None,
    log: Log,
) -> str:
    """Run the build; returns the image's id."""
    trace = TraceReader()
    last: deque[str] = deque(maxlen=LAST_LINES)
    image_id = ""
    stream = engine.json_lines(
        "image.build",
        "POST",
        "build",
        params=params,
        data=body,
        headers=headers,
        deadline=BUILD_DEADLINE,
        silence=BUILD_SILENCE,
    )
    try:
        async with aclosing(stream) as answers:
            async for answer in answers:
                if error := answer.get("error") or (answer.get("errorDetail") or {}).get("message"):
                    raise _failed(request, str(error), last)
                aux = answer.get("aux")
                if isinstance(aux, Mapping) and aux.get("ID"):
                    image_id = str(aux["ID"])
                for line in _output(answer, trace):
                    last.append(line)
                    await log(line)
    except Refused as error:
        raise _failed(request, error.message, last) from error
    if not image_id:
        raise _failed(request, "the builder ended without an image", last)
    return image_id


def _output(answer: Mapping[str, Any], trace: TraceReader) -> list[str]:
    if answer.get("id") == "moby.buildkit.trace":
        return trace.lines(str(answer.get("aux") or ""))
    text = str(answer.get("stream") or answer.get("status") or "")
    return [line for line in text.rstrip("\n").split("\n") if line.strip()]


def _failed(request: BuildRequest, message: str, last: deque[str]) -> EngineError:
    lines = "".join(f"\n  {line}" for line in last)
    return BuildFailed(f"build of service {request.service} ({request.tags[0]}): {message.strip()}{lines}")


async def _chunks(archive: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await anyio.to_thread.run_sync(archive.read, CHUNK):
        yield chunk
