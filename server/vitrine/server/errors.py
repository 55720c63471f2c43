"""What goes wrong in the server, in its own words; `grpc/status` says which status code that is.

VitrineError
├── StartupError            the server refuses to start; the text is one sentence that says which check failed
│   └── FileError           certificates or tokens can't be used; while the server runs, those before stay in force
├── CrashLoop               workers end again and again, so that the server does, too
└── RequestError            a caller's request can't be answered
    ├── Unauthenticated     who asks can't be told: no token, or an unknown one
    ├── PermissionDenied    who asks may not have it
    ├── InvalidRequest      something in the request is wrong
    ├── NotFound            it asks for something that isn't there
    ├── Unsupported         it asks for something that this server doesn't do
    ├── AnswerTooLarge      its answer would pass the message limit
    └── Overloaded          there is too much to do just now
        └── RateExceeded    this caller has sent too much
"""

from collections.abc import Collection
from itertools import islice

from vitrine.model import VitrineError

SHOWN_CHARACTERS = 60
"""How much of a name that a caller sent is said back: a status travels in headers, which are small."""

SHOWN_NAMES = 25
"""How many names are listed."""


class StartupError(VitrineError):
    """The server refuses to start. The text says which check failed and what to do."""


class FileError(StartupError):
    """Certificates or tokens can't be used. The text has nothing of what is in the file: it may be a secret."""


class CrashLoop(VitrineError):  # noqa: N818 - a word of its own
    """Workers end again and again as soon as they are started. The text says what the last ended with."""


class RequestError(VitrineError):
    """A request can't be answered, and its caller can do something about it.

    Args:
        reason: why, in UPPER_SNAKE, for programs.
        message: what is wrong and what to do; sent to the caller.
        field: the path of the request's field at fault, for example `files[3]`; empty when it is none.
    """

    def __init__(self, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field


class Unauthenticated(RequestError):  # noqa: N818 - a sentence of its own, like those below
    """Who asks can't be told."""


class PermissionDenied(RequestError):  # noqa: N818 - likewise
    """Who asks may not have what is asked for."""


class InvalidRequest(RequestError):  # noqa: N818 - a sentence of its own: "invalid request"
    """Something in the request is wrong."""


class NotFound(RequestError):  # noqa: N818 - likewise
    """The request asks for something that isn't there."""


class Unsupported(RequestError):  # noqa: N818 - likewise
    """The request asks for something that this server doesn't do."""


class AnswerTooLarge(RequestError):  # noqa: N818 - likewise
    """The request's answer would pass the message limit."""


class Overloaded(RequestError):  # noqa: N818 - likewise
    """There is too much to do just now.

    Args:
        reason: why, in UPPER_SNAKE, for programs.
        message: what is wrong and what to do; sent to the caller.
        retry_after: in how many seconds it may be worth trying again.
    """

    def __init__(self, reason: str, message: str, retry_after: float) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class RateExceeded(Overloaded):
    """The caller has sent more than it may."""


def quoted(name: str) -> str:
    """A name that a caller sent, as an error may say it back."""
    return repr(name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "…")


def listed(names: Collection[str]) -> str:
    """Names to choose from."""
    rest = len(names) - SHOWN_NAMES
    return ", ".join(islice(names, SHOWN_NAMES)) + (f" and {rest} more" if rest > 0 else "")
