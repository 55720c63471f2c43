"""The format of a model: its input, task, layers and artifact; and the preparation of images.

Training, server and client share this package. It knows numpy and Pillow, and neither torch, ONNX nor gRPC. The format
and the preparation don't import each other. A name is loaded with its module when it is asked for: a process that asks
for no image loads no Pillow, and one that asks for no array no numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitrine.model.answer import ENVELOPE_BYTES, AnswerSize, answer_size
    from vitrine.model.artifact import (
        DIGITS_INPUT,
        ArtifactMetadata,
        ClassificationTask,
        GoldenSample,
        ModelInput,
        Parameters,
        TrainingFacts,
    )
    from vitrine.model.catalogue import layer_catalogue, parse_layers
    from vitrine.model.digits import DIGITS, PIXELS_SHAPE
    from vitrine.model.errors import ArtifactError, ImageError, VitrineError
    from vitrine.model.graph import NOVELTY
    from vitrine.model.layers import Layer, LayerKind, OutputKind, Shape
    from vitrine.model.preparation.image import ImageSource, read_file, read_grey
    from vitrine.model.preparation.limits import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS
    from vitrine.model.preparation.pipeline import Pixels, prepare
    from vitrine.model.statistics import ActivationStatistics, ActivationTally, LayerStatistics
    from vitrine.model.tolerance import TOLERANCE, deviation, deviations

__all__ = [
    "DIGITS",
    "DIGITS_INPUT",
    "ENVELOPE_BYTES",
    "MAX_IMAGE_PIXELS",
    "MOST_IMAGE_PIXELS",
    "NOVELTY",
    "PIXELS_SHAPE",
    "TOLERANCE",
    "ActivationStatistics",
    "ActivationTally",
    "AnswerSize",
    "ArtifactError",
    "ArtifactMetadata",
    "ClassificationTask",
    "GoldenSample",
    "ImageError",
    "ImageSource",
    "Layer",
    "LayerKind",
    "LayerStatistics",
    "ModelInput",
    "OutputKind",
    "Parameters",
    "Pixels",
    "Shape",
    "TrainingFacts",
    "VitrineError",
    "answer_size",
    "deviation",
    "deviations",
    "layer_catalogue",
    "parse_layers",
    "prepare",
    "read_file",
    "read_grey",
]

_MODULES = {
    "answer": ("ENVELOPE_BYTES", "AnswerSize", "answer_size"),
    "artifact": (
        "DIGITS_INPUT",
        "ArtifactMetadata",
        "ClassificationTask",
        "GoldenSample",
        "ModelInput",
        "Parameters",
        "TrainingFacts",
    ),
    "catalogue": ("layer_catalogue", "parse_layers"),
    "digits": ("DIGITS", "PIXELS_SHAPE"),
    "errors": ("ArtifactError", "ImageError", "VitrineError"),
    "graph": ("NOVELTY",),
    "layers": ("Layer", "LayerKind", "OutputKind", "Shape"),
    "preparation.image": ("ImageSource", "read_file", "read_grey"),
    "preparation.limits": ("MAX_IMAGE_PIXELS", "MOST_IMAGE_PIXELS"),
    "preparation.pipeline": ("Pixels", "prepare"),
    "statistics": ("ActivationStatistics", "ActivationTally", "LayerStatistics"),
    "tolerance": ("TOLERANCE", "deviation", "deviations"),
}
"""The names of this package by the module that each is loaded from, when it is first asked for."""


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # mypy would take any name for one of these

    def __getattr__(name: str) -> object:
        for module, names in _MODULES.items():
            if name in names:
                value = getattr(import_module(f"{__name__}.{module}"), name)
                globals()[name] = value  # the next time, it is simply there
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
