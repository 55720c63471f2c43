"""Stopping without losing answers, and faults that stay inside; over real sockets."""

import logging
import queue
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving import running_server

from vitrine.server.classifier import Classifier
from vitrine.server.config import ServerConfig
from vitrine.server.engine import Device
from vitrine.server.grpc.server import GrpcServer, build_server
from vitrine.server.models import Models, load_model
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

ONE_IMAGE = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)))


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
        states.cancel()
        requests.put(pb.ClassifyStreamRequest(request=ONE_IMAGE))
        assert len(next(answers).response.digits) == 1
        requests.put(None)
        assert list(answers) == []
        assert server.process.wait(30) == 0


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
async def failing_server(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GrpcServer]:
    """A server whose model fails on every run."""
    model = load_model(tiny_artifact, Device.CPU)

    def run(*_: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(model.engine, "run", run)
    with ThreadPoolExecutor(1) as workers:
        config = ServerConfig(tiny_artifact, port=0)
        server = build_server(Classifier(Models([model]), config.limits, workers), config)
        await server.start()
        yield server
        await server.drain(0)


async def test_a_fault_inside_is_logged_and_not_shown(
    failing_server: GrpcServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with grpc.aio.insecure_channel(failing_server.address) as channel:
        with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as caught:
            await ClassifierServiceStub(channel).Classify(ONE_IMAGE)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    message = caught.value.details() or ""
    assert "secret" not in message
    incident = message.rsplit(" ", 1)[-1]
    assert f"incident {incident}" in caplog.text
    assert "RuntimeError: the secret cause" in caplog.text
