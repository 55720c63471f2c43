"""Vitrine on a real Ray cluster of three nodes on this machine, through Ray's gRPC proxy: callers see no difference."""

import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt
import pytest
import ray
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest
from oip.conftest import report
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.config import gRPCOptions
from ray.serve.schema import ServeDeploySchema
from support.callers import bearer, line, secret
from support.environments import Environment
from support.serving import PATIENCE_SECONDS, RunningServer

from vitrine.client import AuthenticationError, Client, InvalidRequestError, PermissionDeniedError
from vitrine.oip import inference_pb2
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub
from vitrine.server.engine.device import Device
from vitrine.server.errors import ConfigError
from vitrine.server.inference.call import Call, Stage
from vitrine.server.inference.service import Service
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.models.version_policy import VersionPolicy
from vitrine.server.opening import open_service
from vitrine.server.ray_serve import SERVICERS, application, replica
from vitrine.server.ray_serve.application import USUAL
from vitrine.server.ray_serve.replica import Replica
from vitrine.server.ray_serve.settings import DEFAULTS, service_config
from vitrine.server.service_config import ServiceConfig
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

Pixels = npt.NDArray[np.uint8]

CALLS = 200
SERVE_YAML = Path(__file__).parents[2] / "deploy" / "ray" / "serve.yaml"
NODE = {"num_cpus": 2, "object_store_memory": 100 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two more nodes."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def triton_environment() -> Environment:
    """Where Triton's client is installed."""
    environment = Environment("triton")
    environment.make()
    return environment


@pytest.fixture(scope="module")
def monkeymodule() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def target(
    cluster: Cluster, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory, monkeymodule: pytest.MonkeyPatch
) -> str:
    """The address of Ray's proxy, for an application that takes tokens, with a replica on each node."""
    monkeymodule.setitem(USUAL, "autoscaling_config", None)
    monkeymodule.setitem(USUAL, "num_replicas", 3)
    monkeymodule.setitem(USUAL, "max_replicas_per_node", 1)
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(line("all", "predict,activations,parameters") + line("board", "predict"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(
        proxy_location="HeadOnly",
        http_options={"port": 0},
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=list(SERVICERS)),
    )
    settings = {"model": str(tiny_artifact), "tokens": str(tokens)}
    serve.run(application(settings), name="vitrine")
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(target: str) -> Iterator[Client]:
    with Client(target, token=secret("all")) as client:
        yield client


def test_the_sdk_is_used_as_ever(client: Client, server: RunningServer, pixels: Pixels) -> None:
    with Client(server.target) as direct:
        expected = direct.classify(pixels[0], preparation="none")
        through_ray = client.classify(pixels[0], preparation="none")
        assert through_ray.digit == expected.digit
        for layer, values in expected.activations.items():
            assert np.allclose(through_ray.activations[layer], values, atol=1e-6)
        assert client.model().label == direct.model().label
        assert np.array_equal(client.parameters("linear_1").weight, direct.parameters("linear_1").weight)
        assert [p.digit for p in client.classify_many(pixels, preparation="none")] == [
            p.digit for p in direct.classify_many(pixels, preparation="none")
        ]
    assert client.health()


def test_errors_have_their_reasons(client: Client, pixels: Pixels) -> None:
    with pytest.raises(InvalidRequestError, match="no layer is called 'nope'") as refused:
        client.classify(pixels[0], preparation="none", activations=["nope"])
    assert (refused.value.reason, refused.value.field) == ("LAYER_UNKNOWN", "activations.names[0]")
    assert refused.value.request_id


def test_tokens_are_asked_for(target: str, pixels: Pixels) -> None:
    with Client(target, token="wrong") as stranger, pytest.raises(AuthenticationError):
        stranger.classify(pixels[0], preparation="none")
    with Client(target, token=secret("board")) as board, pytest.raises(PermissionDeniedError):
        board.parameters("linear_1")


def test_the_open_protocol_and_streams_work(target: str, pixels: Pixels) -> None:
    with grpc.insecure_channel(target) as channel:
        oip = GRPCInferenceServiceStub(channel)
        assert oip.ServerReady(inference_pb2.ServerReadyRequest(), metadata=bearer(secret("all"))).ready
        tensor = pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=pixels[:1].tobytes())
        request = pb.ClassifyStreamRequest(request=pb.ClassifyRequest(pixels=tensor))
        stream = ClassifierServiceStub(channel).ClassifyStream(iter([request] * 3), metadata=bearer(secret("all")))
        assert [len(answer.response.digits) for answer in stream] == [1, 1, 1]


class Context:
    """A caller's context as Ray gives it to a replica."""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return []

    def peer(self) -> str:
        return "ipv4:192.0.2.1:4711"


class WithoutRay(Replica):
    """A replica that is closed by the test: Ray awaits `__del__`, and Python doesn't."""

    def __del__(self) -> None:  # type: ignore[override]
        pass


async def test_a_call_has_its_host_and_survives_a_failing_observer(
    tiny_artifact: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host without the port: a caller's share is that of all its connections."""
    told: list[Call] = []

    def fail(call: Call) -> None:
        told.append(call)
        raise OSError("no room on the disk")

    @asynccontextmanager
    async def with_failing_observer(config: ServiceConfig, methods: Any) -> AsyncIterator[Service]:
        async with open_service(config, methods) as service:
            service.observers = [fail]
            yield service

    monkeypatch.setattr(replica, "open_service", with_failing_observer)
    answering: Any = WithoutRay.__new__(WithoutRay)
    await answering.__init__(ServiceConfig(tiny_artifact))
    tensor = pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=pixels[:1].tobytes())
    answer = await answering.Classify(pb.ClassifyRequest(pixels=tensor), grpc_context=Context())
    await answering.Check(HealthCheckRequest(), grpc_context=Context())
    await Replica.__del__(answering)
    assert len(answer.digits) == 1
    assert [(call.method.rpartition("/")[2], call.address()) for call in told] == [("Classify", "192.0.2.1")]
    assert Stage.ENCODE in told[0].times


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="no setting 'modle'; it knows model, repository"):
        application({"modle": "model.onnx"})


