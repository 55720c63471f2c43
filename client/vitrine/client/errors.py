"""Every error that the client raises, and how a failed call becomes one of them.

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
        ├── UnavailableError          nobody answers, after all retries: UNAVAILABLE
        ├── CallCancelledError        the call was cancelled: CANCELLED
        ├── UnsupportedError          the server doesn't know this call: UNIMPLEMENTED
        └── ServerError               the server's own fault: INTERNAL, UNKNOWN, DATA_LOSS

It knows gRPC's statuses and the `google.rpc` details; what the calls are for, it doesn't know.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from vitrine.model import VitrineError

DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata under which gRPC carries a serialized `google.rpc.Status`."""

REQUEST_ID_KEY = "x-request-id"
"""The trailing metadata under which a server says what its log calls the request."""


class UsageError(VitrineError, ValueError):
    """The client is built or called in a way that can't work; nothing was sent."""


class AnswerError(VitrineError):
    """The server answered something that this client can't read: their versions don't match."""


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
        """The status code of the call."""
        self.reason = reason
        """Why, in UPPER_SNAKE, as the server has it; empty when it gave none."""
        self.field = field
        """The path of the request's field that is at fault; empty when none is."""
        self.retry_after = retry_after
        """After how many seconds the server wants the same request again; None when it didn't say."""
        self.request_id = request_id
        """What the server's log calls the request, to quote to its operator; empty when the server didn't say."""

    def __reduce__(self) -> tuple[Any, ...]:  # without it, an error with more than a message can't be unpickled
        return type(self), (str(self), self.code, self.reason, self.field, self.retry_after, self.request_id)


class InvalidRequestError(ServiceError):
    """The server refuses the request; `field` says where it is at fault."""


class NotFoundError(ServiceError):
    """There is no such model."""


class ConflictError(ServiceError):
    """The request is fine, but not in the server's present state."""


class LimitError(ServiceError):
    """The server has too much to do, or the request or its answer is too large; `retry_after` says which.

    A number: wait so many seconds and send it again. None: sending the same again won't help.
    """


class AuthenticationError(ServiceError):
    """The server wants a token, and got none or a wrong one."""


class PermissionDeniedError(ServiceError):
    """The token is known, and doesn't allow this call."""


class DeadlineError(ServiceError):
    """The answer didn't come in time."""


class UnavailableError(ServiceError):
    """Nobody answers at the target, after all retries."""


class CallCancelledError(ServiceError):
    """The call was cancelled: by the server, or because the client was closed."""


class UnsupportedError(ServiceError):
    """The server doesn't know this call."""


class ServerError(ServiceError):
    """Something went wrong inside the server."""


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
"""The class of every status that a failed call can have."""

ADVICE: Mapping[grpc.StatusCode, str] = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: "the call to {target} was cancelled",
        grpc.StatusCode.DEADLINE_EXCEEDED: (
            "{target} didn't answer within {timeout:g} s: give a longer timeout, or ask for less at once"
        ),
        grpc.StatusCode.PERMISSION_DENIED: "the token doesn't allow this call to {target}",
        grpc.StatusCode.UNAUTHENTICATED: "{target} wants a valid token: pass it as token=",
        grpc.StatusCode.RESOURCE_EXHAUSTED: (
            "a message to or from {target} is too large: ask for fewer images or layers at once, "
            "or raise max_message_bytes"
        ),
        grpc.StatusCode.UNIMPLEMENTED: (
            "{target} doesn't know this call: it runs an older Vitrine, or another service listens there"
        ),
        grpc.StatusCode.UNAVAILABLE: (
            "no answer from {target}: check that the server runs there, and that both sides use TLS or neither"
        ),
    }
)
"""What to say where gRPC itself, not Vitrine's server, ended the call: its own texts are for gRPC's developers."""

BUSY = "{target} has too much to do: send it again in {retry_after:g} s"
"""What to say instead where something before the server, a proxy perhaps, refuses a call for now."""


class Details(NamedTuple):
    """What the `google.rpc` details of a failed call say."""

    reason: str = ""
    """Why, in UPPER_SNAKE; empty when it isn't said."""
    field: str = ""
    """The path of the field at fault; empty when it isn't said."""
    retry_after: float | None = None
    """The seconds to wait before sending it again; None when it isn't said."""


@contextmanager
def service_errors(target: str, timeout: float) -> Iterator[None]:
    """Turns a gRPC error of the calls inside into a `ServiceError`; used around sync and async calls alike.

    Args:
        target: where the calls go, for the text.
        timeout: their deadline in seconds, for the text.

    Raises:
        ServiceError: of the class that `ERROR_OF_STATUS` has for the status.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise read_error(error, target, timeout) from error


def read_error(error: grpc.RpcError, target: str, timeout: float) -> ServiceError:
    """The error that a failed call stands for."""
    code = error.code()
    text = error.details() or code.name
    details = _read_details(error)
    if not details.reason and code in ADVICE:
        advice = _advice(code, details).format(target=target, timeout=timeout, retry_after=details.retry_after)
        text = f"{advice} ({text})"
    return ERROR_OF_STATUS[code](text, code, *details, str(_trailing(error, REQUEST_ID_KEY, "")))


def closed_error(target: str) -> CallCancelledError:
    """The error of a call that was under way when its client was closed, where gRPC has none for it."""
    code = grpc.StatusCode.CANCELLED
    return CallCancelledError(f"{ADVICE[code].format(target=target)} (the client was closed)", code)


def _advice(code: grpc.StatusCode, details: Details) -> str:
    refused_for_now = code is grpc.StatusCode.RESOURCE_EXHAUSTED and details.retry_after is not None
    return BUSY if refused_for_now else ADVICE[code]


def _read_details(error: grpc.RpcError) -> Details:
    """What the details say; nothing where the server, or a proxy before it, attached none."""
    # Imported here: only failures need them, and they take a tenth of the package's import time.
    from google.rpc import error_details_pb2, status_pb2

    info, bad_request, retry_after = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), None
    try:
        for detail in status_pb2.Status.FromString(_trailing(error, DETAILS_KEY, b"")).details:
            if detail.Unpack(retry := error_details_pb2.RetryInfo()):
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            _ = detail.Unpack(info) or detail.Unpack(bad_request)
    except DecodeError:
        return Details()
    fields = [violation.field for violation in bad_request.field_violations]
    return Details(info.reason, fields[0] if fields else "", retry_after)


def _trailing(error: grpc.RpcError, name: str, otherwise: Any) -> Any:
    # gRPC gives pairs here, or None; its stubs, a type that can't be unpacked.
    metadata: Iterable[Any] = error.trailing_metadata() or ()
    return next((value for key, value in metadata if key == name), otherwise)
