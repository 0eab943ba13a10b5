"""Who may send webhooks, and how each proves that it knows the secret.

The first row whose signature header is not empty decides; the order is Doco-CD's, with
what it does not know behind. Gitea and Forgejo also send GitHub's headers and are then taken
for GitHub, which is right: their payloads are the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from api.auth import same_secret, valid_hmac
from api.jsonbody import lookup
from api.routing import Call
from api.webhooks import payload as payloads
from api.webhooks.payload import Event

Proof: TypeAlias = Callable[[str, str, bytes], bool]
"""(header value, secret, body) -> whether the sender knows the secret."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of sender."""

    name: str
    signature: str
    """Header with the proof."""
    event: str
    """Header with the kind of event; empty: the payload says it."""
    proves: Proof
    parse: Callable[[Any, str], tuple[Event, ...]]
    deliveries: tuple[str, ...] = ()
    """Headers with the id of the delivery; the first one that is there counts."""
    refusal: tuple[str, str] = ("incorrect secret key", "HMAC verification failed")
    """`error` and `content` of the 401 answer."""


def _hmac(value: str, secret: str, body: bytes) -> bool:
    return valid_hmac(value, secret, body)


def _hmac_prefixed(value: str, secret: str, body: bytes) -> bool:
    return valid_hmac(value, secret, body, prefix="sha256=")


def _token(value: str, secret: str, body: bytes) -> bool:
    return same_secret(value, secret)


def _basic(value: str, secret: str, body: bytes) -> bool:
    """HTTP basic authentication; the user's name does not matter."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except ValueError:  # no base64, or not even ASCII
        return False
    return same_secret(decoded.partition(":")[2], secret)


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "GitHub",
        "X-Hub-Signature-256",
        "X-GitHub-Event",
        _hmac_prefixed,
        payloads.parse_github,
        ("X-GitHub-Delivery", "X-Gitea-Delivery", "X-Forgejo-Delivery", "X-Gogs-Delivery"),
    ),
    Provider(
        "Gitea",
        "X-Gitea-Signature",
        "X-Gitea-Event",
        _hmac,
        payloads.parse_github,
        ("X-Gitea-Delivery",),
    ),
    Provider(
        "GitLab",
        "X-Gitlab-Token",
        "X-Gitlab-Event",
        _token,
        payloads.parse_gitlab,
        ("Idempotency-Key", "X-Gitlab-Event-UUID"),
        ("gitlab token verification failed", "gitlab token verification failed"),
    ),
    Provider("Gogs", "X-Gogs-Signature", "X-Gogs-Event", _hmac, payloads.parse_github, ("X-Gogs-Delivery",)),
    Provider(
        "Forgejo",
        "X-Forgejo-Signature",
        "X-Forgejo-Event",
        _hmac,
        payloads.parse_github,
        ("X-Forgejo-Delivery", "X-Gitea-Delivery"),
    ),
    Provider("OCI", "X-Doco-OCI-Signature-256", "", _hmac_prefixed, payloads.parse_oci, ("X-Doco-OCI-Delivery",)),
    Provider(
        "Bitbucket",
        "X-Hub-Signature",
        "X-Event-Key",
        _hmac_prefixed,
        payloads.parse_bitbucket,
        ("X-Request-UUID", "X-Request-Id"),
    ),
    Provider(
        "Azure DevOps",
        "Authorization",
        "",
        _basic,
        payloads.parse_azure,
        refusal=("incorrect secret key", "basic authentication failed"),
    ),
)

AZURE = PROVIDERS[-1]


def provider_of(call: Call) -> Provider | None:
    """Whose request this is; None: no header proves anything."""
    return next((provider for provider in PROVIDERS if call.header(provider.signature)), None)


def spoken_by(provider: Provider, payload: Any) -> Provider:
    """Whose payload it is: Azure DevOps cannot sign, so its users let something in between build a
    GitHub-style signature around its payload."""
    if lookup(payload, "resource", "refupdates") is not None and lookup(payload, "repository") is None:
        return AZURE
    return provider


def delivery_id(call: Call, provider: Provider, payload: Any, body: bytes) -> str:
    """The id of this delivery; the same for each repetition of it, and empty if the sender gives none.

    The body belongs to it: an id that is there again with another push (a relay, a script) must
    not swallow that push.
    """
    value = next((found for header in provider.deliveries if (found := call.header(header).strip())), "")
    if not value and provider is AZURE:
        identity = lookup(payload, "id")
        value, body = identity if isinstance(identity, str) else "", b""
    if not value:
        return ""
    content = hashlib.sha256(body).hexdigest()[:16]
    # One event may be delivered to several hooks under one id; their custom targets tell them apart.
    return f"{provider.name}/{call.path.get('target', '')}/{value[:200]}/{content}"
