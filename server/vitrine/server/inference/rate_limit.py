"""Rate limit: keeps each caller to a number of images a second, so that none takes the others' share.

It knows names, numbers and the clock, and no requests. Everything happens on the event loop's thread.

The method is a leaky bucket for each caller (ITU-T I.371): each image is poured in, and leaks out at the caller's rate.
"""

import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache

from vitrine.server.errors import RateExceeded

MAX_CALLERS = 10_000
"""Callers that are remembered before those whose buckets are empty are forgotten."""


class RateLimiter:
    """The images that each caller sends, and their limit.

    Args:
        rate: images a second that a caller may send in the long run; 0: unlimited.
        burst: images that a caller may send at once after a pause; no request may be larger.
        clock: gives the time in seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # images in it, at a moment
        self._max_buckets = MAX_CALLERS

    @property
    def limited(self) -> bool:
        """There is a limit: without one, callers need not be told apart."""
        return self._rate > 0

    def take(self, caller: str, images: int) -> None:
        """Lets a caller send images now.

        Raises:
            RateExceeded: it has sent too many; these don't count; the error has the time until they would be let in.
        """
        now = self._clock()
        level = self._level(caller, now) + images
        if level > self._burst:
            seconds = (level - self._burst) / self._rate
            message = f"{caller} may send {self._rate:g} images a second: send these again in {seconds:.2g} s"
            raise RateExceeded("RATE_EXCEEDED", message, retry_after=seconds)
        self._buckets[caller] = (level, now)
        if len(self._buckets) > self._max_buckets:
            self._forget_quiet(now)

    def _forget_quiet(self, now: float) -> None:
        """Forgets callers whose buckets are empty; the more are left, the later it is done again."""
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if self._level(name, now) > 0}
        self._max_buckets = max(MAX_CALLERS, 2 * len(self._buckets))

    def _level(self, caller: str, now: float) -> float:
        """Images in a caller's bucket."""
        level, moment = self._buckets.get(caller, (0.0, now))
        return max(0.0, level - (now - moment) * self._rate)


@lru_cache(maxsize=MAX_CALLERS)
def caller_at(host: str) -> str:
    """The name of a caller that has nothing but an address: that, or of IPv6 its network of 64 bits.

    One customer has all addresses of such a network (RFC 6177), and would have a bucket for each.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:  # another kind of address, such as a socket's path
        return host
    if address.version == 4:
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), 64), strict=False))
