"""Cuts many images into requests that fit the server's limits, and whose answers fit them too.

It knows sizes only: what an image is and how a request travels, it doesn't know.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vitrine.client.types import Model
from vitrine.model import ENVELOPE_BYTES, answer_size
from vitrine.v1 import classifier_pb2 as pb

FRAME_BYTES = 16
"""What protobuf adds to each image; generously."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one request may hold."""

    images: int
    """The largest number of images, at least 1."""
    payload_bytes: int
    """The largest sum of the images' sizes as they are sent."""


def capacity_for(model: Model, selection: pb.LayerSelection | None, max_answer_bytes: int) -> Capacity:
    """What one request to a model may hold, when an answer of `max_answer_bytes` is the largest the client takes."""
    limits, selection = model.limits, selection or pb.LayerSelection()
    names = [layer.name for layer in model.layers] if selection.all else selection.names
    fitting = answer_size(model.layers, names).fitting(min(limits.max_message_bytes, max_answer_bytes))
    return Capacity(max(1, min(limits.max_images, fitting)), limits.max_message_bytes - ENVELOPE_BYTES)


class Chunker:
    """Gathers the payloads of images, in order, and builds a request whenever one is full.

    Args:
        capacity: what one request may hold.
        build: makes a request of some payloads.
    """

    def __init__(self, capacity: Capacity, build: Callable[[list[bytes]], pb.ClassifyRequest]) -> None:
        self._capacity = capacity
        self._build = build
        self._payloads: list[bytes] = []
        self._bytes = 0
        self.failure: Exception | None = None
        """What ended the images early, kept until all before it are answered."""

    def add(self, payload: bytes) -> Iterator[pb.ClassifyRequest]:
        """Takes one more image; gives the requests that are full now. An image too large for any goes alone."""
        size = len(payload) + FRAME_BYTES
        if self._bytes + size > self._capacity.payload_bytes:
            yield from self.rest()
        self._payloads.append(payload)
        self._bytes += size
        if len(self._payloads) >= self._capacity.images:
            yield from self.rest()

    def rest(self) -> Iterator[pb.ClassifyRequest]:
        """The request for what is gathered and not yet given, if anything is."""
        if self._payloads:
            payloads, self._payloads, self._bytes = self._payloads, [], 0
            yield self._build(payloads)

    def raise_failure(self) -> None:
        """Raises what ended the images early, if anything did."""
        if self.failure is not None:
            raise self.failure
