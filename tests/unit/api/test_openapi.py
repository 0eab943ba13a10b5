"""The document, the page, and the real answers held against the document."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema_rs
import pytest

from api import openapi
from api.services import ApiOptions
from tests.unit.api.conftest import Kit, container
from tests.unit.api.test_status_and_stacks import fill


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(openapi.document("1.2.3"))
    return found


def holds(document: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """The answer is what the document says of it."""
    described = document["paths"][path][answer.request.method.lower()]["responses"]
    assert str(answer.status_code) in described, (path, answer.status_code)
    (media,) = described[str(answer.status_code)]["content"].values()
    schema = {**media["schema"], "components": document["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(answer.json())


async def test_the_document_is_served_with_the_key(kit: Kit, document: dict[str, Any]) -> None:
    answer = await kit.get("/v1/api/openapi.json")
    assert answer.json() == document
    assert (await kit.get("/v1/api/openapi.json", key=None)).status_code == 401


def test_it_is_openapi_3_1_with_every_route_and_unique_names(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names))
    assert {
        "/v1/health", "/v1/api/runs", "/v1/api/run/{job_id}", "/v1/api/run/{job_id}/events", "/v1/api/poll/run",
        "/v1/api/projects", "/v1/api/project/{name}", "/v1/api/project/{name}/{action}",
        "/v1/api/project/{name}/override", "/v1/api/stacks", "/v1/api/stack/{name}", "/v1/api/stack/{name}/{action}",
        "/v1/api/status", "/v1/api/openapi.json", "/v1/api/docs", "/v1/webhook", "/v1/webhook/{target}",
    } <= set(document["paths"])  # fmt: skip
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]


def test_every_keyed_operation_tells_of_refusals(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            if one["security"] == [{"key": []}]:
                assert {"401", "405", "429"} <= set(one["responses"]), (method, path)
            if any(parameter["in"] == "query" for parameter in one["parameters"]):
                assert "400" in one["responses"], (method, path)


async def test_real_answers_are_as_described(kit: Kit, document: dict[str, Any]) -> None:
    await fill(kit)
    kit.default.put_container(container("shop-job-1", "shop", "exited"))
    poll = await kit.post("/v1/api/poll/run", json=[{"url": "https://git.example/a.git"}])
    holds(document, "/v1/api/poll/run", poll)
    holds(document, "/v1/api/poll/run", await kit.post("/v1/api/poll/run", content=b"{"))
    holds(document, "/v1/api/run/{job_id}", await kit.get(f"/v1/api/run/{poll.json()['job_id']}"))
    holds(document, "/v1/api/run/{job_id}", await kit.get("/v1/api/run/nope"))
    for path in ("/v1/health", "/v1/api/runs", "/v1/api/projects", "/v1/api/status", "/v1/api/stacks"):
        holds(document, path, await kit.get(path))
        holds(document, path, await kit.get(path, key=None)) if path != "/v1/health" else None
    holds(document, "/v1/api/project/{name}", await kit.get("/v1/api/project/shop"))
    holds(document, "/v1/api/project/{name}/{action}", await kit.post("/v1/api/project/shop/stop"))
    holds(document, "/v1/api/project/{name}/override", await kit.delete("/v1/api/project/blog/override"))
    holds(document, "/v1/api/project/{name}", await kit.delete("/v1/api/project/shop"))
    holds(document, "/v1/webhook", await kit.hook({"zen": "x"}, event="ping"))
    holds(document, "/v1/webhook", await kit.hook(b"", event="ping"))


async def test_the_page_is_served_from_here_and_loads_nothing_from_elsewhere(kit: Kit) -> None:
    page = await kit.get("/v1/api/docs", key=None)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path, content_type in (("docs.js", "text/javascript"), ("docs.css", "text/css")):
        assert f"/v1/api/docs/{path}" in page.text
        part = await kit.get(f"/v1/api/docs/{path}", key=None)
        assert part.headers["content-type"] == f"{content_type}; charset=utf-8"
        assert "://" not in part.text
    assert "://" not in page.text
    assert (await kit.post("/v1/api/docs", key=None)).status_code == 405


def test_options_keep_their_secrets_out_of_repr() -> None:
    assert "hunter2" not in repr(ApiOptions(api_secret="hunter2", webhook_secret="hunter2"))
