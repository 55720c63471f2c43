"""Keeps what models calculated for images, and answers the same images again without a run.

It stands before a model's batcher, rows in and rows out. A row's key is its model, as it was loaded, and its pixels;
what is kept of it are copies, never views that would hold a whole batch. Everything happens on the event loop's thread,
but for the copying of large answers.
"""

import sys
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.server.inference.batching import Activations, Batcher, Pixels
from vitrine.server.inference.call import Call
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.threads import off_loop

ENTRY_BYTES = 300
"""Bytes that an entry takes beside its key, its values and their dictionary: its place in the order, and its key's."""

Row: TypeAlias = dict[str, npt.NDArray[np.float32]]
"""One image's activations: float32 (*shape) by layer."""

Key: TypeAlias = tuple[int, bytes]
"""A model's number, and an image's pixels."""

LookedUp: TypeAlias = Callable[[bool, float], None]
"""Told of each request whether all of its rows were there, and the seconds that looking and keeping took."""


class RowCache:
    """Rows of all models, within a number of bytes: those that were asked for longest ago go first.

    Args:
        max_bytes: the most bytes that they take, with all that keeping them takes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rows: OrderedDict[Key, tuple[Row, int]] = OrderedDict()
        self._numbers: weakref.WeakKeyDictionary[ServedModel, int] = weakref.WeakKeyDictionary()
        self._gone: deque[int] = deque()
        self._last = 0
        self.bytes = 0
        """The bytes that they take."""
        self.hits = 0
        """Images that were found so far."""
        self.misses = 0
        """Images that were looked for in vain."""

    def number(self, model: ServedModel) -> int:
        """The number of a model, as it was loaded. Its rows go when the model does."""
        if model not in self._numbers:
            self._last += 1
            self._numbers[model] = self._last
            going = weakref.finalize(model, self._gone.append, self._last)  # in any thread: `drop_gone` drops them
            going.atexit = False
        return self._numbers[model]

    def find(self, key: Key, layers: Sequence[str]) -> Row | None:
        """A row that has all of these layers; None if there is none."""
        entry = self._rows.get(key)
        if entry is None or not all(layer in entry[0] for layer in layers):
            self.misses += 1
            return None
        self.hits += 1
        self._rows.move_to_end(key)
        return entry[0]

    def keep(self, key: Key, row: Row) -> None:
        """Keeps a row, with the layers that are known of it already. Its arrays must be copies."""
        before, size = self._rows.pop(key, ({}, 0))
        self.bytes -= size
        row = before | row
        size = _size_of(key, row)
        if size > self._max_bytes:
            return
        while self.bytes + size > self._max_bytes:
            _, (_, freed) = self._rows.popitem(last=False)
            self.bytes -= freed
        self._rows[key] = row, size
        self.bytes += size

    def drop_gone(self) -> None:
        """Drops the rows of models that have gone."""
        while self._gone:
            number = self._gone.popleft()
            for key in [key for key in self._rows if key[0] == number]:
                self.bytes -= self._rows.pop(key)[1]


def _size_of(key: Key, row: Row) -> int:
    arrays = sum(sys.getsizeof(values) for values in row.values())  # with their elements, which they own
    return ENTRY_BYTES + sys.getsizeof(key) + sys.getsizeof(key[1]) + sys.getsizeof(row) + arrays


class CachedBatcher:
    """A model's batcher behind a cache: only rows that aren't there are run.

    Args:
        batcher: the model's batcher.
        cache: the cache, which models share.
        model: the model. It isn't kept here, or it would never be let go.
        looked_up: told of each request.
    """

    def __init__(self, batcher: Batcher, cache: RowCache, model: ServedModel, looked_up: LookedUp) -> None:
        self._batcher = batcher
        self._cache = cache
        self._number = cache.number(model)
        self._looked_up = looked_up

    @property
    def waiting(self) -> int:
        """Rows that wait for a run."""
        return self._batcher.waiting

    async def run(self, pixels: Pixels, layers: Sequence[str], told: Call | None = None) -> Activations:
        """The activations of some rows, as `Batcher.run` gives them; of those that are kept without a run."""
        begin = time.monotonic()
        # 1. Look for the rows.
        self._cache.drop_gone()
        keys = [(self._number, row.tobytes()) for row in pixels]
        found = [self._cache.find(key, layers) for key in keys]
        missing = [index for index, row in enumerate(found) if row is None]
        seconds = time.monotonic() - begin
        # 2. Run those that aren't there, and keep copies of what they give.
        if missing:
            rows = pixels if len(missing) == len(pixels) else pixels[missing]
            values = await self._batcher.run(rows, layers, told)
            begin = time.monotonic()
            copies = await off_loop(_bytes_of(values), partial(_copies, values, layers))
            for index, row in zip(missing, copies, strict=True):
                self._cache.keep(keys[index], row)
                found[index] = row
            seconds += time.monotonic() - begin
        self._looked_up(not missing, seconds)
        # 3. Put them together.
        if len(missing) == len(pixels):
            return values
        together = [row for row in found if row is not None]
        size = len(together) * sum(together[0][layer].nbytes for layer in layers)
        return await off_loop(size, partial(_joined, together, layers))


def _bytes_of(values: Activations) -> int:
    return sum(each.nbytes for each in values.values())


def _copies(values: Activations, layers: Sequence[str]) -> list[Row]:
    """A copy of each row: a view would hold the memory of the whole batch."""
    return [{layer: values[layer][index].copy() for layer in layers} for index in range(len(values[layers[0]]))]


def _joined(rows: Sequence[Row], layers: Sequence[str]) -> Activations:
    """The activations of rows: float32 (N, *shape) by layer, in new arrays, so that no caller holds what is kept."""
    return {layer: np.stack([row[layer] for row in rows]) for layer in layers}
