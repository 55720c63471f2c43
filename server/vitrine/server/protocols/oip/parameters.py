"""Reads what a request has beside its tensors: its id and its parameters."""

from vitrine.oip import inference_pb2 as pb
from vitrine.server.errors import InvalidRequest, quoted
from vitrine.server.protocols.oip.errors import unsupported

MOST_ID_BYTES = 1024
"""How long an id may be, in UTF-8: every answer has it again."""

SHARED_MEMORY = "shared_memory_"
"""How the parameters of tensors begin that lie in shared memory."""

TRITON = "triton_"
"""How parameters begin that mean something to Triton."""

TRITON_PARAMETERS = ("triton_enable_empty_final_response",)
"""Those of them that a request may have."""


def check_id(message: pb.ModelInferRequest) -> None:
    """Refuses an id that is too long to be said back.

    Raises:
        InvalidRequest: it is.
    """
    if _is_too_long(message.id):
        raise InvalidRequest("ID_TOO_LONG", f"the id has more than {MOST_ID_BYTES:,} bytes", "id")


def id_to_say_back(message: pb.ModelInferRequest) -> str:
    """The id for an answer to a request that may be refused; empty where `check_id` refuses it."""
    return "" if _is_too_long(message.id) else message.id


def _is_too_long(name: str) -> bool:
    return len(name) > MOST_ID_BYTES or len(name.encode()) > MOST_ID_BYTES


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
