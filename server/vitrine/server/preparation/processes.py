"""The processes that prepare image files: keeps some ready, bounds their memory, and replaces those that die.

Threads call it, one for each process at work. It knows neither requests nor the event loop.
"""

import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import Pipe

import numpy as np

from vitrine.model import ImageError, Shape
from vitrine.model.preparation.step import Step
from vitrine.server.errors import Overloaded
from vitrine.server.preparation.messages import (
    ANSWER_BYTES,
    ASKS,
    FAILED,
    GO,
    REFUSED,
    Order,
    Pixels,
    decode_question,
    decode_refusal,
    decode_steps,
)

logger = logging.getLogger(__name__)

PROGRAM = "vitrine.server.preparation.program"

MOST_CPU_SECONDS = 10.0
"""CPU time that preparing one image may take: the largest photo that is taken by default takes about two seconds."""

MOST_WALL_SECONDS = 3 * MOST_CPU_SECONDS
"""Time after which a process is given up that neither reads nor answers: stopped, or waiting for a disk. A machine with
too much work may take so long as well."""

END_SECONDS = 1.0
"""Time that a killed process has to end. One that waits for a disk doesn't, and holds up nobody here."""

ATTEMPTS = 2
"""Number of processes that one image may be given to: one that is killed from outside says nothing of the image."""

FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
"""The signals that end a process for what it does itself."""

RETRY_SECONDS = 1.0
"""The pause that a caller is asked for when no process could be started, or one was ended from outside."""

ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # its threads take memory, and nothing here multiplies matrices
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # glibc gives the memory of a decoded image back at once
}


class Decoders:
    """Processes that prepare images, as many as threads call at once; the first image starts the first.

    They are kept until it is closed.

    Args:
        max_bytes: the most memory that decoding may take, in one process and in all together, in bytes.
        seconds: CPU time that one image may take.
        wall_seconds: time after which a process that neither reads nor answers is given up.
    """

    def __init__(
        self, max_bytes: int, seconds: float = MOST_CPU_SECONDS, wall_seconds: float = MOST_WALL_SECONDS
    ) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._wall_seconds = wall_seconds
        self._budget = MemoryBudget(max_bytes)
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._closed = False

    def prepare(self, file: bytes, max_pixels: int, shape: Shape) -> Pixels:
        """Turns an image file into pixels, as `vitrine.model.prepare` does.

        Args:
            file: the bytes of the file.
            max_pixels: the largest width × height that is decoded.
            shape: height and width of the pixels.

        Returns:
            uint8 `shape`, 0 = white (paper), 255 = black (ink).

        Raises:
            ImageError: it can't be read, or takes too much memory or time.
            Overloaded: no process could be started, one after the other was killed, or one didn't answer.
        """
        answer = self._answer(Order(max_pixels, shape, self._max_bytes, self._seconds), file)
        return np.frombuffer(answer, np.uint8, offset=1).reshape(shape)

    def show(self, file: bytes, max_pixels: int, shape: Shape) -> tuple[Pixels, tuple[Step, ...]]:
        """The same, with a picture after each step on the way to the pixels."""
        order = Order(max_pixels, shape, self._max_bytes, self._seconds, shows_steps=True)
        return decode_steps(self._answer(order, file), shape)

    def close(self) -> None:
        """Ends the processes that wait; those at work end with their image."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for process in idle:
            process.end()

    def _answer(self, order: Order, file: bytes) -> bytes:
        """The answer of a process that has prepared the image; see `prepare` for the errors."""
        answer = self._first_answer(order, file)
        if answer.startswith(REFUSED):
            raise decode_refusal(answer)
        if answer.startswith(FAILED):
            raise RuntimeError(f"an image could not be prepared:\n{answer[1:].decode(errors='replace')}")
        return answer

    def _first_answer(self, order: Order, file: bytes) -> bytes:
        """The answer of a process; of another one if the first is killed from outside."""
        for left in reversed(range(ATTEMPTS)):
            process = self._take()
            try:
                answer = process.answer(order, file, self._budget)
            except BlockingIOError as error:  # the socket's own time is over
                raise self._silence(process.end()) from error
            except (EOFError, OSError) as error:
                death = self._death(process.end())
                if left and isinstance(death, Overloaded):
                    continue
                raise death from error
            self._give_back(process)
            return answer
        raise AssertionError("the last attempt gives an answer or an error")

    def _take(self) -> "_Process":
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.end()
        return _Process(self._wall_seconds)

    def _give_back(self, process: "_Process") -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.end()

    def _death(self, status: int | None) -> ImageError | Overloaded:
        """The error for an image during which its process ended."""
        if status == -signal.SIGPROF:
            return ImageError(
                "IMAGE_UNSUPPORTED",
                f"the file takes more than {self._seconds:g} s to decode, as no photo does: save it anew",
            )
        logger.warning("a process that prepared an image ended with status %s; another takes its place", status)
        if status in [-fault for fault in FAULTS]:
            return ImageError("IMAGE_UNREADABLE", "the file can't be decoded: it makes the decoder fail")
        message = "the process that prepared the image was killed, as where memory runs out: try again in a moment"
        return Overloaded("OVERLOADED", message, RETRY_SECONDS)

    def _silence(self, status: int | None) -> Overloaded:
        """The error for an image whose process didn't answer, and has been ended with that status."""
        logger.warning(
            "a process that prepared an image didn't answer for %g s and ended with status %s; another takes its place",
            self._wall_seconds,
            status,
        )
        message = f"preparing the image took more than {self._wall_seconds:g} s: try again in a moment"
        return Overloaded("OVERLOADED", message, RETRY_SECONDS)


