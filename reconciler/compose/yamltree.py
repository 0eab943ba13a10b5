"""From the bytes of a YAML file to plain dictionaries, lists and scalars.

libyaml scans and parses (through PyYAML's C binding); composing is done here from its events,
because nearly everything PyYAML's own loaders do with them is different from what Compose does:
which plain words are booleans or numbers, that keys must be unique and text, that anchors live
on over the documents of a file, what `<<` means, and the tags `!reset` and `!override`, which
are not values but instructions: their paths are collected in `Document.resets`.

Aliases are not copied: the tree shares what they refer to. The pass that follows (interpolation)
builds a new tree anyway and counts what it builds, which is what bounds alias bombs.

Positions are not kept. `locate` parses once more when a problem needs its line and column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from yaml.cyaml import CParser  # type: ignore[attr-defined]  # the stubs leave it out
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .scalars import Timestamp, resolve, resolve_tagged

MAX_DEPTH = 200
_YAML_TAG = "tag:yaml.org,2002:"
_DROPPED = object()
"""What a node tagged `!reset` leaves behind: nothing."""

Path = tuple[str | int, ...]

_NEWLINE = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_ESCAPED_PAIR = re.compile(r"\\[^/]", re.DOTALL)


class YamlProblem(Exception):
    """The file is not YAML that Compose takes. Line and column count from 1; 0 means unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0, path: list[str | int] | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column
        self.path: list[str | int] = path if path is not None else []


@dataclass(slots=True)
class Document:
    """One YAML document of a file."""

    value: Any
    resets: tuple[Path, ...] = ()
    """Paths tagged `!reset` or `!override`, to be taken out of what the document is merged over."""
    has_odd_values: bool = False
    """Some scalar is a date, or a number like `.inf`: nothing that JSON (so the schema) knows."""


@dataclass(slots=True)
class _Anchor:
    value: Any
    resets: tuple[Path, ...] = ()
    open: bool = True
    tag: str = ""


