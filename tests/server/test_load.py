"""Many callers of a real server at once: each gets its own answer, and what is too much is refused at once."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
import pytest
from google.rpc import error_details_pb2, status_pb2
from support.artifacts import export_random, random_mlp, random_pixels
from support.serving import PATIENCE_SECONDS, RunningServer, running_server

from vitrine.client import Client
from vitrine.model import TOLERANCE
from vitrine.oip import inference_pb2 as oip
from vitrine.server.errors import Overloaded
from vitrine.server.frontends.grpc.config import CONNECTION_CALLS, GrpcConfig
from vitrine.server.frontends.grpc.server import GrpcFrontend
from vitrine.server.inference.admission import Admission, AdmissionConfig
from vitrine.server.inference.config import Limits
from vitrine.server.opening import open_service
from vitrine.server.service_config import ServiceConfig
from vitrine.training import compute_activations
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

CLIENTS = 1000
MEBIBYTE = 1 << 20


def request_of(pixels: npt.NDArray[np.uint8], *layers: str) -> pb.ClassifyRequest:
    tensor = pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())
    return pb.ClassifyRequest(pixels=tensor, activations=pb.LayerSelection(names=layers))


async def test_a_thousand_clients_each_get_their_own_answer(server: RunningServer) -> None:
    """Clients with images, numbers of images and layers of their own, all at once."""
    pixels = random_pixels(CLIENTS + 3, seed=7)
    expected = compute_activations(random_mlp([32, 16]), pixels)
    layers = list(expected)

    async def client(stub: Any, number: int) -> None:
        rows, layer = slice(number, number + 1 + number % 3), layers[number % len(layers)]
        answer = await stub.Classify(request_of(pixels[rows], layer))
        (tensor,) = answer.activations
        assert tensor.name == layer
        served = np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)
        np.testing.assert_allclose(served, expected[layer][rows], rtol=0, atol=TOLERANCE)

    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        await asyncio.gather(*(client(stub, number) for number in range(CLIENTS)))


async def test_a_caller_who_sends_more_than_may_be_pending_keeps_it_back_by_itself(tiny_artifact: Path) -> None:
    """One connection has fewer calls under way than one caller may have pending: none is refused."""
    limits = ("--max-images", "64", "--max-pending-images", str(CONNECTION_CALLS * 8 // 7 + 1))
    with running_server(tiny_artifact, *limits) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = ClassifierServiceStub(channel)
            calls = [stub.Classify(request_of(random_pixels(1))) for _ in range(CLIENTS)]
            codes = await asyncio.gather(*(call.code() for call in calls))
    assert set(codes) == {grpc.StatusCode.OK}


MESSAGE_BYTES = 1 << 20
"""The message limit of the held-up server; twice as much may be pending."""


class HeldUp:
    """A server in this process whose model is held up until the test lets it go on."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.begun = threading.Semaphore(0)
        self.may_run = threading.Event()
        self.rows: list[int] = []
        self.under_way: Callable[[], int] = int

    async def all_over(self) -> None:
        """Waits until no image is under way: a call counts until its answer has left."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.under_way():
                await asyncio.sleep(0)


@pytest.fixture
async def held_up(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HeldUp]:
    state = HeldUp("")
    few = AdmissionConfig(max_images=4, max_bytes=2 * MESSAGE_BYTES)
    limits = Limits(max_images=4, max_message_bytes=MESSAGE_BYTES)
    async with open_service(ServiceConfig(tiny_artifact, threads=2, admission=few, limits=limits)) as service:
        engine = service.models.snapshot.default.engine
        run = engine.run
        state.under_way = lambda: service.workload.images

        def held_up_run(pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> Any:
            state.rows.append(len(pixels))
            state.begun.release()
            state.may_run.wait()
            return run(pixels, layers)

        monkeypatch.setattr(engine, "run", held_up_run)
        server = GrpcFrontend(service, GrpcConfig(port=0))
        state.target = server.address
        await server.start()
        yield state
        state.may_run.set()
        await server.drain(10)


async def test_a_request_whose_deadline_has_passed_is_never_run(held_up: HeldUp) -> None:
    one = request_of(random_pixels(1))
    async with grpc.aio.insecure_channel(held_up.target) as channel:
        stub: Any = ClassifierServiceStub(channel)
        first = asyncio.ensure_future(stub.Classify(one))
        await asyncio.to_thread(held_up.begun.acquire)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Classify(request_of(random_pixels(2)), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await stub.ListModels(pb.ListModelsRequest())  # comes behind the cancellation, on the same connection
        held_up.may_run.set()
        assert len((await first).digits) == 1
        assert len((await stub.Classify(one)).digits) == 1
    assert held_up.rows == [1, 1]


async def test_what_is_too_much_is_refused_at_once_and_told_when_to_come_again(held_up: HeldUp) -> None:
    async with grpc.aio.insecure_channel(held_up.target) as channel:
        stub: Any = ClassifierServiceStub(channel)
        taken = asyncio.ensure_future(stub.Classify(request_of(random_pixels(3))))
        await asyncio.to_thread(held_up.begun.acquire)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Classify(request_of(random_pixels(2)))
        held_up.may_run.set()
        assert len((await taken).digits) == 3
        await held_up.all_over()
        assert len((await stub.Classify(request_of(random_pixels(2)))).digits) == 2
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "the server is busy with 3 images" in (caught.value.details() or "")
    details = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    info, pause = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(details).details:
        assert detail.Unpack(info) or detail.Unpack(pause)
    assert info.reason == "OVERLOADED"
    assert pause.retry_delay.ToTimedelta().total_seconds() > 0


LARGE = MESSAGE_BYTES - 800
"""Bytes that leave room for one image in a message; two such messages and their answers pass what may be pending."""

CLASSIFY = request_of(random_pixels(1)).SerializeToString()
INFER = oip.ModelInferRequest(
    inputs=[oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[1, 324])],
    raw_input_contents=[bytes(324)],
    parameters={"mine": oip.InferParameter(string_param="x" * LARGE)},
).SerializeToString()
OVERWRITTEN = pb.ClassifyRequest(pixels=pb.Tensor(data=bytes(LARGE))).SerializeToString()
"""In front of another message: of a field that comes twice, the last counts."""

WEIGHTY = {
    "a field twice": ("/vitrine.v1.ClassifierService/Classify", OVERWRITTEN + CLASSIFY),
    "a parameter of the open protocol": ("/inference.GRPCInferenceService/ModelInfer", INFER),
}


@pytest.mark.parametrize(("path", "message"), WEIGHTY.values(), ids=WEIGHTY.keys())
async def test_what_a_request_has_beside_images_counts_as_under_way(held_up: HeldUp, path: str, message: bytes) -> None:
    async with grpc.aio.insecure_channel(held_up.target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        taken = asyncio.ensure_future(call(message))
        await asyncio.to_thread(held_up.begun.acquire)
        refused = call(message, timeout=PATIENCE_SECONDS)
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the server is busy with 1 images" in await refused.details()
        held_up.may_run.set()
        assert await taken


async def test_an_answer_counts_until_its_caller_has_read_it(tmp_path: Path) -> None:
    """Or callers that ask for much and read nothing would fill the server's memory."""
    wide = export_random(tmp_path / "wide.onnx", [20_000])
    many, one = request_of(random_pixels(256), "linear_1", "relu_1"), request_of(random_pixels(1))
    with running_server(wide, "--max-images", "256", "--max-pending-images", "256") as server:
        options = [("grpc.max_receive_message_length", 64 << 20)]  # the answer has 39 MiB, more than any buffer takes
        async with grpc.aio.insecure_channel(server.target, options) as channel:
            stub: Any = ClassifierServiceStub(channel)
            stream = stub.ClassifyStream()
            await stream.write(pb.ClassifyStreamRequest(request=one))
            await stream.read()  # the stream stands: what it is sent next comes before what is sent after that
            await stream.write(pb.ClassifyStreamRequest(request=many))
            while not await is_refused(stub, one):  # until it has been taken in
                pass
            assert all([await is_refused(stub, one) for _ in range(50)])  # while it is calculated, and waits to be read
            assert len((await stream.read()).response.digits) == 256
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
            while await is_refused(stub, one):  # until the server has heard that it was read
                pass


