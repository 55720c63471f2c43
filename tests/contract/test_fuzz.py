"""Random and mutated bytes: each is refused or answered, and leaves the server as it was.

The first half calls decoders with hypothesis' examples. The second half sends a few thousand messages of
`endurance/fuzzing` to a real server. Both make the same bytes every time.
"""

import asyncio
import functools
import gc
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

import grpc.aio
import pytest
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from support.artifacts import random_pixels
from support.serving import FRONTEND, RunningServer, open_log
from support.serving import logged_server as logged

from benchmarks.harness.processes import Usage
from benchmarks.harness.servers import logged_server
from endurance import fuzz
from endurance.attacking import transport
from endurance.frontend import http_flags
from endurance.fuzzing import frames as h2
from endurance.fuzzing.campaign import Campaign, Health, Report
from endurance.fuzzing.connections import connected
from endurance.fuzzing.corpus import CLASSIFY, files, messages
from endurance.fuzzing.kinds import KINDS
from endurance.fuzzing.malformed_grpc import send_good_call
from endurance.fuzzing.malformed_http2 import FLOOD_FRAMES, rapid_reset, send_flood_of
from endurance.fuzzing.mutation import ANY_BYTES, MESSAGE_BYTES, mutated
from endurance.fuzzing.outcomes import Tally, is_allowed
from vitrine.client import Client
from vitrine.model import ImageError, prepare
from vitrine.server.bundled import bundled_model
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import RequestError
from vitrine.server.frontends.grpc.config import CONNECTION_CALLS, GrpcConfig
from vitrine.server.frontends.grpc.server import GrpcFrontend
from vitrine.server.inference.call import Call
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.opening import open_service
from vitrine.server.protocols.decoding import message_decoder
from vitrine.server.protocols.endpoint import MAX_FIELDS
from vitrine.server.protocols.field_count import SMALL_BYTES, UncountableError, has_more_fields
from vitrine.server.protocols.v1.convert import read_classify
from vitrine.server.protocols.v1.servicer import SERVICE
from vitrine.server.service_config import ServiceConfig
from vitrine.v1 import classifier_pb2 as pb

HEADERS, END_STREAM = 0x1, 0x1
PATH_THAT_IS_NOT_UTF8 = (  # POST, http, a :path that is no UTF-8, an :authority, application/grpc, te: trailers
    b"\x83\x86\x04\x03/\xb9\xff\x01\x01a\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
)

GRPC_ONLY = pytest.mark.skipif(FRONTEND != "grpc", reason="it is about gRPC's own server; Envoy ends such connections")

EXAMPLES = settings(max_examples=300, derandomize=True, deadline=None, database=None)
MESSAGES = 4000
LONGEST_TEXT = 500
"""Of a refusal: it travels in headers, which are small."""

SIZES = st.integers(-(2**63), 2**63 - 1)
TENSORS = st.builds(
    pb.Tensor,
    name=st.text(max_size=5),
    shape=st.lists(st.sampled_from((0, 1, 18)) | SIZES, max_size=5),
    dtype=st.integers(-1, 3),  # on the wire an enum is any number
    data=st.sampled_from((b"", bytes(324), bytes(648))) | st.binary(max_size=400),
)
SELECTIONS = st.builds(pb.LayerSelection, all=st.booleans(), names=st.lists(st.text(max_size=9), max_size=3))
ENCODED = st.builds(pb.EncodedImages, files=st.lists(st.binary(max_size=50), max_size=3))
REQUESTS = st.one_of(
    st.builds(pb.ClassifyRequest, model=st.text(), pixels=TENSORS, activations=SELECTIONS),
    st.builds(pb.ClassifyRequest, model=st.text(), encoded=ENCODED, activations=SELECTIONS),
)
DECODERS: dict[str, Callable[[bytes], Message]] = {
    method.name: message_decoder(GetMessageClass(method.input_type), lambda: MAX_FIELDS) for method in SERVICE.methods
}


@functools.cache
def model() -> ServedModel:
    """The model that requests are read for."""
    return load_artifact(bundled_model(), Device.CPU)


def refusal_of(read: Callable[[], object]) -> RequestError | None:
    """The refusal of a message; None: it was read. Any other exception fails the test."""
    try:
        read()
    except RequestError as error:
        return error
    return None


@pytest.mark.parametrize("method", DECODERS)
@EXAMPLES
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_are_refused(method: str, data: bytes) -> None:
    refusal = refusal_of(lambda: DECODERS[method](data))
    assert refusal is None or refusal.reason == "NOT_A_MESSAGE"


