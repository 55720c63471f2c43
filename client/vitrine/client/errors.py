"""All errors of the client, and the translation of failed calls into them.

    VitrineError                      the root, in vitrine.model
    ├── ImageError                    an image can't be read, or is too large; raised before anything is sent
    ├── UsageError                    the client is built or called in a way that can't work
    ├── AnswerError                   the server answered something that this client can't read
    └── ServiceError                  a call failed; has `code`, `reason`, `field`, `retry_after` and `request_id`
        ├── InvalidRequestError       the server refuses the request: INVALID_ARGUMENT, OUT_OF_RANGE
        ├── NotFoundError             there is no such model: NOT_FOUND
        ├── ConflictError             not in the server's present state: FAILED_PRECONDITION, ABORTED, ALREADY_EXISTS
        ├── LimitError                too large, or (with `retry_after`) too much at once: RESOURCE_EXHAUSTED
        ├── AuthenticationError       no token, or a wrong one: UNAUTHENTICATED
        ├── PermissionDeniedError     the token doesn't allow this: PERMISSION_DENIED
        ├── DeadlineError             no answer in time: DEADLINE_EXCEEDED
        ├── UnavailableError          nobody answers: UNAVAILABLE
        ├── CallCancelledError        the call was cancelled: CANCELLED
        ├── UnsupportedError          the server doesn't know this call: UNIMPLEMENTED
        └── ServerError               the server's own fault: INTERNAL, UNKNOWN, DATA_LOSS

It knows gRPC's statuses and the `google.rpc` details, and nothing of the calls' purpose.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from vitrine.client.advice import ADVICE, advise
from vitrine.model import VitrineError
from vitrine.model.errors import with_place

DETAILS_KEY = "grpc-status-details-bin"
"""Key of the trailing metadata with a serialized `google.rpc.Status`."""

REQUEST_ID_KEY = "x-request-id"
"""Key of the trailing metadata with the request's id in the server's log."""


class UsageError(VitrineError, ValueError):
    """The client was built or called in a way that can't work; nothing was sent."""


class AnswerError(VitrineError):
    """The client can't read the server's answer, for example because their versions don't match."""


class ServiceError(VitrineError):
    """A call failed. Its text says what is wrong and what to do; the gRPC error is its `__cause__`."""

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode,
        reason: str = "",
        field: str = "",
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        """Status code of the call."""
        self.reason = reason
        """The server's reason in UPPER_SNAKE; empty if it gave none."""
        self.field = field
        """Path of the wrong field of the request; empty if there is none."""
        self.retry_after = retry_after
        """Seconds after which to send the same request again; None if the server didn't say."""
        self.request_id = request_id
        """Id of the request in the server's log, for its operator; empty if the server didn't say."""

    def __reduce__(self) -> tuple[Any, ...]:  # without it, an error with more than a message can't be unpickled
        arguments = (*self.args, self.code, self.reason, self.field, self.retry_after, self.request_id)
        return type(self), arguments, self.__dict__


class InvalidRequestError(ServiceError):
    """The server refuses the request; `field` is the wrong field.

    If it is about one of many images, `position` is its place among them, from 0, and the text begins with it.
    """

    position: int | None = None

    @property
    def message(self) -> str:
        """The text without the image's place."""
        return super().__str__()

    def __str__(self) -> str:
        return with_place(self.message, self.position)


class NotFoundError(ServiceError):
    """There is no such model."""


class ConflictError(ServiceError):
    """The request doesn't fit the server's present state."""


class LimitError(ServiceError):
    """The server is overloaded, or the request or its answer is too large.

    If `retry_after` is a number, wait so many seconds and send it again. If it is None, the same request fails again.
    """


class AuthenticationError(ServiceError):
    """The token is missing or wrong."""


class PermissionDeniedError(ServiceError):
    """The token doesn't allow this call."""


class DeadlineError(ServiceError):
    """The answer didn't come in time."""


