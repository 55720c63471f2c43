"""The thread that writes rows to parts. Whatever happens to the disk, it goes on, and counts what is lost."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from vitrine.server.capture.config import OPEN_PARTS
from vitrine.server.capture.queue import RowQueue
from vitrine.server.capture.rows import CapturedModel, Rows

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Seconds after which the thread looks for rows by itself."""

RETRY_SECONDS = 5.0
"""Seconds after a failure before the next part is begun: rows until then are lost."""

QUEUE_FULL, DISK = "queue", "disk"
"""Why images are dropped: they find no room on their way to the disk, or can't be written to it."""


class OpenPart(Protocol):
    """A part that is being written: see `part.Part`."""

    begun: float
    images: int

    @property
    def size(self) -> int:
        """Its bytes."""

    def add(self, rows: Rows) -> None:
        """Adds rows."""

    def publish(self) -> int:
        """Completes the file; gives its bytes."""

    def discard(self) -> None:
        """Removes the file."""


class CaptureWriter:
    """Writes rows until it is told that there are no more.

    Args:
        queue: the rows.
        begin: begins a part for a model's rows with these layers.
        part_bytes: bytes from which on a part is complete.
        group_bytes: the largest piece of rows that is added to a part at once.
        part_seconds: seconds after which a part is complete.
    """

    def __init__(
        self,
        queue: RowQueue,
        begin: Callable[[CapturedModel, Sequence[str]], OpenPart],
        part_bytes: int,
        group_bytes: int,
        part_seconds: float,
    ) -> None:
        self._queue, self._begin = queue, begin
        self._part_bytes, self._group_bytes, self._part_seconds = part_bytes, group_bytes, part_seconds
        self._parts: dict[CapturedModel, OpenPart] = {}  # the one that was written to last is the last
        self._failing = False
        self._pause_until = 0.0
        self.images = 0
        """Images in complete parts."""
        self.bytes = 0
        """Bytes of these parts."""
        self.lost = 0
        """Images that couldn't be written."""
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Waits until everything is written, for up to so many seconds; tells whether it is."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        last = False
        while not last:
            taken, last = self._queue.take(LOOK_SECONDS)
            for rows in taken:
                for piece in rows.pieces(self._group_bytes):
                    self._add(piece)
            oldest = time.monotonic() - self._part_seconds
            for model in [model for model, part in self._parts.items() if last or part.begun <= oldest]:
                self._publish(model)

    def _add(self, rows: Rows) -> None:
        """Adds rows to the part of their model, and begins one where there is none, or it is full."""
        part = self._parts.get(rows.model)
        if part is not None and part.size + rows.nbytes > self._part_bytes:
            self._publish(rows.model)
            part = None
        part = part or self._begun(rows)
        if part is None:
            self.lost += len(rows)
            return
        self._parts[rows.model] = self._parts.pop(rows.model, part)
        try:
            part.add(rows)
        except Exception as error:
            self._lose(rows.model, error)

    def _begun(self, rows: Rows) -> OpenPart | None:
        """A new part for rows; None if none can be begun, or the last failure was a moment ago."""
        if time.monotonic() < self._pause_until:
            return None
        if len(self._parts) >= OPEN_PARTS and not self._publish(next(iter(self._parts))):
            return None
        try:
            return self._begin(rows.model, list(rows.activations))
        except Exception as error:
            self._note_failure(error)
            return None

    def _publish(self, model: CapturedModel) -> bool:
        """Completes the part of a model; tells whether that went well."""
        part = self._parts[model]
        try:
            size = part.publish()
        except Exception as error:
            self._lose(model, error)
            return False
        del self._parts[model]
        self.images += part.images
        self.bytes += size
        if self._failing:
            logger.info("captured images are written again")
        self._failing = False
        return True

    def _lose(self, model: CapturedModel, error: Exception) -> None:
        """Gives the part of a model up: after a failure, what is in its file can't be known."""
        part = self._parts.pop(model)
        self.lost += part.images
        self._note_failure(error)
        with suppress(Exception):  # the disk may refuse this, too, and the thread must go on
            part.discard()

    def _note_failure(self, error: Exception) -> None:
        """Logs the first failure in a row."""
        self._pause_until = time.monotonic() + RETRY_SECONDS
        if not self._failing:
            unexpected = not isinstance(error, OSError)
            logger.error("captured images can't be written, and are dropped: %s", error, exc_info=unexpected)
        self._failing = True
