"""Opens a service: its models, thread pools, repository, access and telemetry live as long as it is open.

`open_service` is the one way in, for the command, the tests, a notebook and other frameworks. It knows no transport,
and starts no process.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import ArtifactError
from vitrine.server.bundled import bundled_model
from vitrine.server.capture.capture import open_capture
from vitrine.server.engine.device import CPU_PROVIDER, Device
from vitrine.server.errors import StartupError
from vitrine.server.inference.service import Service
from vitrine.server.models.repository import LoadModel, ServedRepository, load_in_pool, poll
from vitrine.server.models.snapshot import Models, RunTime, ServedModel
from vitrine.server.preparation.pool import PreparationPool
from vitrine.server.preparation.processes import Decoders
from vitrine.server.security.tokens import open_access
from vitrine.server.service_config import ServiceConfig
from vitrine.server.telemetry.instrumentation import Telemetry, open_telemetry
from vitrine.server.telemetry.logs import log_call
from vitrine.server.telemetry.tracing import open_tracing
from vitrine.server.threads import started_threads

if TYPE_CHECKING:
    from vitrine.server.telemetry.spans import Tracing

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""Seconds that sending the last spans may take when a service is closed."""

LONG_RUN_SECONDS = 0.01
"""Seconds that the runs which measure a model may take before no further one is begun."""

MEASURED_RUNS = 20
"""Runs that measure a model."""

Load: TypeAlias = Callable[[Path, Device, str, str], ServedModel]
"""Loads an artifact on a device, under a name and a version; empty ones are taken from the artifact."""


def _load_with_onnx_runtime(path: Path, device: Device, name: str, version: str, register: str) -> ServedModel:
    """Loads an artifact with ONNX Runtime, which is imported here: a supervisor does without it."""
    from vitrine.server.engine.loading import load_artifact

    return load_artifact(path, device, name, version, register)


@asynccontextmanager
async def open_service(
    config: ServiceConfig,
    methods: Collection[str] = (),
    load: Load | None = None,
    reread: asyncio.Event | None = None,
) -> AsyncIterator[Service]:
    """Opens a service, which is closed when the context ends.

    It classifies at once. Its readiness is false until the opener calls `service.readiness.start()`.

    Closing waits for the last spans to be sent, for up to `FLUSH_SECONDS`, and not for threads that are still at work.

    Args:
        config: the settings.
        methods: the methods that metrics count by name, as `/PACKAGE.SERVICE/METHOD`; others count as `other`.
        load: loads an artifact; called in a thread. None: with ONNX Runtime.
        reread: set to have the repository looked at at once.

    Raises:
        StartupError: an artifact fails a check, its device isn't there, the tokens can't be used, the metrics'
            address can't be listened on, or the extra that captures isn't installed.
    """
    async with AsyncExitStack() as resources:
        # 1. What needs no model comes first: it fails early, and metrics are there while models load.
        access = open_access(None if config.tokens is None else Path(config.tokens))
        tracing = open_tracing(config.tracing) if config.tracing else None
        if tracing:
            resources.push_async_callback(_flush, tracing)
        telemetry = resources.enter_context(open_telemetry(config.metrics, methods))
        # 2. The pools. Threads that outlive the service are at work on what nobody waits for any more.
        share = config.preparation_threads
        preparations, runs, loads = (
            started_threads(size, name)
            for name, size in (("prepare", share + 1), ("run", config.parallel_runs), ("load", 1))
        )
        decoders = Decoders(config.admission.max_bytes)
        resources.callback(decoders.close)
        for pool in (preparations, loads):
            resources.callback(pool.shutdown, wait=False, cancel_futures=True)
        resources.callback(runs.shutdown, wait=False)  # runs under way end: callers wait for their rows
        # 3. The models, loaded in a thread: the event loop stays free, to be told to stop for example.
        load = load or partial(_load_with_onnx_runtime, register=config.weights_register)
        opening = partial(_open_models, config, load, telemetry, loads, reread or asyncio.Event())
        models, following, load_model = await asyncio.get_running_loop().run_in_executor(loads, opening)
        # 4. The service and what observes it.
        capture = await resources.enter_async_context(open_capture(config.capture, config.processes))
        if capture is not None:
            capture.warn_of_unknown_layers(models.snapshot.models)
        service = Service(
            models,
            config.limits,
            PreparationPool(decoders, preparations, share),
            runs,
            replace(config.batching, parallel=config.parallel_runs),
            config.admission,
            load_model,
            access,
            observers=[
                partial(log_call, usual=logging.INFO if config.access_log else logging.DEBUG),
                *([tracing.observe] if tracing else []),
            ],
            meters=telemetry.observers,
            connections=config.connections,
            cache_bytes=config.cache_bytes,
            capture=capture,
        )
        async with telemetry.of(service), following:
            yield service


def _open_models(
    config: ServiceConfig, load: Load, telemetry: Telemetry, loads: Executor, reread: asyncio.Event
) -> tuple[Models, AbstractAsyncContextManager[None], LoadModel | None]:
    """Loads the models; with a repository, gives the context that follows its changes, and a way to load on demand."""

    def load_warm(path: Path, name: str, version: str) -> ServedModel:
        return telemetry.observed(_warm_up(load(path, config.device, name, version), config.batching.max_rows))

    if config.repository:
        repository = ServedRepository(config.repository, load_warm)
        following = poll(repository, config.repository.reload_seconds, reread)
        return repository.models, following, load_in_pool(loads, repository)
    path = Path(config.model) if config.model else bundled_model()
    try:
        model = load_warm(path, "", "")
    except ArtifactError as error:
        raise StartupError(f"{path} is not served: {error}") from error
    logger.info("model %s@%s runs on %s", model.name, model.version, model.engine.provider)
    return Models.of(model), nullcontext(), None


def _warm_up(model: ServedModel, rows: int) -> ServedModel:
    """Runs the largest batch once for all outputs, so that memory and kernels are chosen before callers wait.

    Then it measures runs of one image and of a full batch.
    """
    pixels = np.zeros((rows, *model.metadata.input.shape), np.uint8)
    model.engine.run(pixels, model.outputs)
    first, full = (_seconds(model, pixels[:count]) for count in (1, rows))
    return replace(model, run_time=RunTime(first, max(0.0, full - first) / max(1, rows - 1)))


def _seconds(model: ServedModel, pixels: npt.NDArray[np.uint8]) -> float:
    """The shortest of several runs, or of fewer long ones: other work on the machine can only add to it.

    A run on the CPU happens in this thread, whose own time is counted: on a busy machine, it has to wait for the rest.
    """
    clock = time.thread_time if model.engine.provider == CPU_PROVIDER else time.perf_counter
    times: list[float] = []
    while len(times) < MEASURED_RUNS and sum(times) < LONG_RUN_SECONDS:
        begin = clock()
        model.engine.run(pixels, model.required_outputs)
        times.append(clock() - begin)
    return min(times)


async def _flush(tracing: "Tracing") -> None:
    """Sends the last spans. A collector that hangs is given up, with the thread that waits for it."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
    try:
        closing = asyncio.get_running_loop().run_in_executor(thread, tracing.close)
        await asyncio.wait([closing], timeout=FLUSH_SECONDS)
    finally:
        thread.shutdown(wait=False)
