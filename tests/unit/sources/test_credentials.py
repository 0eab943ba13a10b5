"""Which credentials a URL's host may see."""

from __future__ import annotations

import pytest

from reconciler.sources.credentials import DomainCredentials, GitCredentials
from reconciler.sources.urls import parse_git_url

SETTINGS = GitCredentials(
    token="global",
    token_user="oauth2",
    ssh_key="global key",
    domains=(
        DomainCredentials(("*.corp.example",), token="wild"),
        DomainCredentials(("*.git.corp.example",), token="longer"),
        DomainCredentials(("one.corp.example", "Forge:3000"), token="exact", token_user="robot"),
        DomainCredentials(("keys.example",), ssh_key="own key", ssh_passphrase="p"),
        DomainCredentials(("*",), token="never"),
    ),
)


@pytest.mark.parametrize(
    ("url", "user", "token"),
    [
        ("https://elsewhere.example/o/r", "oauth2", "global"),
        ("https://a.corp.example/o/r", "oauth2", "wild"),
        ("https://a.git.corp.example/o/r", "oauth2", "longer"),
        ("https://ONE.corp.example./o/r", "robot", "exact"),
        ("https://corp.example/o/r", "oauth2", "global"),
        ("http://forge:3000/o/r", "robot", "exact"),
        ("https://keys.example/o/r", "oauth2", "global"),
    ],
)
def test_the_nearest_entry_wins_and_lends_the_rest_from_the_global_ones(url: str, user: str, token: str) -> None:
    found = SETTINGS.for_url(parse_git_url(url))
    assert (found.user, found.token) == (user, token)


def test_ssh_urls_get_keys_and_no_token() -> None:
    own = SETTINGS.for_url(parse_git_url("git@keys.example:o/r"))
    assert (own.token, own.ssh_key, own.ssh_passphrase) == ("", "own key", "p")
    assert SETTINGS.for_url(parse_git_url("git@other:o/r")).ssh_key == "global key"


def test_a_local_repository_gets_nothing() -> None:
    found = SETTINGS.for_url(parse_git_url("/srv/app"))
    assert (found.token, found.ssh_key) == ("", "")


def test_a_submodule_elsewhere_gets_only_what_is_set_for_its_host() -> None:
    parent = parse_git_url("https://home.example/o/r")
    assert SETTINGS.for_url(parse_git_url("https://home.example/o/s"), parent=parent).token == "global"
    assert SETTINGS.for_url(parse_git_url("https://evil.example/o/s"), parent=parent).token == ""
    assert SETTINGS.for_url(parse_git_url("http://home.example/o/s"), parent=parent).token == "", "not in clear"
    assert SETTINGS.for_url(parse_git_url("https://a.corp.example/o/s"), parent=parent).token == "wild"


def test_credentials_of_a_url_are_a_last_resort_and_serve_submodules_of_the_same_host() -> None:
    nothing = GitCredentials()
    parent = parse_git_url("https://u:p@home.example/o/r")
    assert (nothing.for_url(parent).user, nothing.for_url(parent).token) == ("u", "p")
    assert SETTINGS.for_url(parent).token == "global"
    assert nothing.for_url(parse_git_url("https://home.example/o/s"), parent=parent).token == "p"
    assert nothing.for_url(parse_git_url("https://evil.example/o/s"), parent=parent).token == ""
    assert nothing.for_url(parse_git_url("https://x:y@evil.example/o/s"), parent=parent).token == ""


def test_the_global_token_may_be_kept_to_some_hosts() -> None:
    limited = GitCredentials(token="t", token_hosts=("git.example", "*.corp.example"))
    assert limited.for_url(parse_git_url("https://git.example/o/r")).token == "t"
    assert limited.for_url(parse_git_url("https://a.corp.example/o/r")).token == "t"
    assert limited.for_url(parse_git_url("https://evil.example/o/r")).token == ""


def test_secrets_are_not_printed() -> None:
    shown = f"{SETTINGS!r} {SETTINGS.for_url(parse_git_url('https://a.corp.example/o/r'))!r}"
    for secret in ("global key", "wild", "longer", "own key"):
        assert secret not in shown
