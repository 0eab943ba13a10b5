from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from multidict import CIMultiDict

from api.auth import Failures, same_secret, valid_hmac
from api.clients import client_address
from api.services import DEFAULT_TRUSTED_NETWORKS, ApiOptions
from tests.unit.api.conftest import SECRET, Kit, sign

REFUSED = '{"error":"invalid api key","content":"","job_id":'


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": "nope"}, {"x-api-key": ""}, {"authorization": f"Bearer {SECRET}"}]
)
async def test_a_missing_and_a_wrong_key_are_refused_alike(kit: Kit, headers: dict[str, str]) -> None:
    answer = await kit.get("/v1/api/runs", key=None, headers=headers)
    assert answer.status_code == 401
    assert answer.text.startswith(REFUSED)


async def test_the_key_may_be_written_in_any_case_and_counts_once(kit: Kit) -> None:
    assert (await kit.get("/v1/api/runs", key=None, headers={"X-API-Key": SECRET})).status_code == 200
    twice = [("x-api-key", "nope"), ("x-api-key", SECRET)]
    assert (await kit.client.get("/v1/api/runs", headers=twice)).status_code == 401
    assert (await kit.client.get("/v1/api/runs", headers=list(reversed(twice)))).status_code == 200


@pytest.mark.parametrize("key", ["ключ", "x" * 5000, "\udcff"])
async def test_odd_keys_are_refused_not_stumbled_over(kit: Kit, key: str) -> None:
    answer = await kit.client.get("/v1/api/runs", headers=[(b"x-api-key", key.encode("utf-8", "surrogateescape"))])
    assert answer.status_code == 401


async def test_after_twenty_failures_a_minute_an_address_has_to_wait_even_with_the_right_key(kit: Kit) -> None:
    for _ in range(20):
        assert (await kit.get("/v1/api/runs", key="nope")).status_code == 401
    answer = await kit.get("/v1/api/runs")
    assert answer.status_code == 429
    assert answer.json()["error"] == "too many failed attempts"
    assert 0 < int(answer.headers["retry-after"]) <= 60
    elsewhere = await kit.get("/v1/api/runs", headers={"X-Forwarded-For": "203.0.113.9"})
    assert elsewhere.status_code == 200


async def test_a_correct_webhook_signature_gets_through_whatever_others_tried(kit: Kit) -> None:
    body = b'{"zen": "x"}'
    for _ in range(20):
        assert (await kit.hook(body, secret="nope")).status_code == 401
    refused = await kit.hook(body, secret="nope")
    assert refused.status_code == 429
    assert "retry-after" in refused.headers
    assert (await kit.hook(body, event="ping")).status_code == 202


class TestUntrustedPeer:
    @pytest.fixture
    def options(self, options: ApiOptions) -> ApiOptions:
        return replace(options, trusted_proxy_networks=())

    async def test_a_forged_header_does_not_help_a_guesser(self, kit: Kit) -> None:
        for number in range(20):
            await kit.get("/v1/api/runs", key="nope", headers={"X-Forwarded-For": f"203.0.113.{number}"})
        answer = await kit.get("/v1/api/runs", headers={"X-Forwarded-For": "203.0.113.99"})
        assert answer.status_code == 429


def test_failures_are_forgotten_after_the_window_and_bounded_in_number() -> None:
    now = [0.0]
    failures = Failures(limit=2, window=60, max_addresses=3, clock=lambda: now[0])
    failures.add("a")
    assert failures.retry_after("a") == 0
    now[0] = 10
    failures.add("a")
    assert failures.retry_after("a") == 50
    now[0] = 60
    assert failures.retry_after("a") == 0
    for address in "bcde":
        failures.add(address)
        failures.add(address)
    assert [failures.retry_after(address) > 0 for address in "abcde"] == [False, False, True, True, True]


def test_an_empty_secret_never_matches() -> None:
    assert not same_secret("", "")
    assert not valid_hmac(sign(b"x", ""), "", b"x")


def test_signatures_are_lower_case_hex_with_an_optional_prefix() -> None:
    digest = sign(b"body")
    assert valid_hmac(digest, SECRET, b"body")
    assert valid_hmac(f"sha256={digest}", SECRET, b"body", prefix="sha256=")
    assert not valid_hmac(f"sha256={digest}", SECRET, b"body")
    assert not valid_hmac(digest.upper(), SECRET, b"body")
    assert not valid_hmac(digest, SECRET, b"other")


TRUSTED = DEFAULT_TRUSTED_NETWORKS
ADDRESSES = [
    ("an untrusted peer is the client", "203.0.113.1", {"X-Forwarded-For": "198.51.100.1"}, "203.0.113.1"),
    ("no header", "10.0.0.1", {}, "10.0.0.1"),
    ("the first untrusted from the right", "10.0.0.1", {"X-Forwarded-For": "1.1.1.1, 2.2.2.2, 10.0.0.9"}, "2.2.2.2"),
    ("all trusted: the leftmost", "10.0.0.1", {"X-Forwarded-For": "10.0.0.7, 10.0.0.8"}, "10.0.0.7"),
    ("garbage is skipped", "10.0.0.1", {"X-Forwarded-For": "2.2.2.2, unknown, _x, "}, "2.2.2.2"),
    ("ports and brackets", "10.0.0.1", {"X-Forwarded-For": "[2001:db8::1]:443"}, "2001:db8::1"),
    ("a port", "10.0.0.1", {"X-Forwarded-For": "2.2.2.2:99"}, "2.2.2.2"),
    ("mapped", "::ffff:10.0.0.1", {"X-Forwarded-For": "::ffff:2.2.2.2"}, "2.2.2.2"),
    ("Forwarded", "10.0.0.1", {"Forwarded": 'for="[2001:db8::2]:1";proto=https, for=10.0.0.2'}, "2001:db8::2"),
    ("both headers", "10.0.0.1", {"Forwarded": "for=1.1.1.1", "X-Forwarded-For": "2.2.2.2"}, "2.2.2.2"),
]


@pytest.mark.parametrize(("about", "peer", "headers", "expected"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_the_client_behind_trusted_proxies(about: str, peer: str, headers: dict[str, str], expected: str) -> None:
    assert client_address(peer, CIMultiDict(headers), TRUSTED, "X-Forwarded-For") == expected


def test_another_header_is_one_address_without_fallback() -> None:
    headers = CIMultiDict([("X-Real-IP", "nonsense"), ("X-Real-IP", "2.2.2.2"), ("X-Forwarded-For", "1.1.1.1")])
    assert client_address("10.0.0.1", headers, TRUSTED, "X-Real-IP") == "2.2.2.2"
    assert client_address("10.0.0.1", CIMultiDict({"X-Forwarded-For": "1.1.1.1"}), TRUSTED, "X-Real-IP") == "10.0.0.1"
    assert client_address("9.9.9.9", headers, [ip_network("10.0.0.0/8")], "X-Real-IP") == "9.9.9.9"
