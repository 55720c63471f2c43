"""Plain data that the service takes and gives. It knows neither messages nor models' files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from vitrine.model import Parameters
from vitrine.model.preparation.step import Step
from vitrine.server.inference.config import Limits
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.security.access import Permission


@dataclass(frozen=True, slots=True)
class LayerSelection:
    """The layers whose activations an answer carries; by default none."""

    every: bool = False
    """All of the model's layers."""
    names: tuple[str, ...] = ()
    """These layers."""

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """The permissions that it takes to classify with these activations."""
        return WITH_ACTIVATIONS if self.every or self.names else WITHOUT_ACTIVATIONS


WITHOUT_ACTIVATIONS = (Permission.PREDICT,)
WITH_ACTIVATIONS = (Permission.PREDICT, Permission.ACTIVATIONS)

NO_LAYERS = LayerSelection()


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A change of some units' activations: activation × scale + shift."""

    layer: str
    """The layer's name."""
    units: npt.NDArray[np.int64] | None
    """int64 (U,): positions in the layer's activations, row by row; None: all of them."""
    scale: "float | npt.NDArray[np.float32]" = 1.0
    """The factor of all these units, or of each: float32 (U,)."""
    shift: "float | npt.NDArray[np.float32]" = 0.0
    """What is added to all of them, or to each: float32 (U,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Interventions:
    """Changes of activations in the runs of a request's images."""

    images: Sequence[Sequence[Change]]
    """The changes for each image, in the order of applying them; one entry is for all images."""
    baseline: bool = True
    """The answer without changes is wanted, too."""


class AttributionMethod(StrEnum):
    """A way to divide a class's score among the pixels."""

    CONTRIBUTIONS = "contributions"
    """Each pixel times the product of the active weights."""
    GRADIENT_TIMES_INPUT = "gradient_times_input"
    """Each pixel times its gradient: the same numbers in a network of linear and ReLU layers."""
    INTEGRATED_GRADIENTS = "integrated_gradients"
    """Each pixel times its mean gradient between a white page and the image."""


@dataclass(frozen=True, slots=True, eq=False)
class ImagesRequest:
    """A request about images: either `pixels` or `files`."""

    model: ServedModel
    """The model that is to answer: whatever is published meanwhile, the one that the request was read for."""
    pixels: npt.NDArray[np.uint8] | None = None
    """uint8 (N, height, width), 0 = white (paper), 255 = black (ink)."""
    files: Sequence[bytes] | None = None
    """Whole image files, to be prepared by the service."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassifyRequest(ImagesRequest):
    """A request to classify images."""

    activations: LayerSelection = NO_LAYERS
    """The layers whose activations are wanted."""
    interventions: Interventions | None = None
    """Changes of activations; None: the model runs as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class ExplainRequest(ImagesRequest):
    """A request to explain classifications of images."""

    classes: Sequence[int] = ()
    """The classes to explain: one for all images, or one for each; none: the predicted ones."""
    method: AttributionMethod = AttributionMethod.CONTRIBUTIONS
    """The method."""


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The answer for N images; row i is image i."""

    model: ServedModel
    """The model that gave it."""
    digits: npt.NDArray[np.int64]
    """int64 (N,): the class with the largest activation of the output layer."""
    probabilities: npt.NDArray[np.float32]
    """float32 (N, classes): the output layer's activations."""
    activations: Mapping[str, npt.NDArray[np.float32]]
    """float32 (N, width) for each wanted layer, in the order of the layers."""
    novelty: npt.NDArray[np.float32] | None = None
    """float32 (N,): how unlike a digit each image is; None where the model has no threshold to judge it by."""
    is_digit: npt.NDArray[np.bool_] | None = None
    """bool (N,): the novelty is at most that threshold; None where there is none."""
    baseline: "Classification | None" = None
    """The answer without the request's interventions; None: there are none, or it wasn't wanted."""

    @property
    def no_digits(self) -> int | None:
        """The images that are no digits; None where the model has no threshold to judge them by."""
        return None if self.is_digit is None else len(self.is_digit) - int(np.count_nonzero(self.is_digit))


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The explanation of N images; row i is image i."""

    model: ServedModel
    """The model that gave it."""
    classes: npt.NDArray[np.int64]
    """int64 (N,): the explained class of each."""
    scores: npt.NDArray[np.float32]
    """float32 (N,): that class's activation of the last linear layer."""
    contributions: npt.NDArray[np.float32]
    """float32 (N, *shape of the input): each pixel's share in the score."""
    biases: npt.NDArray[np.float32]
    """float32 (N,): the rest of the score."""
    pixels: npt.NDArray[np.uint8] | None = None
    """uint8 (N, *shape of the input), where the service has prepared them; None: the caller has them."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownPreparation:
    """The way of an image file to pixels."""

    model: ServedModel
    """The model that the pixels are for."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (height, width), 0 = white (paper), 255 = black (ink): what the model gets of that file."""
    steps: Sequence[Step]
    """The picture after each step."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelDescription:
    """A model, and the limits that its requests are held to."""

    model: ServedModel
    """The model."""
    versions: Sequence[ServedModel]
    """The versions that are served under its name, newest first; where one was asked for, that one alone."""
    limits: Limits
    """The limits on one request."""


@dataclass(frozen=True, slots=True, eq=False)
class ParameterRows:
    """Rows of a layer's parameters."""

    model: ServedModel
    """The model that they belong to."""
    parameters: Parameters
    """The rows that were asked for: views, of the layer's own parameters."""
    row_count: int
    """The rows of the whole layer."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The work of the service at one moment."""

    waiting: int
    """Images that wait for a run."""
    images: int
    """Images of all requests under way, including those that wait."""
    bytes: int
    """Bytes of these requests and their answers."""
    arriving_bytes: int = 0
    """Bytes of messages that haven't arrived as a whole."""
    connections: int = 0
    """Connections that are open."""
    streams: int = 0
    """Streams that are open."""
    closed: Mapping[str, int] = field(default_factory=dict)
    """Connections that the server has closed so far, by the reason."""
    cache_hits: int = 0
    """Images that the cache answered so far."""
    cache_misses: int = 0
    """Images that it couldn't answer."""
    cache_bytes: int = 0
    """Bytes of the answers that it keeps."""
    captured_images: int = 0
    """Images that were captured so far, in complete parts."""
    captured_bytes: int = 0
    """Bytes of these parts."""
    capture_dropped: Mapping[str, int] = field(default_factory=dict)
    """Images that were to be captured and aren't, by the cause."""
