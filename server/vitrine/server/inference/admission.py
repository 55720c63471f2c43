"""Admission control: refuses work that can't be done soon, at once, rather than keeping it until it is too late.

It knows sizes and no requests. Everything happens on the event loop's thread.
"""

from dataclasses import dataclass
from types import TracebackType

from vitrine.server.errors import Overloaded
from vitrine.server.inference.shares import Shares
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
    """Counts the work under way, in all and of each caller.

    Args:
        config: its limits.
    """

    def __init__(self, config: AdmissionConfig) -> None:
        self.max_bytes = config.max_bytes
        """The limit of `bytes`."""
        self._images = Shares(config.max_images)
        self._bytes = Shares(config.max_bytes)
        self._usual_seconds = SHORTEST_PAUSE

    @property
    def images(self) -> int:
        """Images under way."""
        return self._images.held

    @property
    def bytes(self) -> int:
        """Bytes of all requests under way and their answers."""
        return self._bytes.held

    def admit(self, images: int, size: int, caller: str = "") -> "Admitted":
        """Takes a request in, until what it gives is released, or left as a context.

        A request is always taken in when nothing else is under way: its own size is limited elsewhere. It is under way
        until its answer has left, because a caller that reads slowly keeps the answer in memory.

        Args:
            images: the images that are calculated for it.
            size: the bytes of it and its answer.
            caller: the name whose share it counts in; empty: it has none.

        Raises:
            Overloaded: it would be too much; the error has the time until it may be tried again.
        """
        if self._images.held + images > self._images.plenty or self._bytes.held + size > self._bytes.plenty:
            self._check(images, size, caller)
        self._images.take(caller, images)
        self._bytes.take(caller, size)
        return Admitted(self, images, size, caller)

    def give_back(self, images: int, size: int, caller: str) -> None:
        """Counts a request as over."""
        self._images.give_back(caller, images)
        self._bytes.give_back(caller, size)

    def took(self, seconds: float) -> None:
        """Notes the duration of a request that was answered: refused callers are asked for a pause of about that."""
        self._usual_seconds += SMOOTHING * (seconds - self._usual_seconds)

    def _check(self, images: int, size: int, caller: str) -> None:
        """Refuses a request that is too much; takes any when nothing is under way."""
        if not self.bytes:
            return
        if not (self._images.fits(images) and self._bytes.fits(size)):
            raise self._refusal("OVERLOADED", "the server is")
        if caller and not (self._images.is_fair(caller, images) and self._bytes.is_fair(caller, size)):
            raise self._refusal("SHARE_EXCEEDED", "you have your share of what may be pending, and the server is")

    def _refusal(self, reason: str, who: str) -> Overloaded:
        message = f"{who} busy with {self.images:,} images of {self.bytes:,} bytes: try again in a moment"
        return Overloaded(reason, message, retry_after=max(SHORTEST_PAUSE, self._usual_seconds))


class Admitted:
    """The part of the work under way that one request makes.

    Args:
        admission: the account that it is in.
        images: its images.
        size: its bytes.
        caller: the name whose share it counts in.
    """

    __slots__ = ("_admission", "_caller", "_images", "_size")

    def __init__(self, admission: Admission, images: int, size: int, caller: str) -> None:
        self._admission, self._images, self._size, self._caller = admission, images, size, caller

    def release(self) -> None:
        """Ends it; to be called once."""
        self._admission.give_back(self._images, self._size, self._caller)

    def __enter__(self) -> None:
        """It was counted when it was admitted."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