class UnavailableError(ServiceError):
    """No server answers at the target."""


class CallCancelledError(ServiceError):
    """The call was cancelled: by the server, or because the client was closed."""


class UnsupportedError(ServiceError):
    """The server doesn't know this call."""


class ServerError(ServiceError):
    """An error inside the server."""


ERROR_OF_STATUS: Mapping[grpc.StatusCode, type[ServiceError]] = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: CallCancelledError,
        grpc.StatusCode.UNKNOWN: ServerError,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
        grpc.StatusCode.NOT_FOUND: NotFoundError,
        grpc.StatusCode.ALREADY_EXISTS: ConflictError,
        grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
        grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
        grpc.StatusCode.RESOURCE_EXHAUSTED: LimitError,
        grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
        grpc.StatusCode.ABORTED: ConflictError,
        grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
        grpc.StatusCode.INTERNAL: ServerError,
        grpc.StatusCode.UNAVAILABLE: UnavailableError,
        grpc.StatusCode.DATA_LOSS: ServerError,
        grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    }
)
"""The error class for every status of a failed call."""


class Details(NamedTuple):
    """The content of the `google.rpc` details of a failed call."""

    reason: str = ""
    """Reason in UPPER_SNAKE; empty if absent."""
    field: str = ""
    """Path of the wrong field; empty if absent."""
    retry_after: float | None = None
    """Seconds to wait before sending it again; None if absent."""


@contextmanager
def service_errors(target: str, timeout: float) -> Iterator[None]:
    """Turns a gRPC error of the calls inside into a `ServiceError`, for sync and async calls.

    Args:
        target: address of the server, for the text.
        timeout: deadline in seconds, for the text.

    Raises:
        ServiceError: the class from `ERROR_OF_STATUS`.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise read_error(error, target, timeout) from error


def read_error(error: grpc.RpcError, target: str, timeout: float) -> ServiceError:
    """The error for a failed call."""
    code = error.code()
    text = error.details() or code.name
    details = _read_details(error)
    if not details.reason and (advice := advise(code, text, target, timeout, details.retry_after)):
        text = f"{advice} ({text})"
    return ERROR_OF_STATUS[code](text, code, *details, str(trailing_value(error, REQUEST_ID_KEY, "")))


def closed_error(target: str) -> CallCancelledError:
    """The error of a call that was under way when its client was closed; gRPC has none of its own."""
    code = grpc.StatusCode.CANCELLED
    return CallCancelledError(f"{ADVICE[code].format(target=target)} (the client was closed)", code)


def deadline_error(target: str, seconds: float) -> DeadlineError:
    """The error of a call whose own deadline is over, while the request that carries it goes on for others."""
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    return DeadlineError(ADVICE[code].format(target=target, timeout=seconds), code)


def _read_details(error: grpc.RpcError) -> Details:
    """The content of the details; empty if the server, or a proxy before it, sent none."""
    # Imported here: only failures need them, and they take a tenth of the package's import time.
    from google.rpc import error_details_pb2, status_pb2

    info, bad_request, retry_after = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), None
    try:
        for detail in status_pb2.Status.FromString(trailing_value(error, DETAILS_KEY, b"")).details:
            if detail.Unpack(retry := error_details_pb2.RetryInfo()):
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            _ = detail.Unpack(info) or detail.Unpack(bad_request)
    except DecodeError:
        return Details()
    fields = [violation.field for violation in bad_request.field_violations]
    return Details(info.reason, fields[0] if fields else "", retry_after)


def trailing_value(error: grpc.RpcError, name: str, otherwise: Any) -> Any:
    """A value of a failed call's trailing metadata, or what to take where there is none."""
    # gRPC gives pairs here, or None; its stubs, a type that can't be unpacked.
    metadata: Iterable[Any] = error.trailing_metadata() or ()
    return next((value for key, value in metadata if key == name), otherwise)
