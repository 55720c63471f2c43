"""What metrics withstand: models that are replaced for ever, workers that disagree, a system that is short of all."""

import asyncio
import logging
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest
from prometheus_client import generate_latest, values
from support.scrapes import Scrape

from vitrine.model import ActivationStatistics, LayerStatistics
from vitrine.server.bundled import bundled_model
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.errors import StartupError
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.server import GrpcFrontend
from vitrine.server.inference.call import Call, Outcome
from vitrine.server.inference.readiness import Readiness
from vitrine.server.inference.requests import Workload
from vitrine.server.models.snapshot import Entry, Models, ServedModel, Snapshot
from vitrine.server.opening import open_service
from vitrine.server.security.certificates import CertificateInForce
from vitrine.server.service_config import ServiceConfig
from vitrine.server.telemetry import instrumentation
from vitrine.server.telemetry.instrumentation import PrometheusTelemetry
from vitrine.server.telemetry.liveness import Liveness
from vitrine.server.telemetry.metrics import MODELS, Metrics
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.prometheus import WorkersMetrics
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

METADATA = read_artifact(bundled_model()).metadata
METHOD = "/vitrine.v1.ClassifierService/Classify"


class Workers:
    """The metrics of so many workers, all of them in this process, or of a server that has none."""

    def __init__(self, folder: Path, workers: int) -> None:
        config = MetricsConfig(port=0)
        self._supervisor = WorkersMetrics(config, folder) if workers else None
        configs = [self._supervisor.of(place) for place in range(workers)] if self._supervisor else [config]
        self.metrics: Sequence[Metrics] = [Metrics([METHOD], config) for config in configs]

    def scrape(self) -> Scrape:
        return Scrape(generate_latest((self._supervisor or self.metrics[0]).registry).decode())


@pytest.fixture(autouse=True)
def values_lie_where_they_did_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)


def served(name: str, version: str) -> ServedModel:
    engine: Any = SimpleNamespace(provider="CPUExecutionProvider")
    return ServedModel(name, version, METADATA, {}, engine)


def statistics(images: int, mean: float, dead_ratio: float) -> ActivationStatistics:
    layers = {layer.name: LayerStatistics(mean, dead_ratio) for layer in METADATA.layers}
    return ActivationStatistics(images, layers)


def use(metrics: Metrics, model: ServedModel) -> None:
    """Serves a model in place of the one before, and asks it."""
    metrics.observe_models(Snapshot([Entry.of(model)], model.name))
    metrics.observe_call(Call(METHOD, model=model.label, outcome=Outcome.OK))
    metrics.show_activations({model: statistics(512, 0.5, 0.1)})


def test_an_observer_of_models_that_fails_keeps_none_from_being_served_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Snapshot) -> None:
        raise OSError("no space left")

    seen: list[Snapshot] = []
    models = Models.of(served("digits", "1"))
    models.observe(fail)
    models.observe(seen.append)
    model = served("digits", "2")
    models.replace(Snapshot([Entry.of(model)], model.name))
    assert models.get("digits") is model
    assert seen[-1].default is model
    assert len(caplog.records) == 1


async def test_an_observer_of_calls_that_fails_harms_no_call_and_is_said_once(
    caplog: pytest.LogCaptureFixture, tiny_artifact: Path
) -> None:
    told: list[Call] = []

    def fail(_: Call) -> None:
        raise OSError("no space left")

    async with open_service(ServiceConfig(tiny_artifact)) as service:
        service.observers = [fail, told.append]
        server = GrpcFrontend(service, GrpcConfig(port=0))
        await server.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            for _ in range(3):
                await ClassifierServiceStub(channel).ListModels(pb.ListModelsRequest())
        await server.drain(60)
    assert len(told) == 3
    assert len([record for record in caplog.records if "an observer of calls failed" in record.message]) == 1


