"""The output of the `vitrine` command: predictions and models as text for people, and as documents for programs.

It knows the client's types. It neither calls a server nor prints.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vitrine.client.drawing.terminal import (
    STRIP_WIDTH,
    can_show,
    pixels_in_ascii,
    render_pixels,
    render_strips,
    strip_width,
    strips_in_ascii,
    strips_legend,
)
from vitrine.client.types import Explanation, Floats, Model, ModelSummary, Prediction, are_digits, rejection_of
from vitrine.model import Layer, Shape

ROW = "{:<10} {:<8} {:>11} {:>12}  {}"
"""A line of the table of layers."""

MODEL_ROW = "{:<1} {:<28} {:<12} {}"
"""A line of the list of models."""

COLUMNS = ("image", "label", "probability", "novelty", "is_digit", "model", "error")
"""The columns of the table of predictions."""

COMPARED_ROW = "{:<10} {:>8} {:>10} {:>11} {:>8} {:>18}"
"""A line of the table of two predictions."""

SIGNS = "=- +#"
"""Signs of a share in a score: strongly against the class, against it, none, for it, strongly for it."""

SHOWN_CLASSES = 32
"""Number of classes that are listed."""


def to_json(document: Any) -> str:
    """The document as JSON, with null for a number that isn't finite: JSON has no NaN and no infinity."""
    return json.dumps(_finite(document), allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: _finite(entry) for name, entry in value.items()}
        case list() | tuple():
            return [_finite(entry) for entry in value]
        case _:
            return value


def prediction_line(prediction: Prediction, image: Path) -> str:
    """The file, the label and its probability; with a question mark if the image is likely none of the classes."""
    if prediction.is_digit is False:
        rejection = f"{rejection_of(prediction.classes)}: novelty {prediction.novelty:.2f}"
        return f"{image}  {prediction.label}?  {prediction.probability:.1%}  {rejection}"
    return f"{image}  {prediction.label}  {prediction.probability:.1%}"


def activations_text(
    prediction: Prediction, *, colour: bool, encoding: str = "utf-8", columns: int | None = None
) -> str:
    """The pixels as the model got them, a strip for each layer, and what the strips' characters mean.

    In ASCII, and without colours, where the encoding has no blocks.

    Args:
        prediction: the prediction.
        colour: use the terminal's colours.
        encoding: the output's encoding.
        columns: the terminal's, into which lines fit; None: there is no terminal.
    """
    width = STRIP_WIDTH if columns is None else strip_width(prediction, columns)
    strips = render_strips(prediction, width=width, colour=colour and can_show(encoding))
    legend = strips_legend(prediction, width=width)
    if not can_show(encoding):
        strips, legend = strips_in_ascii(strips), strips_in_ascii(legend)
    return f"{_pixels_text(prediction.pixels, colour, encoding)}\n{strips}\n{legend}\n"


def _pixels_text(pixels: Floats, colour: bool, encoding: str) -> str:
    if can_show(encoding):
        return render_pixels(pixels, colour=colour)
    return pixels_in_ascii(render_pixels(pixels))


def prediction_document(prediction: Prediction, image: Path, *, activations: bool) -> dict[str, Any]:
    """A prediction for JSON; `digit` is null for models of other classes. Activations are nested lists."""
    document = {
        "image": str(image),
        "label": prediction.label,
        "digit": prediction.digit if are_digits(prediction.classes) else None,
        "probability": prediction.probability,
        "probabilities": prediction.probabilities.tolist(),
        "novelty": prediction.novelty,
        "is_digit": prediction.is_digit,
        "model": asdict(prediction.model),
    }
    if activations:
        document["activations"] = {name: values.tolist() for name, values in prediction.activations.items()}
    return document


def explanation_text(explanation: Explanation, image: Path, *, colour: bool, encoding: str = "utf-8") -> str:
    """The score and what adds up to it; the pixels, and the shares as a map of signs."""
    shares = explanation.contributions
    supporting, opposing = float(shares[shares > 0].sum()), float(shares[shares < 0].sum())
    return "\n".join(
        [
            f"{image}  {explanation.label}: score {explanation.score:.3f} = {supporting:.3f} (pixels for it) "
            f"{opposing:+.3f} (pixels against it) {explanation.bias:+.3f} (bias)",
            "",
            _pixels_text(explanation.pixels, colour, encoding),
            "",
            *_signs(shares),
        ]
    )


def _signs(shares: Floats) -> list[str]:
    """A line for each row: `+` and `#` speak for the class, `-` and `=` against it, `#` and `=` more."""
    reach = float(np.abs(shares).max()) or 1.0
    steps = np.clip(np.round(shares / reach * 4), -2, 2).astype(int)  # (height, width)
    return ["".join(SIGNS[step + 2] * 2 for step in row).rstrip() for row in steps]


def explanation_document(explanation: Explanation, image: Path) -> dict[str, Any]:
    """An explanation for JSON; `digit` is null for models of other classes."""
    return {
        "image": str(image),
        "label": explanation.label,
        "digit": explanation.digit if are_digits(explanation.classes) else None,
        "score": explanation.score,
        "bias": explanation.bias,
        "contributions": explanation.contributions.tolist(),
        "method": explanation.method,
        "model": asdict(explanation.model),
    }


