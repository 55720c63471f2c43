"""Uses the service: digits, probabilities and the activations of every layer, from Python and from the shell.

It knows the wire contract and what a digit model is, and neither the server nor how models are trained. Importing it
loads neither torch, onnx, onnxruntime, matplotlib nor click.
"""

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
from vitrine.client.plot import plot_prediction
from vitrine.client.sync_client import Client
from vitrine.client.terminal import render_pixels, render_strips
from vitrine.client.types import (
    Activations,
    Health,
    Limits,
    Model,
    ModelIdentity,
    ModelSummary,
    Parameters,
    Prediction,
)
from vitrine.model import ImageError, Layer, LayerKind, TrainingFacts, VitrineError

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
    "Health",
    "ImageError",
    "InvalidRequestError",
    "Layer",
    "LayerKind",
    "LimitError",
    "Limits",
    "Model",
    "ModelIdentity",
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
    "plot_prediction",
    "render_pixels",
    "render_strips",
]
