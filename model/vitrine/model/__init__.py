"""The format of a model: its input, task, layers and artifact; and the preparation of images.

Training, server and client share this package. It knows numpy and Pillow, and neither torch, ONNX nor gRPC. The format
and the preparation don't import each other.
"""

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
from vitrine.model.deviation import TOLERANCE, deviation, deviations
from vitrine.model.digits import DIGITS, PIXELS_SHAPE
from vitrine.model.errors import ArtifactError, ImageError, VitrineError
from vitrine.model.graph import NOVELTY
from vitrine.model.layers import Layer, LayerKind, OutputKind, Shape
from vitrine.model.preparation.image import (
    MAX_IMAGE_PIXELS,
    MOST_IMAGE_PIXELS,
    ImageSource,
    read_file,
    read_grey,
)
from vitrine.model.preparation.pipeline import Pixels, prepare
from vitrine.model.statistics import ActivationStatistics, ActivationTally, LayerStatistics

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
