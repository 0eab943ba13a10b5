"""Where desired state comes from: repositories, brought to a revision on disk.

`GitWorkspace` is the way in; `urls` names repositories, `errors` says what can go wrong.
"""

from __future__ import annotations

from reconciler.sources.credentials import DomainCredentials, GitCredentials
from reconciler.sources.errors import SourceError
from reconciler.sources.git import Checkout, GitOptions, GitSource, GitWorkspace
from reconciler.sources.local import watch_local
from reconciler.sources.urls import GitURL, parse_git_url, redact_url, rewrite_url

__all__ = [
    "Checkout",
    "DomainCredentials",
    "GitCredentials",
    "GitOptions",
    "GitSource",
    "GitURL",
    "GitWorkspace",
    "SourceError",
    "parse_git_url",
    "redact_url",
    "rewrite_url",
    "watch_local",
]
