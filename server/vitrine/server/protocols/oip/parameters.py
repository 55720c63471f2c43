"""Checks the rest of a request beside its tensors: its id and its parameters."""

from vitrine.oip import inference_pb2 as pb
from vitrine.server.errors import InvalidRequest, quoted
from vitrine.server.protocols.oip.errors import unsupported

MAX_ID_BYTES = 1024
"""The longest id, in bytes of UTF-8: every answer has it again."""

SHARED_MEMORY = "shared_memory_"
"""The prefix of parameters of tensors in shared memory."""

TRITON = "triton_"
"""The prefix of parameters that Triton reserves."""

TRITON_PARAMETERS = ("triton_enable_empty_final_response",)
"""The reserved parameters that a request may have."""


def check_id(message: pb.ModelInferRequest) -> None:
    """Refuses an id that is too long for an answer to have it again.

    Raises:
        InvalidRequest: it is too long.
    """
    if _is_too_long(message.id):
        raise InvalidRequest("ID_TOO_LONG", f"the id has more than {MAX_ID_BYTES:,} bytes", "id")


def echoed_id(message: pb.ModelInferRequest) -> str:
    """The id for the answer to a refused request; empty where `check_id` refuses the id itself."""
    return "" if _is_too_long(message.id) else message.id


def _is_too_long(name: str) -> bool:
    return len(name) > MAX_ID_BYTES or len(name.encode()) > MAX_ID_BYTES


def check_parameters(message: pb.ModelInferRequest) -> None:
    """Refuses parameters that would change a request's meaning; others are ignored, as Triton does.

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
