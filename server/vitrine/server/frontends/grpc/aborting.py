"""Ends a call with a status, and lets go of all that it held. `status` makes statuses of errors."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import grpc
import grpc.aio

from vitrine.server.protocols.metadata import NO_RETRY, with_request_id


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", status: grpc.Status, request_id: str) -> NoReturn:
    """Ends the call.

    Raises:
        grpc.aio.AbortError: always; gRPC awaits it.
    """
    try:
        await context.abort(status.code, status.details, _trailing(status, request_id))
    except grpc.aio.AbortError as error:
        when_over(partial(_forget, error))
        raise


def _trailing(status: grpc.Status, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    further = (NO_RETRY,) if status.code is grpc.StatusCode.INTERNAL else ()
    return (*with_request_id(status.trailing_metadata, request_id), *further)


def when_over(tell: Callable[[], None]) -> None:
    """Calls `tell` when gRPC's task for this call has ended: the answer has been sent, or can't be any more.

    A callback of gRPC's context would do too, and keep all of the call until the garbage collector comes: the context
    holds the callback, which holds the context.
    """
    if task := asyncio.current_task():
        task.add_done_callback(lambda _: tell())


def _forget(error: BaseException) -> None:
    """Cuts the error's references to the frames that it was raised in.

    gRPC's context keeps the error, whose traceback keeps the context. Without this, a refused call with its request,
    and even a model that is no longer served, stays in memory until the garbage collector runs.
    """
    error.__traceback__ = error.__context__ = None
