"""The arguments of a classification, for every image alike, and what is made of an image by them.

It makes payloads and requests with `wire`, and sends nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from vitrine.client import wire
from vitrine.client.types import Model
from vitrine.client.wire import Payload, Preparation, ReadImage
from vitrine.model import MAX_IMAGE_PIXELS, ImageSource
from vitrine.v1 import classifier_pb2 as pb

Progress: TypeAlias = Callable[[int], object]
"""A callback that gets the number of images done so far, after each request's answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments of a classification."""

    selection: pb.LayerSelection | None
    """The layers whose activations are wanted."""
    name: str
    """The model's name in requests: empty for the default, `NAME` or `NAME@VERSION`."""
    preparation: Preparation
    """The place where images become pixels."""
    timeout: float
    """The deadline of each request in seconds."""
    progress: Progress | None = None
    """The caller's callback."""
    max_image_pixels: int = MAX_IMAGE_PIXELS
    """The largest width × height of an image that this client prepares."""
    return_exceptions: bool = False
    """Give the error of a bad image in the place of its prediction, instead of raising it."""
    selection_key: bytes = b""
    """Equal for equal selections, which are messages that can't be keys."""
    interventions: pb.ImageInterventions | None = None
    """The changes of activations in the run of each image; None: there are none."""
    interventions_key: bytes = b""
    """Equal for equal interventions."""

    @property
    def answers(self) -> int:
        """Number of predictions in the answer for one image: with interventions, the untouched one comes, too."""
        return 1 if self.interventions is None else 2

    @property
    def is_prepared(self) -> bool:
        """True if images are pixels already, so that nothing takes time."""
        return self.preparation == "none"

    @property
    def may_share(self) -> bool:
        """True if images of several calls may travel in one request.

        Files don't: the server prepares those of a request one after the other, and some take seconds.
        """
        return self.preparation != "server"

    def payload(self, image: ImageSource | ReadImage, model: Model) -> Payload:
        """The payload of an image for a model."""
        return wire.make_payload(image, self.preparation, model, self.max_image_pixels)

    def request(self, payloads: list[Payload], model: Model) -> pb.ClassifyRequest:
        """The request for some images, which were made for this model."""
        return wire.build_request(payloads, self.selection, self.name, self.preparation, model, self.interventions)

    def report(self, done: int) -> None:
        """Reports the number of images that are done."""
        if self.progress is not None:
            self.progress(done)
