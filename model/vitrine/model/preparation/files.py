"""Reads the file of an image. It knows nothing of what is in it."""

import os
import re
import stat

from vitrine.model.errors import ImageError, shortened

MAX_FILE_BYTES = 2047 << 20
"""The largest file that is read: no image of the most pixels takes more, and no message holds more."""

LONGEST_SHOWN = 400
"""Characters of a path that an error shows whole."""

BASE64 = re.compile(r"(?!/(?!9j/))[A-Za-z0-9+/\s]{100,}={0,2}\s*|[\w+/\s-]{400,}={0,2}\s*")
"""An image as text: a JPEG's begins with /9j/. Paths that are so long begin with another folder, or have a dot."""

URL = re.compile(r"(?:https?|ftp|s3|gs|file|data):", re.IGNORECASE)
"""The beginning of an address, which isn't a path; `Path` makes one slash of two."""


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file. Another kind is refused: opening a FIFO or reading a device can take for ever.

    Raises:
        ImageError: it is missing, can't be read, is no regular file, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                why = "it is a FIFO, a device or a socket, and only regular files are read: pass its bytes"
                raise ImageError("IMAGE_UNSUPPORTED", f"can't read {_shown(path)}: {why}")
            if found.st_size > MAX_FILE_BYTES:
                why = (
                    f"it has {found.st_size >> 20:,} MiB, and at most {MAX_FILE_BYTES >> 20:,} are read: scale it down"
                )
                raise ImageError("IMAGE_TOO_LARGE", f"can't read {_shown(path)}: {why}")
            return file.read()
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = str(error.strerror if isinstance(error, OSError) else error)
        raise ImageError("IMAGE_NOT_FOUND", f"can't read {_shown(path)}: {_advice(os.fspath(path)) or why}") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # not on Windows


def _advice(text: str) -> str:
    """What to do with a text that is no path but an image, or its address; empty for a path."""
    if text.startswith("data:"):
        return 'it is a data URL; pass the bytes in it, base64.b64decode(url.partition(",")[2])'
    if URL.match(text):
        return "it is a URL; download it, and pass its path or its bytes"
    return "it is base64; pass base64.b64decode(text)" if BASE64.fullmatch(text) else ""


def _shown(path: str | os.PathLike[str]) -> str:
    """A path as an error shows it. Text that was meant as an image can be as long as one."""
    text = os.fspath(path)
    if len(text) <= LONGEST_SHOWN and not _is_image(text):
        return text
    return f"a path of {len(text):,} characters, {shortened(text)!r}"


def _is_image(text: str) -> bool:
    return text.startswith("data:") or BASE64.fullmatch(text) is not None
