"""`moored healthcheck`: the command of an image's HEALTHCHECK.

Asks the agent on this host by its own settings, with nothing but the standard library so
that it costs little each time. The certificate is not checked: it names the public host.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

DEADLINE = 5.0


def healthcheck_command(arguments: Sequence[str]) -> int:
    """Exit status 0 when the agent answers 200 within five seconds, else 1."""
    if arguments:
        print("usage: moored healthcheck", file=sys.stderr)
        return 0 if arguments[0] in ("-h", "--help") else 2
    port = os.environ.get("HTTP_PORT") or "80"
    scheme = "https" if os.environ.get("HTTP_TLS_CERT_FILE") else "http"
    url = f"{scheme}://localhost:{port}/v1/health"
    context = ssl._create_unverified_context() if scheme == "https" else None  # noqa: S323 - our own certificate
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE, context=context) as answer:  # noqa: S310 - fixed scheme
            healthy: bool = answer.status == 200
    except urllib.error.HTTPError as error:
        print(error.read().decode(errors="replace").strip(), file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    return 0 if healthy else 1
