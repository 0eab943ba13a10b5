"""Which digest a tag has in its registry, without pulling anything.

One `HEAD` of the manifest, asking for lists of platforms first, because that is the
digest which the Engine remembers (`RepoDigests`) for what it pulled by tag. Registries on
the loopback network may speak plain HTTP, as the Engine allows by default. A registry
that only the Engine can reach (mirrors, other networks) is asked through the Engine.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping

import aiohttp
import anyio

from reconciler.engine.client import Engine, segment
from reconciler.engine.credentials import Credentials, find_credentials
from reconciler.engine.errors import EngineError, EngineUnreachable, RegistryError
from reconciler.engine.reference import Reference

DEADLINE = 30.0
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


async def registry_digest(engine: Engine, reference: Reference, environ: Mapping[str, str]) -> str:
    """The digest of `reference` in its registry now."""
    credentials = await find_credentials(reference.credentials_key, environ)
    try:
        with anyio.fail_after(DEADLINE):
            return await _head_manifest(reference, credentials)
    except TimeoutError:
        direct = RegistryError(f"no answer within {DEADLINE:g} s", unreachable=True)
    except (aiohttp.ClientError, OSError) as error:
        direct = RegistryError(str(error) or type(error).__name__, unreachable=True)
    except RegistryError as error:
        direct = error
    try:
        answer = await engine.call(
            "distribution.inspect",
            "GET",
            f"distribution/{segment(str(reference))}/json",
            headers={"X-Registry-Auth": credentials.header()},
            deadline=DEADLINE,
        )
        return str(answer["Descriptor"]["digest"])
    except EngineUnreachable as error:
        raise RegistryError(f"{reference}: {direct}; through the Engine: {error}", unreachable=True) from error
    except EngineError as error:
        raise RegistryError(
            f"{reference}: {direct}; through the Engine: {error}; {credentials.hint()}", unreachable=direct.unreachable
        ) from error


def is_loopback(host: str) -> bool:
    """Whether the Engine, too, speaks plain HTTP to this registry by default."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = (name or host).strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _head_manifest(reference: Reference, credentials: Credentials) -> str:
    async with aiohttp.ClientSession(trust_env=True) as session:
        schemes = ("https", "http") if is_loopback(reference.api_host) else ("https",)
        for scheme in schemes:
            try:
                return await _head_over(session, scheme, reference, credentials)
            except (aiohttp.ClientConnectorError, aiohttp.ClientSSLError, aiohttp.ServerDisconnectedError):
                if scheme == schemes[-1]:
                    raise
    raise AssertionError("unreachable: the last scheme returns or raises")


async def _head_over(
    session: aiohttp.ClientSession, scheme: str, reference: Reference, credentials: Credentials
) -> str:
    url = f"{scheme}://{reference.api_host}/v2/{reference.path}/manifests/{reference.version}"
    headers = {"Accept": ACCEPT}
    async with session.head(url, headers=headers, allow_redirects=True) as response:
        if response.status != 401:
            return _digest(response, reference)
        challenge = response.headers.get("WWW-Authenticate", "")
    headers["Authorization"] = await _answer(session, challenge, reference, credentials)
    async with session.head(url, headers=headers, allow_redirects=True) as response:
        return _digest(response, reference)


def _digest(response: aiohttp.ClientResponse, reference: Reference) -> str:
    digest = response.headers.get("Docker-Content-Digest", "")
    if response.status == 200 and digest:
        return digest
    meaning = {
        401: "the credentials were refused",
        403: "access was denied",
        404: "no such image or tag",
        429: "too many requests (rate limit)",
    }.get(response.status, "no digest in the answer" if response.status == 200 else "unexpected answer")
    raise RegistryError(
        f"registry {reference.domain} answered {response.status} for {reference}: {meaning}",
        unreachable=response.status == 429 or response.status >= 500,
    )


async def _answer(
    session: aiohttp.ClientSession, challenge: str, reference: Reference, credentials: Credentials
) -> str:
    """The `Authorization` that a registry's challenge asks for."""
    kind, _, rest = challenge.partition(" ")
    login = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
    basic = f"Basic {login}" if credentials.username else ""
    if kind.lower() == "basic":
        if not basic:
            raise RegistryError(f"registry {reference.domain} wants a login; {credentials.hint()}")
        return basic
    if kind.lower() != "bearer":
        raise RegistryError(f'registry {reference.domain} asks for an unknown authentication "{kind}"')
    fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    query = {"service": fields.get("service", ""), "scope": fields.get("scope", f"repository:{reference.path}:pull")}
    realm = fields.get("realm", "")
    if not realm.startswith(("https://", "http://")):
        raise RegistryError(f'registry {reference.domain} names no token service (realm "{realm}")')
    if credentials.identity_token:
        form = {
            **query,
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "client_id": "moored",
        }
        request = session.post(realm, data=form)
    else:
        request = session.get(realm, params=query, headers={"Authorization": basic} if basic else {})
    async with request as response:
        if response.status != 200:
            raise RegistryError(
                f"token service of registry {reference.domain} answered {response.status}; {credentials.hint()}",
                unreachable=response.status >= 500,
            )
        answer = await response.json(content_type=None)
    token = answer.get("token") or answer.get("access_token") or ""
    return f"Bearer {token}"
