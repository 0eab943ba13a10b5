"""The agent, killed by itself right after a certain call to the Engine was answered.

`MOORED_DIES_AFTER=container.stop:2` ends it as `kill -9` does after the second stop, before it
learns of the answer: moments that a clock hits once in a thousand times.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from reconciler.cli import main
from reconciler.engine.client import Engine
from tests.support.agent import DIES_AFTER


def arm(after: str) -> None:
    """Die after the n-th call of an operation: `operation:n`."""
    operation, _, count = after.rpartition(":")
    left = int(count)
    stream = Engine.stream

    @asynccontextmanager
    async def dying(self: Engine, name: str, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        nonlocal left
        async with stream(self, name, *arguments, **options) as response:
            if name == operation:
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
            yield response

    Engine.stream = dying  # type: ignore[method-assign]


if __name__ == "__main__":
    arm(os.environ[DIES_AFTER])
    sys.exit(main(["run"]))
