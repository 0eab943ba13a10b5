"""What git says, in our words.

git's messages are meant for someone at a terminal: several lines, hints, progress. Here
they become one `SourceError` each, by the phrases that its C locale is stable about. What
is not recognised keeps git's own last `fatal:` line.
"""

from __future__ import annotations

import re

from reconciler.sources.command import GitCommandFailed
from reconciler.sources.credentials import Credential
from reconciler.sources.errors import (
    AuthenticationFailed,
    GitFailed,
    HostKeyChanged,
    RepositoryNotFound,
    SourceError,
    SourceUnreachable,
)
from reconciler.sources.urls import GitURL

_HOST_KEY = ("REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key verification failed", "host key for")
_REFUSED = (
    "Permission denied",
    "Authentication failed",
    "could not read Username",
    "could not read Password",
    "terminal prompts disabled",
    "Access denied",
    "The requested URL returned error: 401",
    "The requested URL returned error: 403",
    "Too many authentication failures",
    "no mutual signature",
)
_ABSENT = (
    "Repository not found",
    "does not appear to be a git repository",
    "The requested URL returned error: 404",
    "not found",
    "does not exist",
    "Could not find repository",
    "not a git repository",
    "not valid: is this a git repository",
)
_UNREACHABLE = (
    "Could not resolve host",
    "Could not resolve hostname",
    "Couldn't connect to server",
    "Failed to connect",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "Connection closed",
    "Operation timed out",
    "Operation too slow",
    "Network is unreachable",
    "No route to host",
    "Temporary failure",
    "Empty reply from server",
    "unexpected disconnect",
    "early EOF",
    "hung up unexpectedly",
    "RPC failed",
    "Broken pipe",
    "SSL certificate problem",
    "server certificate verification failed",
    "Recv failure",
    "Could not resolve proxy",
    "transfer closed",
)
_SERVER_FAULT = re.compile(r"The requested URL returned error: (5\d\d|429)")
_CORRUPT = re.compile(
    r"loose object .* is corrupt|object file .* is empty|bad object|unable to read (?:tree|sha1 file)|packfile .* "
    r"(?:is|does not|cannot)|inflate: data stream error|index file .* (?:is|corrupt)|not a git repository|"
    r"invalid object|missing (?:blob|tree|commit|object)|did not send all necessary objects|bad (?:ref|tree)|"
    r"corrupt|hash mismatch|garbage at end of loose object|could not parse|unable to unpack|refs are broken"
)


def corrupt(error: GitCommandFailed) -> bool:
    """Whether git complains about its own object store."""
    own = "\n".join(line for line in error.stderr.splitlines() if not line.startswith("remote:"))
    return _CORRUPT.search(own) is not None


def classify(error: GitCommandFailed, url: GitURL, credential: Credential) -> SourceError:
    """The error that a failed conversation with a remote is."""
    text = error.stderr
    if any(phrase in text for phrase in _HOST_KEY[:2]):
        return HostKeyChanged(
            f"the SSH host key of {url.authority} is not the one known before: if the server's key was changed on "
            "purpose, remove its line from known_hosts in the data folder"
        )
    if any(phrase in text for phrase in _REFUSED):
        return AuthenticationFailed(_refusal(url, credential))
    if (match := _SERVER_FAULT.search(text)) is not None:
        return SourceUnreachable(f"{url}: the server answered with status {match[1]}")
    if any(phrase in text for phrase in _UNREACHABLE):
        return SourceUnreachable(f"{url}: {_last_line(text)}")
    if any(phrase in text for phrase in _ABSENT):
        hint = "" if url.local or credential.token or credential.ssh_key else " (or it is private: no credentials set)"
        return RepositoryNotFound(f"no repository at {url}{hint}")
    return GitFailed(f"{url}: git {error.command} failed: {_last_line(text) or f'exit status {error.status}'}")


def _refusal(url: GitURL, credential: Credential) -> str:
    if url.ssh:
        if not credential.ssh_key:
            return f"{url}: ssh URL requires SSH_PRIVATE_KEY to be set"
        return f"{url}: the server does not accept the SSH key"
    if not credential.token:
        return (
            f"{url}: the server asks for credentials and none are set for {url.authority} "
            "(GIT_ACCESS_TOKEN, GIT_AUTH_DOMAINS)"
        )
    return f"{url}: the server does not accept the access token of user {credential.user!r}"


def _last_line(text: str) -> str:
    """The line that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for prefix in ("fatal: ", "error: ", "ssh: ", "remote: "):
        for line in lines:
            if line.startswith(prefix) and "Could not read from remote repository" not in line:
                return line.removeprefix(prefix)[:300]
    return lines[-1][:300] if lines else ""