def test_settings_are_the_servers_and_may_be_texts() -> None:
    texts = {"cache_mb": "16", "max_images": "64", "caller_rate": "2.5", "max_queue_delay_us": "500", "threads": "2"}
    config = service_config({**texts, "repository": "models", "versions": "all", "device": "cpu"})
    assert (config.cache_bytes, config.limits.max_images, config.limits.caller_rate) == (16 << 20, 64, 2.5)
    assert (config.batching.max_delay, config.threads, config.device) == (0.0005, 2, Device.CPU)
    assert config.repository == RepositoryConfig("models", VersionPolicy(most=None))
    assert service_config({}) == ServiceConfig(threads=1)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("max_images", "many", "max_images is 'many'"),
        ("max_images", 1.5, "max_images is '1.5'"),
        ("cache_mb", -1, "cache_bytes is -1048576"),
        ("device", "gpu", "device is 'gpu'"),
        ("default_model", "digits", "default_model names a model of repository"),
    ],
)
def test_a_setting_that_cannot_work_is_said(setting: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        service_config({setting: value})


def test_a_setting_of_the_repository_that_cannot_work_is_said() -> None:
    with pytest.raises(ConfigError, match="versions is 'newest': 'newest' is neither latest:N"):
        service_config({"repository": "models", "versions": "newest"})


def test_the_pages_list_of_settings_is_the_applications() -> None:
    page = SERVE_YAML.with_name("README.md").read_text()
    told = re.findall(r"`(\w+)`", page.partition("application's:")[2].partition(".")[0])
    assert told == list(DEFAULTS)


def test_the_configuration_is_one_that_ray_takes() -> None:
    written = ServeDeploySchema.model_validate(yaml.safe_load(SERVE_YAML.read_text()))
    (app,) = written.applications
    assert app.import_path == "vitrine.server.ray_serve:application"
    assert tuple(written.grpc_options.grpc_servicer_functions) == SERVICERS
    assert [deployment.name for deployment in app.deployments] == ["vitrine"]


def test_kuberays_manifest_has_the_same_configuration() -> None:
    manifest = yaml.safe_load(SERVE_YAML.with_name("rayservice.yaml").read_text())
    assert yaml.safe_load(manifest["spec"]["serveConfigV2"]) == yaml.safe_load(SERVE_YAML.read_text())
    assert manifest["spec"]["rayClusterConfig"]["rayVersion"] == ray.__version__


class Callers:
    """Threads that call without a pause, each with a client of its own, until they are told to stop."""

    def __init__(self, target: str, pixels: Pixels, count: int) -> None:
        self._target, self._pixels = target, pixels
        self._stops = [threading.Event() for _ in range(count)]
        self._threads = [threading.Thread(target=self._call, args=(stop,)) for stop in self._stops]
        self._answered = threading.Semaphore(0)
        self.failures: list[Exception] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(len(self._stops))
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def wait_for(self, calls: int) -> None:
        """Waits until so many more calls have ended."""
        for _ in range(calls):
            assert self._answered.acquire(timeout=PATIENCE_SECONDS)

    def stop(self, count: int) -> None:
        """Lets so many of them go."""
        for stop in self._stops[:count]:
            stop.set()

    def _call(self, stop: threading.Event) -> None:
        with Client(self._target, token=secret("all")) as client:
            while not stop.is_set():
                try:
                    client.classify(self._pixels[0], preparation="none", activations=None)
                except Exception as error:
                    self.failures.append(error)
                self._answered.release()


def test_no_call_fails_when_a_node_dies(cluster: Cluster, target: str, pixels: Pixels) -> None:
    """A node is missing afterwards."""
    with Callers(target, pixels, 4) as callers:
        callers.wait_for(CALLS)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        callers.wait_for(CALLS)
    assert callers.failures == []


SCALING = {
    "min_replicas": 1,
    "max_replicas": 2,
    "target_ongoing_requests": 2,
    "upscale_delay_s": 0.5,
    "downscale_delay_s": 1,
    "metrics_interval_s": 0.1,
    "look_back_period_s": 0.5,
}


def replicas() -> int:
    """Replicas that run and aren't to stop."""
    states: dict[str, int] = serve.status().applications["vitrine"].deployments["vitrine"].replica_states
    return states.get("RUNNING", 0)


def test_replicas_come_and_go_with_the_load_and_no_call_fails(
    target: str, tiny_artifact: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One replica is left afterwards, which takes no tokens."""
    monkeypatch.delitem(USUAL, "num_replicas")
    monkeypatch.setitem(USUAL, "autoscaling_config", SCALING)
    until = time.monotonic() + PATIENCE_SECONDS
    with Callers(target, pixels, 12) as callers:
        serve.run(application({"model": str(tiny_artifact)}), name="vitrine")  # an update under load
        while replicas() < 2:
            callers.wait_for(1)
            assert time.monotonic() < until
        callers.stop(11)
        while replicas() > 1:
            callers.wait_for(1)
            assert time.monotonic() < until
    assert callers.failures == []


def test_tritons_client_is_used_as_ever(
    target: str, server: RunningServer, triton_environment: Environment, pixels: Pixels, tmp_path: Path
) -> None:
    """Unary calls, streams, descriptions and failures, all as from a server without Ray but for the calls counted."""
    through_ray, direct = (
        report(triton_environment, "calls_triton.py", address, pixels, tmp_path) for address in (target, server.target)
    )
    counts = ("before", "after", "all statistics")
    assert {name: said for name, said in through_ray.said.items() if name not in counts} == {
        name: said for name, said in direct.said.items() if name not in counts
    }
    assert len(direct.arrays) > 10
    assert through_ray.arrays.keys() == direct.arrays.keys()
    for name, values in direct.arrays.items():
        if values.dtype == np.float32:
            assert np.allclose(through_ray.arrays[name], values, atol=1e-6), name
        else:
            assert np.array_equal(through_ray.arrays[name], values), name
