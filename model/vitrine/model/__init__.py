"""What a digit model is: its pixels, its layers, and what its artifact says of itself.

The room that training, server and client share. It knows numpy and Pillow, and neither torch, ONNX nor gRPC.
"""

from vitrine.model.answer import ENVELOPE_BYTES, AnswerSize, answer_size
from vitrine.model.artifact import (
    NOVELTY,
    TOLERANCE,
    ArtifactMetadata,
    GoldenSample,
    Parameters,
    TrainingFacts,
    deviation,
    deviations,
)
from vitrine.model.errors import ArtifactError, ImageError, VitrineError
from vitrine.model.layers import DIGITS, Layer, LayerKind, OutputKind, layer_catalogue, parse_layers
from vitrine.model.preparation.image import MAX_IMAGE_PIXELS, ImageSource, read_grey
from vitrine.model.preparation.pipeline import PIXELS_SHAPE, Pixels, prepare
from vitrine.model.statistics import ActivationStatistics, ActivationTally, LayerStatistics

__all__ = [
    "DIGITS",
    "ENVELOPE_BYTES",
    "MAX_IMAGE_PIXELS",
    "NOVELTY",
    "PIXELS_SHAPE",
    "TOLERANCE",
    "ActivationStatistics",
    "ActivationTally",
    "AnswerSize",
    "ArtifactError",
    "ArtifactMetadata",
    "GoldenSample",
    "ImageError",
    "ImageSource",
    "Layer",
    "LayerKind",
    "LayerStatistics",
    "OutputKind",
    "Parameters",
    "Pixels",
    "TrainingFacts",
    "VitrineError",
    "answer_size",
    "deviation",
    "deviations",
    "layer_catalogue",
    "parse_layers",
    "prepare",
    "read_grey",
]
