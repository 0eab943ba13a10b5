"""Which credentials go to which host.

Settings give global credentials and a list of entries for domains (`GIT_AUTH_DOMAINS`).
For a URL's host the entry that names it exactly wins, then the longest `*.suffix`; what
that entry lacks is taken from the global ones, field by field.

Two limits keep a token at home. The global token may be limited to `token_hosts`. And a
submodule's URL is chosen by whoever writes the repository, so on another host than its
parent's it gets only what was configured for that very host (`beside`). An SSH key is no
such secret: a server that is offered it learns nothing it could use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.sources.urls import GitURL

DEFAULT_TOKEN_USER = "oauth2"  # noqa: S105 - a user name, the default of GIT_ACCESS_TOKEN_USER


@dataclass(frozen=True, slots=True)
class Credential:
    """What may be shown to one host."""

    user: str = ""
    token: str = field(default="", repr=False)
    ssh_key: str = field(default="", repr=False)
    ssh_passphrase: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never appear in a message."""
        return tuple(secret for secret in (self.token, self.ssh_passphrase) if secret)


@dataclass(frozen=True, slots=True)
class DomainCredentials:
    """One entry of `GIT_AUTH_DOMAINS`. Empty fields fall back to the global ones."""

    domains: tuple[str, ...]
    token: str = field(default="", repr=False)
    token_user: str = ""
    ssh_key: str = field(default="", repr=False)
    ssh_passphrase: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class GitCredentials:
    """All credentials for git."""

    token: str = field(default="", repr=False)
    token_user: str = DEFAULT_TOKEN_USER
    ssh_key: str = field(default="", repr=False)
    ssh_passphrase: str = field(default="", repr=False)
    domains: tuple[DomainCredentials, ...] = ()
    token_hosts: tuple[str, ...] = ()
    """Where the global token may go (`host`, `host:port` or `*.suffix`); empty: everywhere."""

    def for_url(self, url: GitURL, *, parent: GitURL | None = None) -> Credential:
        """What a URL's host may see; `parent` is the repository whose submodule it is."""
        if url.local:
            return Credential()
        entry = self._entry(url)
        at_home = parent is None or url.same_host(parent)
        token, user = entry.token, entry.token_user or self.token_user
        if not token and at_home and (not self.token_hosts or _matches(self.token_hosts, url)):
            token = self.token
        if not token and url.password and parent is None:
            token, user = url.password, url.user
        elif not token and parent is not None and at_home and parent.password:
            token, user = parent.password, parent.user
        key, passphrase = entry.ssh_key, entry.ssh_passphrase
        if not key:
            key, passphrase = self.ssh_key, self.ssh_passphrase
        if url.ssh:
            return Credential(ssh_key=key, ssh_passphrase=passphrase)
        return Credential(user=user, token=token) if token else Credential()

    def _entry(self, url: GitURL) -> DomainCredentials:
        for entry in self.domains:
            if any(_exact(domain, url) for domain in entry.domains):
                return entry
        best, longest = DomainCredentials(()), 0
        for entry in self.domains:
            for domain in entry.domains:
                if len(domain) > longest and _suffix(domain, url):
                    best, longest = entry, len(domain)
        return best


def _plain(name: str) -> str:
    return name.strip().lower().rstrip(".")


def _exact(domain: str, url: GitURL) -> bool:
    return _plain(domain) in (_plain(url.host), _plain(url.authority))


def _suffix(domain: str, url: GitURL) -> bool:
    pattern = _plain(domain)
    return pattern.startswith("*.") and len(pattern) > 2 and _plain(url.host).endswith(pattern[1:])


def _matches(domains: Iterable[str], url: GitURL) -> bool:
    return any(_exact(domain, url) or _suffix(domain, url) for domain in domains)
