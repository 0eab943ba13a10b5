"""What a webhook says, whoever sent it.

Each provider has its own JSON for the same story: a reference of a repository moved from
one commit to another, or went away. The parsers here read it into `Event`s. They are pure
and strict about types (a number where a text belongs is a bad payload), but a missing key
is only a missing key: deliveries that are not about a reference (pings, issues) come out
as an event without one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from api.jsonbody import lookup, type_name
from state.model import SourceKind

_COMMIT = re.compile(r"[0-9a-f]{40}", re.IGNORECASE)


class BadPayload(ValueError):
    """The payload cannot be understood; the message names the key."""


@dataclass(frozen=True, slots=True)
class Event:
    """A reference that moved, or nothing of interest (an empty `ref`)."""

    full_name: str
    name: str = ""
    ref: str = ""
    commit: str = ""
    """40 hex digits or, for an artifact, its digest; empty: not said."""
    clone_url: str = ""
    ssh_url: str = ""
    web_url: str = ""
    private: bool = False
    deleted: bool = False
    kind: SourceKind = SourceKind.GIT

    @property
    def revision(self) -> str:
        """As run records show it: `<ref> (<commit>)`, or the half that is known."""
        if self.ref and self.commit:
            return f"{self.ref} ({self.commit})"
        return self.ref or self.commit


def text(payload: Any, *path: str) -> str:
    """The text at `path`; empty when missing or null."""
    value = lookup(payload, *path)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadPayload(f'key "{".".join(path)}": expected string, found {type_name(value)}')
    return value


def flag(payload: Any, *path: str) -> bool:
    value = lookup(payload, *path)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise BadPayload(f'key "{".".join(path)}": expected bool, found {type_name(value)}')
    return value


def items(payload: Any, *path: str) -> list[Any]:
    value = lookup(payload, *path)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadPayload(f'key "{".".join(path)}": expected array, found {type_name(value)}')
    return value


def commit(value: str) -> str:
    """A commit id of 40 digits; empty for none, the zero id, or what is no commit id."""
    match = _COMMIT.match(value)
    return match.group().lower() if match and match.group().strip("0") else ""


def parse_github(payload: Any, event: str) -> tuple[Event, ...]:
    """GitHub, Gitea, Forgejo and Gogs."""
    before, after = commit(text(payload, "before")), commit(text(payload, "after"))
    removed = event == "delete" and text(payload, "ref_type") in ("branch", "tag")
    return (
        Event(
            full_name=text(payload, "repository", "full_name"),
            name=text(payload, "repository", "name"),
            ref=text(payload, "ref"),
            commit=after,
            clone_url=text(payload, "repository", "clone_url"),
            ssh_url=text(payload, "repository", "ssh_url"),
            web_url=text(payload, "repository", "html_url"),
            private=flag(payload, "repository", "private"),
            deleted=removed or bool(before and not after),
        ),
    )


def parse_gitlab(payload: Any, event: str) -> tuple[Event, ...]:
    after, checkout = text(payload, "after"), text(payload, "checkout_sha")
    level = lookup(payload, "project", "visibility_level")
    # The hook of a whole instance sends the same pushes under a name of its own.
    pushed = event in ("Push Hook", "Tag Push Hook") or (
        event == "System Hook" and text(payload, "object_kind") in ("push", "tag_push")
    )
    return (
        Event(
            full_name=text(payload, "project", "path_with_namespace"),
            name=text(payload, "project", "name"),
            ref=text(payload, "ref"),
            commit=commit(checkout),
            clone_url=text(payload, "project", "http_url"),
            ssh_url=text(payload, "project", "ssh_url"),
            web_url=text(payload, "project", "web_url"),
            private=level in (None, 0),
            deleted=pushed and not commit(after) and not commit(checkout),
        ),
    )


def parse_bitbucket(payload: Any, event: str) -> tuple[Event, ...]:
    """Bitbucket Cloud (`repo:push`) and Data Center (`repo:refs_changed`)."""
    if lookup(payload, "changes") is not None:
        return _bitbucket_data_center(payload)
    web_url = text(payload, "repository", "links", "html", "href")
    full_name = text(payload, "repository", "full_name")
    host = re.sub(r"^https?://([^/]+)/.*$", r"\1", web_url)
    about: dict[str, Any] = {
        "full_name": full_name,
        "name": text(payload, "repository", "name"),
        "clone_url": f"{web_url}.git" if web_url else "",
        "ssh_url": f"git@{host}:{full_name}.git" if web_url else "",
        "web_url": web_url,
        "private": flag(payload, "repository", "is_private"),
    }
    found = []
    for change in items(payload, "push", "changes"):
        new, old = lookup(change, "new"), lookup(change, "old")
        side = new or old
        folder = "tags" if text(side, "type") in ("tag", "annotated_tag") else "heads"
        ref = f"refs/{folder}/{text(side, 'name')}" if text(side, "name") else ""
        found.append(Event(**about, ref=ref, commit=commit(text(new, "target", "hash")), deleted=bool(old and not new)))
    return tuple(found) or (Event(**about),)


def _bitbucket_data_center(payload: Any) -> tuple[Event, ...]:
    links = {text(link, "name"): text(link, "href") for link in items(payload, "repository", "links", "clone")}
    selves = items(payload, "repository", "links", "self")
    project, slug = text(payload, "repository", "project", "key"), text(payload, "repository", "slug")
    about: dict[str, Any] = {
        "full_name": f"{project}/{slug}" if project and slug else slug,
        "name": text(payload, "repository", "name"),
        "clone_url": links.get("http", ""),
        "ssh_url": links.get("ssh", ""),
        "web_url": text(selves[0], "href") if selves else "",
        "private": lookup(payload, "repository", "public") is False,
    }
    return tuple(
        Event(
            **about,
            ref=text(change, "ref", "id"),
            commit=commit(text(change, "toHash".lower())),
            deleted=text(change, "type") == "DELETE",
        )
        for change in items(payload, "changes")
    ) or (Event(**about),)


def parse_azure(payload: Any, event: str) -> tuple[Event, ...]:
    """Azure DevOps service hooks (`git.push`)."""
    repository = lookup(payload, "resource", "repository")
    project = text(repository, "project", "name")
    name = text(repository, "name")
    about: dict[str, Any] = {
        "full_name": f"{project}/{name}" if project and name else name,
        "name": name,
        "clone_url": text(repository, "remoteurl"),
        "ssh_url": text(repository, "sshurl"),
        "web_url": text(repository, "weburl") or text(repository, "remoteurl"),
        "private": text(repository, "project", "visibility") == "private",
    }
    found = []
    for update in items(payload, "resource", "refupdates"):
        before, after = commit(text(update, "oldobjectid")), commit(text(update, "newobjectid"))
        found.append(Event(**about, ref=text(update, "name"), commit=after, deleted=bool(before and not after)))
    return tuple(found) or (Event(**about),)


def parse_oci(payload: Any, event: str) -> tuple[Event, ...]:
    source = text(payload, "source")
    if source != "oci":
        raise BadPayload(f'key "source": expected "oci", found "{source}"')
    artifact = text(payload, "artifact").strip()
    if not artifact:
        raise BadPayload('key "artifact" not found: expected an image reference')
    name, reference = split_artifact(artifact)
    return (
        Event(
            full_name=artifact_path(name),
            name=name.rsplit("/", 1)[-1],
            ref=reference,
            commit=text(payload, "digest"),
            clone_url=artifact,
            kind=SourceKind.OCI,
        ),
    )


def split_artifact(artifact: str) -> tuple[str, str]:
    """Name and tag (or digest) of an image reference; `latest` without one."""
    name, _, digest = artifact.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        name = head
    else:
        tag = ""
    return name, digest or tag or "latest"


def artifact_path(name: str) -> str:
    """The path of an image name without its registry; Docker Hub's short names get `library/`."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        path = rest
        hub = first in ("docker.io", "index.docker.io")
    else:
        path, hub = name, True
    return f"library/{path}" if hub and "/" not in path else path