class _Process:
    """One process, and the server's end of the socket to it.

    Args:
        wall_seconds: time after which reading and writing fail if the process does neither.

    Raises:
        Overloaded: it can't be started.
    """

    def __init__(self, wall_seconds: float) -> None:
        self._connection, theirs = Pipe()
        _limit_waiting(self._connection.fileno(), wall_seconds)
        with theirs:
            command = [sys.executable, "-P", "-m", PROGRAM, str(theirs.fileno())]
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # decoders write warnings there
                    pass_fds=[theirs.fileno()],
                    env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
            except OSError as error:
                self._connection.close()
                logger.warning("no process can be started to prepare images: %s", error)
                message = "no process can be started to prepare images: try again in a moment"
                raise Overloaded("OVERLOADED", message, RETRY_SECONDS) from error

    @property
    def alive(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def answer(self, order: Order, file: bytes, budget: "MemoryBudget") -> bytes:
        """The answer to an order. Its decoding waits until there is memory for it.

        Raises:
            BlockingIOError: the process neither reads nor answers.
            EOFError, OSError: the process has ended.
        """
        with ExitStack() as taken:
            self._connection.send_bytes(order.encode())
            self._connection.send_bytes(file)
            while (message := self._connection.recv_bytes(ANSWER_BYTES)).startswith(ASKS):
                taken.close()  # what was decoded before is of no use any more
                taken.enter_context(budget.taken(decode_question(message)))
                self._connection.send_bytes(GO)
            return message

    def end(self) -> int | None:
        """Ends it, and gives its exit status; negative: the signal that ended it before; None: it doesn't end yet."""
        self._connection.close()
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(END_SECONDS)
        return None


def _limit_waiting(descriptor: int, seconds: float) -> None:
    """Lets reading and writing of a socket fail after some time; `BlockingIOError` then."""
    whole, part = divmod(seconds, 1)
    limit = struct.pack("@ll", int(whole), int(part * 1e6))  # struct timeval
    with socket.socket(fileno=os.dup(descriptor)) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


class MemoryBudget:
    """Memory that several threads share. Those that wait are served in their order.

    Args:
        most: the most bytes that may be taken at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._head = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Takes `size` bytes for the context; waits until they are free, or nothing else is taken."""
        with self._head, self._changed:  # one thread waits for memory, the others behind it
            self._changed.wait_for(lambda: self._used == 0 or self._used + size <= self._most)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()
