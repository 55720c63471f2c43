"""The begin of serving: the service is opened, unless the server is told to stop meanwhile."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from vitrine.server.inference.service import Service

logger = logging.getLogger(__name__)


async def open_unless_stopped(
    stack: AsyncExitStack, opening: AbstractAsyncContextManager[Service], stopping: asyncio.Event
) -> Service | None:
    """Opens a service, to be closed with the stack; None: the server was told to stop. Loading models can take long.

    Raises:
        StartupError: it can't be opened.
    """
    opened = asyncio.ensure_future(stack.enter_async_context(opening))
    stopped = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({opened, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not stopping.is_set():
        return await opened
    opened.cancel()
    await asyncio.gather(opened, return_exceptions=True)  # what it has opened so far is closed
    logger.info("told to stop before the server was ready")
    return None
