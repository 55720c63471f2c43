"""Admission control: refuses work that can't be done soon, at once, rather than keeping it until it is too late.

It knows sizes and no requests. Everything happens on the event loop's thread.
"""

from dataclasses import dataclass
from types import TracebackType

from vitrine.server.errors import Overloaded
from vitrine.server.ranges import WholeRange

SMOOTHING = 0.05
"""The weight of each request in the usual duration: the last twenty or so count."""

SHORTEST_PAUSE = 0.05
"""The shortest pause that a refused caller is asked for, in seconds."""


PENDING_IMAGES = WholeRange(1, 1_000_000_000)
"""The numbers of images that may be under way."""

PENDING_BYTES = WholeRange(1, 1 << 44)
"""The bytes that may be under way, up to 16 TiB."""


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """Limits on the work under way.

    Raises:
        ConfigError: a number is out of its range.
    """

    max_images: int = 8192
    """Images of all requests that wait or are calculated."""
    max_bytes: int = 512 << 20
    """Bytes of all these requests and their answers."""

    def __post_init__(self) -> None:
        PENDING_IMAGES.check("max_images", self.max_images)
        PENDING_BYTES.check("max_bytes", self.max_bytes)


class Admission:
    """Counts the work under way.

    Args:
        config: its limits.
    """

    def __init__(self, config: AdmissionConfig) -> None:
        self._config = config
        self.images = 0
        """Images under way."""
        self.bytes = 0
        """Bytes of all requests under way and their answers."""
        self._usual_seconds = SHORTEST_PAUSE

    def admit(self, images: int, size: int) -> "Admitted":
        """Takes a request in, until the context that it gives is left.

        A request is always taken in when nothing else is under way: its own size is limited elsewhere. It is under way
        until its answer has left, because a caller that reads slowly keeps the answer in memory.

        Args:
            images: the images that are calculated for it.
            size: the bytes of it and its answer.

        Raises:
            Overloaded: it would be too much; the error has the time until it may be tried again.
        """
        too_many = self.images + images > self._config.max_images
        too_large = self.bytes + size > self._config.max_bytes
        if self.bytes and (too_many or too_large):
            raise Overloaded(
                "OVERLOADED",
                f"the server is busy with {self.images:,} images of {self.bytes:,} bytes: try again in a moment",
                retry_after=max(SHORTEST_PAUSE, self._usual_seconds),
            )
        self.images += images
        self.bytes += size
        return Admitted(self, images, size)

    def took(self, seconds: float) -> None:
        """Notes the duration of a request that was answered: refused callers are asked for a pause of about that."""
        self._usual_seconds += SMOOTHING * (seconds - self._usual_seconds)


class Admitted:
    """The part of the work under way that one request makes; it ends with the context.

    Args:
        admission: the account that it is in.
        images: its images.
        size: its bytes.
    """

    __slots__ = ("_admission", "_images", "_size")

    def __init__(self, admission: Admission, images: int, size: int) -> None:
        self._admission, self._images, self._size = admission, images, size

    def __enter__(self) -> None:
        """It was counted when it was admitted."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.images -= self._images
        self._admission.bytes -= self._size
