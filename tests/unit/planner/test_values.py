"""Small conversions, and what is hidden."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.planner.compare import Redactor
from reconciler.planner.draft import Draft
from reconciler.planner.graph import dependency_order
from reconciler.planner.hostconfig import compact_json
from reconciler.planner.images import same_platform
from reconciler.planner.model import ActionKind
from reconciler.planner.values import capabilities, nano_cpus, nanoseconds, port_key, stop_timeout
from state.model import DEFAULT_CONTEXT, StackKey
from tests.support.planning import image, stack


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1m3.5s", 63_500_000_000),
        ("500ms", 500_000_000),
        ("1h0m0s", 3_600_000_000_000),
        ("1.5µs", 1500),
        ("", 0),
        (None, 0),
    ],
)
def test_durations(text: str | None, value: int) -> None:
    assert nanoseconds(text) == value


@pytest.mark.parametrize(("text", "value"), [("1m3.5s", 63), ("500ms", 1), ("0s", 0), (None, None)])
def test_stop_timeouts_never_turn_into_an_immediate_kill(text: str | None, value: int | None) -> None:
    assert stop_timeout(text) == value


@pytest.mark.parametrize(("cpus", "value"), [("0.1", 100000000), (1.333, 1332999936), (0, 0), (None, 0)])
def test_cpus_are_multiplied_in_32_bits(cpus: Any, value: int) -> None:
    assert nano_cpus(cpus) == value


def test_capabilities_are_written_as_the_engine_knows_them() -> None:
    assert capabilities(["net_admin", "CAP_SYS_TIME", "NET_ADMIN"]) == ["CAP_NET_ADMIN", "CAP_SYS_TIME"]
    assert capabilities(["all", "mknod"]) == ["ALL", "CAP_MKNOD"]


@pytest.mark.parametrize(
    ("entry", "keys"),
    [("80", ["80/tcp"]), ("53/udp", ["53/udp"]), ("1-3", ["1/tcp", "2/tcp", "3/tcp"]), ("abc", ["abc/tcp"])],
)
def test_exposed_ports(entry: str, keys: list[str]) -> None:
    assert port_key(entry) == keys


def test_json_is_compacted_outside_of_its_strings() -> None:
    assert compact_json('{ "a" : [ 1, "b c\\" d" ] }\n') == '{"a":[1,"b c\\" d"]}'


@pytest.mark.parametrize(
    ("wanted", "same"),
    [
        ("", True),
        ("linux/amd64", True),
        ("linux/x86_64", True),
        ("linux/arm64", False),
        ("amd64", True),
        ("arm", False),
    ],
)
def test_platforms(wanted: str, same: bool) -> None:
    assert same_platform(wanted, image("app:1")) is same


def test_an_order_survives_a_cycle() -> None:
    assert dependency_order({"a": ["b"], "b": ["a"], "c": ["a"]}) == ["a", "b", "c"]


def test_an_edge_that_would_close_a_cycle_is_not_laid() -> None:
    draft = Draft(StackKey(DEFAULT_CONTEXT, "shop"))
    one = draft.add(ActionKind.STOP_CONTAINER, "one")
    two = draft.add(ActionKind.STOP_CONTAINER, "two", needs=[one])
    assert not draft.after(one, two)
    assert [action.needs for action in draft.finish().actions] == [frozenset(), frozenset({one})]


SECRET_STACK = stack(
    "services: {web: {image: 'app:1', environment: {DB_PASSWORD: swordfish, MODE: plain}}}",
)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("MODE", "plain", "plain"),
        ("DB_PASSWORD", "x", "(hidden)"),
        ("API_KEY", "x", "(hidden)"),
        ("AUTH_TOKEN", "x", "(hidden)"),
        ("command", ["run", "--password=hunter2", "-v"], "run --password=(hidden) -v"),
        ("command", ["echo", "swordfish"], "echo (hidden)"),
        ("URL", "postgres://me:pw@db/x", "postgres://(hidden)@db/x"),
        ("x", "", "(none)"),
        ("x", None, "(none)"),
        ("x", False, "false"),
        ("x", "a" * 300, "a" * 159 + "…"),
        ("network_mode", "container:" + "ab" * 32, "container:abababababab"),
    ],
)
def test_what_is_shown(name: str, value: Any, shown: str) -> None:
    assert Redactor(SECRET_STACK).value(name, value) == shown
