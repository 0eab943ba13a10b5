"""What Schemathesis sends, kept on this machine.

Loaded by Schemathesis itself. Whatever a body asks to be polled becomes the test's own
repository, so that no request of the agent leaves the machine; the rest of the body stays as
it was thought up.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis

REPOSITORY = os.environ["MOORED_TEST_REPOSITORY"]


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    if isinstance(case.body, list):
        case.body = [_at_home(item) for item in case.body]


def _at_home(item: Any) -> Any:
    if isinstance(item, dict) and isinstance(item.get("url"), str) and item["url"]:
        return {**item, "url": REPOSITORY}
    return item
