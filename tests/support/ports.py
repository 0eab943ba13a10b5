"""Ports for servers that tests start and start again.

A port that the kernel gives out (`bind` to 0) is anybody's again as soon as it is let go: another
server's, or the near end of a connection, for a minute after its end. So ports are taken from
below the range that the kernel gives out, and each is claimed for as long as this process lives:
as the name of an abstract Unix socket, which two cannot have and no crash leaves behind.
"""

from __future__ import annotations

import random
import socket

PORTS = range(20_000, 28_000)
"""Where the kernel's range begins later, as it does unless somebody set it otherwise; the cases of
`tests/differential/engine_cases` publish some beyond."""
_claims: list[socket.socket] = []


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens at, and no other test will be given."""
    for port in random.sample(PORTS, 200):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0moored-test-port-{port}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise RuntimeError("no free port")
