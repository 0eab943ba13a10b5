"""Keys and signatures, and patience with those who guess them.

Every comparison takes the same time whatever the input. Failures are counted per client
address in a window of one minute; beyond the limit an address is told to come back later.
For the API key that holds for right keys too, else guessing would go on at full speed.
Webhook senders share addresses with strangers (one hosting service, many customers), so
there only failing calls are slowed down: a correct signature always gets through.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic


def same_secret(given: str, expected: str) -> bool:
    """Compare in constant time; an empty expectation never matches."""
    return bool(expected) and hmac.compare_digest(_bytes(given), _bytes(expected))


def valid_hmac(signature: str, secret: str, body: bytes, *, prefix: str = "") -> bool:
    """Whether `signature` is the lower-case hex HMAC-SHA256 of the body; `prefix` is optional."""
    digest = hmac.new(_bytes(secret), body, hashlib.sha256).hexdigest()
    return bool(secret) and hmac.compare_digest(_bytes(signature.removeprefix(prefix)), digest.encode())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Failures:
    """Failed attempts by client address, within a sliding window.

    Bounded in memory: the addresses that failed longest ago are forgotten first.
    """

    def __init__(
        self,
        limit: int = 20,
        window: float = 60.0,
        max_addresses: int = 10_000,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limit = limit
        self._window = window
        self._max_addresses = max_addresses
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, address: str) -> None:
        """Note a failed attempt."""
        times = self._times.setdefault(address, deque(maxlen=self._limit))
        times.append(self._clock())
        self._times.move_to_end(address)
        while len(self._times) > self._max_addresses:
            self._times.popitem(last=False)

    def retry_after(self, address: str) -> int:
        """Seconds this address has to wait; 0: none."""
        times = self._times.get(address)
        if times is None or len(times) < self._limit:
            return 0
        remaining = times[0] + self._window - self._clock()
        return max(0, math.ceil(remaining))
