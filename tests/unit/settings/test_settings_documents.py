"""The settings that are YAML: sources, rewrites, credentials by domain, trust policy, stores."""

from __future__ import annotations

import pytest

from reconciler.settings import GitAuthDomain, GitHubApp, Settings, SettingsError, load_settings
from reconciler.settings.secret import Secret
from state.model import SourceKind, SourceSpec


def load(**environ: str) -> Settings:
    return load_settings(environ)


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return [str(problem) for problem in caught.value.problems]


def test_sources_with_defaults_and_as_written() -> None:
    settings = load(
        POLL_CONFIG="""
- url: https://git.example.org/acme/shop.git
- &base
  url: git@git.example.org:acme/blog.git
  reference: 1.10
  interval: 1m30s
  target: prod
- <<: *base
  source: GIT
  target: test
  run_once: yes
  watch: false
  interval: 60.0
  deployments:
    - name: blog
      force_recreate: false
-
- source: oci
  url: ghcr.io/acme/config:v2
"""
    )
    assert settings.warnings == ()
    shop, blog, test, artifact = settings.sources
    assert shop == SourceSpec(SourceKind.GIT, "https://git.example.org/acme/shop.git")
    assert (blog.reference, blog.interval, blog.target) == ("1.10", 90.0, "prod")
    assert (test.reference, test.interval, test.target, test.run_once, test.watch) == (
        "1.10",
        60.0,
        "test",
        True,
        False,
    )
    assert test.deployments == ({"name": "blog", "force_recreate": False},)
    assert (artifact.kind, artifact.reference) == (SourceKind.OCI, "v2")
    assert [target.repository for target in settings.targets] == [
        "git.example.org/acme/shop",
        "git.example.org/acme/blog",
        "git.example.org/acme/blog",
        "ghcr.io/acme/config",
    ]


def test_every_bad_entry_is_told_with_its_line() -> None:
    found = problems(
        POLL_CONFIG="""
- url: https://a/b/c
  interval: 9
- reference: main
- url: ftp://a/b
- url: https://a/b
  source: svn
- url: https://a/b
  watch: "true"
- text
- url: https://a/b
  deployments:
    - name: a
    - name: a
"""
    )
    assert [text.rpartition("(from ")[2] for text in found] == [f"line {line})" for line in (2, 4, 5, 6, 8, 10, 11)]
    assert "poll interval too low: must be at least 10s" in found[0]
    assert "key not found: url" in found[1]
    assert "URL must start with http, https, ssh or file" in found[2]
    assert 'invalid source type "svn": must be "git" or "oci"' in found[3]
    assert "failed to parse poll config: [4].watch: expected true or false" in found[4]
    assert "expected an object" in found[5]
    assert "duplicate project/stack name" in found[6]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("url: https://a/b", "expected a list of sources"),
        ("- url: [", "failed to parse poll config"),
        ("- url: a\n  url: b", "url"),
        ("- url: &a [*a]", "failed to parse poll config"),
    ],
)
def test_a_document_that_cannot_be_read(text: str, expected: str) -> None:
    (found,) = problems(POLL_CONFIG=text)
    assert found.startswith("POLL_CONFIG: ") and expected in found


@pytest.mark.parametrize("text", ["", "  \n", "# nothing\n", "null", "[]", "---\n"])
def test_nothing_to_poll(text: str) -> None:
    assert load(POLL_CONFIG=text).targets == ()


def test_silent_traps_are_told() -> None:
    settings = load(
        POLL_CONFIG="- url: https://a/b\n  branch: dev\n- url: https://a/b\n  interval:\n---\n- url: https://c/d\n"
    )
    first, second, third, fourth = settings.warnings
    assert "2 YAML documents" in first
    assert 'unknown key "branch"' in second and "reference" in second
    assert "interval" in third
    assert "same source as the one in line 1" in fourth
    assert [spec.interval for spec in settings.sources] == [180.0, 0.0]


def test_rewrites_keep_their_order_and_case_and_apply_to_sources() -> None:
    settings = load(
        SOURCE_URL_REWRITES="' https://Git.Example.org/Acme ': ' /srv/mirror '\nforgejo:3000: http://10.0.0.1:80\n",
        POLL_CONFIG="- url: https://git.example.org/Acme/Shop.git",
    )
    assert list(settings.source_url_rewrites.items()) == [
        ("https://Git.Example.org/Acme", "/srv/mirror"),
        ("forgejo:3000", "http://10.0.0.1:80"),
    ]
    (target,) = settings.targets
    assert target.spec.url == "file:///srv/mirror/Shop.git" and target.repository == "srv/mirror/Shop"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a]", "expected a map"),
        ('"": x', "rewrite key in SOURCE_URL_REWRITES must not be empty"),
        ("k: ' '", 'rewrite key "k" in SOURCE_URL_REWRITES must have a non-empty target'),
        ("k:", 'rewrite key "k" in SOURCE_URL_REWRITES must have a non-empty target'),
        ("k: [x]", 'expected text as the target of "k"'),
    ],
)
def test_bad_rewrites(text: str, expected: str) -> None:
    (found,) = problems(SOURCE_URL_REWRITES=text)
    assert expected in found


