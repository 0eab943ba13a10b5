"""Who is calling: the client's address, seen through trusted proxies.

Only a peer inside the trusted networks is believed what its forwarding header says, and of
a chain only the part that trusted proxies wrote: the first untrusted address from the
right is the client. The address is used for the log and for slowing down those who guess
keys; it never grants anything.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from api.services import Network

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Headers(Protocol):
    def getall(self, key: str, default: list[str]) -> list[str]: ...


def client_address(peer: str, headers: Headers, trusted: Sequence[Network], header: str) -> str:
    """The address of the client behind `peer`, or `peer` itself."""
    address = parse_address(peer)
    if address is None or not _inside(address, trusted):
        return str(address) if address is not None else peer
    if header.lower() != "x-forwarded-for":
        for value in headers.getall(header, []):
            found = parse_address(value)
            if found is not None:
                return str(found)
        return str(address)
    chain = _chain(headers.getall("x-forwarded-for", [])) or _forwarded(headers.getall("forwarded", []))
    for candidate in reversed(chain):
        if not _inside(candidate, trusted):
            return str(candidate)
    return str(chain[0]) if chain else str(address)


def parse_address(text: str) -> Address | None:
    """An address out of `1.2.3.4`, `1.2.3.4:80`, `[::1]:80`, `"[::1]"`; None for anything else.
    IPv4 in IPv6 is unmapped."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _inside(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _chain(values: Iterable[str]) -> list[Address]:
    found = (parse_address(part) for value in values for part in value.split(","))
    return [address for address in found if address is not None]


def _forwarded(values: Iterable[str]) -> list[Address]:
    """The `for=` addresses of RFC 7239 `Forwarded` headers."""
    parts = (
        pair.partition("=")[2]
        for value in values
        for element in value.split(",")
        for pair in element.split(";")
        if pair.partition("=")[0].strip().lower() == "for"
    )
    return _chain(parts)