async def test_an_idle_stream_keeps_neither_its_last_request_nor_its_last_answer(tiny_artifact: Path) -> None:
    """Or callers that leave streams open would fill the memory, with nothing of theirs under way."""
    request = request_of(random_pixels(1024))
    request.activations.all = True
    many = pb.ClassifyStreamRequest(request=request)
    with running_server(tiny_artifact) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            streams: list[Any] = []

            async def open_streams(count: int) -> int:
                """Opens so many more, each of which is answered once; the server's memory in MiB then."""
                for _ in range(count):
                    streams.append(ClassifierServiceStub(channel).ClassifyStream())
                    await streams[-1].write(many)
                    size = (await streams[-1].read()).ByteSize()
                assert size > 1.5 * MEBIBYTE
                return resident_bytes(server.process.pid) // MEBIBYTE

            first = await open_streams(20)
            assert await open_streams(60) - first < 50  # MiB, where what they sent and got was 130


def resident_bytes(pid: int) -> int:
    """The memory that a process has, on Linux."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def is_refused(stub: Any, request: pb.ClassifyRequest) -> bool:
    """Whether the server has too much to do for a request."""
    code = await stub.Classify(request).code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
    return code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_admission_counts_bytes_too_and_gives_back_what_it_took() -> None:
    admission = Admission(AdmissionConfig(max_images=100, max_bytes=1000))
    with admission.admit(1, 900):
        with pytest.raises(Overloaded), admission.admit(1, 101):
            pass
        with admission.admit(1, 100):
            pass
    with pytest.raises(ZeroDivisionError), admission.admit(1, 900):
        raise ZeroDivisionError
    with admission.admit(1, 5000):  # alone, anything is taken
        pass


def test_a_rolling_restart_of_two_servers_behind_one_target_fails_no_call(tiny_artifact: Path) -> None:
    """Four callers call all the time; each server is stopped and started again while they do.

    It fails when the client takes CANCELLED for its caller's wish: gRPC says it of calls that a stopping server leaves.
    """
    pixels, stop = random_pixels(1)[0], threading.Event()

    def call_on(client: Client) -> int:
        count = 0
        while not stop.is_set():
            client.classify(pixels, preparation="none", activations=None)
            count += 1
        return count

    with (
        running_server(tiny_artifact) as one,
        running_server(tiny_artifact) as other,
        Client(f"ipv4:{one.target},{other.target}") as client,
        ThreadPoolExecutor(4) as callers,
    ):
        calls = [callers.submit(call_on, client) for _ in range(4)]
        try:
            assert one.stop() == 0
            with running_server(tiny_artifact, "--port", one.target.rpartition(":")[2]):
                assert other.stop() == 0
                for _ in range(100):
                    client.classify(pixels, preparation="none", activations=None)
                stop.set()
                assert all(call.result() > 0 for call in calls)
        finally:
            stop.set()