@EXAMPLES
@given(seed=st.integers(0, 2**32))
def test_mutated_requests_are_read_or_refused(seed: int) -> None:
    rng = Random(seed)
    data = mutated(rng, rng.choice(messages()[CLASSIFY]), MESSAGE_BYTES)
    refusal = refusal_of(lambda: read_classify(cast(pb.ClassifyRequest, DECODERS["Classify"](data)), model()))
    assert refusal is None or len(str(refusal)) < LONGEST_TEXT


@EXAMPLES
@given(message=REQUESTS)
def test_any_well_formed_request_is_read_or_refused(message: pb.ClassifyRequest) -> None:
    refusal = refusal_of(lambda: read_classify(message, model()))
    assert refusal is None or (refusal.field and len(str(refusal)) < LONGEST_TEXT)


@EXAMPLES
@given(data=st.binary(max_size=500))
def test_any_bytes_are_prepared_or_refused_as_an_image(data: bytes) -> None:
    _prepared_or_refused(data)


@pytest.mark.parametrize("kind", files())
def test_mutated_images_are_prepared_or_refused(kind: str) -> None:
    rng = Random(kind)
    for _ in range(50):
        _prepared_or_refused(mutated(rng, files()[kind], ANY_BYTES))


def _prepared_or_refused(data: bytes) -> None:
    with suppress(ImageError):
        assert prepare(data, 1_000_000).shape == (18, 18)


@EXAMPLES
@given(seed=st.integers(0, 2**32))
def test_fields_are_counted_in_any_bytes(seed: int) -> None:
    """Counting ends with an answer for any mutation of a large message."""
    rng = Random(seed)
    data = mutated(rng, rng.choice(messages()[CLASSIFY]), MESSAGE_BYTES)
    large = data * (SMALL_BYTES // max(1, len(data)) + 1)
    with suppress(UncountableError, DecodeError):
        has_many = has_more_fields(large, pb.ClassifyRequest.DESCRIPTOR, 10)
        assert has_many or elements_of(pb.ClassifyRequest.FromString(large)) <= 10


def test_fields_behind_a_group_are_counted_too() -> None:
    """An unknown group holds bytes that would be invalid outside it."""
    group = b"\x7b" + b"\x12\x0b" + b"\xff" * 11 + b"\x7c"  # field 15: begin; field 2, eleven bytes; end
    many = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[b""] * 100_000)).SerializeToString()
    assert len(pb.ClassifyRequest.FromString(group + many).encoded.files) == 100_000
    assert has_more_fields(group + many, pb.ClassifyRequest.DESCRIPTOR, 1000)


def elements_of(message: Message) -> int:
    """Number of known fields in a message, including nested ones and elements of lists."""
    count = 0
    for field, value in message.ListFields():
        for element in value if field.is_repeated else [value]:
            count += 1 + (elements_of(element) if isinstance(element, Message) else 0)
    return count


@pytest.mark.parametrize("count", [100_000, 100_001])
def test_fields_are_counted_exactly(count: int) -> None:
    message = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[b""] * (count - 1)))  # and the field that holds them
    assert has_more_fields(message.SerializeToString(), message.DESCRIPTOR, 100_000) == (count > 100_000)


async def test_calls_that_are_opened_and_cancelled_at_once_end_no_other_callers_calls() -> None:
    """Thousands of them stand in the queue before the valid calls, and are gone before their turn."""
    with logged_server() as server:
        for _ in range(3):
            floods = (send_flood_of(rapid_reset, server.target, Random(number)) for number in range(4))
            assert [outcome.name for outcome in await asyncio.gather(*floods)] == ["PING answered"] * 4
            calls = (send_good_call(server.target, Random(number)) for number in range(64))
            assert {outcome.name for outcome in await asyncio.gather(*calls)} == {"OK"}
        assert server.faults() == []


async def test_a_busy_caller_is_answered_however_many_calls_it_has_under_way(server: RunningServer) -> None:
    """It fails if gRPC's core counts calls that have ended: see `_options` of the front end."""
    good = messages()[CLASSIFY][0]
    async with grpc.aio.insecure_channel(server.target) as channel:
        method: Any = channel.unary_unary(CLASSIFY)

        async def call_on() -> None:
            for _ in range(3):
                await method(good)

        await asyncio.gather(*(call_on() for _ in range(CONNECTION_CALLS + 500)))


