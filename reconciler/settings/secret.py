"""A text that must not be shown by accident.

`Secret` is deliberately not a `str`: it cannot be formatted, logged, joined or serialised
into anything but `***`. Who needs the content says so: `secret.reveal()`.
"""

from __future__ import annotations

import hmac


class Secret:
    """Holds a secret text; prints as `***`."""

    __slots__ = ("_content",)

    def __init__(self, content: str) -> None:
        self._content = content

    def reveal(self) -> str:
        """The content itself."""
        return self._content

    def matches(self, other: str | bytes) -> bool:
        """Compare in constant time."""
        given = other.encode("utf-8", "surrogatepass") if isinstance(other, str) else other
        return hmac.compare_digest(self._content.encode("utf-8", "surrogatepass"), given)

    def __bool__(self) -> bool:
        return bool(self._content)

    def __eq__(self, other: object) -> bool:
        return self.matches(other._content) if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(("Secret", self._content))

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "***"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not serialised")