def test_credentials_by_domain() -> None:
    settings = load(
        GIT_AUTH_DOMAINS="""
- domains: [git.example.org, "*.example.com"]
  git_access_token: 12345
  git_access_token_user: bot
  ssh_private_key: |
    KEY
  ssh_private_key_passphrase: pp
- domains: [github.com]
  github_app_id: 77
  github_app_private_key: PEM
  github_app_installation_id: 5
"""
    )
    assert settings.git.auth_domains == (
        GitAuthDomain(("git.example.org", "*.example.com"), Secret("12345"), "bot", Secret("KEY\n"), Secret("pp")),
        GitAuthDomain(("github.com",), github_app=GitHubApp("77", Secret("PEM"), 5)),
    )
    assert settings.warnings == ()


def test_odd_credentials_are_told() -> None:
    settings = load(GIT_AUTH_DOMAINS="- git_access_token: x\n  token: y\n")
    assert settings.warnings == (
        'unknown key "token" in GIT_AUTH_DOMAINS[0]',
        "GIT_AUTH_DOMAINS[0] has no domains, so it never matches",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b", "expected a list"),
        ("- x", "GIT_AUTH_DOMAINS[0] is not a map"),
        ("- domains: h", "GIT_AUTH_DOMAINS[0].domains: expected a list"),
        ("- domains: [h]\n  git_access_token: [hunter2]", "GIT_AUTH_DOMAINS[0].git_access_token: expected text"),
        ("- domains: [h]\n  github_app_id: 1", "both github_app_id and github_app_private_key are required"),
        ("- domains: [h]\n  github_app_private_key: hunter2", "both github_app_id and github_app_private_key are"),
        (
            "- domains: [h]\n  github_app_id: 1\n  github_app_private_key: hunter2\n  git_access_token: x",
            "cannot be combined with git_access_token or ssh_private_key",
        ),
        (
            "- domains: [h]\n  github_app_id: 1\n  github_app_private_key: x\n  github_app_installation_id: x",
            "github_app_installation_id: expected a whole number",
        ),
        (
            "- domains: [h]\n  git_access_token: hunter2\n git_access_token: 'hunter2",
            "failed to parse GIT_AUTH_DOMAINS",
        ),
    ],
)
def test_bad_credentials_are_refused_without_showing_them(text: str, expected: str) -> None:
    (found,) = problems(GIT_AUTH_DOMAINS=text)
    assert expected in found and "hunter2" not in found


def test_the_trust_policy() -> None:
    settings = load(OCI_TRUST_POLICY="enabled: true\npublic_keys: [k]\nkeys: []")
    assert settings.oci.trust_policy == {"enabled": True, "public_keys": ["k"], "keys": []}
    assert settings.warnings == ('unknown key "keys" in OCI_TRUST_POLICY',)
    assert "enabled: expected true or false" in problems(OCI_TRUST_POLICY="enabled: 'yes'")[0]
    assert "expected a map" in problems(OCI_TRUST_POLICY="[]\n")[0]


def test_stores_of_the_webhook_provider_in_their_three_spellings() -> None:
    one = "url: https://u\njson_path: a\n"
    settings = load(
        SECRET_PROVIDER="webhook",
        SECRET_PROVIDER_WEBHOOK_STORES=(
            f"stores:\n  a: {{url: 'https://u', json_path: x}}\n---\n"
            f"stores:\n  - {{name: b, url: 'https://u', json_path: x}}\n---\nname: c\n{one}"
        ),
    )
    assert [store["name"] for store in settings.secret_provider.webhook_stores] == ["a", "b", "c"]
    for text, expected in [
        (one, "a store lacks name"),
        (f"name: c\n{one}---\nname: c\n{one}", 'store "c" is there twice'),
        ("stores: [null]", "expected every store to be a map"),
        ("- x", "expected maps"),
    ]:
        found = problems(SECRET_PROVIDER="webhook", SECRET_PROVIDER_WEBHOOK_STORES=text)
        assert expected in found[0]
