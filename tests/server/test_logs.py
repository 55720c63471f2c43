"""The log: lines that programs can read, each with the request that it is about, and no secret in any."""

import asyncio
import hashlib
import io
import json
import logging
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from support.artifacts import export_random, random_pixels
from support.serving import logged_server, open_log, running_server

from vitrine.client import AuthenticationError, Client, NotFoundError
from vitrine.server.inference.batching import Batcher
from vitrine.server.inference.call import Call, Outcome, handling
from vitrine.server.inference.config import BatchingConfig
from vitrine.server.inference.requests import ClassifyRequest
from vitrine.server.opening import open_service
from vitrine.server.security.access import ANYONE
from vitrine.server.service_config import ServiceConfig
from vitrine.server.telemetry.logs import LogConfig, LogFormat, dress, log_call
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"
ONE_IMAGE = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)))
UNKNOWN_MODEL = pb.ClassifyRequest(pixels=ONE_IMAGE.pixels, model="elsewhere")
JSON = ("--log-format", "json", "--log-level", "debug")


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_is_an_object_with_the_same_fields_and_no_token_is_in_any(
    tiny_artifact: Path, tmp_path: Path
) -> None:
    token, wrong = secrets.token_urlsafe(), secrets.token_urlsafe()
    (tmp_path / "tokens").write_text(f"alice {hashlib.sha256(token.encode()).hexdigest()} predict,activations\n")
    flags = ("--tokens", tmp_path / "tokens", *JSON)
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *flags) as server:
        with Client(server.target, token=token) as client:
            client.classify(EIGHT, preparation="server")
        with Client(server.target, token=wrong) as client, pytest.raises(AuthenticationError) as caught:
            client.classify(EIGHT)
        server.stop()
    lines = lines_of(log.text)
    workers = re.findall(r"worker (\d+) starts", log.text)  # a front end may have a process of its own
    processes = {server.process.pid, *map(int, workers)}
    for line in lines:
        assert line.keys() >= {"timestamp", "level", "logger", "message", "process"}
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - datetime.fromisoformat(line["timestamp"])) < timedelta(hours=1)
        assert line["process"] in processes
    assert token not in log.text
    assert wrong not in log.text
    assert hashlib.sha256(token.encode()).hexdigest() not in log.text

    answered = {line["method"].rpartition("/")[2]: line for line in lines if line.get("code") == "OK"}
    assert set(answered) == {"GetModel", "Classify"}  # the client asks for the model's shape once
    call = answered["Classify"]
    assert call["level"] == "DEBUG"
    assert (call["caller"], call["images"]) == ("alice", 1)
    assert call["model"].startswith("tiny@")
    assert list(call["ms"]) == ["total", "prepare", "queue", "batch", "compute", "encode"]
    (refused,) = [line for line in lines if line["message"].startswith("refused ")]
    assert refused["request_id"] == caught.value.request_id


@pytest.mark.parametrize("wanted", [True, False])
def test_an_access_log_has_a_line_for_each_call_at_info(tiny_artifact: Path, wanted: bool) -> None:
    flags = ("--access-log",) if wanted else ()
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, "--log-format", "json", *flags) as server:
        with Client(server.target) as client:
            client.classify(EIGHT, preparation="server")
            client.health()
        server.stop()
    calls = [line for line in lines_of(log.text) if "method" in line]
    methods = [call["method"].rpartition("/")[2] for call in calls]
    assert methods == (["GetModel", "Classify"] if wanted else [])
    for call in calls:
        assert call.keys() >= {"method", "code", "caller", "model", "images", "ms", "request_id"}
        assert call["level"] == "INFO"


@pytest.mark.parametrize("given", ["job-7:a/b+c=", "x" * 128])
def test_a_callers_own_id_is_taken_over_and_its_trace_is_named(tiny_artifact: Path, given: str) -> None:
    trace = secrets.token_hex(16)
    metadata = (("x-request-id", given), ("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01"))
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *JSON) as server:
        with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as caught:
            ClassifierServiceStub(channel).Classify(UNKNOWN_MODEL, metadata=metadata)
        server.stop()
    (line,) = [line for line in lines_of(log.text) if line.get("code") == "NOT_FOUND"]
    assert (line["request_id"], line["trace_id"]) == (given, trace)
    assert "span_id" not in line
    trailing: Any = caught.value
    assert dict(trailing.trailing_metadata())["x-request-id"] == given


@pytest.mark.parametrize("given", ["x" * 129, "two words", 'a"b', "a,b", ""])
def test_an_id_that_could_be_taken_for_more_is_replaced(given: str) -> None:
    with running_server() as server, grpc.insecure_channel(server.target) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ClassifierServiceStub(channel).Classify(UNKNOWN_MODEL, metadata=(("x-request-id", given),))
        trailing: Any = caught.value
        made = dict(trailing.trailing_metadata())["x-request-id"]
        assert made != given
        assert made.isalnum()


