"""What a server captures: all of what it promises and nothing more, whatever happens to the disk and to itself."""

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import weakref
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from support.artifacts import export_random, random_pixels
from support.publishing import publish
from support.scrapes import MeasuredServer, measured_server
from support.serving import (
    FRONTEND,
    PATIENCE_SECONDS,
    SERVER,
    a_call,
    comes,
    is_let_go,
    logged_server,
    open_log,
    refused_start,
    running_server,
)

from vitrine.client import Client, zero
from vitrine.model.distribution import EXTRAS
from vitrine.oip import inference_pb2 as oip
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub
from vitrine.server.capture import writer as writing
from vitrine.server.capture.config import OPEN_PARTS, CaptureConfig
from vitrine.server.capture.folder import CaptureFolder, prepare_folder
from vitrine.server.capture.part import Part
from vitrine.server.capture.queue import RowQueue
from vitrine.server.capture.rows import COPIED_BYTES, CapturedModel, Rows
from vitrine.server.capture.writer import DISK, QUEUE_FULL, CaptureWriter
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import StartupError
from vitrine.server.inference.call import Call
from vitrine.server.inference.requests import ClassifyRequest, LayerSelection
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.opening import open_service
from vitrine.server.process.port import can_be_shared
from vitrine.server.security.access import Caller, Permission
from vitrine.server.service_config import ServiceConfig
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

Pixels = npt.NDArray[np.uint8]
EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
KEPT = {
    *("time", "request_id", "image", "model", "version", "digest", "label", "digit", "probability", "probabilities"),
    *("novelty", "is_digit", "pixels", "activations.relu_1", "activations.softmax"),
}
SOME_LAYERS = ("--capture-ratio", "1", "--capture-layers", "softmax,relu_1")
MIB = 1 << 20


def parts_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def open_parts_in(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".capture-*") if path.exists()] if folder.exists() else []


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [row for part in parts_in(folder) for row in pq.read_table(part).to_pylist()]


def pixels_of(row: dict[str, Any]) -> Pixels:
    return np.frombuffer(row["pixels"], np.uint8).reshape(18, 18)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def token_line(name: str, permissions: str) -> str:
    return f"{name} {hashlib.sha256(f'the-token-of-{name}'.encode()).hexdigest()} {permissions}\n"


def as_tensor(pixels: Pixels) -> pb.Tensor:
    return pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())


def test_what_is_kept_is_what_was_answered(judging_artifact: Path, pixels: Pixels, tmp_path: Path) -> None:
    """By every protocol, of callers that get no activations; the drain writes everything."""
    folder, tokens = tmp_path / "captures", tmp_path / "tokens"
    tokens.write_text(token_line("alice", "predict"))
    flags = ("--capture", folder, *SOME_LAYERS, "--tokens", tokens)
    header = (("authorization", "Bearer the-token-of-alice"), ("x-request-id", "my-own-name"))
    with running_server(judging_artifact, *flags) as server, grpc.insecure_channel(server.target) as channel:
        with Client(server.target, token="the-token-of-alice") as client:
            answers = [client.classify(image, preparation="none", activations=None) for image in pixels[:4]]
            answers.append(client.classify(EIGHT, activations=None, preparation="server"))
            digest = client.model().version
        stub, open_stub = ClassifierServiceStub(channel), GRPCInferenceServiceStub(channel)
        streamed = [pb.ClassifyStreamRequest(request=pb.ClassifyRequest(pixels=as_tensor(pixels[4:7])))]
        assert len(list(stub.ClassifyStream(iter(streamed), metadata=header))) == 1
        wanted = oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=(2, 18, 18))
        infer = oip.ModelInferRequest(model_name="tiny", inputs=[wanted], raw_input_contents=[pixels[7:9].tobytes()])
        open_stub.ModelInfer(infer, metadata=header)
        list(open_stub.ModelStreamInfer(iter([infer]), metadata=header))
        assert server.stop() == 0
    rows = rows_in(folder)
    assert [row["image"] for row in rows] == [0] * 5 + [0, 1, 2] + [0, 1] * 2
    sent = [*pixels[:4], None, *pixels[4:9], *pixels[7:9]]
    assert all(
        np.array_equal(pixels_of(row), image) for row, image in zip(rows, sent, strict=True) if image is not None
    )
    assert {row["request_id"] for row in rows[5:]} == {"my-own-name"}
    assert {(row["model"], row["version"], row["digest"]) for row in rows} == {("tiny", digest, digest)}
    model = load_artifact(judging_artifact, Device.CPU)
    values = model.engine.run(np.array([pixels_of(row) for row in rows]), ["relu_1", "softmax", "novelty"])
    for index, row in enumerate(rows):
        assert row.keys() == KEPT
        assert row["digit"] == int(row["label"]) == int(np.argmax(row["probabilities"]))
        assert row["probability"] == max(row["probabilities"])
        assert row["novelty"] == pytest.approx(values["novelty"][index], abs=1e-4)
        np.testing.assert_allclose(row["activations.relu_1"], values["relu_1"][index], atol=1e-4)
        np.testing.assert_allclose(row["activations.softmax"], values["softmax"][index], atol=1e-4)
    for row, answer in zip(rows, answers, strict=False):
        assert (row["digit"], row["is_digit"]) == (answer.digit, answer.is_digit)
        np.testing.assert_allclose(row["probabilities"], answer.probabilities, atol=1e-6)
    assert (folder.stat().st_mode & 0o777, {part.stat().st_mode & 0o777 for part in parts_in(folder)}) == (
        0o700,
        {0o600},
    )


