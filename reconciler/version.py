"""The version of this package, without importing anything heavy."""

from __future__ import annotations

VERSION = "0.1.0"
