"""What goes wrong in the server, in its own words; `grpc/status` says which status code that is.

VitrineError
├── StartupError            the server refuses to start; the text is one sentence that says which check failed
└── RequestError            a caller's request can't be answered
    ├── InvalidRequest      something in the request is wrong
    ├── NotFound            it asks for something that isn't there
    └── AnswerTooLarge      its answer would pass the message limit
"""

from vitrine.model import VitrineError


class StartupError(VitrineError):
    """The server refuses to start. The text says which check failed and what to do."""


class RequestError(VitrineError):
    """A request can't be answered, and its caller can do something about it.

    Args:
        reason: why, in UPPER_SNAKE, for programs.
        message: what is wrong and what to do; sent to the caller.
        field: the path of the request's field at fault, for example `encoded.files[3]`; empty when it is none.
    """

    def __init__(self, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field


class InvalidRequest(RequestError):  # noqa: N818 - a sentence of its own: "invalid request"
    """Something in the request is wrong."""


class NotFound(RequestError):  # noqa: N818 - likewise
    """The request asks for something that isn't there."""


class AnswerTooLarge(RequestError):  # noqa: N818 - likewise
    """The request's answer would pass the message limit."""
