"""What is hidden and what is not, by name and by place."""

from __future__ import annotations

import pytest

from reconciler.redaction import is_secret_name, redact, redact_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pass@github.com/o/r.git", "https://***@github.com/o/r.git"),
        ("https://ghp_abc@github.com/o/r", "https://***@github.com/o/r"),
        ("https://u:p@ss:w@host/x", "https://***@host/x"),
        ("https://u:p@host/path@v1", "https://***@host/path@v1"),
        ("https://host/path@v1", "https://host/path@v1"),
        ("https://host:8443/x@y", "https://host:8443/x@y"),
        ("clone of 'https://a:b@h1' and https://c:d@h2,https://e:f@h3", None),
        ("ssh://git@github.com/o/r", "ssh://git@github.com/o/r"),
        ("ssh://git:hunter@h/o", "ssh://git:***@h/o"),
        ("git@github.com:o/r.git", "git@github.com:o/r.git"),
        ("postgresql://moored:pw@db/x", "postgresql://moored:***@db/x"),
        ("HTTPS://A:B@H/", "HTTPS://***@H/"),
        ("GET https://h/x?a=1&private_token=abc#f", "GET https://h/x?a=1&private_token=***#f"),
        ("mail me@example.org about a://", "mail me@example.org about a://"),
    ],
)
def test_urls_lose_their_secrets(text: str, shown: str | None) -> None:
    if shown is None:
        shown = "clone of 'https://***@h1' and https://***@h2,https://***@h3"
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "api_token",
        "API_SECRET",
        "gitAccessToken",
        "private_key",
        "ssh-private-key",
        "Authorization",
        "apiKey",
    ],
)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["token_user", "secret_name", "key", "stack", "GIT_ACCESS_TOKEN_USER", "monkey", ""])
def test_names_that_are_not_secret(name: str) -> None:
    assert not is_secret_name(name)


def test_structures_are_redacted_throughout() -> None:
    assert redact(
        {
            "token": "abc",
            "empty_token": "",
            "tokens": ["a", "b"],
            "secret": {"a": 1},
            "nested": [{"password": "x", "url": "https://a:b@h"}, ("ok",)],
            "environment": {"PLAIN": "1"},
            "secrets": 3,
            "body": b"https://a:b@h",
        }
    ) == {
        "body": "https://***@h",
        "empty_token": "",
        "environment": {"PLAIN": "***"},
        "nested": [{"password": "***", "url": "https://***@h"}, ["ok"]],
        "secret": {"a": "***"},
        "secrets": 3,
        "token": "***",
        "tokens": ["***", "***"],
    }
