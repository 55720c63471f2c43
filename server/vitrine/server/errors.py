"""Errors of the server, in its own words. A front end maps them to its status codes.

VitrineError
├── StartupError            the server refuses to start; the text is one sentence that says which check failed
│   ├── ConfigError         two settings contradict each other, or one is out of its range
│   └── FileError           certificates or tokens can't be used; while the server runs, those before stay in force
│       └── FileUnavailable they can't be read or tried just now, and may be a moment later
├── CrashLoop               workers end again and again, so that the server does, too
└── RequestError            a caller's request can't be answered
    ├── Unauthenticated     the caller is unknown: no token, or an unknown one
    ├── PermissionDenied    the caller lacks a permission
    ├── InvalidRequest      something in the request is wrong
    ├── NotFound            it asks for something that isn't there
    ├── Unsupported         it asks for something that this server doesn't do
    ├── RequestTooLarge     it has more bytes than are taken
    ├── RequestTooSlow      it took too long to arrive
    ├── AnswerTooLarge      its answer would pass the message limit
    ├── Leaving             the server stops, and takes nothing new
    └── Overloaded          there is too much to do just now
        └── RateExceeded    this caller has sent too much
"""

from collections.abc import Collection
from typing import Self

from vitrine.model import VitrineError

SHOWN_CHARACTERS = 60
"""Maximum length of a caller-supplied name echoed in an error: a status travels in headers, which are small."""

SHOWN_NAMES = 25
"""Maximum number of names in a list of choices."""

SHOWN_BYTES = 800
"""Maximum size of such a list: all headers of an answer must fit into 8 KiB, and UTF-8 triples when it is escaped."""


class StartupError(VitrineError):
    """The server refuses to start. The text says which check failed and what to do."""


class ConfigError(StartupError, ValueError):
    """Two settings contradict each other, or one is out of its range. The text names them."""


class FileError(StartupError):
    """Certificates or tokens can't be used. The text quotes nothing of the file: it may be a secret."""


class FileUnavailable(FileError):  # noqa: N818 - a word of its own
    """Certificates or tokens can't be read or tried just now: they may be good though they stay as they are."""


class CrashLoop(VitrineError):  # noqa: N818 - a word of its own
    """Workers end again and again as soon as they are started. The text has the last one's exit status."""


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

    def at(self, field: str, message: str = "") -> Self:
        """A copy whose field has another path, and whose text may be another: each protocol has its own names."""
        copied = type(self).__new__(type(self), message or str(self))
        copied.__dict__.update(self.__dict__, field=field)
        return copied


class Unauthenticated(RequestError):  # noqa: N818 - a sentence of its own, as those below
    """The caller has no token, or an unknown one."""


class PermissionDenied(RequestError):  # noqa: N818 - as above
    """The caller lacks a permission that the request takes."""


class InvalidRequest(RequestError):  # noqa: N818 - a sentence of its own: "invalid request"
    """Something in the request is wrong."""


class NotFound(RequestError):  # noqa: N818 - as above
    """The request asks for something that isn't there."""


class Unsupported(RequestError):  # noqa: N818 - as above
    """The request asks for something that this server doesn't do."""


class RequestTooLarge(RequestError):  # noqa: N818 - as above
    """The request has more bytes than its method takes."""


class RequestTooSlow(RequestError):  # noqa: N818 - as above
    """The request took too long to arrive."""


class AnswerTooLarge(RequestError):  # noqa: N818 - as above
    """The request's answer would pass the message limit."""


class Leaving(RequestError):  # noqa: N818 - as above
    """The server stops, and takes nothing new."""


class Overloaded(RequestError):  # noqa: N818 - as above
    """There is too much to do just now.

    Args:
        reason: why, in UPPER_SNAKE, for programs.
        message: what is wrong and what to do; sent to the caller.
        retry_after: seconds until it may be worth trying again.
    """

    def __init__(self, reason: str, message: str, retry_after: float) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class RateExceeded(Overloaded):
    """The caller has sent more than it may."""


def quoted(name: str) -> str:
    """A caller-supplied name, shortened for an error."""
    return repr(name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "…")


def listed(names: Collection[str]) -> str:
    """Names to choose from, shortened for an error."""
    shown: list[str] = []
    size = 0
    for name in names:
        size += len(name.encode(errors="backslashreplace")) + 2
        if len(shown) == SHOWN_NAMES or size > SHOWN_BYTES:
            break
        shown.append(name)
    rest = len(names) - len(shown)
    if not shown:
        return f"{rest} with long names"
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
