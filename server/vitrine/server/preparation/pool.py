"""Prepares image files for callers, each in its turn: from the event loop to threads, and from them to processes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

from vitrine.model import Shape
from vitrine.model.preparation.step import Step
from vitrine.server.preparation.messages import Pixels
from vitrine.server.preparation.processes import Decoders
from vitrine.server.preparation.turns import Turns

Prepared = TypeVar("Prepared")
"""The outcome of preparing a file."""


class PreparationPool:
    """Prepares image files; make it and use it on one event loop.

    One place more than a caller may have stays free for the others: a caller's heaviest files hold up nobody else.

    Args:
        decoders: the processes.
        threads: threads that wait for them, at least `share` + 1.
        share: images of one caller that are prepared at once.
    """

    def __init__(self, decoders: Decoders, threads: Executor, share: int) -> None:
        self._decoders = decoders
        self._threads = threads
        self._turns = Turns(share + 1, share)

    async def prepare(self, file: bytes, caller: str, max_pixels: int, shape: Shape) -> Pixels:
        """Turns a caller's image file into pixels, uint8 `shape`; see `Decoders.prepare` for the rest.

        A file whose caller goes while it waits is never prepared. Where it goes later, its place stays taken until the
        image is done, or its time is up.
        """
        return await self._in_turn(self._decoders.prepare, file, caller, max_pixels, shape)

    async def show(self, file: bytes, caller: str, max_pixels: int, shape: Shape) -> tuple[Pixels, tuple[Step, ...]]:
        """The same, with a picture after each step on the way to the pixels."""
        return await self._in_turn(self._decoders.show, file, caller, max_pixels, shape)

    async def _in_turn(
        self, work_on: Callable[[bytes, int, Shape], Prepared], file: bytes, caller: str, max_pixels: int, shape: Shape
    ) -> Prepared:
        await self._turns.enter(caller)
        try:
            loop, in_context = asyncio.get_running_loop(), copy_context().run  # log lines name this call, too
            work = self._threads.submit(in_context, work_on, file, max_pixels, shape)
        except BaseException:
            self._turns.leave(caller)
            raise

        def leave(_: "Future[Prepared]") -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._turns.leave, caller)

        work.add_done_callback(leave)
        return await asyncio.wrap_future(work)