def test_neither_token_nor_name_nor_address_is_kept(tiny_artifact: Path, tmp_path: Path, pixels: Pixels) -> None:
    folder, tokens = tmp_path / "captures", tmp_path / "tokens"
    tokens.write_text(token_line("alice", "predict,activations"))
    with running_server(tiny_artifact, "--capture", folder, *SOME_LAYERS, "--tokens", tokens) as server:
        with Client(server.target, token="the-token-of-alice") as client:
            client.classify(pixels[0], preparation="none")
        server.stop()
    (part,) = parts_in(folder)
    assert len(pq.read_table(part)) == 1
    for secret in ("the-token-of-alice", hashlib.sha256(b"the-token-of-alice").hexdigest(), "alice", "127.0.0.1"):
        assert secret.encode() not in part.read_bytes()
        assert secret not in str(pq.read_table(part).to_pylist())


def test_an_uncaptured_token_stays_out(tiny_artifact: Path, tmp_path: Path, pixels: Pixels) -> None:
    folder, tokens = tmp_path / "captures", tmp_path / "tokens"
    tokens.write_text(token_line("alice", "predict") + token_line("bob", "predict,uncaptured"))
    with running_server(tiny_artifact, "--capture", folder, "--capture-ratio", "1", "--tokens", tokens) as server:
        for name, image in (("alice", pixels[0]), ("bob", pixels[1])):
            with Client(server.target, token=f"the-token-of-{name}") as client:
                client.classify(image, preparation="none", activations=None)
        server.stop()
    (row,) = rows_in(folder)
    assert np.array_equal(pixels_of(row), pixels[0])


def test_only_plain_classifications_are_kept(tiny_artifact: Path, tmp_path: Path, pixels: Pixels) -> None:
    with running_server(tiny_artifact, "--capture", tmp_path, "--capture-ratio", "1") as server:
        with Client(server.target) as client:
            client.classify(pixels[0], preparation="none", interventions=[zero("relu_1")])
            client.explain(pixels[0], preparation="none")
            client.model()
            client.classify(pixels[1], preparation="none")
        server.stop()
    (row,) = rows_in(tmp_path)
    assert np.array_equal(pixels_of(row), pixels[1])


def test_about_the_wanted_share_of_requests_is_kept(tiny_artifact: Path, tmp_path: Path, pixels: Pixels) -> None:
    with running_server(tiny_artifact, "--capture", tmp_path, "--capture-ratio", "0.25") as server:
        with Client(server.target) as client:
            for _ in range(400):
                client.classify(pixels[0], preparation="none", activations=None)
        server.stop()
    assert abs(len(rows_in(tmp_path)) - 100) < 6 * (400 * 0.25 * 0.75) ** 0.5


