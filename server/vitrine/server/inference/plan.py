"""Plans for answering: the outputs and sizes that a selection of layers means. It knows neither images nor callers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from vitrine.model import ENVELOPE_BYTES, AnswerSize, Parameters, answer_size
from vitrine.server.errors import AnswerTooLarge, InvalidRequest, listed, quoted
from vitrine.server.inference.requests import LayerSelection
from vitrine.server.models.snapshot import ServedModel


@dataclass(frozen=True, slots=True)
class Plan:
    """A model's way to answer requests for certain layers; the same for all of them, so that it is made once."""

    layers: Sequence[str]
    """The wanted layers, each once, in the order of the model's layers."""
    outputs: Sequence[str]
    """The outputs to calculate: these layers, and those that every image is judged by."""
    size: AnswerSize
    """The size of its answers."""

    @classmethod
    def of(cls, model: ServedModel, selection: LayerSelection) -> Self:
        """Makes the plan.

        Raises:
            InvalidRequest: the model has no such layer, or the selection contradicts itself.
        """
        layers = _wanted_layers(model, selection)
        outputs = tuple(dict.fromkeys((*layers, *model.required_outputs)))
        return cls(layers, outputs, answer_size(model.metadata.layers, layers))

    def check_size(self, images: int, further_bytes: int, limit: int, answers: int = 1) -> int:
        """The bytes of an answer. Activations can be a hundred times the request: refused here, none is calculated.

        Args:
            images: the images of the request.
            further_bytes: bytes that the protocol's answer adds for each image, at most.
            limit: the largest answer.
            answers: the answers for each image: 2 with the baseline.

        Raises:
            AnswerTooLarge: the answer would pass the limit.
        """
        each = answers * (self.size.each + further_bytes)
        size = self.size.fixed + images * each
        if size <= limit:
            return size
        fitting = AnswerSize(self.size.fixed, each).fitting(limit)
        advice = f"ask for {fitting} images at a time, or for fewer layers" if fitting else "ask for fewer layers"
        raise answer_too_large(size, limit, advice, "activations")


def rows_within(stored: Parameters, first: int, max_bytes: int, limit: int) -> Parameters:
    """The rows of a layer's parameters that an answer has.

    Args:
        stored: the layer's parameters.
        first: the first row that is wanted.
        max_bytes: the largest answer that the caller takes, as many rows as fit; 0: all of them.
        limit: the largest answer.

    Raises:
        InvalidRequest: there is no such row, or `max_bytes` is negative.
        AnswerTooLarge: the answer would pass the limit, or not even one row fits.
    """
    count = len(stored.bias)
    if not 0 <= first < count:
        raise InvalidRequest("OUT_OF_RANGE", f"there is no row {first}: the layer has {count}, from 0 on", "first_row")
    if max_bytes < 0:
        raise InvalidRequest("OUT_OF_RANGE", f"max_bytes is {max_bytes}, and 0 or more is taken", "max_bytes")
    row_bytes = (stored.weight.nbytes + stored.bias.nbytes) // count
    largest = min(max_bytes, limit) if max_bytes else limit
    fitting = max(0, largest - ENVELOPE_BYTES) // row_bytes
    if not max_bytes and first + fitting < count:
        size = ENVELOPE_BYTES + (count - first) * row_bytes
        raise answer_too_large(size, limit, "ask for a part of the rows, by max_bytes", "layer")
    if not fitting:
        advice = "a row doesn't fit" if largest == limit else "raise max_bytes"
        raise answer_too_large(ENVELOPE_BYTES + row_bytes, largest, advice, "max_bytes")
    return Parameters(stored.weight[first : first + fitting], stored.bias[first : first + fitting])


def answer_too_large(size: int, limit: int, advice: str, field: str) -> AnswerTooLarge:
    """The error for an answer of more bytes than the limit."""
    message = f"the answer would be {size:,} bytes, and {limit:,} are sent at most: {advice}"
    return AnswerTooLarge("ANSWER_TOO_LARGE", message, field)


def _wanted_layers(model: ServedModel, selection: LayerSelection) -> tuple[str, ...]:
    if selection.every and selection.names:
        raise InvalidRequest("CONTRADICTION", "ask for all layers or for some by name, not both", "activations")
    for index, name in enumerate(selection.names):
        if name not in model.layer_names:
            message = f"no layer is called {quoted(name)}; the layers of {model.name}: {listed(model.layer_names)}"
            raise InvalidRequest("LAYER_UNKNOWN", message, f"activations.names[{index}]")
    return model.layer_names if selection.every else tuple(n for n in model.layer_names if n in selection.names)
