"""Decides how much work is taken in: what can't be done soon is refused at once, rather than kept until it is too late.

It knows sizes and no requests. Everything happens on the event loop's thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vitrine.server.errors import Overloaded

SMOOTHING = 0.05
"""How much of the usual duration each request makes: the last twenty or so count."""

SHORTEST_PAUSE = 0.05
"""The fewest seconds that a refused caller is asked to wait."""


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """How much may be under way at once."""

    max_images: int = 8192
    """Images of all requests that wait or are calculated."""
    max_bytes: int = 512 << 20
    """Bytes of all these requests and their answers."""


class Admission:
    """Counts what is under way.

    Args:
        config: how much that may be.
    """

    def __init__(self, config: AdmissionConfig) -> None:
        self._config = config
        self._images = 0
        self._bytes = 0
        self._usual_seconds = SHORTEST_PAUSE

    @property
    def images(self) -> int:
        """The images that are under way."""
        return self._images

    @property
    def bytes(self) -> int:
        """The bytes of all requests under way and their answers."""
        return self._bytes

    @contextmanager
    def admit(self, images: int, size: int) -> Iterator[None]:
        """Takes a request in for as long as the block lasts.

        A request is always taken in when nothing else is under way: its own size is limited elsewhere. It is under way
        until its answer has left, for a caller that reads slowly keeps the answer in memory.

        Args:
            images: how many images are calculated for it.
            size: the bytes that it and its answer take.

        Raises:
            Overloaded: it would be too much; the error says when to come again.
        """
        self._check(images, size)
        self._images += images
        self._bytes += size
        try:
            yield
        finally:
            self._images -= images
            self._bytes -= size

    def took(self, seconds: float) -> None:
        """Notes how long a request took that was answered; the pause that others are asked for comes of it."""
        self._usual_seconds += SMOOTHING * (seconds - self._usual_seconds)

    def _check(self, images: int, size: int) -> None:
        too_many = self._images + images > self._config.max_images
        too_large = self._bytes + size > self._config.max_bytes
        if self._bytes and (too_many or too_large):
            raise Overloaded(
                "OVERLOADED",
                f"the server is busy with {self._images:,} images of {self._bytes:,} bytes: try again in a moment",
                retry_after=max(SHORTEST_PAUSE, self._usual_seconds),
            )
