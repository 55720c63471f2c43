"""Turns what went wrong into a gRPC status: the one place where our errors meet status codes.

The details are `google.rpc.ErrorInfo` (a reason for programs) and, where a field is at fault, `BadRequest` (its path).
"""

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from vitrine.server.errors import (
    AnswerTooLarge,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateExceeded,
    RequestError,
    Unauthenticated,
    Unsupported,
)
from vitrine.server.protocols.v1.convert import wire_path

DOMAIN = "vitrine"
"""Whose reasons these are."""

CODES: dict[type[RequestError], grpc.StatusCode] = {
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    AnswerTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RateExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""The status code of every error that a caller can do something about."""


def status_of(error: RequestError, prefix: str = "") -> grpc.Status:
    """The status of an error; `prefix` stands before its field's path, where the request lies inside another."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    details = [_pack(info)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=prefix + wire_path(error.field), description=str(error), reason=error.reason
        )
        details.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, Overloaded):
        pause = duration_pb2.Duration()
        pause.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=pause)))
    return _to_status(CODES[type(error)], str(error), details)


def internal_status(request_id: str) -> grpc.Status:
    """The status of a fault of ours: the caller learns the request's id, the log has the cause under it."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"request_id": request_id})
    message = f"something went wrong inside the server; its log has the cause under request {request_id}"
    return _to_status(grpc.StatusCode.INTERNAL, message, [_pack(info)])


def _pack(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _to_status(code: grpc.StatusCode, message: str, details: list[any_pb2.Any]) -> grpc.Status:
    status: grpc.Status = rpc_status.to_status(status_pb2.Status(code=code.value[0], message=message, details=details))
    return status
