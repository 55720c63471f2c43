"""What goes wrong, in words that the open protocol's clients know: they look for the beginnings of Triton's sentences.

The service's errors are translated, too: their fields are those of `ClassifyRequest`, which this protocol doesn't have.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vitrine.oip import inference_pb2 as pb
from vitrine.server.errors import InvalidRequest, NotFound, RequestError, Unsupported, quoted

INPUT = "inputs[0]"
"""The path of the one input."""

FILE = re.compile(r"files\[(\d+)\]")
"""How the service calls an image file of a request."""

FIELDS = {"pixels": INPUT, "files": INPUT, "activations": "outputs", "model": "model_name"}
"""How this protocol calls the fields of `ClassifyRequest`."""

SHARED_MEMORY = "shared_memory_"
"""How the parameters of tensors begin that lie in shared memory."""

TRITON = "triton_"
"""How parameters begin that mean something to Triton."""

TRITON_PARAMETERS = ("triton_enable_empty_final_response",)
"""Those of them that a request may have."""

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


def check_parameters(message: pb.ModelInferRequest) -> None:
    """Refuses what would change a request's meaning; other parameters are ignored, as Triton does.

    Raises:
        InvalidRequest: a parameter looks like one of Triton's own, and is none.
        Unsupported: a tensor is in shared memory.
    """
    for name in message.parameters:
        if name.startswith(TRITON) and name not in TRITON_PARAMETERS:
            text = f"parameter keys starting with 'triton_' are reserved, and {quoted(name)} is none that is known"
            raise InvalidRequest("UNKNOWN_PARAMETER", text, "parameters")
    named = [tensor.parameters for tensor in message.inputs] + [output.parameters for output in message.outputs]
    if any(name.startswith(SHARED_MEMORY) for parameters in named for name in parameters):
        raise unsupported("NO_SHARED_MEMORY")


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
