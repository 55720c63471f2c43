"""The life of a server: load, check, listen, answer, follow the repository, drain."""

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

from vitrine.server.classifier import Classifier
from vitrine.server.config import ServerConfig
from vitrine.server.grpc.server import build_server
from vitrine.server.loading import load_model, load_version
from vitrine.server.models import Models
from vitrine.server.reloading import ServedRepository, following

logger = logging.getLogger(__name__)


async def serve(config: ServerConfig, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Args:
        config: the settings.
        announce: called once with HOST:PORT, when the server is ready to answer.

    Raises:
        StartupError: the model fails a check, its device isn't there, or the address can't be listened on.
    """
    models, followed = _open_models(config)
    workers = ThreadPoolExecutor(config.threads, thread_name_prefix="classify")
    server = build_server(Classifier(models, config.limits, workers), config)
    asked_to_stop = _on_signals()
    async with followed:
        await server.start()
        announce(server.address)
        await asked_to_stop.wait()
    logger.info("draining for up to %g s", config.drain_seconds)
    await server.drain(config.drain_seconds)
    workers.shutdown(cancel_futures=True)  # what a worker still does is one image or one run, and soon over
    logger.info("stopped")


def _open_models(config: ServerConfig) -> tuple[Models, AbstractAsyncContextManager[None]]:
    """What is served, and the context in which that follows the repository, where it comes from one."""
    if config.repository:
        load = partial(load_version, config.device)
        repository = ServedRepository(config.repository, load)
        return repository.models, following(repository, config.repository.reload_seconds)
    model = load_model(config.model, config.device)
    logger.info("model %s@%s runs on %s", model.name, model.version, model.engine.provider)
    return Models(model), nullcontext()


def _on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event
