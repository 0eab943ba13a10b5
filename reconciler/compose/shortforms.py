"""Short syntax: `8080:80/udp`, `./data:/data:ro`, `/dev/sda:/dev/xvda`.

One function for each, text in, the long form (a mapping) out; faults raise `SpecError` with the
message a person sees.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Any


class SpecError(ValueError):
    """The short form cannot be read."""


# Ports

_PROTOCOLS = ("tcp", "udp", "sctp")
_PORT_NUMBER = re.compile(r"[+-]?[0-9]+\Z")
_SIMPLE_PORT = re.compile(r"(?:([1-9][0-9]{0,3}):)?([1-9][0-9]{0,3})\Z")


def parse_port(spec: str) -> list[dict[str, Any]]:
    """The port mappings of one entry; a range gives several, sorted as Compose sorts them (as text)."""
    if (simple := _SIMPLE_PORT.match(spec)) is not None:
        published, target = simple.groups()
        mapping: dict[str, Any] = {"mode": "ingress", "target": int(target), "protocol": "tcp"}
        if published:
            mapping["published"] = published
        return [mapping]
    address, host, container = _split_port(spec)
    container, _, protocol = container.partition("/")
    if not container:
        raise SpecError(f"no port specified: {spec}<empty>")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise SpecError(f"invalid proto: {protocol}")
    host_ip = _without_brackets(address)
    if host_ip and not is_ip_address(host_ip):
        raise SpecError(f"invalid IP address: {host_ip}")
    first, last = _port_range(container, f"invalid containerPort: {container}")
    host_first = host_last = 0
    if host:
        host_first, host_last = _port_range(host, f"invalid hostPort: {host}")
        if last - first != host_last - host_first and first != last:
            raise SpecError(f"invalid ranges specified for container and host Ports: {container} and {host}")
    mappings: list[dict[str, Any]] = []
    for offset in range(last - first + 1):
        mapping = {"mode": "ingress", "protocol": protocol}
        if first + offset:  # a target of 0 counts as missing
            mapping["target"] = first + offset
        if host_ip:
            mapping["host_ip"] = host_ip
        if host:
            mapping["published"] = str(host_first + offset)
            if first == last and host_first != host_last:
                mapping["published"] += f"-{host_last}"
        mappings.append(mapping)
    mappings.sort(key=lambda mapping: f"{mapping.get('target', 0)}/{mapping['protocol']}")
    return mappings


def _split_port(spec: str) -> tuple[str, str, str]:
    parts = spec.split(":")
    if len(parts) < 3:
        return "", parts[0] if len(parts) == 2 else "", parts[-1]
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _without_brackets(address: str) -> str:
    if not address.startswith("["):
        return address
    inner = address[1:-1]
    if not address.endswith("]") or "[" in inner or "]" in inner:
        raise SpecError(f"invalid IP address {address}")
    return inner


def is_ip_address(text: str) -> bool:
    """What Go's `net.ParseIP` takes (no zones, no leading zeros)."""
    if "%" in text or "/" in text:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _port_range(text: str, message: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    bounds = (start, end) if dash else (start, start)
    if not all(_PORT_NUMBER.match(bound) and len(bound) < 20 and 0 <= int(bound) <= 65535 for bound in bounds):
        raise SpecError(message)
    first, last = int(bounds[0]), int(bounds[1])
    if last < first:
        raise SpecError(message)
    return first, last


# Volumes

_PROPAGATIONS = frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave"))


def parse_volume(spec: str) -> dict[str, Any]:
    """A mount in long form. Key order is that of the printed form."""
    source, target, options = _split_volume(spec)
    if options is None:
        return {"type": "volume", "target": target}
    mount: dict[str, Any] = {"type": "volume"}
    bind: dict[str, Any] | None = None
    volume: dict[str, Any] | None = None
    read_only = False
    for option in options.split(",") if options else ():
        if option in ("ro", "rw"):
            read_only = option == "ro"
        elif option == "nocopy":
            volume = {"nocopy": True}
        elif option in _PROPAGATIONS:
            bind = {**(bind or {}), "propagation": option}
        elif option in ("z", "Z"):
            bind = {**(bind or {}), "selinux": option}
    if is_host_path(source):
        mount["type"] = "bind"
        bind = {**(bind or {}), "create_host_path": True}
    elif volume is None:
        volume = {}
    if source:
        mount["source"] = source
    mount["target"] = target
    if read_only:
        mount["read_only"] = True
    if bind is not None:
        mount["bind"] = bind
    if volume is not None:
        mount["volume"] = volume
    return mount


def volume_target(spec: str) -> str:
    """The target, as written: what makes two mounts of a service the same."""
    return _split_volume(spec)[1]


def clean_target(target: str) -> str:
    return clean_path(target) if target else ""


def clean_path(path: str) -> str:
    """Go's `path.Clean`."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _split_volume(spec: str) -> tuple[str, str, str | None]:
    """Source, target, options; options are None for the shortest specs, which get no section of their own."""
    length = len(spec.encode())
    if length == 0:
        raise SpecError("invalid empty volume spec")
    if length <= 2:
        return "", spec, None
    source = target = options = ""
    for part, last in _volume_parts(spec):
        if not part:
            raise SpecError(f"invalid spec: {spec}: empty section between colons")
        if not source and last:
            target = part
        elif not source:
            source = part
        elif not target:
            target = part
        elif not last:
            raise SpecError(f"invalid spec: {spec}: too many colons")
        else:
            options = part
    return source, target, options


def _volume_parts(spec: str) -> list[tuple[str, bool]]:
    """Cut at colons, but not after a single letter (a Windows drive) and not within `${...}`."""
    parts: list[str] = []
    part = ""
    depth = 0
    for index, character in enumerate(spec):
        if character == "$" and spec[index + 1 : index + 2] == "{":
            depth += 1
        elif character == "}" and depth:
            depth -= 1
        elif character == ":" and not depth and not (len(part) == 1 and part.isalpha()):
            parts.append(part)
            part = ""
            continue
        part += character
    parts.append(part)
    return [(part, index == len(parts) - 1) for index, part in enumerate(parts)]


def is_host_path(source: str) -> bool:
    """Whether a short-form source is a path rather than the name of a volume."""
    if not source:
        return False
    if source[0] in "./~" or source.startswith("\\\\"):
        return True
    return source[0].isalpha() and source[1:2] == ":"


# Devices


def parse_device(spec: str) -> dict[str, Any]:
    parts = spec.split(":")
    if len(parts) > 3:
        raise SpecError(f"confusing device mapping, please use long syntax: {spec}")
    source = parts[0]
    target = parts[1] if len(parts) > 1 and parts[1] else source
    return {"source": source, "target": target, "permissions": parts[2] if len(parts) > 2 else "rwm"}
