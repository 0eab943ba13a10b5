"""Images of one Engine: pull, compare with the registry, remove.

The Engine pulls, with the credentials we hand it (`X-Registry-Auth`); its progress comes
back as lines of JSON, of which the steps are logged and the percentages are not. An error
inside the stream is an error, though the HTTP status was 200.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TypeAlias

from reconciler.engine.client import Engine, segment
from reconciler.engine.credentials import Credentials, find_credentials
from reconciler.engine.errors import Conflict, NotFound, PullFailed, Refused, RegistryError
from reconciler.engine.reference import Reference, parse_reference
from reconciler.engine.registry import registry_digest
from reconciler.engine.snapshot import inspect_image
from state.observed import ObservedContext, ObservedImage

PULL_DEADLINE = 3600.0
PULL_SILENCE = 300.0
"""A pull that says nothing for so long is dead."""

Log: TypeAlias = Callable[[str], Awaitable[None]]

_PERCENTAGES = ("Downloading", "Extracting", "Waiting", "Verifying Checksum", "Download complete")


async def pull_image(
    engine: Engine,
    observed: ObservedContext,
    text: str,
    *,
    environ: Mapping[str, str],
    log: Log,
    platform: str = "",
) -> ObservedImage:
    """Pull a reference and return what it is locally from now on."""
    reference = _pullable(text)
    credentials = await find_credentials(reference.credentials_key, environ)
    params = {"fromImage": reference.name, "tag": reference.version}
    if platform:
        params["platform"] = platform
    stream = engine.json_lines(
        "image.pull",
        "POST",
        "images/create",
        params=params,
        headers={"X-Registry-Auth": credentials.header()},
        deadline=PULL_DEADLINE,
        silence=PULL_SILENCE,
    )
    try:
        async with aclosing(stream) as lines:
            async for line in lines:
                if error := line.get("error") or (line.get("errorDetail") or {}).get("message"):
                    raise _pull_failed(text, reference, credentials, str(error))
                status = str(line.get("status") or "")
                if status and not status.startswith(_PERCENTAGES):
                    await log(f"{line['id']}: {status}" if line.get("id") else status)
    except Refused as error:
        raise _pull_failed(text, reference, credentials, error.message) from error
    image = await inspect_image(engine, text)
    if image is None:
        raise PullFailed(f"image {text}: the pull ended well, yet the Engine does not know the image")
    observed.images[text] = image
    return image


async def is_current(engine: Engine, text: str, image: ObservedImage | None, *, environ: Mapping[str, str]) -> bool:
    """Whether the local image is what the registry gives for the reference now.

    A digest reference never changes. Raises `RegistryError` if the registry does not tell.
    """
    reference = parse_reference(text)
    if reference is None or image is None:
        return image is not None
    if reference.digest:
        return True
    digest = await registry_digest(engine, reference, environ)
    return any(known.rpartition("@")[2] == digest for known in image.digests)


async def pull_if_changed(
    engine: Engine,
    observed: ObservedContext,
    text: str,
    *,
    environ: Mapping[str, str],
    log: Log,
    platform: str = "",
) -> str:
    """Pull only if the registry has another image. Returns a warning, empty if all is well: a
    registry that cannot be reached does no harm while the image is there."""
    image = await inspect_image(engine, text)
    try:
        if image is not None and await is_current(engine, text, image, environ=environ):
            await log(f"{text}: the registry has the same image")
            return ""
        await pull_image(engine, observed, text, environ=environ, log=log, platform=platform)
    except (RegistryError, PullFailed) as error:
        if image is None:
            raise
        return f"image {text}: {error}; the local image is used"
    return ""


async def remove_image(engine: Engine, observed: ObservedContext, reference: str) -> str:
    """Remove a reference or id; returns why it was left, empty if it is gone."""
    try:
        await engine.call("image.remove", "DELETE", f"images/{segment(reference)}")
    except NotFound:
        pass
    except Conflict as error:
        return f"image {reference} is left: {error.message}"
    observed.images.pop(reference, None)
    return ""


def _pullable(text: str) -> Reference:
    reference = parse_reference(text)
    if reference is None:
        raise PullFailed(f"image {text} is an image id: it must be there already, no registry can be asked for it")
    return reference


def _pull_failed(text: str, reference: Reference, credentials: Credentials, message: str) -> PullFailed:
    lower = message.lower()
    about_access = any(
        word in lower for word in ("denied", "unauthorized", "authentication", "forbidden", "no basic auth")
    )
    hint = f"; {credentials.hint()}" if about_access else ""
    return PullFailed(f"image {text}: registry {reference.domain}: {message}{hint}")
