"""How the text of a variable becomes its value: Go's rules, tables of accepted and refused."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from reconciler.settings import values


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_what_is_true(text: str) -> None:
    assert values.boolean(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_what_is_false(text: str) -> None:
    assert values.boolean(text) is False


@pytest.mark.parametrize("text", ["yes", "on", "no", "tRUE", " true", "2", "enabled"])
def test_what_is_no_bool(text: str) -> None:
    with pytest.raises(ValueError, match="true or false"):
        values.boolean(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("0", 0),
        ("1.5m", 90),
        ("500ms", 0.5),
        ("-1m", -60),
        ("+2h", 7200),
        ("1h1m1s1ms1us1ns", 3661.001001001),
        (".5s", 0.5),
        ("3µs", 3e-6),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["60", "1d", "h", "1h 30m", "", "-", "1.s.", "s1", " 1s", "1 s", "0.5"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        values.duration(text)


@pytest.mark.parametrize("text", ["0", "-5m"])
def test_some_durations_must_be_above_zero(text: str) -> None:
    with pytest.raises(ValueError, match="above zero"):
        values.positive_duration(text)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.integer(1, 65535), "80", 80),
        (values.integer(1, 65535), "+80", 80),
        (values.integer(), "-2147483648", -(2**31)),
        (values.integer(bits=64), "9223372036854775807", 2**63 - 1),
        (values.integer(-1), "-1", -1),
        (values.choice("auto", "gitea", fold=True), " GitEA ", "gitea"),
        (values.absolute_path, " /data//x/../y/ ", Path("/data/y")),
        (values.absolute_path, "//data", Path("/data")),
        (values.bind_address, "[::1]", "::1"),
        (values.web_url, " https://h:8000/x ", "https://h:8000/x"),
        (values.base_url, "https://h/api/", "https://h/api"),
        (values.proxy_url, "http://u:p@proxy:3128", "http://u:p@proxy:3128"),
        (values.proxy_url, "proxy:3128", "proxy:3128"),
        (values.database_url, "sqlite:////data/x.db", "sqlite:////data/x.db"),
        (values.database_url, "postgresql://u:p@h/x", "postgresql://u:p@h/x"),
        (values.docker_host, "unix:///run/docker.sock", "unix:///run/docker.sock"),
        (values.api_version, "1.41", "1.41"),
        (values.comma_list, " a, b,,a ", ("a", "b")),
        (values.registries, "Localhost:5000, r.example.org", ("localhost:5000", "r.example.org")),
        (values.any_text_is_true, "0", True),
        (values.networks, ",", ()),
        (values.networks, "10.1.2.3/8, ::1/128,10.0.0.0/8", (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    ],
)
def test_accepted(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (values.integer(1, 65535), "0", "1 to 65535"),
        (values.integer(1, 65535), "65536", "1 to 65535"),
        (values.integer(0), "-1", "at least 0"),
        (values.integer(), " 3", "whole number"),
        (values.integer(), "1_000", "whole number"),
        (values.integer(), "0x10", "whole number"),
        (values.integer(), "٣", "whole number"),
        (values.integer(), "2147483648", "whole number"),
        (values.integer(bits=64), "9" * 5000, "whole number"),
        (values.choice("a", "b"), "A", "one of a, b"),
        (values.absolute_path, "data", "absolute path"),
        (values.bind_address, "localhost", "IP address"),
        (values.web_url, "ftp://h", "http or https"),
        (values.web_url, "https://", "http or https"),
        (values.web_url, "https://h:x", "http or https"),
        (values.proxy_url, "http://", "proxy"),
        (values.database_url, "mysql://h/x", "sqlite:////"),
        (values.database_url, "sqlite:///relative.db", "sqlite:////"),
        (values.docker_host, "npipe://x", "unix://"),
        (values.docker_host, "/var/run/docker.sock", "unix://"),
        (values.api_version, "v1.41", "1.41"),
        (values.registries, "https://r", "host"),
        (values.registries, "r/path", "host"),
        (values.networks, "10.0.0.1", "expected CIDR"),
        (values.networks, "10.0.0.0/33", 'invalid trusted proxy network "10.0.0.0/33"'),
    ],
)
def test_refused(parse: Callable[[str], Any], text: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert expected in str(caught.value)
