"""Names no other test has, and the certainty that nothing stays behind under them.

Tests share one Engine with each other and with whatever else its machine runs. A test owns a
name; all it makes carries the name as Compose project or in the label below, and goes when
the test ends, however it ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.docker_api import DockerApi

LABEL_TEST = "io.moored.test"


def unique_name(prefix: str = "moored") -> str:
    """Valid as a Compose project, container, network, volume and repository name."""
    return f"{prefix}-{secrets.token_hex(4)}"


@contextmanager
def owned_project(api: DockerApi, prefix: str = "moored") -> Iterator[str]:
    """A Compose project name; what carries it or is labelled `io.moored.test=<name>` is removed."""
    name = unique_name(prefix)
    try:
        yield name
    finally:
        api.remove_project(name)
        api.remove_labelled(f"{LABEL_TEST}={name}")
