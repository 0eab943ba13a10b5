"""Repository URLs: what is accepted, how repositories are called, how rewrites apply."""

from __future__ import annotations

import pytest

from reconciler.sources.errors import InvalidURL
from reconciler.sources.urls import full_name, parse_git_url, redact_url, relative_to, rewrite_url


@pytest.mark.parametrize(
    ("text", "repository", "remote", "folder"),
    [
        ("https://u:p@github.com/o/r.git", "github.com/o/r", "https://github.com/o/r.git", "github.com/o/r"),
        ("https://u:p@github.com/o/r.git?x", "github.com/o/r", "https://github.com/o/r.git?x", "github.com/o/r"),
        ("git@github.com:o/r.git", "github.com/o/r", "git@github.com:o/r.git", "github.com/o/r"),
        ("ssh://git@github.com/o/r", "github.com/o/r", "ssh://git@github.com/o/r", "github.com/o/r"),
        ("ssh://github.com:2222/o/r", "github.com:2222/o/r", "ssh://git@github.com:2222/o/r", "github.com_2222/o/r"),
        ("deploy@host:path", "host/path", "deploy@host:path", "host/path"),
        ("http://forgejo:3000/a/b/c.git", "forgejo:3000/a/b/c", "http://forgejo:3000/a/b/c.git", "forgejo_3000/a/b/c"),
        ("file:///srv/repos/app.git", "srv/repos/app", "file:///srv/repos/app.git", "srv/repos/app"),
        ("/srv/x/../repos/app", "srv/repos/app", "file:///srv/repos/app", "srv/repos/app"),
        ("https://h/o/r.git/", "h/o/r", "https://h/o/r.git/", "h/o/r"),
        ("HTTPS://Host/O/R", "Host/O/R", "https://Host/O/R", "Host/O/R"),
    ],
)
def test_a_url_names_a_repository(text: str, repository: str, remote: str, folder: str) -> None:
    url = parse_git_url(text)
    assert (url.repository, url.remote, url.folder) == (repository, remote, folder)


@pytest.mark.parametrize(
    "text",
    ["not a url", "", "ext::sh -c x", "git://host/x", "host/path", "-oProxyCommand=x", "ftp://h/x", "C:\\repo"],
)
def test_other_transports_are_refused_in_doco_cds_words(text: str) -> None:
    with pytest.raises(InvalidURL) as refused:
        parse_git_url(text)
    assert str(refused.value) == (
        f"invalid Git URL: URL must start with http, https, ssh or file (or be an absolute local path), got '{text}'"
    )


@pytest.mark.parametrize(
    "text",
    [
        "git@-h:x",
        "-oProxy@host:x",
        "git@h:-x",
        "https://-h/x",
        "https://h/a b",
        "https://h/../x",
        "https://h/a%2e%2e/%2E%2E/x",
        "https://h",
        "https://h/",
        "ssh://h",
        "file://host/x",
        "https://h:99999/x",
        "/",
        "ssh://-oX@h/x",
        "https://h/x\ny",
    ],
)
def test_hostile_urls_are_refused(text: str) -> None:
    with pytest.raises(InvalidURL):
        parse_git_url(text)


def test_credentials_appear_nowhere() -> None:
    url = parse_git_url("https://user:s3cret@host/o/r.git")
    assert (url.user, url.password) == ("user", "s3cret")
    shown = f"{url} {url!r} {url.remote} {url.repository} {url.folder}"
    assert "s3cret" not in shown
    with pytest.raises(InvalidURL) as refused:
        parse_git_url("ftp://user:s3cret@host/x")
    assert "s3cret" not in str(refused.value)
    assert redact_url("fatal: https://a:b@h/x and http://t@k/y") == "fatal: https://h/x and http://k/y"


@pytest.mark.parametrize(
    ("repository", "short"), [("github.com/o/r", "o/r"), ("h/a/b/c", "a/b/c"), ("srv/app", "app"), ("app", "app")]
)
def test_the_full_name_leaves_out_the_host(repository: str, short: str) -> None:
    assert full_name(repository) == short


@pytest.mark.parametrize(
    ("parent", "text", "remote"),
    [
        ("https://u:p@h:1/o/r.git", "../s.git", "https://h:1/o/s.git"),
        ("https://h/o/r.git", "./x", "https://h/o/r.git/x"),
        ("https://h/o/r.git", "/z/y.git", "https://h/z/y.git"),
        ("git@h:o/r.git", "../s.git", "git@h:o/s.git"),
        ("git@h:o/r.git", "../../p/s.git", "git@h:p/s.git"),
        ("/srv/o/r", "../s", "file:///srv/o/s"),
        ("https://h/o/r.git", "https://other/x", "https://other/x"),
    ],
)
def test_a_submodules_url_may_be_relative(parent: str, text: str, remote: str) -> None:
    assert relative_to(parse_git_url(parent), text).remote == remote


def test_a_relative_url_cannot_leave_its_host() -> None:
    with pytest.raises(InvalidURL, match="leaves the host"):
        relative_to(parse_git_url("https://h/o/r.git"), "../../../..")


@pytest.mark.parametrize(
    ("url", "rewrites", "expected"),
    [
        ("https://Host/o/R.git", {"https://host": "http://in:3000"}, "http://in:3000/o/R.git"),
        ("https://host.evil/o/r", {"https://host": "http://in"}, "https://host.evil/o/r"),
        ("https://host/org-evil/r", {"https://host/org": "http://in/org"}, "https://host/org-evil/r"),
        ("https://host/Org/r", {"https://host/Org": "http://in/x"}, "http://in/x/r"),
        ("https://host/o/r.git", {"https://host": "http://a", "https://host/o": "http://b"}, "http://b/r.git"),
        ("https://host/o/r", {"host": "in"}, "https://in/o/r"),
        ("https://u@host:3000/o/r", {"host:3000": "x:1"}, "https://u@x:1/o/r"),
        ("https://host:3000/o/r", {"host": "http://in"}, "http://in/o/r"),
        ("git@host:o/r", {"host": "in"}, "git@in:o/r"),
        ("git@host:o/r", {"host": "bot@in"}, "bot@in:o/r"),
        ("git@host:o/r", {"host": "in:22"}, "ssh://git@in:22/o/r"),
        ("git@host:o/r", {"git@host": "git@in"}, "git@in:o/r"),
        ("https://host/o/r.git", {"https://host/o": "/srv/o"}, "file:///srv/o/r.git"),
        ("https://host/o/r", {"other": "in"}, "https://host/o/r"),
    ],
)
def test_rewrites(url: str, rewrites: dict[str, str], expected: str) -> None:
    assert rewrite_url(url, rewrites) == expected
    parse_git_url(expected)
