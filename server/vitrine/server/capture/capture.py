"""Keeps a sample of answered images: chooses requests, and hands their rows to the thread that writes them.

The event loop copies rows and puts them into a queue. What finds no room there is dropped and counted.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from vitrine.model.distribution import missing_extra
from vitrine.server.capture.config import ALL, CaptureConfig
from vitrine.server.capture.folder import CaptureFolder
from vitrine.server.capture.queue import RowQueue
from vitrine.server.capture.rows import CapturedModel, Rows
from vitrine.server.capture.writer import DISK, QUEUE_FULL, CaptureWriter, OpenPart
from vitrine.server.errors import StartupError
from vitrine.server.models.snapshot import ServedModel

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""Seconds that writing the last rows may take when a service is closed."""

LAST_SECONDS = 1.0
"""Seconds for that where the time to drain is over."""

GROUP_BYTES = 4 << 20
"""The most bytes of a row group."""


class Capture:
    """Keeps rows of a sample of requests.

    Args:
        config: the settings.
        begin: begins a part for a model's rows with these layers.
        part_bytes: bytes from which on a part is complete.
    """

    def __init__(
        self, config: CaptureConfig, begin: Callable[[CapturedModel, Sequence[str]], OpenPart], part_bytes: int
    ) -> None:
        self._ratio, self._layers = config.ratio, config.layers
        self._queue, self._no_room = RowQueue(), 0
        self._writer = CaptureWriter(self._queue, begin, part_bytes, group_bytes(part_bytes), config.part_seconds)

    @property
    def images(self) -> int:
        """Images in complete parts."""
        return self._writer.images

    @property
    def bytes(self) -> int:
        """Bytes of these parts."""
        return self._writer.bytes

    @property
    def dropped(self) -> Mapping[str, int]:
        """Images of sampled requests that aren't kept, by the cause."""
        return {QUEUE_FULL: self._no_room, DISK: self._writer.lost}

    def sampled_layers(self, model: CapturedModel, images: int) -> Sequence[str] | None:
        """Decides whether a request is kept: the layers to keep of it, in their order; None: it isn't.

        A request that could never find room is dropped here, before its layers are calculated.
        """
        if random.random() >= self._ratio:  # noqa: S311 - no secret
            return None
        layers = tuple(name for name, _ in model.layers if self._layers == (ALL,) or name in self._layers)
        if images * model.row_bytes(layers) > self._queue.max_bytes:
            self._no_room += images
            return None
        return layers

    def keep(self, rows: Rows) -> None:
        """Keeps rows, or drops them where too many wait. It never waits."""
        if not self._queue.put(rows):
            self._no_room += len(rows)

    def warn_of_unknown_layers(self, models: Iterable[ServedModel]) -> None:
        """Logs layers that are to be kept and that no model has. It is no error, since models come and go."""
        known = {ALL, *(layer for model in models for layer in model.layer_names)}
        if unknown := [layer for layer in self._layers if layer not in known]:
            logger.warning("--capture-layers: no model that is served has a layer %s", ", ".join(unknown))

    async def close(self) -> None:
        """Completes all parts, for up to `FLUSH_SECONDS`."""
        self._queue.close()
        written = False
        try:
            written = await asyncio.to_thread(self._writer.join, FLUSH_SECONDS)
        except asyncio.CancelledError:
            written = self._writer.join(LAST_SECONDS)
            raise
        finally:
            if not written:
                logger.warning("the last captured images couldn't be written in time")


def group_bytes(part_bytes: int) -> int:
    """The most bytes of a row group of a part of so many bytes."""
    return min(GROUP_BYTES, part_bytes // 4)


@asynccontextmanager
async def open_capture(config: CaptureConfig | None, processes: int) -> AsyncIterator[Capture | None]:
    """Captures while the context lasts; nothing, without a config.

    Args:
        config: the settings.
        processes: the processes that capture to the same folder.

    Raises:
        StartupError: pyarrow isn't installed.
    """
    if config is None:
        yield None
        return
    if error := missing_extra("--capture", "capture"):
        raise StartupError(error)
    part_bytes = config.part_bytes(processes)
    folder = CaptureFolder(config.folder, config.max_bytes, part_bytes, config.part_seconds)
    capture = Capture(config, partial(_begin, folder, group_bytes(part_bytes)), part_bytes)
    logger.info("%g of all requests are captured, to %s", config.ratio, config.folder)
    try:
        yield capture
    finally:
        await capture.close()


def _begin(folder: CaptureFolder, group: int, model: CapturedModel, layers: Sequence[str]) -> OpenPart:
    from vitrine.server.capture.part import Part  # pyarrow, an extra

    opened = folder.open_file()
    try:
        return Part(opened, model, layers, group)
    except Exception:
        opened.discard()
        opened.file.close()
        raise
