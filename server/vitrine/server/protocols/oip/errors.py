"""Errors in words that the open protocol's clients know: they look for the beginnings of Triton's sentences.

The service's errors are translated, too: their fields are those of `ClassifyRequest`, which this protocol doesn't have.
"""

import re

from vitrine.server.errors import NotFound, RequestError, Unsupported

INPUT = "inputs[0]"
"""The path of the one input."""

FILE = re.compile(r"files\[(\d+)\]")
"""The service's path of an image file in a request."""

FIELDS = {"pixels": INPUT, "files": INPUT, "activations": "outputs", "model": "model_name"}
"""This protocol's fields for those of `ClassifyRequest`."""

REASONS = {
    "NO_SHARED_MEMORY": "shared memory isn't supported: send tensors in messages",
    "NO_TRACE_SETTINGS": "traces are set up where the server is started",
    "NO_LOG_SETTINGS": "the log is set up where the server is started: see --log-level",
    "NO_UNLOADING": "explicit model unload is not allowed: what is served is decided by what lies in the model "
    "repository; move the model's folder, or its version's, out of it",
    "NO_REPOSITORY": "explicit model load is not allowed: this server serves one file, and no model repository",
    "NO_REPOSITORY_NAMES": "'repository_name' specification is not supported: there is one repository, without a name",
    "NO_OVERRIDES": "parameters to load a model with are not supported: a model is what lies in the repository",
}
"""The texts for features of Triton that this server lacks, by reason."""


def unsupported(reason: str) -> Unsupported:
    """The error for a feature that only Triton has."""
    return Unsupported(reason, REASONS[reason])


def in_triton_words(error: RequestError, field: str = "model_name") -> RequestError:
    """A copy of the service's error in Triton's words, and with this protocol's fields.

    Args:
        error: the error.
        field: the field of the request that names the model.
    """
    if isinstance(error, NotFound):
        return error.at(field, f"Request for unknown model: {error}")
    if isinstance(error, Unsupported) and error.reason in REASONS:
        return error.at("", REASONS[error.reason])
    if file := FILE.fullmatch(error.field):
        return error.at(INPUT, f"element {file[1]} of input 'pixels': {error}")
    if error.field.startswith("interventions"):
        return error.at("inputs")
    return error.at(FIELDS.get(error.field.partition(".")[0], error.field))
