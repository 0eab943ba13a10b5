"""YAML whose every value knows its line.

`read_documents` turns bytes into plain lists and mappings whose scalars are `Scalar`s:
the value YAML gives them, the text as written (`1.10` stays `1.10` where text is wanted)
and the position. Built from the parser's events rather than from a ready-made loader,
because a deploy file comes from a repository that may be hostile: depth, size and what
aliases expand to are bounded, there are no tags that construct anything, and a key
written twice is an error with both lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from reconciler.deployments.errors import InvalidDeployConfig, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 50_000

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A YAML scalar: its value, its text, its place."""

    value: Any
    text: str
    line: int
    column: int


class Entry(str):
    """A mapping key that knows its place."""

    __slots__ = ("column", "line")
    line: int
    column: int


def entry(text: str, line: int, column: int) -> Entry:
    key = Entry(text)
    key.line, key.column = line, column
    return key


class PlacedList(list[Any]):
    """A sequence that knows where it begins."""

    line = 0
    column = 0


class PlacedDict(dict[str, Any]):
    """A mapping that knows where it begins; its keys are `Entry`s."""

    line = 0
    column = 0


@dataclass(frozen=True)
class Document:
    """One document of a YAML stream."""

    number: int
    """From 1."""
    root: Any
    line: int
    column: int


def read_documents(text: bytes | str, filename: str) -> tuple[Document, ...]:
    """The documents of a YAML stream, empty ones left out; raises `InvalidDeployConfig`."""
    if len(text) > MAX_BYTES:
        raise InvalidDeployConfig([Problem(f"failed to decode yaml: larger than {MAX_BYTES} bytes", file=filename)])
    try:
        return tuple(_Reader(text, filename).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        what = " ".join(part for part in (error.problem, error.context) if part)
        raise InvalidDeployConfig([Problem(f"failed to decode yaml: {what}", "", filename, *place)]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        what = getattr(error, "reason", "") or "not UTF-8 text"
        raise InvalidDeployConfig([Problem(f"failed to decode yaml: {what}", file=filename)]) from None


_SCALAR_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "timestamp", "str"))
_TEXT_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("merge", "value"))


class _Reader:
    def __init__(self, text: bytes | str, filename: str) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[Any] = yaml.parse(text, Loader=loader)
        self._filename = filename
        self._number = 0
        self._nodes = 0
        self._resolver: Any = yaml.resolver.Resolver()
        self._constructor = yaml.constructor.SafeConstructor()
        self._anchors: dict[str, tuple[Any, int]] = {}

    def documents(self) -> Iterator[Document]:
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._number += 1
            self._anchors = {}
            first = next(self._events)
            root, _ = self._node(first, 0)
            if not (isinstance(root, Scalar) and root.value is None):
                yield Document(self._number, root, first.start_mark.line + 1, first.start_mark.column + 1)

    def _fail(self, message: str, event: Any, *, doing: str = "failed to decode yaml: ") -> InvalidDeployConfig:
        mark = event.start_mark
        problem = Problem(doing + message, "", self._filename, mark.line + 1, mark.column + 1, self._number)
        return InvalidDeployConfig([problem])

    def _count(self, event: Any, nodes: int = 1) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._fail(f"more than {MAX_NODES} values once aliases are expanded", event)

    def _node(self, event: Any, depth: int) -> tuple[Any, int]:
        """The value that starts with `event`, and how many nodes it has."""
        if isinstance(event, yaml.AliasEvent):
            found = self._anchors.get(event.anchor or "")
            if found is None:
                raise self._fail(f"unknown or recursive alias *{event.anchor}", event)
            self._count(event, found[1])
            return found
        if depth > MAX_DEPTH:
            raise self._fail(f"nested deeper than {MAX_DEPTH} levels", event)
        self._count(event)
        if isinstance(event, yaml.ScalarEvent):
            built: tuple[Any, int] = (self._scalar(event), 1)
        elif isinstance(event, yaml.SequenceStartEvent):
            built = self._sequence(event, depth)
        else:
            built = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = built
        return built

    def _scalar(self, event: Any) -> Scalar:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag in _TEXT_TAGS:
            tag = "tag:yaml.org,2002:str"
        if tag not in _SCALAR_TAGS:
            raise self._fail(f"unknown tag {tag}", event)
        try:
            value = self._constructor.construct_object(
                yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
            )
        except (ValueError, yaml.YAMLError):
            raise self._fail(f"cannot read {event.value!r} as {tag.rpartition(':')[2]}", event) from None
        return Scalar(value, event.value, event.start_mark.line + 1, event.start_mark.column + 1)

    def _sequence(self, start: Any, depth: int) -> tuple[PlacedList, int]:
        items, nodes = PlacedList(), 1
        items.line, items.column = start.start_mark.line + 1, start.start_mark.column + 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            value, inner = self._node(event, depth + 1)
            items.append(value)
            nodes += inner
        return items, nodes

    def _mapping(self, start: Any, depth: int) -> tuple[PlacedDict, int]:
        mapping, nodes = PlacedDict(), 1
        mapping.line, mapping.column = start.start_mark.line + 1, start.start_mark.column + 1
        merged: list[PlacedDict] = []
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key, _ = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise self._fail("a key must be text", event)
            value, inner = self._node(next(self._events), depth + 1)
            nodes += inner + 1
            if key.text == "<<" and event.implicit[0]:
                merged.extend(self._merge_sources(value, event))
                continue
            if key.text in lines:
                raise self._fail(f'mapping key "{key.text}" already defined at line {lines[key.text]}', event)
            lines[key.text] = key.line
            mapping[entry(key.text, key.line, key.column)] = value
        for source in merged:
            for name, value in source.items():
                mapping.setdefault(name, value)
        return mapping, nodes

    def _merge_sources(self, value: Any, event: Any) -> list[PlacedDict]:
        sources = value if isinstance(value, PlacedList) else [value]
        if not all(isinstance(source, PlacedDict) for source in sources):
            raise self._fail("<< needs a mapping or a list of mappings", event)
        return list(sources)


def plain(value: Any) -> Any:
    """Values without places: what any YAML loader gives."""
    if isinstance(value, Scalar):
        return value.value
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def place_of(root: Any, path: Path) -> tuple[int, int]:
    """Line and column of the value at `path`, or of the nearest thing above it that has one."""
    place, node = _own_place(root), root
    for part in path:
        if isinstance(node, dict) and isinstance(part, str):
            key = next((key for key in node if key == part), None)
            if key is None:
                return place
            node = node[key]
            place = _own_place(node) if isinstance(node, Scalar) else _own_place(key, place)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
            place = _own_place(node, place)
        else:
            return place
    return place


def key_place_of(root: Any, path: Path) -> tuple[int, int]:
    """Line and column of the key that `path` ends with."""
    node = root
    for part in path[:-1]:
        node = node[part]
    key = next((key for key in node if key == path[-1]), None)
    return _own_place(key, place_of(root, path))


def _own_place(node: Any, default: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    line = getattr(node, "line", 0)
    return (line, node.column) if line else default
