"""Stopping without losing answers, and faults that stay inside; over real sockets."""

import asyncio
import logging
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
import pytest
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.serving import PATIENCE_SECONDS, SERVER, RunningServer, a_call, becomes, running_server

from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.server import LOST_SECONDS, GrpcFrontend
from vitrine.server.inference.requests import ClassifyRequest
from vitrine.server.inference.service import Service
from vitrine.server.opening import open_service
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.lifecycle import serve
from vitrine.server.service_config import ServiceConfig
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

ONE_IMAGE = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)))


@pytest.fixture
def server_of_its_own(tiny_artifact: Path) -> Iterator[RunningServer]:
    """A server that the test may stop."""
    with running_server(tiny_artifact) as running:
        yield running


def test_sigterm_lets_what_is_under_way_finish(tiny_artifact: Path) -> None:
    requests: queue.SimpleQueue[pb.ClassifyStreamRequest | None] = queue.SimpleQueue()
    with running_server(tiny_artifact) as server, grpc.insecure_channel(server.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest())
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        answers = ClassifierServiceStub(channel).ClassifyStream(iter(requests.get, None))
        requests.put(pb.ClassifyStreamRequest(request=ONE_IMAGE))
        assert len(next(answers).response.digits) == 1

        server.process.terminate()
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        requests.put(pb.ClassifyStreamRequest(request=ONE_IMAGE))
        assert len(next(answers).response.digits) == 1
        requests.put(None)
        assert list(answers) == []
        assert server.process.wait(30) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_whose_output_cant_be_written_serves(workers: str, tiny_artifact: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [str(SERVER), str(tiny_artifact), "--port", "0", "--workers", workers]
    with Path("/dev/full").open("w") as full, log.open("w") as errors:
        process = subprocess.Popen(command, stdout=full, stderr=errors)
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not (said := re.search(r"WARNING .*listens on (\S+): No space left on device", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        with grpc.insecure_channel(said[1]) as channel:
            assert len(ClassifierServiceStub(channel).Classify(ONE_IMAGE).digits) == 1
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_signals_of_programs_that_rotate_logs_are_ignored(tiny_artifact: Path, workers: str) -> None:
    with running_server(tiny_artifact, "--workers", workers) as server:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            server.process.send_signal(number)
        assert server.stop() == 0


def test_a_watch_of_the_health_does_not_hold_a_server_that_drains(tiny_artifact: Path) -> None:
    hours = ("--drain-seconds", "7200")
    with running_server(tiny_artifact, *hours) as server, grpc.insecure_channel(server.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest())
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        server.process.terminate()
        assert {state.status for state in states} == {health_pb2.HealthCheckResponse.NOT_SERVING}
        assert server.process.wait(60) == 0


def test_every_watcher_hears_of_the_end_though_another_has_gone(server_of_its_own: RunningServer) -> None:
    with grpc.insecure_channel(server_of_its_own.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="vitrine.v1.ClassifierService")
        stays, goes = health.Watch(request), health.Watch(request)
        assert next(stays).status == next(goes).status == health_pb2.HealthCheckResponse.SERVING
        goes.cancel()
        assert goes.code() is grpc.StatusCode.CANCELLED
        server_of_its_own.process.terminate()
        assert [state.status for state in stays] == [health_pb2.HealthCheckResponse.NOT_SERVING]


def test_an_unknown_service_can_be_watched(server_of_its_own: RunningServer) -> None:
    with grpc.insecure_channel(server_of_its_own.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest(service="elsewhere"))
        assert next(states).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        assert server_of_its_own.stop() == 0
        assert list(states) == []


def test_new_requests_are_answered_while_the_end_gets_about_and_a_second_signal_ends_that(tiny_artifact: Path) -> None:
    hours = ("--propagation-seconds", "7200")
    with running_server(tiny_artifact, *hours) as server, grpc.insecure_channel(server.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest())
        next(states)
        server.process.terminate()
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert len(ClassifierServiceStub(channel).Classify(ONE_IMAGE).digits) == 1
        server.process.terminate()
        assert server.process.wait(60) == 128 + signal.SIGTERM


def status_on_a_new_connection(target: str) -> grpc.StatusCode:
    with grpc.insecure_channel(target) as channel:
        call: Any = ClassifierServiceStub(channel).Classify
        code: grpc.StatusCode = call.future(ONE_IMAGE).code()
        return code


def test_a_draining_server_takes_no_new_requests(tiny_artifact: Path) -> None:
    requests: queue.SimpleQueue[pb.ClassifyStreamRequest | None] = queue.SimpleQueue()
    with running_server(tiny_artifact) as server, grpc.insecure_channel(server.target) as channel:
        stub, health = ClassifierServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        answers = stub.ClassifyStream(iter(requests.get, None))
        requests.put(pb.ClassifyStreamRequest(request=ONE_IMAGE))
        next(answers)
        states = health.Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
        next(states)
        server.process.terminate()
        assert [state.status for state in states] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        unavailable = grpc.StatusCode.UNAVAILABLE
        assert becomes(lambda: status_on_a_new_connection(server.target), unavailable) is unavailable
        requests.put(None)
        assert list(answers) == []
        assert server.process.wait(60) == 0


def test_sigterm_ends_what_takes_longer_than_the_drain(tiny_artifact: Path) -> None:
    with (
        running_server(tiny_artifact, "--drain-seconds", "0") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        never: queue.SimpleQueue[Any] = queue.SimpleQueue()
        answers = ClassifierServiceStub(channel).ClassifyStream(_one_then_wait(never))
        next(answers)
        assert server.stop() == 0
        with pytest.raises(grpc.RpcError):
            next(answers)
        never.put(None)


def _one_then_wait(until: "queue.SimpleQueue[Any]") -> Iterator[pb.ClassifyStreamRequest]:
    yield pb.ClassifyStreamRequest(request=ONE_IMAGE)
    until.get()


@pytest.fixture
async def failing_server(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GrpcFrontend]:
    """A server whose model fails on every run."""

    def run(*_: object) -> None:
        raise RuntimeError("the secret cause")

    async with open_service(ServiceConfig(tiny_artifact)) as service:
        monkeypatch.setattr(service.models.snapshot.default.engine, "run", run)
        server = GrpcFrontend(service, GrpcConfig(port=0))
        await server.start()
        yield server
        await server.drain(0)


async def test_a_fault_inside_is_logged_and_not_shown(
    failing_server: GrpcFrontend, caplog: pytest.LogCaptureFixture
) -> None:
    async with grpc.aio.insecure_channel(failing_server.address) as channel:
        with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as caught:
            await ClassifierServiceStub(channel).Classify(ONE_IMAGE)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    message = caught.value.details() or ""
    assert "secret" not in message
    request_id = message.rsplit(" ", 1)[-1]
    assert f"request {request_id}" in caplog.text
    trailing = dict(caught.value.trailing_metadata() or ())
    assert (trailing["x-request-id"], trailing["grpc-retry-pushback-ms"]) == (request_id, "-1")
    assert "RuntimeError: the secret cause" in caplog.text


async def test_a_drained_server_leaves_no_call_behind(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left when the event loop closes logs tracebacks; this call takes a few turns of the loop to end."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def classify(*_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _turn in range(20):
                await asyncio.sleep(0)
            ended.set()

    monkeypatch.setattr(Service, "classify", classify)
    async with open_service(ServiceConfig(tiny_artifact)) as service:
        server = GrpcFrontend(service, GrpcConfig(port=0))
        await server.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            call: Any = ClassifierServiceStub(channel).Classify(ONE_IMAGE)
            await begun.wait()
            await server.drain(0)
            assert ended.is_set()
            with pytest.raises(grpc.aio.AioRpcError):
                await call


HALF_A_CALL = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex(
    "000000 04 00 00000000"  # SETTINGS
    "000001 01 00 00000001 83"  # HEADERS of stream 1 that never end: `:method: POST`, and no END_HEADERS
)
"""A call that gRPC's core has and never hands over. One that comes while core stops can be lost to the same effect."""


async def test_a_call_that_was_never_handed_over_does_not_hold_a_server_that_drains(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends when no other call is under way: those are still answered."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    classify = Service.classify

    async def held_up(*arguments: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await classify(*arguments)

    monkeypatch.setattr(Service, "classify", held_up)
    async with open_service(ServiceConfig(tiny_artifact)) as service:
        server = GrpcFrontend(service, GrpcConfig(port=0))
        await server.start()
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HALF_A_CALL)
        await reader.read(1)  # the connection stands
        async with grpc.aio.insecure_channel(server.address) as channel:
            call: Any = ClassifierServiceStub(channel).Classify(ONE_IMAGE)
            await begun.wait()
            draining = asyncio.ensure_future(server.drain(7200))
            await asyncio.wait([draining], timeout=4 * LOST_SECONDS)
            assert not draining.done()
            go_on.set()
            assert len((await call).digits) == 1
            await asyncio.wait_for(draining, PATIENCE_SECONDS)
        writer.close()


async def test_a_front_end_that_was_drained_has_not_failed(tiny_artifact: Path) -> None:
    async with open_service(ServiceConfig(tiny_artifact)) as service:
        server = GrpcFrontend(service, GrpcConfig(port=0))
        await server.start()
        failing = asyncio.ensure_future(server.failed())
        await server.drain(0)
        begin = time.process_time()
        await asyncio.wait([failing], timeout=1)
        assert not failing.done()
        assert time.process_time() - begin < 0.5
        failing.cancel()


async def test_a_front_end_that_takes_up_no_more_calls_of_a_method_has_failed(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    async with open_service(ServiceConfig(tiny_artifact)) as service:
        server = GrpcFrontend(service, GrpcConfig(port=0))
        await server.start()
        failing = asyncio.ensure_future(server.failed())
        async with grpc.aio.insecure_channel(server.address) as channel:
            with monkeypatch.context() as broken:
                broken.setattr(cygrpc, "_handle_rpc", fail)
                call: Any = ClassifierServiceStub(channel).Classify(ONE_IMAGE)
                assert await asyncio.wait_for(failing, PATIENCE_SECONDS) == "MemoryError"
            call.cancel()
        await server.drain(0)


async def test_a_request_whose_caller_has_gone_is_not_prepared_further(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, prepared = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def prepare(_: object, file: bytes, *__: object) -> npt.NDArray[np.uint8]:
        prepared.append(file)
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        return np.zeros((18, 18), np.uint8)

    monkeypatch.setattr("vitrine.server.preparation.processes.Decoders.prepare", prepare)
    async with open_service(ServiceConfig(tiny_artifact, threads=1)) as service:
        model = service.model("", a_call())
        call = asyncio.ensure_future(service.classify(ClassifyRequest(model, files=[b"first", b"second"]), a_call()))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        answer = await service.classify(ClassifyRequest(model, files=[b"another caller's"]), a_call())
    assert len(answer.digits) == 1
    assert prepared == [b"first", b"another caller's"]


async def test_a_signal_while_models_load_ends_the_server_before_it_is_ready(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's first process is deaf to signals that it doesn't handle."""
    begun, go_on = asyncio.Event(), threading.Event()
    announced: list[str] = []
    loop = asyncio.get_running_loop()

    def load(*_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()

    monkeypatch.setattr("vitrine.server.engine.loading.load_artifact", load)
    config = ServerConfig(ServiceConfig(tiny_artifact), GrpcConfig(port=0))
    serving = asyncio.ensure_future(serve(config, announced.append))
    await begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    assert announced == []
    go_on.set()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
