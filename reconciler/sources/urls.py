"""Git URLs: what is accepted, what a repository is called, where its checkout lies.

One spelling goes in (`https://`, `http://`, `ssh://`, `file://`, an absolute path, or
the scp form `user@host:path`), one frozen `GitURL` comes out; from there on nobody looks
at the text again. Credentials written into a URL are taken out of it here: what git gets
on its command line (`GitURL.remote`), what is logged (`repository`) and what is shown
never hold them.

Only these transports exist. Others (`ext::`, `git://`, …) would let a webhook's payload
run commands or read the host, and a part that begins with `-` would be read as an option.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

from reconciler.sources.errors import InvalidRepositoryName, InvalidURL

_SCP = re.compile(r"^(?P<user>[A-Za-z0-9._-]+)@(?P<host>[A-Za-z0-9._-]+):(?P<path>.+)$", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/@\s'\"]*@")
_HOST = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9._-]*)$|^\[[0-9A-Fa-f:.%]+\]$")


@dataclass(frozen=True, slots=True)
class GitURL:
    """A parsed repository URL."""

    scheme: str
    """`http`, `https`, `ssh` or `file`."""
    host: str
    """Case kept; empty for `file`."""
    path: str
    """As on the wire (still percent-encoded), query included."""
    port: int | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    scp: bool = False
    """Written as `user@host:path`: the path is relative to the login folder."""

    @property
    def local(self) -> bool:
        return self.scheme == "file"

    @property
    def ssh(self) -> bool:
        return self.scheme == "ssh"

    @property
    def http(self) -> bool:
        return self.scheme in ("http", "https")

    @property
    def authority(self) -> str:
        """`host[:port]`."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def remote(self) -> str:
        """What git is given: no password in it, and for HTTP no user either."""
        if self.local:
            return f"file://{self.path}"
        if self.ssh:
            user = self.user or "git"
            return f"{user}@{self.host}:{self.path}" if self.scp else f"ssh://{user}@{self.authority}{self.path}"
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def local_path(self) -> str:
        """The folder of a `file` URL."""
        return unquote(self.path)

    @property
    def repository(self) -> str:
        """`host[:port]/owner/repo`: the name used in logs, labels, metrics and folders."""
        path = unquote(self.path.split("?", 1)[0]).strip("/")
        path = path.removesuffix(".git").rstrip("/")
        return path if self.local else f"{self.authority}/{path}"

    @property
    def full_name(self) -> str:
        return full_name(self.repository)

    @property
    def folder(self) -> str:
        """The checkout's path below the data folder."""
        return self.repository.replace(":", "_")

    def same_host(self, other: GitURL) -> bool:
        """Whether credentials of `other` may be used here: same scheme, host and port."""
        mine, theirs = (self.scheme, self.host.lower(), self.port), (other.scheme, other.host.lower(), other.port)
        return mine == theirs

    def without_credentials(self) -> GitURL:
        return replace(self, password="", user=self.user if self.ssh else "")

    def __str__(self) -> str:
        return self.remote.split("?", 1)[0]


def parse_git_url(text: str) -> GitURL:
    """Parse a repository URL or absolute path; raises `InvalidURL`."""
    raw = text.strip()
    if _CONTROL.search(raw):  # `urlsplit` would drop some of them silently
        raise InvalidURL(f"invalid Git URL: control character in {redact_url(text)!r}")
    if raw.startswith("/"):
        path = posixpath.normpath(raw)
        return _checked(GitURL("file", "", "/" + path.lstrip("/")), text)
    if "://" not in raw:
        match = _SCP.match(raw)
        if match is None:
            raise _unusable(text)
        return _checked(GitURL("ssh", match["host"], match["path"], user=match["user"], scp=True), text)
    try:
        parts = urlsplit(raw)
        port, host, user, password = parts.port, _written_host(parts.netloc), parts.username, parts.password
    except ValueError as error:
        raise InvalidURL(f"invalid Git URL: {error}, in '{redact_url(text)}'") from None
    scheme = parts.scheme.lower()
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise InvalidURL(f"invalid Git URL: a file URL names no host, got '{redact_url(text)}'")
        path = "/" + posixpath.normpath(parts.path).lstrip("/")
        return _checked(GitURL("file", "", path), text)
    if scheme not in ("http", "https", "ssh"):
        raise _unusable(text)
    return _checked(GitURL(scheme, host, path, port, unquote(user or ""), unquote(password or "")), text)


def _written_host(netloc: str) -> str:
    """The host with its case as written (`urlsplit` lower-cases it), without user and port."""
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]


