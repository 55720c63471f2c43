"""Cuts many images into requests within the server's limits, for the requests and for their answers.

It knows sizes, and neither images nor channels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vitrine.client.types import Model
from vitrine.model import ENVELOPE_BYTES, answer_size
from vitrine.v1 import classifier_pb2 as pb

FRAME_BYTES = 16
"""Generous estimate of the bytes that protobuf adds to each image."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The capacity of one request."""

    images: int
    """Largest number of images, at least 1."""
    payload_bytes: int
    """Largest sum of the payloads' sizes, in bytes."""


def capacity_for(model: Model, selection: pb.LayerSelection | None, max_answer_bytes: int) -> Capacity:
    """The capacity of one request to a model, for a client that takes answers up to `max_answer_bytes`."""
    limits, selection = model.limits, selection or pb.LayerSelection()
    names = [layer.name for layer in model.layers] if selection.all else selection.names
    fitting = answer_size(model.layers, names).fitting(min(limits.max_message_bytes, max_answer_bytes))
    return Capacity(max(1, min(limits.max_images, fitting)), limits.max_message_bytes - ENVELOPE_BYTES)


class Chunker:
    """Collects the payloads of images, in order, and builds a request whenever one is full.

    Args:
        capacity: the capacity of one request.
        build: makes a request from some payloads.
    """

    def __init__(self, capacity: Capacity, build: Callable[[list[bytes]], pb.ClassifyRequest]) -> None:
        self._capacity = capacity
        self._build = build
        self._payloads: list[bytes] = []
        self._bytes = 0
        self.failure: Exception | None = None
        """The error that ended the images early; kept until the images before it are classified."""

    def add(self, payload: bytes) -> Iterator[pb.ClassifyRequest]:
        """Adds one image; yields the requests that are full now. An image too large for any request goes alone."""
        size = len(payload) + FRAME_BYTES
        if self._bytes + size > self._capacity.payload_bytes:
            yield from self.rest()
        self._payloads.append(payload)
        self._bytes += size
        if len(self._payloads) >= self._capacity.images:
            yield from self.rest()

    def rest(self) -> Iterator[pb.ClassifyRequest]:
        """Yields the request for the payloads that are left, if there are any."""
        if self._payloads:
            payloads, self._payloads, self._bytes = self._payloads, [], 0
            yield self._build(payloads)

    def raise_failure(self) -> None:
        """Raises the error that ended the images early, if there is one."""
        if self.failure is not None:
            raise self.failure