@contextmanager
def limited(what: int, soft: int) -> Iterator[None]:
    """A limit of this process that lasts for the block."""
    before, most = resource.getrlimit(what)
    resource.setrlimit(what, (soft, most))
    try:
        yield
    finally:
        resource.setrlimit(what, (before, most))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_model_that_is_replaced_for_ever_has_no_more_series_than_at_first(tmp_path: Path, workers: int) -> None:
    running = Workers(tmp_path, workers)
    use(running.metrics[0], served("digits", "1"))
    before = running.scrape()
    for version in range(2, 52):
        use(running.metrics[0], served("digits", str(version)))
    after = running.scrape()
    assert len(after.samples) == len(before.samples)
    assert set(after.by("vitrine_model_info", "model", "version")) == {("digits", "51")}
    assert set(after.by("vitrine_activation_window_images", "model")) == {("digits@51",)}
    assert after.by("vitrine_requests_total", "model") == {("digits",): 51}


def test_models_are_counted_by_their_names_up_to_a_bound(tmp_path: Path) -> None:
    running = Workers(tmp_path, 0)
    for number in range(MODELS + 10):
        use(running.metrics[0], served(f"model-{number}", "1"))
    counted = running.scrape().by("vitrine_requests_total", "model")
    assert len(counted) == MODELS + 1
    assert counted["other",] == 10


def test_workers_readings_are_put_together_and_what_one_has_let_go_does_not_blur_the_others(tmp_path: Path) -> None:
    running = Workers(tmp_path, 2)
    one, other = running.metrics
    model = served("digits", "1")
    one.show_activations({model: statistics(100, 0.2, 0.5)})
    other.show_activations({model: statistics(300, 0.6, 0.1)})
    both = running.scrape()
    assert both.value("vitrine_activation_mean", layer="relu_1") == pytest.approx(0.5)
    assert both.value("vitrine_dead_units_ratio", layer="relu_1") == pytest.approx(0.1)
    assert both.value("vitrine_activation_window_images") == 300
    one.show_activations({})
    left = running.scrape()
    assert left.value("vitrine_activation_mean", layer="relu_1") == pytest.approx(0.6)
    assert "NaN" not in left.text


def test_workers_files_have_their_room_on_the_disk_before_they_are_written(tmp_path: Path) -> None:
    running = Workers(tmp_path, 1)
    running.metrics[0].observe_run(1)
    files = list(tmp_path.glob("*.db"))
    assert {file.name for file in files} >= {"counter_0.db", "histogram_0.db", "gauge_livesum_0.db"}
    for file in files:
        assert file.stat().st_blocks * 512 >= file.stat().st_size > 0, file


def test_a_worker_without_room_for_its_files_refuses_to_start(tmp_path: Path) -> None:
    with limited(resource.RLIMIT_FSIZE, 1 << 17), pytest.raises(StartupError, match="there is no place for them"):
        Workers(tmp_path, 1)


def test_a_process_that_can_not_be_looked_at_for_a_moment_is_measured_on() -> None:
    metrics = Metrics([], MetricsConfig(port=0))

    def value(name: str) -> float:
        return Scrape(generate_latest(metrics.registry).decode()).value(name)

    metrics.show_process()
    before = value("vitrine_process_cpu_seconds_total"), value("vitrine_process_open_files")
    with limited(resource.RLIMIT_NOFILE, 0):
        metrics.show_process()
    assert (value("vitrine_process_cpu_seconds_total"), value("vitrine_process_open_files")) == before
    metrics.show_process()
    assert value("vitrine_process_cpu_seconds_total") >= before[0] > 0


async def test_what_can_not_be_read_is_said_once_and_read_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(instrumentation, "GAUGE_SECONDS", 0)
    broken, read = iter([True, True, True, False, True, False]), asyncio.Event()

    class Breaking(Metrics):
        def show_workload(self, _: Workload) -> None:
            fails = next(broken, None)
            if fails:
                raise OSError("no space left")
            if fails is None:
                read.set()

    models = Models.of(served("digits", "1"))
    service: Any = SimpleNamespace(
        readiness=Readiness(), workload=Workload(0, 0, 0), models=models, certificate=CertificateInForce()
    )
    telemetry = PrometheusTelemetry(Breaking([], MetricsConfig(port=0)), Liveness(), activations=False)
    with caplog.at_level(logging.ERROR):
        async with telemetry.of(service):
            await asyncio.wait_for(read.wait(), 60)
    assert len([record for record in caplog.records if "can't be read" in record.message]) == 2
