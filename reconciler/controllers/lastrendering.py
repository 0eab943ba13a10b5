"""What the last rendering of a source came to.

The same revision gives the same stacks, so somebody who asks for a revision that was rendered
before is served without reading it again. What counts besides the revision is written down
here: files that it reads and Git does not track, and what is known of its stacks. Whatever is
not entirely plain (a stack that failed, one that is to be recreated at each request, a webhook's
filter) is not written down, and is rendered again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.controllers.rendering import Rendering
from state.model import Stack, StackKey

Heads = tuple[tuple[str, str], ...]
"""Where the source's reference points, and each other reference its stacks follow."""


@dataclass(frozen=True, slots=True)
class LastRendering:
    """One revision, rendered."""

    heads: Heads
    stacks: Mapping[StackKey, str]
    """Desired hashes."""
    untracked: Mapping[str, str]
    """Path -> SHA-256 of what was read there, empty: there was no such file."""
    warnings: tuple[str, ...]

    def known(self, source_id: str, stacks: Mapping[StackKey, Stack]) -> list[Stack] | None:
        """The stacks as they are known, if they are known as they were rendered."""
        found = []
        for key, desired_hash in self.stacks.items():
            stack = stacks.get(key)
            if stack is None or stack.source_id != source_id or stack.desired_hash != desired_hash or stack.deleting:
                return None
            found.append(stack)
        return found

    def files_unchanged(self) -> bool:
        """Whether the files that Git does not track are as they were. Blocking."""
        return all(_digest(path) == digest for path, digest in self.untracked.items())


def remember(work: Rendering, stacks: Mapping[StackKey, str]) -> LastRendering | None:
    """What to write down of a rendering that was applied; None: nothing."""
    plain = work.complete and not (work.failed or work.filtered or work.destroyed)
    if not plain or any(_wishes(one.config) for _, one in work.rendered):
        return None
    untracked = {path: digest for _, one in work.rendered for path, digest in one.untracked}
    return LastRendering(tuple(work.heads), stacks, untracked, tuple(work.warnings))


def _wishes(config: Mapping[str, object]) -> bool:
    """Whether each request for the stack is to do something."""
    return bool(config.get("force_recreate") or config.get("force_image_pull"))


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
