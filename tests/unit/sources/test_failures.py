"""git's words become ours."""

from __future__ import annotations

import pytest

from reconciler.sources.command import GitCommandFailed
from reconciler.sources.credentials import Credential
from reconciler.sources.failures import classify, corrupt
from reconciler.sources.urls import parse_git_url

HTTPS = parse_git_url("https://h/o/r.git")
SSH = parse_git_url("git@h:o/r.git")


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("fatal: unable to access 'https://h/o/r.git/': Could not resolve host: h", "Unreachable"),
        ("fatal: unable to access 'https://h/': Failed to connect to h port 443 after 1 ms: refused", "Unreachable"),
        ("error: RPC failed; curl 56 Recv failure: Connection reset by peer\nfatal: early EOF", "Unreachable"),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 502", "Unreachable"),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 429", "Unreachable"),
        ("fatal: unable to access 'x': SSL certificate problem: self-signed certificate", "Unreachable"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "AuthFailed"),
        ("remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://h/o/r.git/'", "AuthFailed"),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403", "AuthFailed"),
        ("remote: Repository not found.\nfatal: repository 'https://h/o/r.git/' not found", "RepositoryNotFound"),
        ("fatal: '/x' does not appear to be a git repository", "RepositoryNotFound"),
        ("something new", "GitFailed"),
    ],
)
def test_http(stderr: str, code: str) -> None:
    error = classify(GitCommandFailed("ls-remote", 128, stderr), HTTPS, Credential("u", "t"))
    assert error.code == code
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "AuthFailed"),
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
            "HostKeyChanged",
        ),
        ("ssh: connect to host h port 22: Connection refused\nfatal: Could not read from remote", "Unreachable"),
        ("ssh: Could not resolve hostname h: Name or service not known", "Unreachable"),
    ],
)
def test_ssh(stderr: str, code: str) -> None:
    assert classify(GitCommandFailed("fetch", 128, stderr), SSH, Credential(ssh_key="k")).code == code


def test_damage_at_the_remote_is_not_damage_here() -> None:
    assert corrupt(
        GitCommandFailed("fetch", 128, "error: object file ./objects/ab/cd is empty\nfatal: bad object HEAD")
    )
    assert not corrupt(GitCommandFailed("fetch", 128, "remote: fatal: bad object HEAD\nfatal: early EOF"))
