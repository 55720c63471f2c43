"""The life of a server: load, check, listen, answer, follow the repository, drain."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrine.server.engine.loading import load_model, load_version
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.server import METHODS, GrpcFrontend
from vitrine.server.inference.service import Service
from vitrine.server.models.repository import LoadModel, ServedRepository, load_in_pool, poll
from vitrine.server.models.snapshot import Models, ServedModel
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.signals import on_signals
from vitrine.server.security.tokens import open_access
from vitrine.server.telemetry.instrumentation import Telemetry, measuring
from vitrine.server.telemetry.logs import log_call
from vitrine.server.telemetry.tracing import open_tracing

if TYPE_CHECKING:
    from vitrine.server.telemetry.spans import Tracing

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""How long the last spans may take to be sent, where the drain has left so much of its time."""


async def serve(
    config: ServerConfig, announce: Callable[[str], None], asked_to_stop: asyncio.Event | None = None
) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Threads may still be at work on what nobody waits for any more.

    Args:
        config: the settings.
        announce: called once with HOST:PORT, when the server is ready to answer.
        asked_to_stop: what else can end it, by being set.

    Raises:
        StartupError: the model fails a check, its device isn't there, or an address can't be listened on.
    """
    asked_to_stop = asked_to_stop or asyncio.Event()
    on_signals(asked_to_stop)  # first of all: a container's first process is deaf to signals that it doesn't handle
    with measuring(config.metrics, METHODS) as measurement:
        await _serve(config, announce, asked_to_stop, measurement)
    logger.info("stopped")


async def _serve(
    config: ServerConfig, announce: Callable[[str], None], asked_to_stop: asyncio.Event, measurement: Telemetry
) -> None:
    tracing = open_tracing(config.tracing) if config.tracing else None
    workers = ThreadPoolExecutor(config.threads, thread_name_prefix="prepare")
    runs = ThreadPoolExecutor(config.batching.parallel, thread_name_prefix="run")
    loads = ThreadPoolExecutor(1, thread_name_prefix="load")
    opening = asyncio.get_running_loop().run_in_executor(runs, _open_models, config, measurement, loads)
    loading = asyncio.ensure_future(opening)
    await _either(loading, asked_to_stop)
    if asked_to_stop.is_set():
        logger.info("asked to stop before it was ready")
        return
    models, followed, load = await loading
    access = open_access(config.tokens)
    service = Service(models, config.limits, workers, runs, config.batching, config.admission, load, access)
    observers = [log_call, *([tracing.observe] if tracing else [])]
    build = partial(GrpcFrontend, service, observers=observers, meters=measurement.observers)
    grpc_config = GrpcConfig(
        config.host, config.port, config.shares_port, config.tls, config.insecure, config.reflection
    )
    frontend = build(grpc_config)
    async with measurement.of(service):
        async with followed:
            gc.freeze()  # what is loaded by now stays: looking for garbage in it took some percent of every request
            await frontend.start()
            service.readiness.start()
            measurement.show_ready(True)
            announce(frontend.address)
            frontend = await _keep_answering(frontend, build, grpc_config, asked_to_stop)
        measurement.show_ready(False)
        service.readiness.leave()
        seconds_left = await _drain(frontend, config)
    if tracing:
        await _flush(tracing, min(FLUSH_SECONDS, seconds_left))
    for pool in (workers, runs, loads):
        pool.shutdown(wait=False, cancel_futures=True)


async def _keep_answering(
    frontend: GrpcFrontend,
    build: Callable[[GrpcConfig], GrpcFrontend],
    config: GrpcConfig,
    asked_to_stop: asyncio.Event,
) -> GrpcFrontend:
    """Starts gRPC's server again when it ends by itself, until it is asked to stop; gives the last one.

    Raises:
        StartupError: the address can't be listened on any more.
    """
    while True:
        failing = asyncio.ensure_future(frontend.failed())
        await _either(failing, asked_to_stop)
        if asked_to_stop.is_set():
            failing.cancel()
            return frontend
        logger.error("gRPC's server ended by itself, by %s, and is started again", failing.result())
        await frontend.drain(0)
        frontend = build(replace(config, port=frontend.port))
        await frontend.start()


async def _either(work: "asyncio.Future[Any]", event: asyncio.Event) -> None:
    """Returns when the work is done or the event is set."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _open_models(
    config: ServerConfig, measurement: Telemetry, loads: Executor
) -> tuple[Models, AbstractAsyncContextManager[None], LoadModel | None]:
    """What is served, warmed up; and where that is a repository: the context to follow it in, and a way to look now."""
    rows = config.batching.max_rows

    def load(path: Path, name: str, version: str) -> ServedModel:
        return measurement.observed(_warm_up(load_version(config.device, path, name, version), rows))

    if config.repository:
        repository = ServedRepository(config.repository, load)
        looking = poll(repository, config.repository.reload_seconds)
        return repository.models, looking, load_in_pool(loads, repository)
    model = measurement.observed(_warm_up(load_model(config.model, config.device), rows))
    logger.info("model %s@%s runs on %s", model.name, model.version, model.engine.provider)
    return Models.of(model), nullcontext(), None


def _warm_up(model: ServedModel, rows: int) -> ServedModel:
    """Runs the largest batch once, for all outputs: memory is laid out and kernels are chosen before anyone waits."""
    model.engine.run(np.zeros((rows, *model.metadata.input.shape), np.uint8), model.outputs)
    return model


async def _drain(server: GrpcFrontend, config: ServerConfig) -> float:
    """Says that the server leaves, lets that get about, and then lets what is under way finish.

    Gives how many of the seconds for that are left.
    """
    logger.info("leaving: answering for %g s more while that gets about", config.propagation_seconds)
    await asyncio.sleep(config.propagation_seconds)
    logger.info("draining for up to %g s", config.drain_seconds)
    begin = time.monotonic()
    await server.drain(config.drain_seconds)
    return config.drain_seconds - (time.monotonic() - begin)


async def _flush(tracing: "Tracing", seconds: float) -> None:
    """Lets the last spans be sent, for so long at most: where it takes longer, its thread is left behind."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
    closing = asyncio.get_running_loop().run_in_executor(thread, tracing.close)
    await asyncio.wait([closing], timeout=max(0.0, seconds))
    thread.shutdown(wait=False)
