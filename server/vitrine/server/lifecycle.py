"""The life of a server: load, check, listen, answer, drain."""

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from vitrine.server.classifier import Classifier
from vitrine.server.config import ServerConfig
from vitrine.server.grpc.server import build_server
from vitrine.server.loading import load_model
from vitrine.server.models import Models

logger = logging.getLogger(__name__)


async def serve(config: ServerConfig, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Args:
        config: the settings.
        announce: called once with HOST:PORT, when the server is ready to answer.

    Raises:
        StartupError: the model fails a check, its device isn't there, or the address can't be listened on.
    """
    model = load_model(config.model, config.device)
    logger.info("model %s@%s runs on %s", model.name, model.version, model.engine.provider)
    workers = ThreadPoolExecutor(config.threads, thread_name_prefix="prepare")
    runs = ThreadPoolExecutor(config.batching.parallel, thread_name_prefix="run")
    classifier = Classifier(Models(model), config.limits, workers, runs, config.batching, config.admission)
    server = build_server(classifier, config)
    asked_to_stop = _on_signals()
    await server.start()
    announce(server.address)
    await asked_to_stop.wait()
    logger.info("draining for up to %g s", config.drain_seconds)
    await server.drain(config.drain_seconds)
    for pool in (workers, runs):
        pool.shutdown(cancel_futures=True)  # what a thread still does is one image or one run, and soon over
    logger.info("stopped")


def _on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event