class _Parser(CParser):
    """The C parser, without PyYAML's idea of what scalars mean."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return "?"

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        return None

    def ascend_resolver(self) -> None:
        return None


def parse(content: bytes) -> Iterator[Document]:
    """The documents of a file, in order; raises `YamlProblem` when it comes to a fault."""
    composer = _Composer(content)
    while (document := composer.document()) is not None:
        yield document


@dataclass(slots=True)
class _Composer:
    content: bytes
    next_event: Any = None
    parser: Any = None
    anchors: dict[str, _Anchor] = field(default_factory=dict)
    resets: list[Path] = field(default_factory=list)
    """Relative to the node whose construction is under way."""
    tagged: bool = False
    lines: list[str] = field(default_factory=list)
    """The text, where it may hold an escape that libyaml knows and Compose does not."""
    odd_values: bool = False

    def __post_init__(self) -> None:
        if b"\\/" in self.content:
            self.lines = _NEWLINE.split(self.content.decode("utf-8", "replace").removeprefix("\ufeff"))
        self.tagged = b"!reset" in self.content or b"!override" in self.content
        try:
            self.parser = _Parser(self.content)
            self.next_event = self.parser.get_event
            self.next_event()  # the start of the stream
        except YAMLError as error:
            raise _syntax(error) from error

    def document(self) -> Document | None:
        try:
            event = self.next_event()
            if event.__class__ is StreamEndEvent:
                return None
            if event.__class__ is not DocumentStartEvent:
                raise YamlProblem("unexpected end of the document")
            self.resets, self.odd_values = [], False
            value = self.value(self.next_event(), 0)
            self.next_event()  # the end of the document
        except YAMLError as error:
            raise _syntax(error) from error
        except UnicodeError as error:
            raise YamlProblem(f"yaml: {error}") from error
        return Document(None if value is _DROPPED else value, tuple(self.resets), self.odd_values)

    def value(self, event: Any, depth: int) -> Any:
        kind = event.__class__
        if kind is ScalarEvent:
            return self.scalar(event)
        if kind is AliasEvent:
            return self.alias(event)
        if depth > MAX_DEPTH:
            raise _at(event, f"nested deeper than {MAX_DEPTH} levels")
        if kind is MappingStartEvent:
            value: Any = {}
            fill: Any = self.mapping
        elif kind is SequenceStartEvent:
            value = []
            fill = self.sequence
        else:
            raise _at(event, "unexpected YAML structure")
        if event.anchor is None and not self.tagged:
            fill(value, depth + 1)
            return value
        return self.remembered(event, value, fill, depth)

    def remembered(self, event: Any, value: Any, fill: Any, depth: int) -> Any:
        """A collection with an anchor, or in a file that uses our tags."""
        outer, self.resets = self.resets, []
        anchor = None
        if event.anchor is not None:
            anchor = self.anchors[event.anchor] = _Anchor(value, tag=event.tag or "")
        tag = event.tag if self.tagged else None
        if tag == "!override":
            self.tagged = False  # what is inside of it is taken as it stands
        fill(value, depth + 1)
        inner, self.resets = self.resets, outer
        if tag == "!override":
            self.tagged = True
        if tag in ("!reset", "!override"):
            inner = [()]
        if anchor is not None:
            anchor.open, anchor.resets = False, tuple(inner)
        outer.extend(inner)
        return _DROPPED if tag == "!reset" else value

    def sequence(self, items: list[Any], depth: int) -> None:
        next_event, append = self.next_event, items.append
        position = 0
        while (event := next_event()).__class__ is not SequenceEndEvent:
            before = len(self.resets)
            try:
                value = self.value(event, depth)
            except YamlProblem as problem:
                problem.path.insert(0, position)
                raise
            if self.tagged:
                self.prefix(before, position)
                if value is not _DROPPED:
                    append(value)
            else:
                append(value)
            position += 1

    def mapping(self, entries: dict[str, Any], depth: int) -> None:
        next_event = self.next_event
        lines: dict[str, int] = {}
        merges: list[tuple[Any, Any]] = []
        while (event := next_event()).__class__ is not MappingEndEvent:
            text, key = self.key(event, depth)
            if text in lines:
                raise _at(event, f'mapping key "{text}" already defined at line {lines[text]}', line_prefix=True)
            lines[text] = event.start_mark.line + 1
            before = len(self.resets)
            try:
                value_event = next_event()
                value = self.value(value_event, depth)
            except YamlProblem as problem:
                problem.path.insert(0, text)
                raise
            merging = text == "<<" and _is_merge_key(event)
            if self.tagged:
                if not merging:
                    self.prefix(before, text)
                if value is _DROPPED:
                    continue
            if merging:
                merges.append((value_event, value))
            elif key is not text:
                raise _at(event, f"non-string key: {_go_literal(key)}", path=[])
            else:
                entries[text] = value
        for value_event, value in merges:
            for source in value if isinstance(value, list) else [value]:
                if not isinstance(source, dict):
                    raise _at(value_event, "map merge requires map or sequence of maps as the value")
                for name, inherited in source.items():
                    if name not in lines:
                        entries.setdefault(name, inherited)

    def key(self, event: Any, depth: int) -> tuple[str, Any]:
        """The text that must be unique, and the key's value (the same object if it is text)."""
        if event.__class__ is ScalarEvent:
            text = event.value
            if event.tag is None and event.implicit[0] and event.anchor is None:
                first = text[:1]
                if first in _SUSPECT:
                    value = resolve(text)
                    return text, text if isinstance(value, str) and not isinstance(value, Timestamp) else value
                return text, text
            value = self.scalar(event)
            return text, text if isinstance(value, str) and not isinstance(value, Timestamp) else value
        if event.__class__ is AliasEvent:
            value = self.alias(event)
            if isinstance(value, str) and not isinstance(value, Timestamp):
                return value, value
            return str(event.anchor), value
        return "", self.value(event, depth)

    def scalar(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if self.lines and event.style == '"':
            self.refuse_escaped_slash(event)
        if tag is None:
            value = resolve(text) if event.implicit[0] else text
        elif tag.startswith(_YAML_TAG):
            try:
                value = resolve_tagged(tag[len(_YAML_TAG) :], text)
            except ValueError as error:
                raise _at(event, f"yaml: {error}") from error
        elif tag == "!reset" and self.tagged:
            self.resets.append(())
            value = _DROPPED
        elif tag == "!override" and self.tagged:
            self.resets.append(())
            value = text
        else:
            value = text
        kind = value.__class__
        if kind is Timestamp or (kind is float and not math.isfinite(value)):
            self.odd_values = True
        if event.anchor is not None:
            resets: tuple[Path, ...] = ((),) if tag in ("!reset", "!override") else ()
            self.anchors[event.anchor] = _Anchor(value, resets, open=False)
        return value

    def refuse_escaped_slash(self, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        lines = self.lines[start.line : end.line + 1]
        lines[-1] = lines[-1][: end.column]
        lines[0] = lines[0][start.column :]
        if "\\/" in _ESCAPED_PAIR.sub("", "\n".join(lines)):
            raise _at(event, "yaml: found unknown escape character `\\/`")

    def alias(self, event: Any) -> Any:
        anchor = self.anchors.get(event.anchor)
        if anchor is None:
            raise _at(event, f"yaml: unknown anchor '{event.anchor}' referenced")
        if anchor.open:
            raise _at(event, f"cycle detected: the anchor `{event.anchor}` is referred to within itself")
        self.resets.extend(anchor.resets)
        return anchor.value

    def prefix(self, start: int, part: str | int) -> None:
        for index in range(start, len(self.resets)):
            self.resets[index] = (part, *self.resets[index])


_SUSPECT = frozenset("+-0123456789.tTfFnN~") | {""}
"""First characters of plain keys that may be something else than text."""


def _is_merge_key(event: Any) -> bool:
    if event.__class__ is not ScalarEvent:
        return False
    return bool(event.tag is None and event.implicit[0]) or event.tag == _YAML_TAG + "merge"


def _go_literal(value: Any) -> str:
    if value is None:
        return "interface {}(nil)"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _at(event: Any, message: str, *, line_prefix: bool = False, path: list[str | int] | None = None) -> YamlProblem:
    mark = event.start_mark
    if line_prefix:
        message = f"line {mark.line + 1}: {message}"
    return YamlProblem(message, mark.line + 1, mark.column + 1, path)


def _syntax(error: YAMLError) -> YamlProblem:
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        text = ": ".join(str(part) for part in (error.context, error.problem) if part)
        if mark is not None:
            return YamlProblem(f"yaml: {text}", mark.line + 1, mark.column + 1)
        return YamlProblem(f"yaml: {text}")
    return YamlProblem("yaml: " + " ".join(str(error).split()))


# Where is it?


def locate(content: bytes, path: Sequence[str | int]) -> tuple[int, int, int]:
    """Line, column (from 1) of the deepest part of `path` that is in the file, and how deep that is."""
    best = (0, 0, 0)
    try:
        parser = _Parser(content)
        while parser.check_node():
            node = parser.get_node()
            if node is not None:
                best = max(best, _follow(node, path), key=lambda found: found[2])
    except (YAMLError, RecursionError):
        pass
    return best


def _follow(node: Node, path: Sequence[str | int]) -> tuple[int, int, int]:
    place = (node.start_mark.line + 1, node.start_mark.column + 1, 0)
    for depth, part in enumerate(path, 1):
        found = _child(node, part)
        if found is None:
            return place
        mark, node = found
        place = (mark.line + 1, mark.column + 1, depth)
    return place


def _child(node: Node, part: str | int) -> tuple[Any, Node] | None:
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark, item
    if isinstance(node, SequenceNode) and isinstance(part, str):
        for item in node.value:  # a list of `KEY=VALUE` or of names that later became a mapping
            if isinstance(item, ScalarNode) and item.value.partition("=")[0] == part:
                return item.start_mark, item
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == part:
                return key.start_mark, value
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == "<<":
                for source in value.value if isinstance(value, SequenceNode) else [value]:
                    found = _child(source, part) if isinstance(source, MappingNode) else None
                    if found is not None:
                        return found
    return None
