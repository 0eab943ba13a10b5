"""What can go wrong at the edge, and as which status it is told.

    ApiError                 an answer with a status, an `error` and a `content`
    └── PayloadRefused       the body is too large or came too slowly

Exceptions of the layers below are mapped in one place, `as_api_error`: a store that cannot
be written is 503 (nothing was done, come back), everything unforeseen is 500 without
details on the wire. Failed runs carry their own words; `RUN_STATUS` says which of their
codes are the caller's fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from state.errors import StateError

RUN_STATUS: Mapping[str, int] = {
    "LocalURLRefused": 403,
    "InvalidRepositoryName": 400,
    "InvalidPath": 400,
    "NoReference": 400,
}
"""Status of a failed webhook run by its `code`; any other is 500."""


class ApiError(Exception):
    """The request ends here with this answer."""

    def __init__(
        self,
        status: int,
        error: str,
        content: Any = "",
        *,
        headers: Mapping[str, str] | None = None,
        names_job: bool = True,
    ) -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.error = error
        self.content = content
        self.headers = headers
        self.names_job = names_job
        """Whether the answer carries a `job_id`."""


class PayloadRefused(ApiError):
    """The request's body cannot be taken."""


def as_api_error(error: Exception) -> ApiError:
    """The answer to an exception that no handler foresaw."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StateError):
        return ApiError(503, "state store unavailable", str(error), headers={"Retry-After": "5"})
    return ApiError(500, "internal server error", "the cause is in the log of Moored")


def wrong_method(content: str, allowed: str, *, names_job: bool = False) -> ApiError:
    return ApiError(405, "invalid http method", content, headers={"Allow": allowed}, names_job=names_job)