@pytest.mark.skipif(FRONTEND == "envoy", reason="Envoy speaks HTTP on its one port")
def test_calls_over_http_are_kept(tiny_artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    flags = ("--capture", tmp_path, "--capture-ratio", "1", "--http-port", "0")
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *flags) as server:
        (address,) = log.wait_for(r"Connect and gRPC-Web .*?(\d[\d.]*:\d+)")
        body = json.dumps({"encoded": {"files": [b64encode(EIGHT.read_bytes()).decode()]}})
        request = urllib.request.Request(
            f"http://{address}/vitrine.v1.ClassifierService/Classify",
            body.encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            assert answer.status == 200
        server.stop()
    assert len(rows_in(tmp_path)) == 1


def test_parts_are_complete_and_readable_while_the_server_runs(
    tiny_artifact: Path, tmp_path: Path, pixels: Pixels
) -> None:
    flags = ("--capture", tmp_path, "--capture-ratio", "1", "--capture-part-seconds", "1")
    with measured_server(tiny_artifact, *flags) as server, Client(server.target) as client:
        for count in (1, 2, 3):
            client.classify(pixels[count], preparation="none")
            assert comes(lambda: len(parts_in(tmp_path)), count) == count
            assert len(rows_in(tmp_path)) == count
        scrape = server.scrape_when(lambda scrape: scrape.value("vitrine_captured_images_total") == 3)
        assert scrape.value("vitrine_captured_bytes_total") == bytes_in(tmp_path)
        assert scrape.by("vitrine_capture_dropped_images_total", "reason") == {(QUEUE_FULL,): 0, (DISK,): 0}


def test_the_folder_stays_within_its_bound(tiny_artifact: Path, tmp_path: Path) -> None:
    """The oldest parts go, and files of others stay."""
    (tmp_path / "notes.parquet").write_bytes(bytes(1000))
    flags = ("--capture", tmp_path, "--capture-ratio", "1", "--capture-layers", "all", "--capture-max-mb", "16")
    sizes = []
    with running_server(tiny_artifact, *flags) as server:
        with Client(server.target) as client:
            for number in range(28):
                images = random_pixels(1024, seed=number)
                list(client.classify_many(images, preparation="none", activations=None))
                sizes.append(bytes_in_when_it_changes(tmp_path))
        server.stop()
    assert (tmp_path / "notes.parquet").exists()
    (tmp_path / "notes.parquet").unlink()
    assert max(sizes) <= 16 * MIB
    assert 8 * MIB < bytes_in(tmp_path) <= 16 * MIB
    rows = {row["pixels"] for row in rows_in(tmp_path)}
    assert len(parts_in(tmp_path)) > 3
    late = {row.tobytes() for seed in range(20, 28) for row in random_pixels(1024, seed=seed)}
    assert rows & late  # the very last ones may have been too many for the queue
    assert random_pixels(1024, seed=0)[0].tobytes() not in rows


def bytes_in_when_it_changes(folder: Path) -> int:
    """The bytes of one moment: while they are added up, a file may go and another grow, so two looks must agree."""
    looks: list[dict[str, int]] = []

    def two_agree() -> bool:
        with suppress(FileNotFoundError):
            looks[:] = [{path.name: path.stat().st_size for path in folder.iterdir()} for _ in range(2)]
            return looks[0] == looks[1]
        return False

    assert comes(two_agree, True)
    return sum(looks[0].values())


def test_a_server_that_is_killed_loses_the_open_part_alone(tiny_artifact: Path, tmp_path: Path, pixels: Pixels) -> None:
    flags = ("--capture", tmp_path, "--capture-ratio", "1", "--capture-part-seconds")
    with running_server(tiny_artifact, *flags, "1") as server, Client(server.target) as client:
        client.classify(pixels[0], preparation="none")
        assert comes(lambda: len(parts_in(tmp_path)), 1) == 1
        server.stop()
    with running_server(tiny_artifact, *flags, "3600") as server, Client(server.target) as client:
        client.classify(pixels[1], preparation="none")
        assert comes(lambda: len(open_parts_in(tmp_path)), 1) == 1
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(PATIENCE_SECONDS)
    (left,) = open_parts_in(tmp_path)
    assert len(rows_in(tmp_path)) == 1
    os.utime(left, (0, 0))  # it was written to long ago
    with running_server(tiny_artifact, *flags, "3600") as server:
        with Client(server.target) as client:
            client.classify(pixels[2], preparation="none")
        server.stop()
    assert not open_parts_in(tmp_path)
    assert [row["pixels"] for row in rows_in(tmp_path)] == [pixels[0].tobytes(), pixels[2].tobytes()]


@pytest.mark.parametrize("has_locks", [True, False])
def test_files_that_were_left_go_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_locks: bool
) -> None:
    """Some network file systems have no locks: there, a file's age tells."""
    if not has_locks:

        def no_locks(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", no_locks)
    complete = tmp_path / "capture-20260101T000000Z-00000000-000001.parquet"
    complete.write_bytes(bytes(1000))
    left = [tmp_path / f".capture-20260101T000000Z-00000000-00000{n}.parquet.tmp" for n in (2, 3)]
    for path in left:
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    held = CaptureFolder(tmp_path, 3 * MIB, MIB, 600).open_file()
    assert open_parts_in(tmp_path) == [held.path]
    earlier = time.time() - 1000  # longer than a part is written, and less than twice as long
    os.utime(held.path, (earlier, earlier))
    other = CaptureFolder(tmp_path, 3 * MIB, MIB, 600).open_file()
    assert set(open_parts_in(tmp_path)) == {held.path, other.path}
    assert complete.exists()  # what was left takes no room
    for opened in (held, other):
        opened.discard()
        opened.file.close()


def test_the_documented_command_removes_what_is_old_and_nothing_else(tmp_path: Path) -> None:
    """What killed servers left are images, too."""
    (command,) = re.findall(r"^ *(find DIR .*)$", OPERATIONS.read_text(), re.MULTILINE)
    part = "capture-20260101T000000Z-00000000-00000{}.parquet"
    old = [part.format(1), f".{part.format(2)}.tmp"]
    kept = [part.format(3), f".{part.format(4)}.tmp", "notes.txt"]
    for name in (*old, *kept):
        (tmp_path / name).write_bytes(b"")
    for name in (*old, "notes.txt"):
        os.utime(tmp_path / name, (0, 0))
    subprocess.run(["sh", "-c", command.replace("DIR", shlex.quote(str(tmp_path)))], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_looking_whether_a_folder_can_be_written_to_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the server is killed meanwhile, before it could remove a file."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    prepare_folder(tmp_path / "captures")
    assert list((tmp_path / "captures").iterdir()) == []


SMALL_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, 1_200_000))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program whose files can't be larger, as on a disk that is nearly full; workers' metrics take 1 MiB."""


def test_a_full_disk_costs_captured_images_and_no_answers(tiny_artifact: Path, tmp_path: Path) -> None:
    flags = ("--capture", tmp_path, "--capture-ratio", "1", "--capture-max-mb", "16", "--metrics-port", "0")
    program = (sys.executable, "-c", SMALL_FILES, SERVER)
    images = random_pixels(5_000)  # 1.6 MB that can't be compressed
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *flags, program=program) as server:
        measured = MeasuredServer(server, log, log.wait_for(r"metrics are at (\S+)")[0])
        with Client(server.target) as client:
            assert len(list(client.classify_many(images, preparation="none", activations=None))) == len(images)
        dropped = "vitrine_capture_dropped_images_total"
        measured.scrape_when(lambda scrape: scrape.value(dropped, reason=DISK) > 1_200_000 / 400)
        assert server.stop() == 0
    assert len(log.all("captured images can't be written, and are dropped: .*File too large")) == 1
    assert "Traceback" not in log.text
    assert "Exception ignored" not in log.text
    assert open_parts_in(tmp_path) == []
    assert len(rows_in(tmp_path)) < len(images) / 2


START = "from vitrine.server.cli import main; main()"
TRIES_SOON = (sys.executable, "-c", f"from vitrine.server.capture import writer; writer.RETRY_SECONDS = 0.2; {START}")
"""A server that soon tries again to write to a disk that has failed."""


def test_a_folder_that_goes_and_comes_back(tiny_artifact: Path, tmp_path: Path, pixels: Pixels) -> None:
    folder = tmp_path / "captures"
    flags = ("--capture", folder, "--capture-ratio", "1", "--capture-part-seconds", "1")
    with measured_server(tiny_artifact, *flags, program=TRIES_SOON) as server, Client(server.target) as client:
        folder.rmdir()
        folder.write_text("no folder any more")
        for image in pixels:
            client.classify(image, preparation="none")
        scrape = server.scrape_when(lambda scrape: scrape.value("vitrine_capture_dropped_images_total") == len(pixels))
        assert scrape.value("vitrine_capture_dropped_images_total", reason=DISK) == len(pixels)
        assert len(server.log.wait_for("captured images can't be written, and are dropped")) == 1
        folder.unlink()
        until = time.monotonic() + PATIENCE_SECONDS
        while "written again" not in server.log.text:
            assert time.monotonic() < until
            client.classify(pixels[0], preparation="none")
        assert len(rows_in(folder)) > 0
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")
def test_several_workers_write_parts_of_their_own(tiny_artifact: Path, tmp_path: Path, pixels: Pixels) -> None:
    flags = ("--capture", tmp_path, "--capture-ratio", "1", "--capture-part-seconds", "1", "--workers", "2")
    sent, until = 0, time.monotonic() + PATIENCE_SECONDS
    with running_server(tiny_artifact, *flags) as server:
        while time.monotonic() < until and len({part.name.split("-")[2] for part in parts_in(tmp_path)}) < 2:
            with Client(server.target) as client:  # its connection goes to one of the workers
                list(client.classify_many(pixels, preparation="none", activations=None))
            sent += len(pixels)
        assert server.stop() == 0
    assert len({part.name.split("-")[2] for part in parts_in(tmp_path)}) == 2
    assert len(rows_in(tmp_path)) == sent


def test_each_model_has_parts_of_its_own(tmp_path: Path, pixels: Pixels) -> None:
    publish(tmp_path / "models", "wide", 1, export_random(tmp_path / "wide.onnx", [40]).read_bytes())
    publish(tmp_path / "models", "tiny", 1)
    folder = tmp_path / "captures"
    flags = ("--model-repository", tmp_path / "models", "--capture", folder, "--capture-ratio", "1")
    with open_log() as (pipe, log):
        with logged_server(pipe, *flags, "--capture-layers", "relu_2,relu_9") as server:
            with Client(server.target) as client:
                for model in ("wide", "tiny", "wide"):
                    client.classify(pixels[0], preparation="none", model=model)
            server.stop()
        assert "no model that is served has a layer relu_9" in log.text
    tables = [pq.read_table(part) for part in parts_in(folder)]
    assert sorted((table["model"][0].as_py(), len(table)) for table in tables) == [("tiny", 1), ("wide", 2)]
    assert {table["model"][0].as_py() for table in tables if "activations.relu_2" in table.column_names} == {"tiny"}


def test_a_server_refuses_a_folder_that_it_cannot_write_to(tmp_path: Path, tiny_artifact: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    said = refused_start(tiny_artifact, "--capture", tmp_path / "file" / "captures")
    assert "can't be written to: Not a directory" in said


async def test_a_missing_pyarrow_is_one_sentence(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "capture", ("not_installed",))
    with pytest.raises(StartupError, match=r"--capture needs the extra `capture` \(not found: not_installed\): pip"):
        async with open_service(ServiceConfig(tiny_artifact, capture=CaptureConfig(tmp_path))):
            pass


async def test_an_answer_doesnt_wait_for_the_disk(
    tiny_artifact: Path, tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs fills the queue; what finds no room there is dropped and counted."""
    hangs = threading.Event()
    monkeypatch.setattr(CaptureFolder, "open_file", lambda _: hangs.wait(PATIENCE_SECONDS) and None)
    monkeypatch.setattr(RowQueue.__init__, "__defaults__", (100_000,))
    config = ServiceConfig(tiny_artifact, capture=CaptureConfig(tmp_path, ratio=1.0))
    try:
        async with open_service(config) as service:
            for _ in range(100):
                with closing(a_call()) as call:
                    answer = await service.classify(ClassifyRequest(service.model("", call), pixels), call)
                assert len(answer.digits) == len(pixels)
            assert service.workload.capture_dropped[QUEUE_FULL] > 16 * 50
            hangs.set()
    finally:
        hangs.set()


