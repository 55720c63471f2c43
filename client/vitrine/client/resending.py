"""The rule by which a failed call is sent again: after which failures, how often, and when. Both clients follow it.

gRPC's own retries are over once the head of an answer has come: a server that dies behind it fails the call. So gRPC
gets no policy for retries, and the clients send calls again themselves, by the rules of gRPC's proposal A6. A call
therefore has `retries` + 1 attempts in all. A server that is full refuses with
RESOURCE_EXHAUSTED, which isn't sent again, so retries don't add to overload. Every method that the SDK calls only
reads, so that sending a call twice does no harm.

It decides, and neither waits nor sends.
"""

import random
from dataclasses import dataclass

import grpc

from vitrine.client.errors import trailing_value

RETRIED_STATUSES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL})
"""Statuses after which a call is sent again.

A server that stops ends the calls that it hasn't taken up yet with CANCELLED (grpc/grpc#41785). A proxy may answer
INTERNAL for a server that has died; a server that failed itself asks not to be asked again, by `PUSHBACK_KEY`.
"""

PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""Key of the trailing metadata by which a server says when to send a call again; below 0: never."""

LONGEST_PUSHBACK_MS = (1 << 31) - 1
"""Largest value that is understood, 24 days."""

FAILED_HERE = ("Exception serializing request!", "Exception deserializing response!")
"""Texts of gRPC for messages that this process can't write or read: another attempt would end the same way."""

FIRST_PAUSE_SECONDS = 0.1
"""Pause after the first failure; each further one doubles it."""

LONGEST_PAUSE_SECONDS = 1.0
"""Pause beyond which it doesn't grow."""

JITTER = 0.2
"""Largest part by which a pause is longer or shorter, so that callers that failed together don't return together."""

CHANCE = random.SystemRandom()
"""The system's chance: programs that seed Python's own get the same numbers whatever fails here."""


@dataclass(slots=True)
class Resending:
    """The rule for one call, with the count of its attempts."""

    retries: int
    """Attempts that the call still has after this one."""
    doublings: int = 0
    """Number of times that the next pause of the client's own is doubled: those since a server named one."""

    def pause(self, error: grpc.RpcError, seconds_left: float) -> float | None:
        """Seconds after which to send the call again, which takes one of its attempts; None: its failure stands.

        Args:
            error: the failure of the latest attempt.
            seconds_left: time until the call's deadline; a pause that would last as long isn't begun.
        """
        if self.retries == 0 or error.code() not in RETRIED_STATUSES or error.details() in FAILED_HERE:
            return None
        self.retries -= 1
        pushback = trailing_value(error, PUSHBACK_KEY, None)
        if pushback is None:
            pause: float | None = _pause_after(self.doublings)
            self.doublings += 1
        else:
            pause, self.doublings = _read_pushback(pushback), 0
        return pause if pause is not None and pause < seconds_left else None


def _pause_after(doublings: int) -> float:
    pause = min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)
    return pause * CHANCE.uniform(1 - JITTER, 1 + JITTER)


def _read_pushback(text: str | bytes) -> float | None:
    """The pause in seconds that a server asks for; None: it asks for no further attempt, or can't be understood."""
    try:
        milliseconds = int(text)
    except ValueError:
        return None
    return milliseconds / 1000 if 0 <= milliseconds <= LONGEST_PUSHBACK_MS else None
