"""Requests at random, by the document and against it: whatever is asked, the answer is one the
document tells of, and never an unforeseen failure."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from api.services import ApiOptions
from tests.unit.api.conftest import SECRET, Kit
from tests.unit.api.test_openapi import document, holds
from tests.unit.api.test_status_and_stacks import fill

__all__ = ["document"]

ROUNDS = 12
ODD = ["", "0", "-1", "true", "x" * 300, "9" * 30, "1e9", "ä/%2F", "<&>", "\x00", "..", "null", "%zz", "shop", "a b"]
TARGET = b'[{"url": "https://git.example/a.git",}]'
BODIES = [b"", b"[]", b"{}", b"[", b"null", b'"x"', b"\xff\xfe", TARGET, b"[[[[" * 50]
ENDLESS = ("/v1/api/run/{job_id}/events",)
BODILESS = ("head", "trace")


@pytest.fixture
def options(options: ApiOptions) -> ApiOptions:
    return replace(options, max_auth_failures=10_000)


def wild(chance: random.Random, path: str, operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A path and the arguments of a request for this operation, right or wrong as chance has it."""
    params: list[tuple[str, str]] = []
    headers = {"x-api-key": SECRET} if chance.random() < 0.9 else {}
    for parameter in operation["parameters"]:
        name = parameter["name"]
        value = str(chance.choice([*ODD, *parameter["schema"].get("enum", ())]))
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", quote(value or "x", safe="").replace(".", "%2E"))
        elif parameter["in"] == "query" and chance.random() < 0.5:
            params.append((name, value))
        elif parameter["in"] == "header" and chance.random() < 0.3:
            headers[name] = f"{path}-{chance.random()}"
    body = chance.choice(BODIES) if "requestBody" in operation else None
    return path, {"params": params, "headers": headers, "content": body}


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_every_answer_is_a_documented_one(kit: Kit, document: dict[str, Any], seed: int) -> None:
    await fill(kit)
    chance = random.Random(seed)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path in ENDLESS or method in BODILESS:
                continue
            concrete, arguments = wild(chance, path, operation)
            answer = await kit.client.request(method.upper(), concrete, **arguments)
            if answer.headers["content-type"].startswith("application/json"):
                holds(document, path, answer)
            assert answer.status_code < 500 or answer.json()["error"] != "internal server error", answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"])
async def test_methods_the_document_does_not_tell_of_are_405(kit: Kit, document: dict[str, Any], method: str) -> None:
    for path, methods in document["paths"].items():
        if method.lower() in methods or path.endswith("/override"):
            continue
        concrete = path.replace("{name}", "shop").replace("{action}", "start").replace("{job_id}", "x")
        answer = await kit.call(method, concrete.replace("{target}", "prod"))
        assert answer.status_code == 405, (method, path, answer.text)
        assert answer.headers["allow"] == ", ".join(name.upper() for name in methods)