async def test_captured_layers_count_as_work_under_way(tiny_artifact: Path, tmp_path: Path, pixels: Pixels) -> None:
    """Their bytes are in memory like those of an answer; layers of the answer itself count once."""
    held = {}
    for capture in (None, CaptureConfig(tmp_path, ratio=1.0, layers=("relu_1", "linear_1"))):
        for wanted in ((), ("linear_1",)):
            async with open_service(ServiceConfig(tiny_artifact, capture=capture)) as service:
                with closing(a_call()) as call:
                    layers = LayerSelection(names=wanted)
                    await service.classify(ClassifyRequest(service.model("", call), pixels, activations=layers), call)
                    held[capture is not None, wanted] = service.workload.bytes
    assert held[True, ()] - held[False, ()] == len(pixels) * 4 * (32 + 32)
    assert held[True, ("linear_1",)] - held[False, ("linear_1",)] == len(pixels) * 4 * 32


async def test_a_sample_that_cannot_find_room_is_dropped_before_it_is_calculated(
    tiny_artifact: Path, tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowQueue.__init__, "__defaults__", (len(pixels) * (18 * 18 + 4 * 10 + 4 * 32) - 1,))
    config = CaptureConfig(tmp_path, ratio=1.0, layers=("relu_1",))
    async with open_service(ServiceConfig(tiny_artifact, capture=config)) as service:
        model, ran = service.models.get(""), list[Sequence[str]]()
        run = model.engine.run

        def noted(rows: Pixels, layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
            ran.append(layers)
            return run(rows, layers)

        monkeypatch.setattr(model.engine, "run", noted)
        with closing(a_call()) as call:
            await service.classify(ClassifyRequest(model, pixels), call)
        with closing(a_call()) as call:
            await service.classify(ClassifyRequest(model, pixels[:1]), call)
        assert service.workload.capture_dropped[QUEUE_FULL] == len(pixels)
    assert ["relu_1" in layers for layers in ran] == [False, True]
    assert len(rows_in(tmp_path)) == 1


async def test_a_replaced_model_goes_while_its_part_is_open(tmp_path: Path, pixels: Pixels) -> None:
    """Its weights would stay in memory until the part is complete."""
    publish(tmp_path / "models", "tiny", 1)
    folder = tmp_path / "captures"
    repository = RepositoryConfig(tmp_path / "models", reload_seconds=0)
    async with open_service(ServiceConfig(repository=repository, capture=CaptureConfig(folder, ratio=1.0))) as service:
        with closing(a_call()) as call:
            await service.classify(ClassifyRequest(service.model("", call), pixels), call)
        assert await asyncio.to_thread(comes, lambda: len(open_parts_in(folder)), 1) == 1
        replaced = weakref.ref(service.models.get(""))
        publish(tmp_path / "models", "tiny", 2, export_random(tmp_path / "new.onnx", [8]).read_bytes())
        with closing(Call("/test/Test", Caller("admin", frozenset(Permission)))) as call:
            await service.load("tiny", call)
        assert await asyncio.to_thread(is_let_go, replaced)
        assert len(open_parts_in(folder)) == 1


MODELS = [
    CapturedModel("tiny", str(n), f"tiny@{n}", "", tuple("0123456789"), (18, 18), (("softmax", 10),), is_judged=False)
    for n in range(OPEN_PARTS + 2)
]


def rows_of(model: CapturedModel, count: int = 1, name: str = "a") -> Rows:
    probabilities = np.full((count, 10), 0.1, np.float32)
    return Rows(model, name, 0.0, random_pixels(count), np.zeros(count, np.int64), probabilities, None, None, {})


class FakePart:
    """A part in memory, whose disk may be full."""

    def __init__(self, full: Callable[[], bool], published: list["FakePart"]) -> None:
        self._full, self._published = full, published
        self.begun, self.images, self.size, self.discarded = time.monotonic(), 0, 0, False

    def add(self, rows: Rows) -> None:
        self.images += len(rows)
        self.size += rows.nbytes
        if self._full():
            raise OSError(28, "No space left on device")

    def publish(self) -> int:
        self._published.append(self)
        return self.size

    def discard(self) -> None:
        self.discarded = True


def test_rows_after_a_full_disk_are_written_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.0)
    full, published = iter([False, True, True, False]), list[FakePart]()
    queue = RowQueue()
    for _ in range(4):
        queue.put(rows_of(MODELS[0]))
    queue.close()
    writer = CaptureWriter(queue, lambda *_: FakePart(lambda: next(full), published), MIB, MIB, 3600)
    assert writer.join(PATIENCE_SECONDS)
    assert [part.images for part in published] == [1]
    assert (writer.images, writer.lost) == (1, 3)  # the first row was in the part that failed
    assert [record.levelname for record in caplog.records if record.name == writing.__name__] == ["ERROR"]