def _checked(url: GitURL, text: str) -> GitURL:
    shown = redact_url(text)
    if not url.local and _HOST.match(url.host) is None:
        raise InvalidURL(f"invalid Git URL: no valid host in '{shown}'")
    if _UNPRINTABLE.search(url.path) and not url.local:
        raise InvalidURL(f"invalid Git URL: blank or control character in '{shown}'")
    if url.user.startswith("-") or (url.scp and url.path.startswith("-")) or _UNPRINTABLE.search(url.user):
        raise InvalidURL(f"invalid Git URL: a part of it would be taken for an option, got '{shown}'")
    parts = url.repository.split("/")
    name = parts if url.local else parts[1:]
    if not any(name):
        raise InvalidURL(f"invalid Git URL: no repository in '{shown}'")
    if any(part in ("..", ".") for part in parts) or any("\\" in part or "\0" in part for part in parts):
        raise InvalidRepositoryName(f"invalid repository name: '{url.repository}'")
    if url.ssh and not url.scp and not url.path.startswith("/"):
        raise InvalidURL(f"invalid Git URL: no repository in '{shown}'")
    return url


def _unusable(text: str) -> InvalidURL:
    return InvalidURL(
        "invalid Git URL: URL must start with http, https, ssh or file "
        f"(or be an absolute local path), got '{redact_url(text)}'"
    )


def full_name(repository: str) -> str:
    """The short form of a repository name: without its first segment (`owner/repo`)."""
    parts = [part for part in repository.split("/") if part]
    return "/".join(parts[1:]) if len(parts) > 1 else repository


def redact_url(text: str) -> str:
    """Text with the user information of every URL in it taken out."""
    return _USER_INFO.sub(r"\g<scheme>", text)


def relative_to(parent: GitURL, text: str) -> GitURL:
    """The URL of a submodule: relative ones (`./x`, `../x`, `/x`) lie beside the parent's."""
    if text.startswith("/") and not parent.local:
        return _checked(replace(parent.without_credentials(), path=_join("/", text), scp=False), text)
    if not text.startswith(("./", "../")) and text not in (".", ".."):
        return parse_git_url(text)
    base = parent.path.split("?", 1)[0].rstrip("/")
    path = _join("" if parent.scp and not base.startswith("/") else "/", posixpath.join(base, text))
    return _checked(replace(parent.without_credentials(), path=path), text)


def _join(root: str, path: str) -> str:
    """Resolve `.` and `..` textually; climbing above the root is refused."""
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if not kept:
                raise InvalidURL(f"invalid Git URL: relative submodule URL leaves the host, got '{path}'")
            kept.pop()
        else:
            kept.append(part)
    return root + "/".join(kept)


# --- SOURCE_URL_REWRITES ------------------------------------------------------------------


def rewrite_url(url: str, rewrites: Mapping[str, str]) -> str:
    """Apply the first matching rule, longest key first, ties in the order given.

    A key that is a prefix of the URL (scheme and host in any case, path as written, and
    only up to a boundary: `https://host` is no prefix of `https://host.evil`) is replaced
    by its target. Any other key without `/` and `@` names a host, or `host:port`.
    """
    for key in sorted(rewrites, key=len, reverse=True):
        found = _by_prefix(url, key.strip(), rewrites[key].strip())
        if found is None:
            found = _by_host(url, key.strip(), rewrites[key].strip())
        if found is not None:
            return f"file://{posixpath.normpath(found)}" if found.startswith("/") else found
    return url


def _by_prefix(url: str, key: str, target: str) -> str | None:
    if not key or len(url) < len(key) or ("/" not in key and "@" not in key):
        return None
    head, rest = url[: len(key)], url[len(key) :]
    split = _authority_end(key)
    if head[:split].lower() != key[:split].lower() or head[split:] != key[split:]:
        return None
    at_end = not rest or key[-1] in "/:" or rest[0] in "/?" or rest == ".git"
    if at_end or ("://" not in key and rest[0] == ":"):
        return target + rest
    return None


def _authority_end(key: str) -> int:
    """Where the part that compares without regard to case ends."""
    start = key.find("://")
    if start >= 0:
        slash = key.find("/", start + 3)
        return len(key) if slash < 0 else slash
    colon = key.find(":")
    return len(key) if colon < 0 else colon


def _by_host(url: str, key: str, target: str) -> str | None:
    if not key or "/" in key or "@" in key:
        return None
    try:
        parsed = parse_git_url(url)
    except InvalidURL:
        return None
    if parsed.local or (parsed.authority if ":" in key else parsed.host).lower() != key.lower():
        return None
    if target.startswith("/"):
        return None
    scheme, user, rest = parsed.scheme, parsed.user, target
    password = parsed.password
    if "://" in target:
        scheme, rest = target.split("://", 1)
        rest = rest.split("/", 1)[0]
    if "@" in rest:
        user, rest = rest.rsplit("@", 1)
        user, _, password = user.partition(":")
    host = rest.split("/", 1)[0]
    path = parsed.path if parsed.path.startswith("/") else f"/{parsed.path}"
    if scheme == "ssh" and parsed.scp and ":" not in host and not parsed.path.startswith("/"):
        return f"{user or 'git'}@{host}:{parsed.path}"
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"{scheme}://{login}{host}{path}"