def test_the_clients_error_has_the_id_that_the_log_has(tiny_artifact: Path) -> None:
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, "--log-level", "debug") as server:
        with Client(server.target) as client, pytest.raises(NotFoundError) as caught:
            client.model("elsewhere")
        server.stop()
    assert log.all(rf"code=NOT_FOUND .*\(request {caught.value.request_id}\)")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged in this process, in JSON."""
    handler = logging.StreamHandler(io.StringIO())
    dress(handler, LogConfig("debug", LogFormat.JSON, traced=True))
    root = logging.getLogger()
    before, root.level = root.level, logging.DEBUG
    root.addHandler(handler)
    yield handler.stream
    root.removeHandler(handler)
    root.setLevel(before)


async def test_what_a_preparing_thread_logs_is_about_the_request(
    tiny_artifact: Path, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(*_: object) -> Any:
        logging.getLogger("test").info("prepared")
        return np.zeros((18, 18), np.uint8)

    monkeypatch.setattr("vitrine.server.preparation.processes.Decoders.prepare", prepare)
    call = Call("/test/Test", ANYONE)
    call.request_id = "job-7/eight"
    async with open_service(ServiceConfig(tiny_artifact)) as service:
        with handling((call,)):
            await service.classify(ClassifyRequest(service.model("", call), files=[b"one", b"two"]), call)
    said = [line for line in lines_of(written.getvalue()) if line["message"] == "prepared"]
    assert [line["request_id"] for line in said] == ["job-7/eight"] * 2


async def test_what_is_logged_of_a_shared_run_names_all_its_requests(written: io.StringIO) -> None:
    def run(pixels: Any, layers: Any) -> Any:
        if len(pixels) > 1:
            raise RuntimeError("too many for it")
        logging.getLogger("test").info("alone")
        return {layer: np.zeros((len(pixels), 1), np.float32) for layer in layers}

    calls = [Call("/test/Test"), Call("/test/Test")]
    with ThreadPoolExecutor(1) as pool:
        batcher = Batcher(run, pool, BatchingConfig(max_rows=2, max_delay=3600))

        async def ask(call: Call) -> None:
            with handling((call,)):
                await batcher.run(random_pixels(1), ["softmax"])

        await asyncio.gather(*map(ask, calls))
    lines = lines_of(written.getvalue())
    ids = [call.request_id for call in calls]
    assert [line["request_id"] for line in lines if line["message"] == "alone"] == ids
    (together,) = [line for line in lines if line["message"].startswith("a batch of 2 callers failed")]
    assert together["request_id"] == ",".join(ids)
    assert "trace_id" not in together


def test_a_line_about_many_requests_names_the_first_and_says_how_many_there_are_besides(written: io.StringIO) -> None:
    calls = [Call("/test/Test") for _ in range(256)]
    with handling(calls):
        logging.getLogger("test").info("together")
    (line,) = lines_of(written.getvalue())
    assert line["request_id"].split(",") == [*(call.request_id for call in calls[:8]), "+248"]


def test_a_failure_of_the_server_is_told_at_info_with_its_traceback_and_its_span(written: io.StringIO) -> None:
    logging.getLogger().setLevel(logging.INFO)
    for outcome in (Outcome.OK, Outcome.NOT_FOUND, Outcome.INTERNAL):
        call = Call("/test/Test", observers=[log_call])
        call.finish(outcome)
        call.close()
    with handling((call,)):
        try:
            raise RuntimeError("the cause")
        except RuntimeError:
            logging.getLogger("test").exception("failed")
    told, failed = lines_of(written.getvalue())
    assert (told["code"], told["level"]) == ("INTERNAL", "INFO")
    assert failed["exc_info"].endswith("RuntimeError: the cause")
    for line in (told, failed):
        assert (line["request_id"], line["trace_id"]) == (call.request_id, call.trace_id)
        assert line["span_id"] == call.span_id


async def test_a_caller_that_leaves_while_its_answer_is_sent_is_no_error(tmp_path: Path) -> None:
    """gRPC raises an error of its own then."""
    wide = export_random(tmp_path / "wide.onnx", [20_000])
    pixels = random_pixels(256)
    tensor = pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())
    many = pb.ClassifyRequest(pixels=tensor, activations=pb.LayerSelection(all=True))  # 39 MiB, more than buffers take
    flags = ("--threads", "1", "--log-level", "debug")
    with open_log() as (pipe, log), logged_server(pipe, wide, *flags) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub: Any = ClassifierServiceStub(channel)
            stream = stub.ClassifyStream()
            await stream.write(pb.ClassifyStreamRequest(request=ONE_IMAGE))
            await stream.read()  # of what comes next, nothing is read
            await stream.write(pb.ClassifyStreamRequest(request=many))
            for _ in range(5):  # one run after the other: that of the many is over, too, and its answer on the way
                await stub.Classify(ONE_IMAGE)
            stream.cancel()
            await asyncio.to_thread(log.wait_for, r"ClassifyStream code=(CANCELLED)")
    assert log.all("(ERROR|Traceback)") == []
