"""Interventions: checks the changes of a request, and gathers those of a batch into arrays.

A request's images go into batches as rows of pixels with their changes, next to other callers' rows. It knows neither
messages nor ONNX Runtime.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitrine.model import Layer
from vitrine.model.graph import changeable_layers, scale_input, shift_input
from vitrine.server.errors import InvalidRequest, Unsupported, listed, quoted
from vitrine.server.inference.requests import Change, Interventions
from vitrine.server.models.snapshot import IntervenedRunner, ServedModel

MOST_CHANGES = 1024
"""The largest number of changes in a request: each is looked at on the event loop's thread, for some microseconds."""

LARGEST = 1e6
"""The largest factor or value, up or down: far beyond any activation, and far within float32."""


class Row(NamedTuple):
    """One image of a batch."""

    pixels: npt.NDArray[np.uint8]
    """uint8 (height, width)."""
    changes: Sequence[Change]
    """Its changes; the same object for images that share them."""


def check_interventions(interventions: Interventions, model: ServedModel, count: int) -> None:
    """Checks the interventions of a request of `count` images.

    Raises:
        Unsupported: nothing runs this model with interventions.
        InvalidRequest: they are neither for all images nor for each, or too many; a layer is unknown, or the output
            layer; it lacks a unit; a number isn't finite or is too large, or there isn't one for each unit.
    """
    if model.intervened is None:
        raise no_interventions(model)
    entries = len(interventions.images)
    if entries not in (1, count):
        message = f"{entries} entries came for {count} images: send one for all of them, or one for each"
        raise InvalidRequest("WRONG_INTERVENTION_COUNT", message, "interventions")
    check_count(sum(map(len, interventions.images)))
    widths = {layer.name: layer.width for layer in changeable_layers(model.metadata.layers)}
    for image, entry in enumerate(interventions.images):
        for index, change in enumerate(entry):
            _check(change, model, widths, f"interventions[{image}].interventions[{index}]")


def check_count(changes: int) -> None:
    """Checks the number of changes in a request; a protocol may ask before it reads them.

    Raises:
        InvalidRequest: there are more than `MOST_CHANGES`.
    """
    if changes > MOST_CHANGES:
        message = f"the request has {changes:,} interventions, and at most {MOST_CHANGES:,} are taken: split it"
        raise InvalidRequest("TOO_MANY_INTERVENTIONS", message, "interventions")


def no_interventions(model: ServedModel) -> Unsupported:
    """The error for a model that nothing runs with interventions."""
    return Unsupported("NO_INTERVENTIONS", f"model {model.name!r} can't be run with interventions")


def _check(change: Change, model: ServedModel, widths: Mapping[str, int], field: str) -> None:
    if change.layer not in widths:
        output = change.layer in model.layer_names
        fault = f"no layer reads the output layer {change.layer!r}" if output else "no layer is called "
        message = f"{fault}{'' if output else quoted(change.layer)}; those that can be changed: {listed(widths)}"
        raise InvalidRequest("LAYER_IS_OUTPUT" if output else "LAYER_UNKNOWN", message, f"{field}.layer")
    width = widths[change.layer]
    if change.units is not None and not ((change.units >= 0) & (change.units < width)).all():
        unit = next(unit for unit in change.units if not 0 <= unit < width)
        message = f"layer {change.layer!r} has no unit {unit}: its {width:,} units are 0 to {width - 1:,}"
        raise InvalidRequest("UNIT_UNKNOWN", message, f"{field}.units")
    units = width if change.units is None else len(change.units)
    for numbers in (change.scale, change.shift):
        if np.ndim(numbers) and len(np.asarray(numbers)) != units:
            message = f"{len(np.asarray(numbers))} values came for {units} units of {change.layer!r}"
            raise InvalidRequest("WRONG_VALUE_COUNT", message, field)
        if not np.all(np.abs(numbers) <= LARGEST):  # NaN isn't, either
            message = f"factors and values are finite numbers from {-LARGEST:g} to {LARGEST:g}"
            raise InvalidRequest("OUT_OF_RANGE", message, field)


def check_finite(values: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Checks the outputs after changes: a ReLU or a sigmoid makes finite numbers of activations that aren't.

    Raises:
        InvalidRequest: an activation of the answer became too large for float32.
    """
    if not all(np.isfinite(each).all() for each in values.values()):
        message = "with these interventions, activations are too large for float32: take smaller factors or values"
        raise InvalidRequest("OUT_OF_RANGE", message, "interventions")


def rows_of(pixels: npt.NDArray[np.uint8], interventions: Interventions) -> npt.NDArray[Any]:
    """The rows of a request for a batcher: object (N,), a `Row` each.

    Args:
        pixels: uint8 (N, height, width).
        interventions: those of the request, which were checked.
    """
    entries = interventions.images
    rows = np.empty(len(pixels), object)
    for index, image in enumerate(pixels):
        rows[index] = Row(image, entries[0] if len(entries) == 1 else entries[index])
    return rows


class IntervenedRun:
    """Runs a batch of rows with interventions.

    Args:
        runner: runs the model.
        layers: the model's layers.
    """

    def __init__(self, runner: IntervenedRunner, layers: Sequence[Layer]) -> None:
        self._runner = runner
        self._layers = {layer.name: layer for layer in layers}

    def __call__(self, rows: npt.NDArray[Any], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Calculates activations: object (N,) of `Row` to float32 (N, *shape) for each of `layers`."""
        pixels = np.stack([row.pixels for row in rows])  # (N, height, width)
        return self._runner.run(pixels, layers, gather_changes([row.changes for row in rows], self._layers))


def gather_changes(
    images: Sequence[Sequence[Change]], layers: Mapping[str, Layer]
) -> dict[str, npt.NDArray[np.float32]]:
    """The inputs of the changed graph for a batch: float32 (N, *shape) by name, or (1, *shape) if all images share one.

    Changes of the same unit follow each other: (a · s + t) · u + v = a · su + (tu + v).
    """
    if all(changes is images[0] for changes in images):
        images = images[:1]
    touched = {change.layer: layers[change.layer] for changes in images for change in changes}
    scales = {name: np.ones((len(images), layer.width), np.float32) for name, layer in touched.items()}
    shifts = {name: np.zeros((len(images), layer.width), np.float32) for name, layer in touched.items()}
    with np.errstate(over="ignore", invalid="ignore"):  # the answer is checked
        for image, changes in enumerate(images):
            for change in changes:
                units = slice(None) if change.units is None else change.units
                scale, shift = scales[change.layer][image], shifts[change.layer][image]  # (width,)
                scale[units] *= change.scale
                shift[units] = shift[units] * change.scale + change.shift
    shaped = {scale_input(name): scales[name].reshape(-1, *layer.shape) for name, layer in touched.items()}
    return shaped | {shift_input(name): shifts[name].reshape(-1, *layer.shape) for name, layer in touched.items()}
