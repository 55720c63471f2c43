"""What goes wrong, in words that the open protocol's clients know: they look for the beginnings of Triton's sentences.

The service's errors are translated, too: their fields are those of `ClassifyRequest`, which this protocol doesn't have.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vitrine.server.errors import InvalidRequest, NotFound, RequestError, Unsupported

INPUT = "inputs[0]"
"""The path of the one input."""

FILE = re.compile(r"files\[(\d+)\]")
"""How the service calls an image file of a request."""

FIELDS = {"pixels": INPUT, "files": INPUT, "activations": "outputs", "model": "model_name"}
"""How this protocol calls the fields of `ClassifyRequest`."""

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
"""What Triton can and this server can't, and why."""


def unsupported(reason: str) -> Unsupported:
    """The error for something that only Triton can."""
    return Unsupported(reason, REASONS[reason])


@contextmanager
def in_triton_words(field: str = "model_name") -> Iterator[None]:
    """Translates the service's errors; the request names the model in `field`."""
    try:
        yield
    except NotFound as error:
        raise NotFound(error.reason, f"Request for unknown model: {error}", field) from error
    except InvalidRequest as error:
        file = FILE.fullmatch(error.field)
        text = f"element {file[1]} of input 'pixels': {error}" if file else str(error)
        raise InvalidRequest(error.reason, text, INPUT if file else _field(error)) from error
    except RequestError as error:
        error.field = _field(error)
        raise


def _field(error: RequestError) -> str:
    return FIELDS.get(error.field.partition(".")[0], error.field)
