"""What Prometheus sees of a real server: counts are exact, labels are few, and nothing secret is among them."""

import fcntl
import hashlib
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf.message import Message
from support.publishing import bad_files, publish
from support.scrapes import MeasuredServer, Scrape, measured_server
from support.serving import FRONTEND, PATIENCE_SECONDS, comes, refused_start, running_server

from benchmarks.harness.servers import OWN_CONNECTION
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.process.port import can_be_shared
from vitrine.server.temporary_folder import LOCK
from vitrine.training import FitConfig, fit, load_dataset
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

EIGHT = (Path(__file__).parents[2] / "examples" / "eight.png").read_bytes()
SERVICE = "/vitrine.v1.ClassifierService"
TOKEN = "the-token-of-alice"
ALICE = (("authorization", f"Bearer {TOKEN}"),)
FULL = 4
"""As many images as a batch holds: fewer wait for company in the tests where that is set."""


def request_of(images: int, **fields: object) -> pb.ClassifyRequest:
    pixels = pb.Tensor(shape=[images, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(images * 324))
    return pb.ClassifyRequest(pixels=pixels, **fields)  # type: ignore[arg-type]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"alice {hashlib.sha256(TOKEN.encode()).hexdigest()} predict,activations\n")
    return path


@pytest.fixture
def measured(tiny_artifact: Path, tokens: Path) -> Iterator[MeasuredServer]:
    """A server whose batches wait for company for hours, unless they are full."""
    waits = ("--max-batch-rows", FULL, "--max-queue-delay-us", 3_600_000_000, "--max-message-mb", 1)
    with measured_server(tiny_artifact, "--tokens", tokens, *map(str, waits)) as server:
        yield server


def refuse(call: Any, request: Message, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, metadata=ALICE)
    assert caught.value.code() is code


def test_every_request_is_counted_once_with_how_it_ended(measured: MeasuredServer) -> None:
    with grpc.insecure_channel(measured.target) as channel:
        stub = ClassifierServiceStub(channel)
        for _ in range(3):
            stub.Classify(request_of(FULL), metadata=ALICE)
        stub.Classify(pb.ClassifyRequest(encoded=pb.EncodedImages(files=[EIGHT] * FULL)), metadata=ALICE)
        streamed = [pb.ClassifyStreamRequest(request=request_of(FULL)) for _ in range(2)]
        assert len(list(stub.ClassifyStream(iter(streamed), metadata=ALICE))) == 2
        stub.ListModels(pb.ListModelsRequest(), metadata=ALICE)
        refuse(stub.Classify, pb.ClassifyRequest(), grpc.StatusCode.INVALID_ARGUMENT)
        refuse(stub.Classify, request_of(FULL, model="nobody"), grpc.StatusCode.NOT_FOUND)
        too_much = request_of(1024, activations=pb.LayerSelection(all=True))
        refuse(stub.Classify, too_much, grpc.StatusCode.RESOURCE_EXHAUSTED)
        refuse(stub.GetParameters, pb.GetParametersRequest(layer="linear_1"), grpc.StatusCode.PERMISSION_DENIED)
        with pytest.raises(grpc.RpcError):
            stub.Classify(request_of(FULL))
        goes = stub.Classify.future(request_of(1), metadata=ALICE)
        waiting = measured.scrape_when(lambda scrape: scrape.value("vitrine_queue_rows") == 1)
        assert waiting.value("vitrine_pending_images") == 1
        assert waiting.value("vitrine_pending_bytes") > 324
        goes.cancel()
        scrape = measured.scrape_after(requests=13)
    classify, stream = f"{SERVICE}/Classify", f"{SERVICE}/ClassifyStream"
    assert scrape.by("vitrine_requests_total", "method", "code", "model") == {
        (classify, "OK", "tiny"): 4,
        (stream, "OK", "tiny"): 2,
        (f"{SERVICE}/ListModels", "OK", ""): 1,
        (classify, "INVALID_ARGUMENT", "tiny"): 1,
        (classify, "NOT_FOUND", ""): 1,
        (classify, "RESOURCE_EXHAUSTED", "tiny"): 1,
        (f"{SERVICE}/GetParameters", "PERMISSION_DENIED", ""): 1,
        (classify, "UNAUTHENTICATED", ""): 1,
        (classify, "CANCELLED", "tiny"): 1,
    }
    assert scrape.by("vitrine_refused_total", "reason") == {
        (reason,): 1
        for reason in ("NO_IMAGES", "MODEL_UNKNOWN", "ANSWER_TOO_LARGE", "PERMISSION_LACKING", "TOKEN_MISSING")
    }
    assert scrape.value("vitrine_request_seconds_count") == 13
    assert scrape.by("vitrine_stage_seconds_count", "stage") == {
        ("prepare",): 1,
        ("queue",): 6,
        ("batch",): 6,
        ("compute",): 6,
        ("encode",): 7,
    }
    assert (scrape.value("vitrine_batch_rows_sum"), scrape.value("vitrine_batch_rows_count")) == (6 * FULL, 6)


def test_a_scrape_says_nothing_of_callers(measured: MeasuredServer) -> None:
    with grpc.insecure_channel(measured.target) as channel:
        ClassifierServiceStub(channel).Classify(request_of(FULL), metadata=ALICE)
        with pytest.raises(grpc.RpcError):
            ClassifierServiceStub(channel).Classify(
                request_of(FULL), metadata=(("authorization", "Bearer another-secret"),)
            )
    text = measured.scrape_after(requests=2).text
    for secret in (TOKEN, hashlib.sha256(TOKEN.encode()).hexdigest(), "alice", "another-secret", "127.0.0.1"):
        assert secret not in text


def test_labels_stay_few_whatever_callers_send(measured: MeasuredServer) -> None:
    def ask(number: int) -> None:
        unknown: Any = channel.unary_unary(f"/nobody{number}/Nothing")
        with pytest.raises(grpc.RpcError):
            unknown(b"", metadata=ALICE)
        with pytest.raises(grpc.RpcError):
            stub.Classify(request_of(1, model=f"nobody{number}"), metadata=ALICE)

    def both_counted(times: int) -> Scrape:
        return measured.scrape_after(requests=2 * times)

    with grpc.insecure_channel(measured.target) as channel:
        stub = ClassifierServiceStub(channel)
        ask(0)
        before = both_counted(1)
        for number in range(1, 50):
            ask(number)
        after = both_counted(50)
    assert after.value("vitrine_requests_total", method="other", code="UNIMPLEMENTED") == 50
    counted = [name for name in before.names if name.startswith(("vitrine_re", "vitrine_stage", "vitrine_model"))]
    for name in counted:
        assert len([s for s in after.samples if s.name == name]) == len([s for s in before.samples if s.name == name])


def test_the_models_that_are_shown_follow_the_repository(tmp_path: Path) -> None:
    def shown(scrape: Scrape) -> set[tuple[str, ...]]:
        info = scrape.by("vitrine_model_info", "model", "version", "default", "state")
        return set(info)

    publish(tmp_path, "digits", 1)
    with measured_server("--model-repository", tmp_path, "--reload-seconds", "0.02") as server:
        server.scrape_when(lambda scrape: shown(scrape) == {("digits", "1", "true", "available")})
        publish(tmp_path, "digits", 2)
        server.scrape_when(lambda scrape: shown(scrape) == {("digits", "2", "true", "available")})
        publish(tmp_path, "digits", 3, bad_files()["golden-mismatched"])
        failed = {("digits", "2", "true", "available"), ("digits", "3", "false", "failed")}
        scrape = server.scrape_when(lambda scrape: shown(scrape) == failed)
        assert scrape.by("vitrine_model_failures_total", "model") == {("digits",): 1}


def test_activations_are_as_in_training_for_its_images_and_others_for_inverted_ones(tmp_path: Path) -> None:
    digits = load_dataset("digits", progress=False)
    model = fit(digits, FitConfig(hidden=(64, 32), epochs=3), tmp_path, progress=False).folder.model
    trained = read_artifact(model).metadata.statistics
    assert trained is not None
    dead = trained.layers["relu_1"].dead_ratio or 0.0
    pixels = digits.test.pixels  # uint8 (359, 18, 18): what training counted
    assert len(pixels) == trained.images

    def classify(images: npt.NDArray[np.uint8]) -> None:
        tensor = pb.Tensor(shape=images.shape, dtype=pb.DATA_TYPE_UINT8, data=images.tobytes())
        ClassifierServiceStub(channel).Classify(pb.ClassifyRequest(pixels=tensor))

    def inverted(scrape: Scrape) -> bool:
        classify(255 - pixels)
        mean = scrape.value("vitrine_activation_mean", layer="input")
        only_inverted = mean == pytest.approx(1 - trained.layers["input"].mean, rel=1e-4)
        return only_inverted and scrape.value("vitrine_dead_units_ratio", layer="relu_1") > dead

    with measured_server(model, "--max-batch-rows", "512") as server, grpc.insecure_channel(server.target) as channel:
        classify(pixels)
        alike = server.scrape_when(lambda scrape: scrape.has_activations)
        server.scrape_when(inverted)
    assert alike.value("vitrine_activation_window_images") == trained.images
    for layer, seen in trained.layers.items():
        assert alike.value("vitrine_activation_mean", layer=layer) == pytest.approx(seen.mean, rel=1e-4)
        assert alike.value("vitrine_activation_training_mean", layer=layer) == seen.mean
        if seen.dead_ratio is not None:
            assert alike.value("vitrine_dead_units_ratio", layer=layer) == pytest.approx(seen.dead_ratio)
            assert alike.value("vitrine_dead_units_training_ratio", layer=layer) == seen.dead_ratio
    assert set(alike.by("vitrine_dead_units_ratio", "layer")) == {("relu_1",), ("relu_2",)}


def test_activations_are_left_alone_where_that_is_asked_for(tiny_artifact: Path) -> None:
    with (
        measured_server(tiny_artifact, "--no-activation-health") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        ClassifierServiceStub(channel).Classify(request_of(1))
        scrape = server.scrape_when(lambda scrape: scrape.value("vitrine_process_cpu_seconds_total") > 0)
    assert scrape.value("vitrine_batch_rows_sum") == 1
    assert not [name for name in scrape.names if "activation" in name]


def test_runs_with_interventions_are_counted_as_runs(tiny_artifact: Path) -> None:
    silenced = pb.ImageInterventions(interventions=[pb.Intervention(layer="relu_1", scale=0)])
    with measured_server(tiny_artifact) as server, grpc.insecure_channel(server.target) as channel:
        ClassifierServiceStub(channel).Classify(request_of(3, interventions=[silenced]))
        scrape = server.scrape_after(requests=1)
    assert (scrape.value("vitrine_batch_rows_sum"), scrape.value("vitrine_batch_rows_count")) == (6, 2)
    assert scrape.value("vitrine_images_total") == 3


def classify_on_channels(target: str, channels: int, each: int) -> None:
    """Sends so many requests on each of so many connections, which the workers share."""
    with ExitStack() as stack:
        options = OWN_CONNECTION
        opened = [stack.enter_context(grpc.insecure_channel(target, options)) for _ in range(channels)]
        answers = [ClassifierServiceStub(channel).Classify.future(request_of(1)) for channel in opened * each]
        for answer in answers:
            assert len(answer.result(PATIENCE_SECONDS).digits) == 1


@pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")
def test_two_workers_counts_are_added_up_and_outlive_a_killed_worker(tiny_artifact: Path, tmp_path: Path) -> None:
    def counted(requests: int) -> Scrape:
        def all_of(scrape: Scrape) -> tuple[float, ...]:
            compute = scrape.value("vitrine_stage_seconds_count", stage="compute")
            return scrape.value("vitrine_requests_total"), scrape.value("vitrine_batch_rows_sum"), compute

        scrape = server.scrape_when(lambda scrape: min(all_of(scrape)) >= requests)
        assert all_of(scrape) == (requests,) * 3
        return scrape

    with measured_server(tiny_artifact, "--workers", "2", TMPDIR=str(tmp_path)) as server:
        classify_on_channels(server.target, channels=16, each=5)
        assert counted(80).value("vitrine_ready") == 2
        victim = int(server.log.wait_for(r"worker (\d+) is ready", 2)[0])
        os.kill(victim, signal.SIGKILL)
        server.log.wait_for(r"worker (\d+) ended with SIGKILL")
        counted(80)
        server.log.wait_for(r"worker (\d+) is ready", 3)
        classify_on_channels(server.target, channels=16, each=5)
        after = counted(160)
        assert after.value("vitrine_ready") == 2
        assert after.value("vitrine_worker_deaths_total") == 1
        assert after.value("vitrine_model_info", state="available") == 2
        assert os.listdir(tmp_path)  # noqa: PTH208 - or the next line would say nothing
        server.server.stop()
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")
def test_workers_are_replaced_after_their_metrics_have_been_swept_away(tiny_artifact: Path, tmp_path: Path) -> None:
    with measured_server(tiny_artifact, "--workers", "2", TMPDIR=str(tmp_path)) as server:
        (folder,) = tmp_path.glob("vitrine-metrics-*")
        shutil.rmtree(folder)
        os.kill(int(server.log.wait_for(r"worker (\d+) is ready", 2)[0]), signal.SIGKILL)
        server.log.wait_for(r"worker (\d+) is ready", 3)
        server.scrape_when(lambda scrape: scrape.value("vitrine_model_info", state="available") == 2)


@pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")
def test_the_folder_of_a_killed_supervisor_is_removed_at_the_next_start(tiny_artifact: Path, tmp_path: Path) -> None:
    flags = ("--workers", "2", "--metrics-port", "0")
    with running_server(tiny_artifact, *flags, TMPDIR=str(tmp_path)) as killed:
        orphans = set(tmp_path.iterdir())
        assert len(orphans) == (2 if FRONTEND == "envoy" else 1)
        with running_server(tiny_artifact, *flags, TMPDIR=str(tmp_path)):
            assert orphans < set(tmp_path.iterdir())  # their owner lives
        killed.process.kill()
        killed.process.wait(PATIENCE_SECONDS)
        assert set(tmp_path.iterdir()) == orphans
        assert comes(lambda: all(map(is_unused, orphans)), True)  # those who use them have ended, too
        with running_server(tiny_artifact, *flags, TMPDIR=str(tmp_path)):
            new = set(tmp_path.iterdir())
            assert len(new) == len(orphans)
            assert not new & orphans
    assert list(tmp_path.iterdir()) == []


def is_unused(folder: Path) -> bool:
    with (folder / LOCK).open() as lock, suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")
def test_counts_that_are_swept_away_fail_the_scrape_and_the_log_says_why(tiny_artifact: Path, tmp_path: Path) -> None:
    with measured_server(tiny_artifact, "--workers", "2", TMPDIR=str(tmp_path)) as server:
        server.scrape_when(lambda scrape: scrape.value("vitrine_ready") == 2)
        (folder,) = tmp_path.glob("vitrine-metrics-*")
        shutil.rmtree(folder)
        with pytest.raises(HTTPError, match="500"):
            server.scrape_when(lambda _: True)
        server.log.wait_for(r"(files of the workers' counts are gone)")


@pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")
def test_how_a_worker_was_is_forgotten_when_it_has_ended(tiny_artifact: Path) -> None:
    def serving(workers: int) -> Callable[[Scrape], bool]:
        return lambda scrape: scrape.value("vitrine_model_info", state="available") == workers

    with measured_server(tiny_artifact, "--workers", "2", "--propagation-seconds", "7200") as server:
        server.scrape_when(serving(2))
        server.server.process.terminate()  # whoever dies from here on isn't followed by another
        server.scrape_when(lambda scrape: scrape.value("vitrine_ready") == 0)
        os.kill(int(server.log.wait_for(r"worker (\d+) is ready", 2)[0]), signal.SIGKILL)
        server.scrape_when(serving(1))
        server.server.process.terminate()
        assert server.server.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM


def test_a_server_that_leaves_can_be_watched_until_it_has_left(tiny_artifact: Path) -> None:
    with measured_server(tiny_artifact, "--propagation-seconds", "7200") as server:
        server.scrape_when(lambda scrape: scrape.value("vitrine_ready") == 1)
        server.server.process.terminate()
        server.scrape_when(lambda scrape: scrape.value("vitrine_ready") == 0)
        with grpc.insecure_channel(server.target) as channel:
            ClassifierServiceStub(channel).Classify(request_of(1))
        server.scrape_when(lambda scrape: scrape.value("vitrine_requests_total") == 1)
        server.server.process.terminate()
        assert server.server.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_metrics_port_that_is_taken_is_said(tiny_artifact: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused_start(tiny_artifact, "--metrics-port", str(port), "--workers", workers)
    assert f"can't listen on 127.0.0.1:{port}: another program has the port; name another with --metrics-host" in said
    assert "--metrics-port" in said
