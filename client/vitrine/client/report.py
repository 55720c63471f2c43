"""What the `vitrine` command prints: predictions and models as text for people, and as documents for programs.

It knows the client's types; it neither calls a server nor prints.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitrine.client.terminal import render_pixels, render_strips
from vitrine.client.types import Model, Prediction
from vitrine.model import Layer

ROW = "{:<10} {:<8} {:>11} {:>12}  {}"
"""A line of the table of layers."""


def prediction_line(prediction: Prediction, image: Path) -> str:
    """The file, the digit and its probability; of what is no digit, the nearest one with a question mark, and that."""
    if prediction.is_digit is False:
        return f"{image}  {prediction.digit}?  {prediction.probability:.1%}  no digit: novelty {prediction.novelty:.2f}"
    return f"{image}  {prediction.digit}  {prediction.probability:.1%}"


def activations_text(prediction: Prediction, *, colour: bool) -> str:
    """The pixels as they reached the model, and a strip for each layer."""
    pixels = render_pixels(prediction.activations["input"], colour=colour)
    return f"{pixels}\n{render_strips(prediction, colour=colour)}\n"


def prediction_document(prediction: Prediction, image: Path, *, activations: bool) -> dict[str, Any]:
    """A prediction as JSON has it, with every layer's activations as a list where they are wanted."""
    document = {
        "image": str(image),
        "digit": prediction.digit,
        "probability": prediction.probability,
        "probabilities": prediction.probabilities.tolist(),
        "novelty": prediction.novelty,
        "is_digit": prediction.is_digit,
        "model": asdict(prediction.model),
    }
    if activations:
        document["activations"] = {name: values.tolist() for name, values in prediction.activations.items()}
    return document


def model_document(model: Model) -> dict[str, Any]:
    """A model as JSON has it: the fields of `Model`."""
    return asdict(model) | {"layers": [_layer_document(layer) for layer in model.layers]}


def _layer_document(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "width": layer.width,
        "parameter_count": layer.parameter_count,
        "reads": ", ".join(layer.reads),
    }


def model_text(model: Model) -> str:
    """Who the model is, a table of its layers, and what it was trained on and takes."""
    return "\n".join(
        [
            f"{model.name} {model.version} on {model.provider}",
            "",
            *_layer_table(model),
            "",
            f"classes   {' '.join(model.classes)}",
            f"novelty   {_novelty_text(model)}",
            f"training  {_training_text(model)}",
            f"limits    {_limits_text(model)}",
        ]
    )


def _layer_table(model: Model) -> list[str]:
    rows = [
        ROW.format(
            layer.name, layer.kind, f"{layer.width:,}", f"{layer.parameter_count:,}", ", ".join(layer.reads)
        ).rstrip()
        for layer in model.layers
    ]
    widths = sum(layer.width for layer in model.layers)
    total = ROW.format("together", "", f"{widths:,}", f"{model.parameter_count:,}", "").rstrip()
    return [ROW.format("layer", "kind", "activations", "parameters", "reads"), *rows, total]


def _training_text(model: Model) -> str:
    facts = model.training
    metrics = [f"{name} {value:.4g}" for name, value in sorted(facts.metrics.items())]
    versions = [f"{name} {version}" for name, version in sorted(facts.versions.items())]
    return ", ".join([facts.dataset, f"{facts.epochs} epochs", f"seed {facts.seed}", *metrics, *versions])


def _novelty_text(model: Model) -> str:
    if model.novelty_threshold is None:
        return "unknown to this model: an image that is no digit gets one of the classes, too"
    return f"above {model.novelty_threshold:.2f} an image is no digit"


def _limits_text(model: Model) -> str:
    limits = model.limits
    return (
        f"{limits.max_images:,} images and {limits.max_message_bytes / (1 << 20):,.1f} MiB a request, "
        f"{limits.max_image_pixels:,} pixels an image file"
    )
