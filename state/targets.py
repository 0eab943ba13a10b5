"""A target of a poll, as the API and the settings check it before anything is written.

The check itself lives in the reconciler (`reconciler.deployments.targets`), which knows
URLs and deploy configuration; the API is handed the function and needs only these two.
"""

from __future__ import annotations

from dataclasses import dataclass

from state.model import SourceSpec


@dataclass(frozen=True, slots=True)
class ValidatedTarget:
    """A poll target that can be followed."""

    spec: SourceSpec
    repository: str
    """`host/owner/repo`, without credentials."""
    warnings: tuple[str, ...] = ()
    """What is odd about it (unknown keys, an empty interval), to be told once."""


class InvalidTarget(Exception):
    """A poll target breaks a rule. The text says which, in Doco-CD's words where it has some."""

    def __init__(self, message: str, *, wrong_type: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.wrong_type = wrong_type
        """The value has the wrong kind: Doco-CD's decoder refuses the whole body for it
        (`failed to decode json in body`) instead of one target."""
