"""The answer to a call whose caller does something else meanwhile; it is sent again in the background if it fails.

It knows no channel: it is given how to begin an attempt, and by what rule and how to wait.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TypeVar

import grpc

Response = TypeVar("Response")


class Resent(Future[Response]):
    """The answer to a call, after as many attempts as it takes.

    Args:
        begin: sends an attempt, and doesn't wait.
        pause: seconds after which to send the call again, by its latest failure; None: the failure stands.
        wait: waits for so many seconds; raises the error of a client that is closed meanwhile.
    """

    def __init__(
        self,
        begin: Callable[[], "grpc.Future[Response]"],
        pause: Callable[[grpc.RpcError], float | None],
        wait: Callable[[float], None],
    ) -> None:
        super().__init__()
        self._begin, self._pause, self._wait = begin, pause, wait
        self._send()

    def cancel(self) -> bool:
        """Cancels the attempt under way, after which there is no other."""
        is_cancelled = super().cancel()  # first, so that the attempt's end isn't taken for a failure
        self._attempt.cancel()
        return is_cancelled

    def _send(self) -> None:
        self._attempt = self._begin()
        if self.done():  # it was cancelled meanwhile, when this attempt couldn't be reached yet
            self._attempt.cancel()
        self._attempt.add_done_callback(self._land)

    def _land(self, attempt: "grpc.Future[Response]") -> None:
        """Takes the end of an attempt, in gRPC's thread, which must not wait."""
        try:
            if not self.done():  # else it was cancelled
                self._settle(attempt.result())
        except grpc.RpcError as error:
            self._decide(error)
        except Exception as error:  # gRPC would only log it, and the caller would wait for ever
            self._fail(error)

    def _decide(self, error: grpc.RpcError) -> None:
        """Sends the call again, or lets its failure stand: also where no thread can be started, as at a limit."""
        try:
            if (pause := self._pause(error)) is not None:
                threading.Thread(target=self._send_after, args=(pause,), name="vitrine-resend", daemon=True).start()
                return
        except Exception as unable:
            error.add_note(f"it wasn't sent again: {unable}")
        self._fail(error)

    def _send_after(self, pause: float) -> None:
        try:
            self._wait(pause)
            if not self.done():
                self._send()
        except Exception as closed:
            self._fail(closed)

    def _settle(self, response: Response) -> None:
        with suppress(InvalidStateError):  # it is cancelled just now
            self.set_result(response)

    def _fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):
            self.set_exception(error)
