"""The client of the service: predictions and the activations of every layer, in Python and in the shell.

It knows the wire contract and the format of models, and nothing of the server or of training. Importing it loads
neither torch, onnx, onnxruntime, matplotlib nor click.
"""

import vitrine.client.notebook  # noqa: F401 - enters its functions in `drawings`
from vitrine.client.async_client import AsyncClient
from vitrine.client.connection import TLS
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
from vitrine.client.inside_plot import compare
from vitrine.client.interventions import Intervention, scale, set_units, zero
from vitrine.client.plot import plot_prediction
from vitrine.client.sync_client import Client
from vitrine.client.terminal import render_pixels, render_strips
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
    "plot_prediction",
    "render_pixels",
    "render_strips",
    "scale",
    "set_units",
    "zero",
]