def test_a_part_that_cannot_even_be_removed_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.0)

    def fail(_: object) -> None:
        raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(FakePart, "discard", fail)
    full, published = iter([True, False]), list[FakePart]()
    queue = RowQueue()
    for _ in range(2):
        queue.put(rows_of(MODELS[0]))
    queue.close()
    writer = CaptureWriter(queue, lambda *_: FakePart(lambda: next(full), published), MIB, MIB, 3600)
    assert writer.join(PATIENCE_SECONDS)
    assert [part.images for part in published] == [1]
    assert (writer.images, writer.lost) == (1, 1)


def test_no_part_is_begun_after_one_that_cannot_be_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: what is written next would be lost as well."""

    def fail(_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FakePart, "publish", fail)
    begun, queue = list[object](), RowQueue()
    for model in MODELS:
        queue.put(rows_of(model))
    queue.close()

    def begin(model: CapturedModel, _: Sequence[str]) -> FakePart:
        begun.append(model)
        return FakePart(lambda: False, [])

    writer = CaptureWriter(queue, begin, MIB, MIB, 3600)
    assert writer.join(PATIENCE_SECONDS)
    assert begun == MODELS[:OPEN_PARTS]
    assert (writer.images, writer.lost) == (0, len(MODELS))


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_part_is_removed_and_closed_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_closed: bool
) -> None:
    opened = CaptureFolder(tmp_path, MIB, MIB, 600).open_file()
    part = Part(opened, MODELS[0], (), MIB)
    if is_closed:
        opened.file.close()

    def fail() -> None:
        raise ValueError("no such writer")

    monkeypatch.setattr(part._writer, "close", fail)
    with pytest.raises(ValueError, match="no such writer"):
        part.discard()
    part._writer.is_open = False  # else it complains when it is collected
    assert opened.file.closed
    assert list(tmp_path.iterdir()) == []


def test_few_parts_are_open_at_once() -> None:
    begun, published = list[FakePart](), list[FakePart]()
    queue = RowQueue()
    for model in (*MODELS, *MODELS[-OPEN_PARTS:], MODELS[0]):
        queue.put(rows_of(model))
    queue.close()

    def begin(*_: object) -> FakePart:
        begun.append(FakePart(lambda: False, published))
        assert len(begun) - len(published) <= OPEN_PARTS
        return begun[-1]

    writer = CaptureWriter(queue, begin, MIB, MIB, 3600)
    assert writer.join(PATIENCE_SECONDS)
    assert writer.images == len(MODELS) + OPEN_PARTS + 1
    assert len(published) == len(MODELS) + 1  # a model that was written to lately has its part still


def test_a_part_is_complete_before_it_is_too_large() -> None:
    published = list[FakePart]()
    queue = RowQueue()
    queue.put(rows_of(MODELS[0], 1000))
    queue.close()
    writer = CaptureWriter(queue, lambda *_: FakePart(lambda: False, published), 100_000, 10_000, 3600)
    assert writer.join(PATIENCE_SECONDS)
    assert sum(part.images for part in published) == 1000
    assert 90_000 < max(part.size for part in published) <= 100_000


def test_small_rows_dont_hold_their_batch() -> None:
    batch = np.zeros((256, 10), np.float32)
    rows = Rows(MODELS[0], "a", 0.0, random_pixels(1), np.zeros(1, np.int64), batch[3:4], None, None, {})
    assert rows.held_bytes > batch.nbytes
    assert rows.owned().held_bytes == rows.nbytes
    large = np.zeros((COPIED_BYTES, 10), np.float32)
    rows = Rows(MODELS[0], "a", 0.0, random_pixels(1), np.zeros(1, np.int64), large[1:], None, None, {})
    assert rows.owned() is rows
    assert rows.held_bytes > large.nbytes


def test_a_full_queue_refuses_rows_until_they_are_taken() -> None:
    rows = rows_of(MODELS[0])
    queue = RowQueue(rows.nbytes * 2)
    assert [queue.put(rows) for _ in range(3)] == [True, True, False]
    taken, last = queue.take(0)
    assert ([each.request_id for each in taken], last) == (["a", "a"], False)
    assert queue.put(rows)
    queue.close()
    assert not queue.put(rows)
    taken, last = queue.take(0)
    assert (len(taken), last) == (1, True)


def test_pieces_of_rows_keep_their_places() -> None:
    rows = rows_of(MODELS[0], 10)
    pieces = list(rows.pieces(rows.nbytes // 4))
    assert [(len(piece), piece.first) for piece in pieces] == [(2, 0), (2, 2), (2, 4), (2, 6), (2, 8)]
    assert np.array_equal(np.concatenate([piece.pixels for piece in pieces]), rows.pixels)
    assert list(rows.pieces(1)) != []
    assert [len(piece) for piece in rows.pieces(1)] == [1] * 10