async def test_a_call_waits_to_be_taken_up_as_long_as_the_server_says(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default gRPC's core cancels calls after 30 s in its queue; with 0 s, the server's own setting shows."""
    assert set(await ends_of_many_calls(tiny_artifact)) == {grpc.StatusCode.OK}
    monkeypatch.setattr("vitrine.server.frontends.grpc.server.WAITING_SECONDS", 0)
    assert grpc.StatusCode.CANCELLED in await ends_of_many_calls(tiny_artifact)


async def ends_of_many_calls(artifact: Path) -> list[grpc.StatusCode]:
    """Status codes of 300 concurrent calls, most of which wait in the queue."""
    async with served(artifact) as server, grpc.aio.insecure_channel(server.address) as channel:
        method: Any = channel.unary_unary(CLASSIFY)
        calls = [method(messages()[CLASSIFY][0]) for _ in range(300)]
        return list(await asyncio.gather(*(call.code() for call in calls)))


@GRPC_ONLY
async def test_a_connection_can_not_open_more_calls_by_cancelling_them(server: RunningServer) -> None:
    """Twice the allowed number is opened and cancelled at once: one caller could fill everybody's queue."""
    async with connected(server.target) as (reader, writer), asyncio.timeout(30):
        writer.write(rapid_reset(Random(0)) + h2.frame(h2.PING))
        refused = [frame async for frame in frames_until_ping_is_answered(reader) if frame.kind == h2.RST_STREAM]
    assert len(refused) >= FLOOD_FRAMES - CONNECTION_CALLS


async def frames_until_ping_is_answered(reader: asyncio.StreamReader) -> AsyncIterator[h2.Frame]:
    """Frames from the server, up to its answer to the caller's PING."""
    buffer = bytearray()
    while data := await reader.read(h2.LARGEST_FRAME):
        buffer += data
        for frame in h2.read_frames(buffer):
            yield frame
            if is_answer(frame):
                return


async def test_a_connection_that_says_nothing_is_closed(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.server.frontends.grpc.server.HANDSHAKE_MS", 100)
    async with served(tiny_artifact) as server, asyncio.timeout(30), connected(server.address) as (reader, _):
        while await reader.read(1000):  # the server's own greeting, and then its end
            pass


@pytest.mark.parametrize(("pace_ms", "bears_them"), [(1, True), (60_000, False)])
async def test_a_connection_without_calls_may_ping_at_the_servers_pace(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, pace_ms: int, bears_them: bool
) -> None:
    """gRPC's core bears two early pings. Without a call, every ping within two hours was an early one."""
    monkeypatch.setattr("vitrine.server.frontends.grpc.server.PING_MS", pace_ms)
    async with served(tiny_artifact) as server, asyncio.timeout(30), connected(server.address) as (reader, writer):
        writer.write(h2.greeting())
        answered = 0
        with suppress(ConnectionError):
            for _ in range(8):
                await asyncio.sleep(0.002)  # the pace itself
                writer.write(h2.frame(h2.PING, payload=bytes(8)))
                answered += len([frame async for frame in frames_until_ping_is_answered(reader) if is_answer(frame)])
    assert (answered == 8) == bears_them


def is_answer(frame: h2.Frame) -> bool:
    return frame.kind == h2.PING and bool(frame.flags & h2.ACK)


@asynccontextmanager
async def served(artifact: Path) -> AsyncIterator[GrpcFrontend]:
    """A server on this event loop, which is drained at the end."""
    async with open_service(ServiceConfig(artifact)) as service:
        server = GrpcFrontend(service, GrpcConfig(port=0))
        await server.start()
        yield server
        await server.drain(10)


async def test_a_server_bears_every_kind_of_bad_input() -> None:
    """A server under a few thousand messages: it answers valid requests all along, and has no fault afterwards."""
    with logged_server("--drain-seconds", "60", "--frontend", FRONTEND, *http_flags(FRONTEND)) as server:
        campaign = Campaign(server, seed=0)
        async with campaign.checked():
            reports = [await campaign.run(kind, round(MESSAGES * KINDS[kind].share)) for kind in KINDS]
        assert {report.kind: report.tally.unexpected for report in reports} == {kind: [] for kind in KINDS}
        assert campaign.health.wrong == []
        assert server.alive
        assert server.stop(30) == 0, "a call was left, although all callers had gone"
        assert server.faults() == []


async def test_a_campaign_ends_with_its_server_and_says_so() -> None:
    with logged_server() as server:
        campaign = Campaign(server, seed=0)
        async with asyncio.timeout(60), campaign.checked():
            server.process.kill()
            server.process.wait()
            await campaign.run("messages", 10)
        assert campaign.health.wrong


async def test_a_flood_after_which_nobody_is_answered_is_not_got_over() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with logged_server() as server:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as nobody:
            port = nobody.sockets[0].getsockname()[1]
            outcome = await Campaign(replace(server, target=f"127.0.0.1:{port}"), seed=0).replay("floods", 0)
    assert outcome.name == "no answer"
    assert not is_allowed(outcome, KINDS["floods"].allowed)


MIB = 1024
"""In KiB."""


async def test_an_attack_that_reads_nothing_dials_again_once_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "DRIP_SECONDS", 0.01)
    dialled, again = itertools.count(1), asyncio.Event()

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received, data = bytearray(), b"\0"
        while data and received.count(b"\r\n\r\n") < transport.PIPELINED:  # closed with unread bytes, it would be reset
            data = await reader.read(h2.LARGEST_FRAME)  # empty once the attack is over
            received += data
        writer.write(bytes(200_000))  # more than a stream takes unread: its socket isn't looked at any more
        writer.close()
        if next(dialled) > transport.UNREADING:
            again.set()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        attack = asyncio.ensure_future(transport.unread_pages(f"127.0.0.1:{port}", ""))
        try:
            async with asyncio.timeout(60):
                await again.wait()
        finally:
            attack.cancel()
            await asyncio.wait([attack])


def failures(kib: Sequence[int] = (300 * MIB,) * 10, unexpected: Sequence[str] = ()) -> list[str]:
    """Failures of a campaign with this memory after each round, and with unexpected outcomes in the first one."""
    rounds = [Usage(rss, files=10, threads=10, processes=1) for rss in kib]
    first, *others = (Report("messages", Tally(), 1.0, usage) for usage in rounds)
    first.tally.unexpected += unexpected
    result = fuzz.Result([functools.reduce(fuzz.joined, others, first)], rounds, Health(), alive=True)
    return fuzz.failures_of(result, max_growth_mib=32)


def test_what_is_unexpected_in_the_first_round_fails_a_campaign_too() -> None:
    assert failures() == []
    assert failures(unexpected=["number 0 ended with UNKNOWN"]) == ["messages: number 0 ended with UNKNOWN"]


def test_memory_that_is_reached_early_is_no_leak() -> None:
    """The allocator keeps the memory of the worst moments from the first rounds on; later it goes up and down."""
    assert failures([MIB * held for held in (220, 314, 292, 308, 311, 303, 317, 310, 307, 311)]) == []


def test_memory_that_grows_in_each_round_fails_a_campaign() -> None:
    assert failures([MIB * (220 + 7 * number) for number in range(10)]) == ["memory kept growing, by 35 MiB"]


def test_a_path_that_is_no_text_ends_nothing(tiny_artifact: Path) -> None:
    """It would end grpc.aio's own server: a single call from anybody was enough."""
    with (
        open_log() as (pipe, log),
        logged(pipe, tiny_artifact) as server,
        Client(server.target, retries=0) as client,
    ):
        assert client.health()
        for _ in range(20):
            assert refused_path(server.target)
            assert client.classify(random_pixels(1)[0], preparation="none").digit in range(10)
        assert server.stop() == 0
    assert "Traceback" not in log.text


def refused_path(target: str) -> bool:
    """Calls a path that is no UTF-8; True: it was refused, and the connection still answers a PING."""
    host, _, number = target.rpartition(":")
    with socket.create_connection((host, int(number))) as connection:
        path = h2.frame(HEADERS, END_STREAM | h2.END_HEADERS, 1, PATH_THAT_IS_NOT_UTF8)
        connection.sendall(h2.greeting() + path + h2.frame(h2.PING, payload=b"the last"))
        received, refused, answered = bytearray(), False, False
        while not (refused and answered) and (data := connection.recv(4096)):
            received += data
            for found in h2.read_frames(received):
                refused |= found.stream == 1 and bool(found.flags & END_STREAM)
                answered |= found.kind == h2.PING and found.payload == b"the last"
        return refused and answered


@pytest.mark.parametrize(
    ("method", "message"),
    [("Classify", b"\x0a\x01"), ("Classify", b""), ("GetModel", pb.GetModelRequest(model="none").SerializeToString())],
)
async def test_a_refused_call_is_let_go_without_the_garbage_collector(
    tiny_artifact: Path, method: str, message: bytes
) -> None:
    """The collector counts objects, not bytes: a few refused calls could hold on to much memory."""
    with without_garbage_collector():
        async with served(tiny_artifact) as server, grpc.aio.insecure_channel(server.address) as channel:
            call: Any = channel.unary_unary(f"/{SERVICE.full_name}/{method}")
            with pytest.raises(grpc.aio.AioRpcError):
                await call(message)
        assert [held for held in gc.get_objects() if type(held) is Call] == []  # isinstance asks some objects


@contextmanager
def without_garbage_collector() -> Iterator[None]:
    """Disables the garbage collector during the block, so that garbage stays visible."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
