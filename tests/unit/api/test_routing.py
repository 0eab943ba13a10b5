"""Order of checks, wrong methods, paths: the parts of the contract that hold for all routes."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from api.app import clean_path
from api.services import ApiOptions
from tests.unit.api.conftest import SECRET, Kit

JSON = "application/json; charset=utf-8"

METHOD_FIRST = [
    ("POST", "/v1/api/runs", "requires method: GET", "GET"),
    ("DELETE", "/v1/api/run/x", "requires method: GET", "GET"),
    ("GET", "/v1/api/poll/run", "requires method: POST", "POST"),
    ("POST", "/v1/api/projects", "requires GET method", "GET"),
    ("POST", "/v1/api/stacks", "requires GET method", "GET"),
    ("POST", "/v1/api/status", "requires method: GET", "GET"),
    ("POST", "/v1/api/run/x/events", "requires method: GET", "GET"),
    ("POST", "/v1/api/openapi.json", "requires method: GET", "GET"),
]


@pytest.mark.parametrize(("method", "path", "content", "allow"), METHOD_FIRST)
async def test_a_wrong_method_is_told_before_the_key_is_looked_at(
    kit: Kit, method: str, path: str, content: str, allow: str
) -> None:
    answer = await kit.call(method, path, key=None)
    assert answer.status_code == 405
    assert answer.text == f'{{"error":"invalid http method","content":"{content}"}}\n'
    assert answer.headers["allow"] == allow
    assert answer.headers["content-type"] == JSON


@pytest.mark.parametrize(
    ("path", "allow"), [("/v1/api/project/shop", "GET, DELETE"), ("/v1/api/stack/shop", "GET, DELETE")]
)
async def test_single_projects_and_stacks_look_at_the_key_first(kit: Kit, path: str, allow: str) -> None:
    assert (await kit.post(path, key=None)).status_code == 401
    answer = await kit.post(path)
    assert answer.status_code == 405
    assert answer.text == '{"error":"invalid http method","content":""}\n'
    assert answer.headers["allow"] == allow


async def test_an_action_checks_key_query_project_action_and_then_the_method(kit: Kit) -> None:
    path = "/v1/api/project/nope/explode?timeout=soon"
    assert (await kit.get(path, key=None)).json()["error"] == "invalid api key"
    assert (await kit.get(path)).json()["error"] == "invalid parameter: timeout"
    assert (await kit.get("/v1/api/project/nope/explode")).json()["error"] == "project not found: nope"
    assert (await kit.get("/v1/api/project/shop/explode")).json()["error"] == "invalid action"
    answer = await kit.get("/v1/api/project/shop/start")
    assert answer.text == '{"error":"invalid http method","content":"requires method: POST"}\n'
    assert kit.controller.woken == 0


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "TRACE", "PROPFIND", "get"])
async def test_any_method_reaches_the_route(kit: Kit, method: str) -> None:
    async with await anyio.connect_tcp("127.0.0.1", kit.ports.http) as stream:
        head = f"{method} /v1/api/runs HTTP/1.1\r\nHost: x\r\nx-api-key: {SECRET}\r\nConnection: close\r\n\r\n"
        await stream.send(head.encode())
        with anyio.fail_after(60):
            answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 405 ")


async def test_head_is_not_get_and_has_no_body(kit: Kit) -> None:
    answer = await kit.call("HEAD", "/v1/api/runs")
    assert (answer.status_code, answer.content) == (405, b"")


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/api", "/v1/api/", "/v1/api/runs/", "/v1/api/project/", "/v1/health/", "/v1/webhook/", "/x/y/z"],
)
async def test_unknown_paths_and_trailing_slashes_are_a_plain_404(kit: Kit, path: str) -> None:
    answer = await kit.get(path, key=None)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/v1//api/runs", "/v1/api/runs"),
        ("/v1/./api/runs?limit=3", "/v1/api/runs?limit=3"),
        ("/v1/api/project/../runs", "/v1/api/runs"),
        ("/v1/api/project/..", "/v1/api"),
        ("//v1/nothing/", "/v1/nothing/"),
    ],
)
async def test_a_path_that_is_not_clean_is_redirected(kit: Kit, path: str, clean: str) -> None:
    async with await anyio.connect_tcp("127.0.0.1", kit.ports.http) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        with anyio.fail_after(60):
            answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 307 ")
    assert f"\r\nlocation: {clean}\r\n".encode() in answer.lower()


def test_cleaning_knows_the_root_and_dots() -> None:
    assert [clean_path(path) for path in ("/", "//", "/.", "/..", "/a/..", "/a/../", "/...")] == [
        "/", "/", "/", "/", "/", "/", "/...",
    ]  # fmt: skip


async def test_a_wildcard_is_one_percent_decoded_segment_and_is_echoed_escaped(kit: Kit) -> None:
    answer = await kit.get("/v1/api/project/a%2Fb%3Cc%3E%26%C3%A4")
    assert answer.status_code == 404
    assert answer.text.startswith('{"error":"project not found: a/b\\u003cc\\u003e\\u0026ä","content":""')


async def test_without_secrets_the_groups_do_not_exist(kit: Kit) -> None:
    assert (await kit.get("/v1/api/runs")).status_code == 200


class TestWithoutSecrets:
    @pytest.fixture
    def options(self, options: ApiOptions) -> ApiOptions:
        return replace(options, api_secret=None, webhook_secret=None)

    @pytest.mark.parametrize("path", ["/v1/api/runs", "/v1/api/docs", "/v1/webhook", "/v1/webhook/prod"])
    async def test_the_group_is_an_unknown_path(self, kit: Kit, path: str) -> None:
        for method in ("GET", "POST"):
            answer = await kit.call(method, path)
            assert (answer.status_code, answer.text) == (404, "404 page not found\n")

    async def test_health_exists(self, kit: Kit) -> None:
        assert (await kit.get("/v1/health", key=None)).status_code == 200


async def test_a_malformed_request_is_refused_in_json(kit: Kit) -> None:
    async with await anyio.connect_tcp("127.0.0.1", kit.ports.http) as stream:
        await stream.send(b"GET /v1/health SPDY/9\r\n\r\n")
        with anyio.fail_after(60):
            answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":"Bad Request","content":""}\n' in answer


async def test_what_no_handler_foresaw_is_a_500_without_details(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(kit.store, "list_stacks", broken)
    answer = await kit.get("/v1/api/status")
    assert answer.status_code == 500
    assert answer.json()["error"] == "internal server error"
    assert "secret" not in answer.text


async def test_a_connection_is_used_again_after_a_body_nobody_read(kit: Kit) -> None:
    assert (await kit.call("POST", "/v1/api/runs", content=b"x" * 100_000)).status_code == 405
    assert (await kit.call("POST", "/v1/health", content=b"x" * 100_000)).status_code == 200
