"""The client of the service: predictions and the activations of every layer, in Python and in the shell.

It knows the wire contract and the format of models, and nothing of the server or of training. Importing it loads
neither torch, onnx, onnxruntime, matplotlib nor click.
"""

import vitrine.client.drawing.notebook  # noqa: F401 - enters its functions in `drawable`
from vitrine.client.async_client import AsyncClient
from vitrine.client.connection import TLS
from vitrine.client.drawing.inside import compare
from vitrine.client.drawing.plot import draw_prediction, plot_prediction
from vitrine.client.drawing.terminal import render_pixels, render_strips, strips_legend
from vitrine.client.errors import (
    AnswerError,
    AuthenticationError,
    CallCancelledError,
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    ServiceError,
    UnavailableError,
    UnsupportedError,
    UsageError,
)
from vitrine.client.interventions import Intervention, scale, set_units, zero
from vitrine.client.sync_client import Client
from vitrine.client.tables import stack_activations, to_frame
from vitrine.client.types import (
    Activations,
    Explanation,
    Health,
    Limits,
    Model,
    ModelIdentity,
    ModelSummary,
    Parameters,
    Prediction,
)
from vitrine.model import ImageError, Layer, LayerKind, ModelInput, TrainingFacts, VitrineError
from vitrine.model.distribution import version

__all__ = [
    "TLS",
    "Activations",
    "AnswerError",
    "AsyncClient",
    "AuthenticationError",
    "CallCancelledError",
    "Client",
    "ConflictError",
    "DeadlineError",
    "Explanation",
    "Health",
    "ImageError",
    "Intervention",
    "InvalidRequestError",
    "Layer",
    "LayerKind",
    "LimitError",
    "Limits",
    "Model",
    "ModelIdentity",
    "ModelInput",
    "ModelSummary",
    "NotFoundError",
    "Parameters",
    "PermissionDeniedError",
    "Prediction",
    "ServerError",
    "ServiceError",
    "TrainingFacts",
    "UnavailableError",
    "UnsupportedError",
    "UsageError",
    "VitrineError",
    "compare",
    "draw_prediction",
    "plot_prediction",
    "render_pixels",
    "render_strips",
    "scale",
    "set_units",
    "stack_activations",
    "strips_legend",
    "to_frame",
    "zero",
]


def __getattr__(name: str) -> str:
    """`__version__`: the version of the installed distribution, looked up when it is asked for."""
    if name == "__version__":
        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
