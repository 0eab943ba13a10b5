"""What the real Doco-CD answered, or what Moored is to answer instead, request by request.

Steps that need a deployment are answered by the test's controller; what they say of a real
Engine is compared elsewhere, against the running agent.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from state.model import Intent, Run
from state.observed import ObservedContext
from tests.unit.api.conftest import SECRET, Kit, container, failing, sign, succeed

CORPUS = Path(os.environ.get("MOORED_CORPUS") or Path(__file__).resolve().parents[4] / "shared" / "corpus")
STEPS: list[dict[str, Any]] = json.loads((CORPUS / "api" / "recorded.json").read_text())

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
PLACEHOLDERS = {
    "$UUID": UUID,
    "$TIME": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "$ID64": r"[0-9a-f]{64}",
    "$SHA": r"[0-9a-f]{40}",
    "$UNIX": r"\d{10}",
    "$AGO": r"[A-Za-z0-9 ]+",
    "$DATA": r"/[^\"]*",
    "$GIT": r"[A-Za-z0-9.:]+",
}
NEEDS_THE_AGENT = re.compile(
    r"^(job|jobs|runs of jobs)\b|^project(s|)( in upper case|: all|s: all|s: all, one stopped|)$"
    r"|^projects without the stopped one$|^poll: inline deployment$"
)
"""Jobs are not part of this API yet; the rest shows or hits what a real deployment left."""


def steps() -> list[Any]:
    return [pytest.param(step, id=step["about"]) for step in STEPS if not NEEDS_THE_AGENT.search(step["about"])]


def outcome_of(about: str) -> Callable[[Intent, Run], Run]:
    """How the deployment behind a step ended in the recording."""
    if "does not exist" in about:
        return failing("1/1 poll jobs failed", "git.example/missing: not found")
    if about == "hook: unknown target, waiting":
        return failing("failed to get deploy configuration", "looked for .doco-cd.nope.yaml, .doco-cd.nope.yml")
    return succeed


def filled(text: str, about: str) -> str:
    zero = about == "hook: branch deleted"
    text = text.replace("$GIT", "git.example").replace(
        '"after": "$SHA"', f'"after": "{"0" * 40}"' if zero else '"after": "$SHA"'
    )
    return text.replace("$SHA", "c0ffee" + "1" * 34)


def matches(pattern: str, text: str) -> bool:
    expression = re.escape(pattern)
    for name, meaning in PLACEHOLDERS.items():
        expression = expression.replace(re.escape(name), meaning)
    return re.fullmatch(expression, text) is not None


@pytest.fixture
def default() -> ObservedContext:
    from state.observed import EngineFacts

    context = ObservedContext("default")
    context.found(EngineFacts("20.10.24", "1.41"))
    for name in ("recorded", "second"):
        context.put_container(container(f"{name}-web-1", name))
    return context


@pytest.mark.parametrize("step", steps())
async def test_the_recorded_answer(kit: Kit, step: dict[str, Any]) -> None:
    about, request = step["about"], step["request"]
    kit.controller.outcome = outcome_of(about)
    path = request["path"]
    if about == "the run of that poll":
        made = await kit.post("/v1/api/poll/run", content='[{"url": "http://git.example/recorded.git"}]')
        path = path.replace("$UUID", made.json()["job_id"])
    body = filled(request["body"], about).encode() if request["body"] is not None else b""
    headers = dict(request["headers"])
    for name, value in headers.items():
        if value == "$SIGNED":
            wrong = "wrong" in about
            headers[name] = ("sha256=" if name == "X-Hub-Signature-256" else "") + sign(
                body, "nope" if wrong else SECRET
            )

    answer = await kit.client.request(request["method"], path, headers=headers, content=body)

    wanted = {**step["response"], **step.get("ours", {})}
    assert answer.status_code == wanted["status"], answer.text
    for name, value in step["response"]["headers"].items():
        assert answer.headers[name] == value
    if wanted["body"] is not None:
        assert matches(wanted["body"], answer.text), answer.text
    elif answer.status_code >= 400:
        assert list(answer.json()) == ["error", "content", "job_id"]
    if "why" in step.get("ours", {}):
        assert_what_the_reason_asks(step, answer.json())


def assert_what_the_reason_asks(step: dict[str, Any], body: dict[str, Any]) -> None:
    """The parts that `ours` puts into words."""
    why, about = step["ours"]["why"], step["about"]
    if found := re.search(r"error is `([^`]+)`", why):
        assert body["error"] == found.group(1)
    if "as recorded" in why:
        assert body["error"] == json.loads(step["response"]["body"])["error"]
    if "line and column, or the key" in why:
        assert re.search(r"line \d+, column \d+: |key \"\w+|expected an array", str(body["content"]))
    if "names SOURCE_URL_REWRITES" in why:
        assert "SOURCE_URL_REWRITES" in body["content"]
    if about == "the run of that poll":
        recorded = json.loads(step["response"]["body"])["content"]
        assert [key for key in body["content"] if key in recorded] == list(recorded)


def test_most_of_the_recording_is_replayed() -> None:
    assert len(steps()) >= 60


def test_placeholders_match_what_they_stand_for() -> None:
    assert matches('"$UUID" $ID64', f'"0198d1a2-7cc0-7000-8000-000000000000" {hashlib.sha256(b"").hexdigest()}')
    assert not matches("$UUID", "0198d1a2-7cc0-4000-8000-000000000000")
