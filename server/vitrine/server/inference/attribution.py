"""Attribution: divides the score of a class among the pixels, exactly, by products of the weights that are active.

A network of linear and ReLU layers is linear around each input: a ReLU passes a unit on or silences it. So a class's
score is the sum of pixel × product of the active weights, plus the biases' share. All methods here are made of these
products. It knows numpy and the kinds of layers; it knows neither messages nor ONNX Runtime, whose activations it gets.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import ENVELOPE_BYTES, Layer, LayerKind, Parameters
from vitrine.model.answer import NUMBER_BYTES
from vitrine.server.errors import InvalidRequest
from vitrine.server.inference.requests import AttributionMethod, ExplainRequest, Explanation
from vitrine.server.models.snapshot import ServedModel

STEPS = 64
"""The points of the midpoint rule for integrated gradients."""

SLICE_PRODUCTS = 1 << 26
"""Weights times rows of a slice, which is worked on at once: some milliseconds, for up to 16 million weights."""

SLICE_ROWS = (4, 256)
"""The fewest and the most rows of a slice: one row of a large network would read all of its weights by itself."""

IMAGE_BYTES = 24
"""The largest number of bytes of an image's class, score and bias in an answer."""

Floats: TypeAlias = npt.NDArray[np.float32]
"""float32, images first."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """The part of a model that gives the scores: everything before its softmax or sigmoid."""

    layers: Sequence[Layer]
    """Its layers, each after those that it reads; the last one gives the scores."""
    parameters: Mapping[str, Parameters]
    """The parameters of each linear layer, by the layer's name."""

    @classmethod
    def of(cls, model: ServedModel) -> Self:
        """The part of a model."""
        layers = model.metadata.layers
        names = [layer.name for layer in layers]
        return cls(layers[: names.index(layers[-1].reads[0]) + 1], model.parameters)

    @property
    def needed(self) -> tuple[str, ...]:
        """The layers whose activations an attribution takes: the input, every ReLU, and the scores."""
        kinds = (LayerKind.INPUT, LayerKind.RELU)
        return tuple(layer.name for layer in self.layers if layer.kind in kinds or layer is self.layers[-1])

    @property
    def row_bytes(self) -> int:
        """The bytes of an image's activations of `needed`, which are in memory until all images are explained."""
        needed = self.needed
        return NUMBER_BYTES * sum(layer.width for layer in self.layers if layer.name in needed)

    @property
    def slice_rows(self) -> int:
        """The rows that are worked on at once."""
        weights = sum(stored.weight.size for stored in self.parameters.values())
        fewest, most = SLICE_ROWS
        return max(fewest, min(most, SLICE_PRODUCTS // weights))

    def forward(self, inputs: Floats) -> dict[str, Floats]:
        """The activations of every layer for given activations of the input layer, float32 (N, width)."""
        values: dict[str, Floats] = {}
        for layer in self.layers:
            match layer.kind:
                case LayerKind.INPUT:
                    values[layer.name] = inputs
                case LayerKind.LINEAR:
                    stored = self.parameters[layer.name]
                    values[layer.name] = values[layer.reads[0]] @ stored.weight.T + stored.bias
                case LayerKind.RELU:
                    values[layer.name] = np.maximum(values[layer.reads[0]], 0)
                case _:
                    raise _unexplainable(layer)
        return values

    def backward(self, values: Mapping[str, Floats], classes: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The products of the active weights between the input and the score of each image's class.

        Args:
            values: the activations of `needed`, float32 (N, width) each. A ReLU is active where its own is above 0.
            classes: int64 (N,).

        Returns:
            float32 (N, width of the input): each input's factor in the score; and float32 (N,): the biases' share.
        """
        factors = {self.layers[-1].name: np.eye(self.layers[-1].width, dtype=np.float32)[classes]}  # (N, width) each
        biases = np.zeros(len(classes), np.float32)
        for layer in reversed(self.layers):
            factor = factors.pop(layer.name, None)
            if factor is None:  # no layer on the way to the scores reads it
                continue
            match layer.kind:
                case LayerKind.INPUT:
                    return factor, biases
                case LayerKind.LINEAR:
                    stored = self.parameters[layer.name]
                    biases += factor @ stored.bias
                    before = factor @ stored.weight
                case LayerKind.RELU:
                    before = factor * (values[layer.name] > 0)
                case _:
                    raise _unexplainable(layer)
            read = layer.reads[0]
            factors[read] = factors[read] + before if read in factors else before
        raise ValueError("the scores don't depend on the input")


def _unexplainable(layer: Layer) -> ValueError:
    return ValueError(f"layer {layer.name} is a {layer.kind}, which isn't linear around an input")


def check_classes(classes: Sequence[int], model: ServedModel, count: int) -> None:
    """Checks the classes of a request of `count` images.

    Raises:
        InvalidRequest: the model has no such class, or there is neither one for all images nor one for each.
    """
    if len(classes) not in (0, 1, count):
        message = f"{len(classes)} classes came for {count} images: send none, one for all, or one for each"
        raise InvalidRequest("WRONG_CLASS_COUNT", message, "classes")
    known = len(model.metadata.classes)
    for index, one in enumerate(classes):
        if not 0 <= one < known:
            message = f"there is no class {one}: those of model {model.name!r} are 0 to {known - 1}"
            raise InvalidRequest("CLASS_UNKNOWN", message, f"classes[{index}]")


def explanation_bytes(request: ExplainRequest, count: int) -> int:
    """The largest number of bytes of an answer for `count` images."""
    pixels = int(np.prod(request.model.metadata.input.shape))
    each = pixels * (4 if request.pixels is not None else 5) + IMAGE_BYTES  # prepared pixels are sent back
    return ENVELOPE_BYTES + count * each


async def attribute(
    request: ExplainRequest,
    pixels: npt.NDArray[np.uint8],
    values: Mapping[str, Floats],
    threads: Executor,
    turns: asyncio.Lock,
) -> Explanation:
    """Explains the images of a request, a slice at a time, in threads. A caller that leaves ends it between slices.

    Args:
        request: the request, which was checked.
        pixels: uint8 (N, height, width): its images.
        values: the activations of `Network.needed`, float32 (N, *the layer's shape) each.
        threads: the threads for models.
        turns: the lock that all explanations share: one slice is calculated at a time.
    """
    model, network, loop = request.model, Network.of(request.model), asyncio.get_running_loop()
    flat = {name: rows.reshape(len(rows), -1) for name, rows in values.items()}  # (N, width) each
    scores = flat[network.layers[-1].name]
    classes = np.resize(np.asarray(request.classes, np.int64), len(scores)) if request.classes else scores.argmax(1)
    division = _DIVISIONS[request.method](network, flat, classes)
    for start in range(0, division.rows, network.slice_rows):
        rows = np.arange(start, min(start + network.slice_rows, division.rows))
        await _take_turn(turns, partial(loop.run_in_executor, threads, partial(division.divide, rows)))
    return Explanation(
        model,
        classes,
        scores[np.arange(len(scores)), classes],
        division.shares.reshape(len(scores), *model.metadata.input.shape),
        division.biases,
        pixels if request.pixels is None else None,
    )


async def _take_turn(turns: asyncio.Lock, start: "Callable[[], asyncio.Future[None]]") -> None:
    """Starts a slice in its turn, and waits for it. A caller that leaves keeps the turn until its slice has ended."""
    await turns.acquire()
    try:
        divided = start()
    except BaseException:
        turns.release()
        raise
    divided.add_done_callback(lambda _: turns.release())
    await asyncio.shield(divided)


class _Division(Protocol):
    """A division of the scores of N images, row by row."""

    rows: int
    """Its rows."""
    shares: Floats
    """Each input's share, float32 (N, width of the input), once all rows are divided."""

    @property
    def biases(self) -> Floats:
        """The rest of the scores, float32 (N,)."""

    def divide(self, rows: npt.NDArray[np.int64]) -> None:
        """Divides some rows, each once."""


class _Contributions:
    """The division by the products of the weights that are active for the images themselves: a row is an image."""

    def __init__(self, network: Network, values: Mapping[str, Floats], classes: npt.NDArray[np.int64]) -> None:
        self._network, self._values, self._classes = network, values, classes
        self.rows = len(classes)
        self.shares = np.empty_like(values[network.layers[0].name])
        self.biases = np.empty(len(classes), np.float32)

    def divide(self, rows: npt.NDArray[np.int64]) -> None:
        values = {name: each[rows] for name, each in self._values.items()}
        factors, self.biases[rows] = self._network.backward(values, self._classes[rows])
        self.shares[rows] = factors * values[self._network.layers[0].name]


class _IntegratedGradients:
    """The division by the mean of the products on the way from a white page (all 0) to the image: a row is a point.

    The method: Sundararajan et al. 2017, arXiv:1703.01365.
    """

    def __init__(self, network: Network, values: Mapping[str, Floats], classes: npt.NDArray[np.int64]) -> None:
        self._network, self._classes = network, classes
        self._inputs, self._scores = values[network.layers[0].name], values[network.layers[-1].name]
        self.rows = len(classes) * STEPS
        self.shares = np.zeros_like(self._inputs)

    @property
    def biases(self) -> Floats:
        rest: Floats = self._scores[np.arange(len(self._scores)), self._classes] - self.shares.sum(axis=1)
        return rest

    def divide(self, rows: npt.NDArray[np.int64]) -> None:
        images, steps = np.divmod(rows, STEPS)
        places = ((steps + 0.5) / STEPS).astype(np.float32)  # the midpoints
        inputs = self._inputs[images]
        factors, _ = self._network.backward(self._network.forward(inputs * places[:, None]), self._classes[images])
        np.add.at(self.shares, images, inputs * factors / STEPS)  # an image's points may be in two slices


_DIVISIONS: Mapping[AttributionMethod, Callable[[Network, Mapping[str, Floats], npt.NDArray[np.int64]], _Division]] = {
    AttributionMethod.CONTRIBUTIONS: _Contributions,
    AttributionMethod.GRADIENT_TIMES_INPUT: _Contributions,  # the gradient is the product of the active weights
    AttributionMethod.INTEGRATED_GRADIENTS: _IntegratedGradients,
}
