"""From the references a remote advertises to the commit that is meant.

Pure: `git ls-remote`'s output in, a `Resolution` out. A branch beats a tag of the same
name; a full `refs/…` name means just that; an annotated tag means the commit it points
to; `HEAD` the remote's default branch. What is not there is reported with what is: the
nearest names, or the whole short list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.sources.errors import ReferenceNotFound, RepositoryEmpty

_FULL_HASH = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")
_SHORT_HASH = re.compile(r"^[0-9a-f]{4,63}$")
_PEELED = "^{}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """A reference, found."""

    name: str
    """The full name on the remote, `HEAD` included."""
    commit: str


def is_commit_id(reference: str) -> bool:
    return _FULL_HASH.match(reference.lower()) is not None


def may_be_short_id(reference: str) -> bool:
    return _SHORT_HASH.match(reference.lower()) is not None and not is_commit_id(reference)


def checked_reference(reference: str) -> str:
    """The reference, if git could have one of that name; raises `ReferenceNotFound`."""
    text = reference.strip()
    bad = (
        not text
        or text.startswith(("-", "/", "."))
        or text.endswith(("/", ".lock", "."))
        or ".." in text
        or "//" in text
        or "@{" in text
        or any(ord(char) <= 32 or ord(char) == 127 or char in "~^:?*[\\" for char in text)
    )
    if bad:
        raise ReferenceNotFound(f"invalid reference, should be a tag or a branch: {reference}")
    return text


def normal_name(reference: str) -> str:
    """The form under which references are compared: `refs/heads/x` and `x` are one."""
    return reference.strip().removeprefix("refs/heads/")


def parse_advertised(output: bytes) -> dict[str, str]:
    """`ls-remote` output as name -> object id; peeled tags replace the tag objects."""
    found: dict[str, str] = {}
    peeled: dict[str, str] = {}
    for line in output.decode(errors="surrogateescape").splitlines():
        value, tab, name = line.partition("\t")
        if not tab or value.startswith("ref: "):
            continue
        if name.endswith(_PEELED):
            peeled[name.removesuffix(_PEELED)] = value
        else:
            found[name] = value
    return {**found, **peeled}


def candidates(reference: str) -> tuple[str, ...]:
    """The full names a reference may mean, the first that exists wins."""
    if reference == "HEAD" or reference.startswith("refs/"):
        return (reference,)
    return (f"refs/heads/{reference}", f"refs/tags/{reference}")


def select(advertised: Mapping[str, str], reference: str) -> Resolution | None:
    """The resolution of a named reference, or None."""
    for name in candidates(reference):
        commit = advertised.get(name)
        if commit is not None:
            return Resolution(name, commit)
    return None


def select_by_id(advertised: Mapping[str, str], prefix: str) -> Resolution | None:
    """The branch or tag that points to a commit id with this prefix; None unless exactly one commit does."""
    wanted = prefix.lower()
    found = {
        commit: name
        for name, commit in sorted(advertised.items(), reverse=True)
        if commit.startswith(wanted) and name.startswith(("refs/heads/", "refs/tags/"))
    }
    if len(found) != 1:
        return None
    ((commit, name),) = found.items()
    return Resolution(name, commit)


def not_found(advertised: Mapping[str, str], reference: str, *, last: str = "") -> ReferenceNotFound | RepositoryEmpty:
    """The error for a reference that is not there."""
    branches = sorted(name.removeprefix("refs/heads/") for name in advertised if name.startswith("refs/heads/"))
    tags = sorted(name.removeprefix("refs/tags/") for name in advertised if name.startswith("refs/tags/"))
    if not branches and not tags:
        return RepositoryEmpty(f"the repository is empty: it has no branches and no tags (wanted {reference})")
    message = f"invalid reference, should be a tag or a branch: {reference}"
    if last:
        message += f"; it was there before, at {last[:12]}, and is gone"
    near = _near(reference, branches, tags)
    if near:
        message += f"; did you mean {near}?"
    elif branches:
        message += f"; branches there: {', '.join(branches[:8])}{', …' if len(branches) > 8 else ''}"
    else:
        message += f"; it has no branches, but tags: {', '.join(tags[:8])}{', …' if len(tags) > 8 else ''}"
    return ReferenceNotFound(message)


def _near(reference: str, branches: list[str], tags: list[str]) -> str:
    import difflib

    short = reference
    for prefix in ("refs/heads/", "refs/tags/", "refs/remotes/origin/", "origin/", "heads/", "tags/"):
        short = short.removeprefix(prefix)
    if short in branches:
        return f"the branch {short}"
    if short in tags:
        return f"the tag {short}"
    found = difflib.get_close_matches(short, [*branches, *tags], n=2, cutoff=0.7)
    return " or ".join(found)
