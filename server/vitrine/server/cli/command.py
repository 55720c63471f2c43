"""The command: puts the configs of all groups together, and serves."""

import asyncio
import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from vitrine.model.distribution import DISTRIBUTION, missing_extra
from vitrine.model.output import safe_output
from vitrine.model.variables import find_mistyped
from vitrine.server.capture.config import CaptureConfig
from vitrine.server.capture.folder import prepare_folder
from vitrine.server.cli import options
from vitrine.server.cli.groups import Command
from vitrine.server.cli.operators import COMMANDS
from vitrine.server.engine.cpus import usable_cpus
from vitrine.server.engine.device import Device
from vitrine.server.errors import ConfigError, CrashLoop, StartupError
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.config import BatchingConfig, Limits
from vitrine.server.inference.connections import ConnectionConfig
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.process.config import FrontendKind, ProcessConfig, ServerConfig, pod_advice
from vitrine.server.process.event_loop import run
from vitrine.server.process.limits import check_limits
from vitrine.server.process.port import can_be_shared
from vitrine.server.process.signals import leave
from vitrine.server.process.supervisor import supervise
from vitrine.server.service_config import ServiceConfig
from vitrine.server.telemetry.logs import LogConfig, log_to_stderr
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.tracing_config import TracingConfig
from vitrine.server.temporary_folder import owned_folder

logger = logging.getLogger(__name__)


def _in_one_sentence(command: Command) -> Command:
    """The same command, which ends with one sentence on standard error where the server refuses to start."""

    @functools.wraps(command)
    def run(**values: object) -> None:
        try:
            command(**values)
        except ConfigError as error:
            raise click.UsageError(str(error)) from error
        except (StartupError, CrashLoop) as error:
            logging.shutdown()  # what led to it comes first
            sys.exit(f"vitrine-server: {error}")

    return run


class Program(click.Command):
    """The command, whose help can go anywhere: to a full disk, too. A first word may name another command."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Runs the command."""
        given: Sequence[str] | None = arguments[0] if arguments else settings.get("args")
        first, *rest = (sys.argv[1:] if given is None else given) or [""]
        with safe_output():
            if other := COMMANDS.get(first):
                return other.main(rest, f"vitrine-server {first}")
            return super().main(*arguments, **settings)


