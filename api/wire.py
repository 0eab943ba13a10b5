"""How values look on the wire.

The envelopes are Doco-CD's, byte for byte, for clients compare and parse them: compact
JSON, keys in a fixed order, one trailing newline, `<`, `>` and `&` escaped as Go's encoder
does, times in RFC 3339 with trailing zeros cut. Success is `{"content", "job_id"}`,
failure `{"error", "content", "job_id"}`; an error's `content` is `""` when there is
nothing more to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sanic.response import HTTPResponse

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"

_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class Answer(HTTPResponse):
    """A response that never announces an alternative service: Sanic sets an empty `Alt-Svc`
    on each, and the contract has no such header."""

    @property
    def processed_headers(self) -> Any:
        self.headers.pop("alt-svc", None)
        return super().processed_headers


def encode(value: Any) -> bytes:
    """JSON as Go writes it, with the newline its encoder ends a document with."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)
    return text.encode("utf-8", "replace") + b"\n"


def answer(body: bytes, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(
        body, status=status, content_type=content_type, headers={"X-Content-Type-Options": "nosniff", **(headers or {})}
    )


def success(content: Any, job_id: str, status: int = 200) -> Answer:
    return answer(encode({"content": content, "job_id": job_id}), status, JSON_TYPE)


def success_encoded(content: bytes, job_id: str) -> Answer:
    """As `success`, of content that is encoded already."""
    return answer(b'{"content":' + content.rstrip(b"\n") + b',"job_id":"' + job_id.encode() + b'"}\n', 200, JSON_TYPE)


def failure(
    status: int, error: str, content: Any = "", job_id: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """An error in the usual envelope; without `job_id` where the contract has none."""
    body: dict[str, Any] = {"error": error, "content": content}
    if job_id:
        body["job_id"] = job_id
    return answer(encode(body), status, JSON_TYPE, headers)


def not_found() -> Answer:
    """The plain answer to a path nobody serves."""
    return answer(b"404 page not found\n", 404, TEXT_TYPE)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, fractional seconds without trailing zeros."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "Z"
