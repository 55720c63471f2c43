"""The root of every error that Vitrine raises, and the errors of this room.

    VitrineError
    ├── ImageError       an image can't be read or is too large
    └── ArtifactError    a file isn't a Vitrine artifact, or is damaged

The client's errors grow from the same root: see `vitrine.client.errors`.
"""

import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlist = 100, 200, 4  # characters, and elements of a list


def shown(value: object) -> str:
    """The value as an error shows it: its `repr`, cut in the middle. A file may hold megabytes in place of a name."""
    return _SHORT.repr(value)


def shortened(text: str, most: int = _SHORT.maxstring) -> str:
    """A text as an error shows it, cut at its end, without quotes: what can't be printed is escaped, as in `repr`."""
    begin = text if len(text) <= most else f"{text[:most]}…"
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in begin)


class VitrineError(Exception):
    """The root of every error that Vitrine raises on purpose: its text says what is wrong and what to do."""


class ImageError(VitrineError, ValueError):
    """An image can't be turned into pixels.

    `reason` says why in UPPER_SNAKE, for programs: IMAGE_NOT_FOUND, IMAGE_UNREADABLE, IMAGE_TOO_LARGE or
    IMAGE_UNSUPPORTED. If it is about one of many images, `position` is its place among them, from 0, and the text
    begins with it.
    """

    position: int | None = None

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def message(self) -> str:
        """The text without the image's place."""
        return super().__str__()

    def __str__(self) -> str:
        return with_place(self.message, self.position)

    def __reduce__(self) -> tuple[Any, ...]:  # without it, it can't be unpickled
        return type(self), (self.reason, self.message), self.__dict__


def with_place(message: str, position: int | None) -> str:
    """The text of an error about one of many images: its place in Python's words comes first."""
    return message if position is None else f"images[{position}]: {message}"


class ArtifactError(VitrineError, ValueError):
    """A file isn't an ONNX artifact of Vitrine's, or fails one of its checks; the text names the check."""
