"""Settings of requests, batches and the cache. It loads no numpy: a supervisor reads them, and runs nothing."""

from dataclasses import dataclass

from vitrine.model import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS
from vitrine.server.ranges import RealRange, WholeRange

REQUEST_IMAGES = WholeRange(1, 1_000_000)
"""The numbers of images in one request."""

MESSAGE_BYTES = WholeRange(1, 2047 << 20)
"""The bytes of one message; protobuf has no message of 2 GiB."""

IMAGE_PIXELS = WholeRange(1, MOST_IMAGE_PIXELS)
"""The pixels of one image file: Pillow opens no larger one, whatever it is told."""

CALLER_RATES = RealRange(0, 1_000_000_000)
"""The images a second of one caller."""

BATCH_ROWS = WholeRange(1, 65_536)
"""The numbers of images in one run. A server runs the largest batch once when it starts."""

BATCH_DELAYS = RealRange(0, 3600)
"""The seconds that a batch may wait."""

PARALLEL_RUNS = WholeRange(1, 4096)
"""The numbers of runs under way at once."""

CACHE_BYTES = WholeRange(0, 1 << 40)
"""The bytes that a cache may have; 0: there is none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on one request.

    Raises:
        ConfigError: a number is out of its range.
    """

    max_images: int = 1024
    """The largest number of images."""
    max_message_bytes: int = 64 << 20
    """The largest request and answer, in bytes."""
    max_image_pixels: int = MAX_IMAGE_PIXELS
    """The largest width × height that an encoded image may declare."""
    caller_rate: float = 0.0
    """Images a second that one caller may send in the long run; 0: unlimited."""

    def __post_init__(self) -> None:
        REQUEST_IMAGES.check("max_images", self.max_images)
        MESSAGE_BYTES.check("max_message_bytes", self.max_message_bytes)
        IMAGE_PIXELS.check("max_image_pixels", self.max_image_pixels)
        CALLER_RATES.check("caller_rate", self.caller_rate)


@dataclass(frozen=True, slots=True)
class BatchingConfig:
    """Settings of batches.

    Raises:
        ConfigError: a number is out of its range.
    """

    max_rows: int = 256
    """The largest number of images in one run."""
    max_delay: float = 0.0
    """Seconds that a batch which isn't full waits for further requests."""
    parallel: int = 1
    """Runs that may be under way at once."""
    inline: bool = False
    """Short runs happen on the event loop's own thread, by the model's measured time; else each run has a thread."""

    def __post_init__(self) -> None:
        BATCH_ROWS.check("max_rows", self.max_rows)
        BATCH_DELAYS.check("max_delay", self.max_delay)
        PARALLEL_RUNS.check("parallel", self.parallel)
