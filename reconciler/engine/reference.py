"""Image references as registries and the Engine's pull call want them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
"""Under which name Docker keeps Hub's credentials."""
HUB_API = "registry-1.docker.io"

_ID = re.compile(r"(sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """`nginx` is `docker.io/library/nginx:latest`."""

    domain: str
    path: str
    tag: str
    """Empty if only a digest was given."""
    digest: str = ""

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def version(self) -> str:
        """What pins it best: the digest, else the tag."""
        return self.digest or self.tag

    @property
    def credentials_key(self) -> str:
        return HUB_KEY if self.domain == HUB else self.domain

    @property
    def api_host(self) -> str:
        return HUB_API if self.domain == HUB else self.domain

    def __str__(self) -> str:
        digest = f"@{self.digest}" if self.digest else ""
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{digest}"


def parse_reference(text: str) -> Reference | None:
    """None for an image id, which no registry knows."""
    if _ID.fullmatch(text):
        return None
    name, _, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    name = f"{head}{slash}{last}"
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = first, rest
    else:
        domain, path = HUB, name
    if domain == "index.docker.io":
        domain = HUB
    if domain == HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(domain=domain, path=path, tag=tag or ("" if digest else "latest"), digest=digest)
