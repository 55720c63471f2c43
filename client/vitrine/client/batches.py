"""Cuts many images into batches, one for each request, and says what to do with a batch that the server refuses.

Batches stay within the server's limits, for the requests and for their answers. An image keeps its place among the
caller's, whatever becomes of it. This module knows neither channels nor clients: both clients share it.
"""

import os
import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from vitrine.client.catalogue import Description
from vitrine.client.errors import InvalidRequestError, ServiceError
from vitrine.client.plan import Plan
from vitrine.client.types import Model, Prediction
from vitrine.client.wire import Payload, ReadImage
from vitrine.model import ENVELOPE_BYTES, ImageError, ImageSource, answer_size, read_grey
from vitrine.v1 import classifier_pb2 as pb

FRAME_BYTES = 16
"""Generous estimate of the bytes that protobuf adds to each image."""

KEPT_BYTES = 16 << 20
"""Largest sum of the sizes of images that are kept while their batch is under way, to be prepared again."""

REFUSED_FILE = re.compile(r"(?:^|\.)files\[(?P<index>[0-9]+)\]$")
"""The end of a field's path in an error that is about one file of a request."""

BadImage: TypeAlias = ImageError | InvalidRequestError
"""The error of one image: found in this process, or by the server that prepares it."""

Outcome: TypeAlias = Prediction | BadImage
"""What becomes of an image."""

KeptSource: TypeAlias = str | os.PathLike[str] | bytes | ReadImage
"""What an image is prepared from again. The caller may change none of it meanwhile, but for the content of a file."""


@dataclass(slots=True, eq=False)  # not frozen, which would double the time to make one
class Item:
    """One image of many."""

    position: int
    """Its place among the caller's images, from 0."""
    payload: Payload = b""
    """What is sent of it."""
    source: KeptSource | None = None
    """What it is prepared from again for another model; None: nothing is, or it would hold too much memory."""
    error: BadImage | None = None
    """The reason why nothing is sent of it."""


def make_item(image: ImageSource | ReadImage, position: int, plan: Plan, model: Model) -> Item:
    """Prepares an image for a model.

    Raises:
        ImageError: it can't be read, unless the plan returns such errors.
    """
    try:
        source = _kept_source(image, plan) if plan.preparation == "local" else None
        payload = plan.payload(image if source is None else source, model)
    except ImageError as error:
        placed = placed_error(error, position)
        if plan.return_exceptions:
            return Item(position, error=placed)
        raise placed from error
    return Item(position, payload, source)


def _kept_source(image: ImageSource | ReadImage, plan: Plan) -> KeptSource:
    """The image, or its grey where the caller may refill it: arrays, PIL images, buffers and open files."""
    if isinstance(image, (str, os.PathLike, bytes, ReadImage)):
        return image
    grey = read_grey(image, plan.max_image_pixels)
    return ReadImage(grey.copy() if isinstance(image, np.ndarray) else grey)  # an array's grey may be the array itself


def _size(source: KeptSource) -> int:
    """Bytes that keeping a source holds."""
    match source:
        case ReadImage():
            return source.grey.nbytes
        case bytes() | str():
            return len(source)
        case _:
            return 0