@click.command(
    cls=Program,
    context_settings={
        "auto_envvar_prefix": "VITRINE",
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 110,
    },
)
@_in_one_sentence
@options.MODEL
@options.repository
@options.grpc
@options.FRONTEND
@options.PRINT_ENVOY_CONFIG
@options.HTTP_PORT
@options.process
@options.DEVICE
@options.THREADS
@options.limits
@options.batching
@options.admission
@options.CACHE_MB
@options.connections
@options.TOKENS
@options.metrics
@options.tracing
@options.capture
@options.logs
@options.ACCESS_LOG
@click.version_option(package_name=DISTRIBUTION)
def main(
    model: Path | None,
    repository: RepositoryConfig | None,
    grpc: GrpcConfig,
    frontend: str,
    print_envoy_config: bool,
    http_port: int | None,
    process: ProcessConfig,
    device: str,
    threads: int | None,
    limits: Limits,
    batching: BatchingConfig,
    admission: AdmissionConfig,
    cache_mb: int,
    connections: ConnectionConfig,
    tokens: Path | None,
    metrics: MetricsConfig | None,
    tracing: TracingConfig | None,
    capture: CaptureConfig | None,
    logs: LogConfig,
    access_log: bool,
) -> None:
    """Serve MODEL, an ONNX file made by vitrine-train, or a repository of models.

    Without either, the server serves its bundled model. VITRINE_MODEL can name MODEL too. When the server is ready to
    answer, it prints its address on standard output. Two further commands have their own --help: `vitrine-server token
    NAME` makes a token, and `vitrine-server publish RUN REPOSITORY` adds a model to a repository.
    """
    check_limits(process.workers, threads or max(1, usable_cpus() // process.workers))
    _require_extras(FrontendKind(frontend), http_port)
    if capture and not print_envoy_config:
        prepare_folder(capture.folder)
    logs = replace(logs, traced=tracing is not None)
    set_up_log = partial(log_to_stderr, logs, several=process.workers > 1)
    set_up_log()
    for warning in find_mistyped(os.environ):
        logger.warning("%s", warning)
    if advice := pod_advice(process, os.environ):
        logger.info("%s", advice)
    process = _possible(process)
    if metrics and not metrics.host:
        metrics = replace(metrics, host=grpc.host)
    service = ServiceConfig(
        model=model,
        repository=repository,
        device=Device(device),
        threads=threads,
        processes=process.workers,
        batching=batching,
        admission=admission,
        connections=connections,
        cache_bytes=cache_mb * options.MEBIBYTE,
        limits=limits,
        tokens=tokens,
        metrics=metrics,
        tracing=tracing,
        capture=capture,
        access_log=access_log,
    )
    config = ServerConfig(service, grpc, http_port, process, FrontendKind(frontend))
    if print_envoy_config:
        _print_envoy_config(config)
        return
    supervises = config.frontend is FrontendKind.ENVOY or config.process.workers > 1
    (asyncio.run if supervises else run)(_serve(config, set_up_log))  # uvloop lets nobody handle SIGCHLD
    leave()


async def _serve(config: ServerConfig, set_up_log: Callable[[], None]) -> None:
    if config.frontend is FrontendKind.ENVOY:  # the process of a worker becomes Envoy
        with _envoy_folder() as folder:
            await supervise(replace(config, envoy_folder=str(folder)), _announce, set_up_log)
        return
    if config.process.workers > 1:
        await supervise(config, _announce, set_up_log)
        return
    from vitrine.server.process.lifecycle import serve  # gRPC and ONNX Runtime, which a supervisor does without

    await serve(config, _announce)


@contextmanager
def _envoy_folder() -> Iterator[Path]:
    """A folder for the files that workers share with their Envoys.

    Raises:
        StartupError: there is no place for it.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(owned_folder("vitrine-envoy-"))
        except OSError as error:
            raise StartupError(f"Envoy needs a folder for its files, and there is no place for it: {error}") from error
        yield folder


def _require_extras(frontend: FrontendKind, http_port: int | None) -> None:
    """Refuses flags whose packages aren't installed, in one sentence."""
    if frontend is FrontendKind.ENVOY and sys.platform != "linux":
        raise StartupError("--frontend envoy needs Linux: leave it out, and serve Connect with --http-port")
    envoy = frontend is FrontendKind.ENVOY
    wanted = {"--frontend envoy": envoy, "--http-port": http_port is not None and not envoy}  # Envoy speaks HTTP itself
    for flag, extra in (("--frontend envoy", "envoy"), ("--http-port", "http")):
        if wanted[flag] and (error := missing_extra(flag, extra)):
            raise StartupError(error)


def _print_envoy_config(config: ServerConfig) -> None:
    """Prints the configuration as JSON; the paths in it are those of a worker that serves."""
    from vitrine.server.frontends.asgi.envoy_config import EnvoyFiles, envoy_config
    from vitrine.server.process.envoy import APPLICATION

    files = EnvoyFiles(Path("FOLDER"), worker=0)
    http_port = config.http.port if config.http else None
    written = envoy_config(config.grpc, APPLICATION, files, config.service.connections, http_port)
    print(json.dumps(written, indent=2))


def _possible(process: ProcessConfig) -> ProcessConfig:
    """The same processes, or one where the platform can't share a port between several."""
    if process.workers > 1 and not can_be_shared():
        logger.warning("this platform can't share a port between processes: running 1 worker, not %d", process.workers)
        return replace(process, workers=1)
    return process


def _announce(address: str) -> None:
    """Prints the address. A full disk, or a reader that is gone, is no reason to stop serving."""
    try:
        print(f"vitrine-server listening on {address}", flush=True)
    except OSError as error:
        logger.warning("can't print that the server listens on %s: %s", address, error.strerror)