def comparison_text(first: Prediction, second: Prediction, image: Path, other: Path) -> str:
    """Both predictions, and a table of the layers: the units that are active in one, in the other and in both."""
    rows = [
        COMPARED_ROW.format(row["layer"], row["width"], row["first"], row["second"], row["both"], row["distance"])
        for row in _compared(first, second)
    ]
    heading = COMPARED_ROW.format("layer", "units", "first > 0", "second > 0", "both", "mean |difference|")
    return "\n".join([prediction_line(first, image), prediction_line(second, other), "", heading, *rows])


def comparison_document(first: Prediction, second: Prediction, image: Path, other: Path) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "first": prediction_document(first, image, activations=False),
        "second": prediction_document(second, other, activations=False),
        "layers": _compared(first, second),
    }


def _compared(first: Prediction, second: Prediction) -> list[dict[str, Any]]:
    rows = []
    for name in first.activations:
        one, other = first.activations[name], second.activations[name]
        rows.append(
            {
                "layer": name,
                "width": one.size,
                "first": int((one > 0).sum()),
                "second": int((other > 0).sum()),
                "both": int(((one > 0) & (other > 0)).sum()),
                "distance": round(float(np.abs(one - other).mean()), 6),
            }
        )
    return rows


def prediction_row(prediction: Prediction, image: Path) -> dict[str, Any]:
    """A prediction for a table: a value for each of `COLUMNS`."""
    return {
        "image": str(image),
        "label": prediction.label,
        "probability": prediction.probability,
        "novelty": "" if prediction.novelty is None else prediction.novelty,
        "is_digit": "" if prediction.is_digit is None else str(prediction.is_digit).lower(),
        "model": f"{prediction.model.name}@{prediction.model.version}",
        "error": "",
    }


def error_row(text: str, image: Path) -> dict[str, Any]:
    """An image that can't be read, for a table."""
    return {"image": str(image), "error": text}


def models_document(summaries: Sequence[ModelSummary]) -> dict[str, Any]:
    """The list of models for JSON."""
    return {"models": [asdict(summary) for summary in summaries]}


def models_text(summaries: Sequence[ModelSummary]) -> str:
    """A line for each version: the default is marked by a star, a failure explained."""
    return "\n".join(
        MODEL_ROW.format("*" if one.default else "", f"{one.name}@{one.version}", one.state, one.provider or one.reason)
        for one in summaries
    )


def model_document(model: Model) -> dict[str, Any]:
    """A model for JSON: the fields of `Model`."""
    return asdict(model) | {"layers": [_layer_document(layer) for layer in model.layers]}


def _layer_document(layer: Layer) -> dict[str, Any]:
    """A layer as on the wire: `reads` is the first of `inputs`."""
    return {
        "name": layer.name,
        "kind": layer.kind,
        "width": layer.width,
        "shape": layer.shape,
        "parameter_count": layer.parameter_count,
        "reads": layer.reads[0] if layer.reads else "",
        "inputs": layer.reads,
    }


def model_text(model: Model) -> str:
    """The identity of a model, a table of its layers, its input and classes, its training and its limits."""
    given = model.input
    return "\n".join(
        [
            f"{model.name} {model.version} on {model.provider}",
            "",
            *_layer_table(model),
            "",
            f"input     {given.name}, {given.dtype} {_shape_text(given.shape)}, prepared as {given.preparation}",
            f"classes   {_classes_text(model.classes)}",
            f"novelty   {_novelty_text(model)}",
            f"training  {_training_text(model)}",
            f"limits    {_limits_text(model)}",
        ]
    )


def _layer_table(model: Model) -> list[str]:
    rows = [
        ROW.format(
            layer.name, layer.kind, _shape_text(layer.shape), f"{layer.parameter_count:,}", ", ".join(layer.reads)
        ).rstrip()
        for layer in model.layers
    ]
    widths = sum(layer.width for layer in model.layers)
    total = ROW.format("together", "", f"{widths:,}", f"{model.parameter_count:,}", "").rstrip()
    return [ROW.format("layer", "kind", "activations", "parameters", "reads"), *rows, total]


def _shape_text(shape: Shape) -> str:
    return " × ".join(f"{extent:,}" for extent in shape)


def _classes_text(classes: tuple[str, ...]) -> str:
    more = f" and {len(classes) - SHOWN_CLASSES:,} more" if len(classes) > SHOWN_CLASSES else ""
    separator = " " if are_digits(classes) else ", "
    return separator.join(classes[:SHOWN_CLASSES]) + more


def _training_text(model: Model) -> str:
    facts = model.training
    metrics = [f"{name} {value:.4g}" for name, value in sorted(facts.metrics.items())]
    versions = [f"{name} {version}" for name, version in sorted(facts.versions.items())]
    return ", ".join([facts.dataset, f"{facts.epochs} epochs", f"seed {facts.seed}", *metrics, *versions])


def _novelty_text(model: Model) -> str:
    if model.novelty_threshold is None:
        return f"unknown to this model: an image that is {rejection_of(model.classes)} gets one of the classes, too"
    return f"above {model.novelty_threshold:.2f} an image is {rejection_of(model.classes)}"


def _limits_text(model: Model) -> str:
    limits = model.limits
    return (
        f"{limits.max_images:,} images and {limits.max_message_bytes / (1 << 20):,.1f} MiB a request, "
        f"{limits.max_image_pixels:,} pixels an image file"
    )
