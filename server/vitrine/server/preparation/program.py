"""The program of a process that prepares image files, one after the other, for the server that started it.

    python -m vitrine.server.preparation.program FILE_DESCRIPTOR

Decoders are libraries in C that are fed with strangers' files. Here they can take no more memory than was asked for,
the system ends them when they take too long, and nothing of the server is in their reach. It reads from a socket whose
number is its argument, and ends when the server does.
"""

import os
import signal
import sys
import traceback
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from vitrine.model import ImageError, read_grey
from vitrine.model.preparation.pipeline import find_box, pixels_of
from vitrine.model.preparation.steps import show_steps
from vitrine.server.preparation.messages import (
    ANSWER_BYTES,
    FAILED,
    PIXELS,
    Order,
    encode_question,
    encode_refusal,
    encode_steps,
)

with suppress(ImportError):
    import resource  # not on Windows

FREE_BYTES = 8 << 20
"""Decoding that takes no more isn't asked for."""

OWN_BYTES = 256 << 20
"""Memory that the process may take beside decoding: the interpreter, and an image of working size."""

FILE_COPIES = 4
"""Copies of a file that there may be, with and without its metadata."""

KILLED_FIRST = "1000"
"""The highest badness: where memory runs out, the system ends this process rather than the server."""


def main(descriptor: int) -> None:
    """Answers orders until the server closes its end."""
    # Sent to the server's whole group; what is under way may end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST)
    connection = Connection(descriptor)
    with suppress(EOFError, OSError):
        while True:
            order = Order.decode(connection.recv_bytes())
            connection.send_bytes(_answer(order, connection.recv_bytes(), connection))
    os._exit(0)  # nothing needs to be cleaned up


def _answer(order: Order, file: bytes, connection: "Connection[bytes, bytes]") -> bytes:
    """The answer to an order: pixels, a refusal or a fault."""
    _limit_memory(order.max_bytes + FILE_COPIES * len(file))
    signal.setitimer(signal.ITIMER_PROF, order.seconds)  # when it is up, the process ends, whatever it is at
    try:
        grey = read_grey(file, order.max_pixels, partial(_ask, order, connection))
        if order.shows_steps:
            return encode_steps(*show_steps(grey, order.shape))
        return PIXELS + pixels_of(find_box(grey), order.shape).tobytes()
    except ImageError as error:
        return encode_refusal(error)
    except MemoryError:
        return encode_refusal(ImageError("IMAGE_TOO_LARGE", "the file takes too much memory to decode: scale it down"))
    except (EOFError, OSError):
        raise
    except Exception:
        return FAILED + traceback.format_exc().encode(errors="replace")[-ANSWER_BYTES // 2 :]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _ask(order: Order, connection: "Connection[bytes, bytes]", size: int) -> None:
    """Waits until decoding may take `size` bytes."""
    if size > order.max_bytes:
        raise ImageError(
            "IMAGE_TOO_LARGE",
            f"the file takes {size >> 20:,} MiB to decode, and at most {order.max_bytes >> 20:,} MiB are spent: scale "
            "it down, or send it as a JPEG, which takes the least",
        )
    if size > FREE_BYTES:
        connection.send_bytes(encode_question(size))
        connection.recv_bytes()


def _limit_memory(size: int) -> None:
    """Lets the process have `size` bytes beside its own."""
    with suppress(NameError, ValueError, OSError):  # some systems know no such limit
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (OWN_BYTES + size, most))


if __name__ == "__main__":
    main(int(sys.argv[1]))