def placed_error(error: BadImage, position: int) -> BadImage:
    """The same error, which says which of the caller's images it is about."""
    placed = copy(error)
    placed.position, placed.__cause__ = position, error.__cause__
    return placed


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one request."""

    items: tuple[Item, ...]
    """The images, in their order, also those of which nothing is sent."""
    model: Model
    """The description of the model that they were prepared for."""

    @cached_property
    def sent(self) -> list[Item]:
        """The images of which something is sent."""
        return [item for item in self.items if item.error is None]

    def request(self, plan: Plan) -> pb.ClassifyRequest:
        """The request; there must be something to send."""
        return plan.request([item.payload for item in self.sent], self.model)

    def outcomes(self, predictions: Sequence[Prediction], plan: Plan) -> Sequence[Outcome]:
        """The predictions of what was sent, and the errors of the rest, in the order of the images.

        Raises:
            ImageError, InvalidRequestError: the first error, unless the plan returns errors.
        """
        if len(predictions) == len(self.items):
            return predictions
        if not plan.return_exceptions:
            raise next(item.error for item in self.items if item.error is not None)
        coming = iter(predictions)
        return [next(coming) if item.error is None else item.error for item in self.items]


def bad_image(error: Exception, position: int) -> BadImage | None:
    """The error of an image that was sent alone, with its position; None: the error is about something else."""
    if isinstance(error, ImageError) or (isinstance(error, InvalidRequestError) and REFUSED_FILE.search(error.field)):
        return placed_error(error, position)
    return None


def batches_without(batch: Batch, error: ServiceError) -> list[Batch] | None:
    """The same images in batches, the one that the server refuses apart; None: the error is about no single image.

    The server names the first bad image. Those before it are good. Those behind it are still unknown, and go in halves:
    a request of them all would be sent again whole for each bad one.
    """
    found = REFUSED_FILE.search(error.field)
    if not isinstance(error, InvalidRequestError) or found is None:
        return None
    sent, index = batch.sent, int(found["index"])
    if index >= len(sent):
        return None
    refused = sent[index]
    at = batch.items.index(refused)
    alone = replace(refused, error=placed_error(error, refused.position))
    unknown = batch.items[at + 1 :]
    middle = len(unknown) // 2
    parts = (batch.items[:at], (alone,), unknown[:middle], unknown[middle:])
    return [replace(batch, items=items) for items in parts if items]


def batches_for(batch: Batch, latest: Description, plan: Plan, limit: int) -> list[Batch] | None:
    """The same images, prepared for the model that has taken the place of theirs; None where that doesn't help.

    Args:
        batch: the batch that was refused.
        latest: the description that holds now.
        plan: the arguments of the classification.
        limit: largest answer that the client takes, in bytes.
    """
    model = latest.complete_model
    if not has_changed(batch.model, model):
        return None
    batcher = Batcher(plan, model, limit)
    batches: list[Batch] = []
    for item in batch.items:
        if item.error is None and model.input != batch.model.input and plan.preparation != "server":
            if item.source is None:
                return None
            item = make_item(item.source, item.position, plan, model)
        batches += batcher.add(item)
    return [*batches, *batcher.rest()]


def has_changed(before: Model, now: Model) -> bool:
    """True if images must be prepared, or divided into batches, in another way."""
    return before is not now and (before.input, before.limits, before.layers) != (now.input, now.limits, now.layers)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The capacity of one request."""

    images: int
    """Largest number of images, at least 1."""
    payload_bytes: int
    """Largest sum of the payloads' sizes, in bytes."""


def capacity_for(model: Model, plan: Plan, max_answer_bytes: int) -> Capacity:
    """The capacity of one request to a model, for a client that takes answers up to `max_answer_bytes`."""
    limits, selection = model.limits, plan.selection or pb.LayerSelection()
    names = [layer.name for layer in model.layers] if selection.all else selection.names
    fitting = answer_size(model.layers, names).fitting(min(limits.max_message_bytes, max_answer_bytes))
    further = len(plan.interventions_key)  # a request has them once
    images = min(limits.max_images, fitting // plan.answers)
    return Capacity(max(1, images), limits.max_message_bytes - ENVELOPE_BYTES - further)


class Batcher:
    """Collects images, in order, and gives a batch whenever one is full.

    Args:
        plan: the arguments of the classification.
        model: the model that the images are prepared for at first.
        limit: largest answer that the client takes, in bytes.
        position: the place of the first image among the caller's.
    """

    def __init__(self, plan: Plan, model: Model, limit: int, position: int = 0) -> None:
        self.model = model
        """The model that images are prepared for."""
        self.position = position
        """The place of the next image."""
        self.failure: Exception | None = None
        """The error that ended the images early; kept until the images before it are classified."""
        self._plan, self._limit = plan, limit
        self._capacity = capacity_for(model, plan, limit)
        self._items: list[Item] = []
        self._payload_bytes = self._kept_bytes = 0

    def follow(self, description: Description | None) -> Sequence[Batch]:
        """Prepares further images for the model that is known now; gives the batch for the one before, if any."""
        if description is None or not has_changed(self.model, description.model):
            return ()
        left = self.rest()
        self.model = description.complete_model
        self._capacity = capacity_for(self.model, self._plan, self._limit)
        return left

    def take(self, image: ImageSource) -> Item:
        """Prepares the next image."""
        position, self.position = self.position, self.position + 1
        return make_item(image, position, self._plan, self.model)

    def add(self, item: Item) -> Sequence[Batch]:
        """Adds an image; gives the batches that are full now. An image too large for any request goes alone."""
        size = len(item.payload) + FRAME_BYTES
        full = self.rest() if self._payload_bytes + size > self._capacity.payload_bytes else ()
        self._payload_bytes += size
        if item.source is not None:
            self._keep_within_budget(item, item.source)
        self._items.append(item)
        return full if len(self._items) < self._capacity.images else (*full, *self.rest())

    def _keep_within_budget(self, item: Item, source: KeptSource) -> None:
        """Lets the source go if this batch keeps enough already."""
        size = _size(source)
        if self._kept_bytes + size > KEPT_BYTES:
            item.source = None
        else:
            self._kept_bytes += size

    def rest(self) -> Sequence[Batch]:
        """The batch of the images that are left, if there are any."""
        if not self._items:
            return ()
        items, self._items, self._payload_bytes, self._kept_bytes = self._items, [], 0, 0
        return (Batch(tuple(items), self.model),)

    def raise_failure(self) -> None:
        """Raises the error that ended the images early, if there is one."""
        if self.failure is not None:
            raise self.failure
