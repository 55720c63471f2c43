"""Turns errors and outcomes into gRPC statuses: the one place where they meet status codes.

The details are `google.rpc.ErrorInfo` (a reason for programs) and, where a field is at fault, `BadRequest` (its path).
"""

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from vitrine.server.errors import Overloaded, RequestError
from vitrine.server.inference.call import OUTCOMES, Outcome

DOMAIN = "vitrine"
"""The domain that the reasons belong to."""

CODES: Mapping[Outcome, grpc.StatusCode] = {
    Outcome.OK: grpc.StatusCode.OK,
    Outcome.CANCELLED: grpc.StatusCode.CANCELLED,
    Outcome.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Outcome.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Outcome.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Outcome.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Outcome.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Outcome.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Outcome.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Outcome.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Outcome.INTERNAL: grpc.StatusCode.INTERNAL,
}
"""The status code of every outcome of a call."""


def status_of(error: RequestError) -> grpc.Status:
    """The status of an error that the caller can do something about."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    details = [_pack(info)]
    if error.field:
        # Without a description: it is the message, which is sent once; headers are small.
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, reason=error.reason)
        details.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, Overloaded):
        pause = duration_pb2.Duration()
        pause.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=pause)))
    return to_status(CODES[OUTCOMES[type(error)]], str(error), details)


def internal_status(request_id: str) -> grpc.Status:
    """The status of an internal error: the caller learns the request's id, the log has the cause under it."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"request_id": request_id})
    message = f"something went wrong inside the server; its log has the cause under request {request_id}"
    return to_status(grpc.StatusCode.INTERNAL, message, [_pack(info)])


def _pack(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def to_status(code: grpc.StatusCode, message: str, details: Sequence[any_pb2.Any] = ()) -> grpc.Status:
    """A status as gRPC sends it."""
    status: grpc.Status = rpc_status.to_status(status_pb2.Status(code=code.value[0], message=message, details=details))
    return status
