"""What callers' connections may hold outside of admitted requests: over real sockets, by raw HTTP/2."""

import asyncio
import gzip
import itertools
import queue
import resource
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hpack import Encoder
from support.callers import bearer, line, secret
from support.serving import FRONTEND, RunningServer, running_server

from benchmarks.harness.servers import OWN_CONNECTION
from endurance.attacking.attacks import CHECK, CLASSIFY
from endurance.attacking.peer import dialled
from endurance.fuzzing import frames as h2
from endurance.fuzzing.connections import connected, read_status
from vitrine.server.errors import InvalidRequest, Overloaded, listed
from vitrine.server.frontends.grpc import sockets, watch
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.connection_limit import max_connections
from vitrine.server.frontends.grpc.core_server import is_supported
from vitrine.server.frontends.grpc.receiving import network_of
from vitrine.server.frontends.grpc.server import GrpcFrontend
from vitrine.server.frontends.grpc.status import to_grpc
from vitrine.server.frontends.grpc.watch import ConnectionWatch
from vitrine.server.inference.admission import Admission, AdmissionConfig
from vitrine.server.inference.connections import (
    SLACK,
    TOO_LARGE,
    TOO_MUCH,
    TOO_SLOW,
    UNREAD,
    ConnectionConfig,
    Connections,
)
from vitrine.server.inference.shares import Shares
from vitrine.server.opening import open_service
from vitrine.server.protocols.status import status_of
from vitrine.server.service_config import ServiceConfig
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

MIB = 1 << 20
GRPC_ONLY = pytest.mark.skipif(FRONTEND != "grpc", reason="Envoy unpacks, and ends single calls: docs/frontends.md")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="connections are measured on Linux only")
ONE_IMAGE = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)))
MANY = pb.ClassifyRequest(
    pixels=pb.Tensor(shape=[180, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(180 * 324)),
    activations=pb.LayerSelection(all=True),
)


@pytest.fixture(scope="module")
def impatient(tiny_artifact: Path) -> Iterator[RunningServer]:
    """A server that gives messages half a second to arrive or to leave."""
    with running_server(tiny_artifact, "--transfer-seconds", "0.5", "--max-connections", "16") as running:
        yield running


def reason_of(error: grpc.RpcError) -> str:
    """The reason in an error's details."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, error
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return str(info.reason)


def refusal(
    target: str, path: str, data: bytes, compression: grpc.Compression = grpc.Compression.NoCompression
) -> tuple[grpc.StatusCode, str]:
    with grpc.insecure_channel(target) as channel:
        call: Any = channel.unary_unary(path)
        with pytest.raises(grpc.RpcError) as caught:
            call(data, timeout=60, compression=compression)
    return caught.value.code(), reason_of(caught.value)


def test_this_version_of_grpcio_is_one_that_our_server_fits() -> None:
    assert is_supported()


def test_a_health_check_has_few_bytes(impatient: RunningServer) -> None:
    assert refusal(impatient.target, CHECK, bytes(5000)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_answered(impatient: RunningServer, compression: grpc.Compression) -> None:
    with grpc.insecure_channel(impatient.target, compression=compression) as channel:
        assert len(ClassifierServiceStub(channel).Classify(MANY, timeout=60).digits) == 180


@pytest.mark.parametrize(("path", "size"), [(CHECK, 5000), (CLASSIFY, 65 << 20)])
def test_messages_are_unpacked_up_to_their_limit(impatient: RunningServer, path: str, size: int) -> None:
    refused = refusal(impatient.target, path, bytes(size), grpc.Compression.Gzip)
    assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")


def test_bytes_that_only_begin_as_compressed_ones_are_no_message(impatient: RunningServer) -> None:
    broken = gzip.compress(ONE_IMAGE.SerializeToString())[:-9]
    assert refusal(impatient.target, CLASSIFY, broken) == (grpc.StatusCode.INVALID_ARGUMENT, "NOT_A_MESSAGE")


async def test_a_request_that_does_not_arrive_ends(impatient: RunningServer) -> None:
    async with asyncio.timeout(60), dialled(impatient.target) as peer:
        peer.open(CLASSIFY, 1)
        await peer.send(1, h2.grpc_message(b"", length=1000), last=False)
        await peer.over(1)


async def test_headers_are_bounded_for_a_peer_that_ignores_the_servers_settings(impatient: RunningServer) -> None:
    large, encoder = ("x-large", "v" * 3500), Encoder()
    first = encoder.encode([*h2.call_headers(CHECK), large], huffman=False)
    again = encoder.encode([*h2.call_headers(CHECK), *[large] * 5], huffman=False)
    assert len(again) < 200  # each repetition is a byte that refers to the first header
    async with asyncio.timeout(60), connected(impatient.target) as (reader, writer):
        writer.write(h2.greeting())
        for stream, headers in ((1, first), (3, again)):
            writer.write(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, headers))
        assert (await read_status(reader))[0] == "RESOURCE_EXHAUSTED"  # a call without its message has another one


@GRPC_ONLY
async def test_an_answer_that_is_not_read_ends_with_its_connection(impatient: RunningServer) -> None:
    async with asyncio.timeout(60), dialled(impatient.target, window=0) as peer:
        peer.open(CLASSIFY, 1)
        await peer.send(1, h2.grpc_message(MANY.SerializeToString()))
        with pytest.raises(EOFError):
            await peer.ended()
    with grpc.insecure_channel(impatient.target) as channel:
        assert len(ClassifierServiceStub(channel).Classify(ONE_IMAGE).digits) == 1


@GRPC_ONLY
@LINUX
async def test_a_connection_that_sends_more_than_its_call_may_have_is_closed(tiny_artifact: Path) -> None:
    with running_server(tiny_artifact) as server:
        async with asyncio.timeout(60), dialled(server.target) as peer:
            peer.open(CHECK, 1)
            with suppress(EOFError, ConnectionError):  # it may be closed before all is sent, or after
                await peer.send(1, h2.grpc_message(bytes(32 * MIB), length=64 * MIB), last=False)
            with pytest.raises(EOFError):
                await peer.ended()


@LINUX
async def test_beyond_the_limit_idle_connections_are_closed_and_busy_ones_stay(impatient: RunningServer) -> None:
    requests: queue.SimpleQueue[pb.ClassifyStreamRequest | None] = queue.SimpleQueue()
    with grpc.insecure_channel(impatient.target) as channel:
        answers = ClassifierServiceStub(channel).ClassifyStream(iter(requests.get, None))
        requests.put(pb.ClassifyStreamRequest(request=ONE_IMAGE))
        await asyncio.to_thread(next, answers)
        opening = [asyncio.open_connection(*impatient.target.split(":")) for _ in range(24)]
        opened = await asyncio.gather(*opening, return_exceptions=True)
        idle = [found for found in opened if not isinstance(found, BaseException)]  # some may be closed by now
        closed = len(opened) - len(idle)
        async with asyncio.timeout(60):
            ends = [asyncio.ensure_future(_end_of(reader)) for reader, _ in idle]
            for end in itertools.islice(asyncio.as_completed(ends), 24 + 1 - 16 - closed):
                await end
        requests.put(pb.ClassifyStreamRequest(request=ONE_IMAGE))
        assert len((await asyncio.to_thread(next, answers)).response.digits) == 1
        requests.put(None)
        for end in ends:
            end.cancel()
        for _, writer in idle:
            writer.transport.abort()


async def _end_of(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(4096):
            pass
    except ConnectionError:
        return


def test_one_host_can_not_open_all_streams_of_strangers(tiny_artifact: Path) -> None:
    request = health_pb2.HealthCheckRequest()
    with running_server(tiny_artifact) as server, ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(server.target, OWN_CONNECTION)) for _ in range(3)]
        stubs: list[Any] = [health_pb2_grpc.HealthStub(channel) for channel in channels]
        watches = [stubs[number // 200].Watch(request) for number in range(448)]  # a connection has 256 at most
        assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.SERVING}
        with pytest.raises(grpc.RpcError) as caught:
            next(stubs[-1].Watch(request))
        assert reason_of(caught.value) == "TOO_MANY_STREAMS"
        for watch in watches:
            watch.cancel()


def test_a_stream_that_is_idle_does_not_hold_a_server_that_drains(tiny_artifact: Path) -> None:
    requests: queue.SimpleQueue[pb.ClassifyStreamRequest | None] = queue.SimpleQueue()
    hours = ("--drain-seconds", "7200")
    with running_server(tiny_artifact, *hours) as server, grpc.insecure_channel(server.target) as channel:
        answers = ClassifierServiceStub(channel).ClassifyStream(iter(requests.get, None))
        requests.put(pb.ClassifyStreamRequest(request=ONE_IMAGE))
        next(answers)
        server.process.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "LEAVING")
        requests.put(None)
        assert server.process.wait(60) == 0


async def test_a_request_that_does_not_arrive_does_not_hold_a_server_that_drains(tiny_artifact: Path) -> None:
    with running_server(tiny_artifact, "--drain-seconds", "7200", "--transfer-seconds", "7200") as server:
        async with asyncio.timeout(60), dialled(server.target) as peer:
            for stream in (1, 3):
                peer.open(CHECK, stream)
            await peer.send(1, h2.grpc_message(b"", length=1000), last=False)
            await peer.send(3, h2.grpc_message(b""))
            await peer.over(3)
            server.process.terminate()
            with pytest.raises(EOFError):
                await peer.ended()
        assert server.process.wait(60) == 0


async def test_a_caller_who_reads_nothing_leaves_room_for_others(tiny_artifact: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("alice", "predict,activations") + line("mallory", "predict,activations"))
    limits = ("--tokens", tokens, "--max-images", "180", "--max-pending-images", str(180 * 8))
    with running_server(tiny_artifact, *limits) as server:
        async with asyncio.timeout(60), dialled(server.target, window=0) as peer:
            for stream in range(1, 17, 2):
                peer.open(CLASSIFY, stream, authorization=f"Bearer {secret('mallory')}")
                await peer.send(stream, h2.grpc_message(MANY.SerializeToString()))
            async with grpc.aio.insecure_channel(server.target) as channel:
                stub: Any = ClassifierServiceStub(channel)
                for _ in range(20):
                    answer = await stub.Classify(ONE_IMAGE, metadata=bearer(secret("alice")))
                    assert len(answer.digits) == 1


async def test_callers_behind_a_proxy_have_shares_of_their_own(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("greedy", "predict") + line("other", "predict"))
    monkeypatch.setattr("vitrine.server.inference.connections.CALLER_STREAMS", 8)
    async with open_service(ServiceConfig(tiny_artifact, tokens=tokens)) as service:
        server = GrpcFrontend(service, GrpcConfig(port=0))
        await server.start()
        async with asyncio.timeout(60), grpc.aio.insecure_channel(server.address) as channel:
            stub: Any = ClassifierServiceStub(channel)

            async def open_stream(name: str) -> Any:
                stream = stub.ClassifyStream(metadata=bearer(secret(name)))
                await stream.write(pb.ClassifyStreamRequest(request=ONE_IMAGE))
                await stream.read()
                return stream

            opened = [await open_stream("greedy") for _ in range(7)]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await open_stream("greedy")
            assert reason_of(caught.value) == "TOO_MANY_STREAMS"
            opened.append(await open_stream("other"))
            for stream in opened:
                stream.cancel()
        await server.drain(0)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def ledger(max_bytes: int = 128 * MIB) -> tuple[Connections, Clock]:
    clock = Clock()
    return Connections(ConnectionConfig(10.0), Admission(AdmissionConfig(max_bytes=max_bytes)), clock), clock


def receiving(connections: Connections, name: str, size: int, limit: int = 64 * MIB) -> None:
    """A connection on which a message has arrived in part."""
    connection = connections.at(name, lambda _: name)
    connections.expect(connection, limit, end=lambda: None)
    connection.measure(size, connections.clock())


def closed(connections: Connections) -> list[tuple[str, str]]:
    return [(found.connection.name, found.reason) for found in connections.sweep()]


def test_the_connection_that_holds_the_most_goes_first() -> None:
    connections, _ = ledger()
    for name, size in (("a", 20), ("b", 40), ("c", 30)):
        receiving(connections, name, size * MIB)
    assert closed(connections) == [("b", TOO_MUCH)]
    assert connections.held_bytes == 90 * MIB


def test_strangers_go_before_callers_that_are_known() -> None:
    connections, _ = ledger()
    receiving(connections, "known", 60 * MIB)
    connections.at("known", str).known = True
    receiving(connections, "stranger", 10 * MIB)
    assert closed(connections) == [("stranger", TOO_MUCH)]


def test_one_message_of_the_largest_size_may_always_arrive() -> None:
    connections, _ = ledger()
    receiving(connections, "a", 64 * MIB)
    assert closed(connections) == []


def test_what_is_pending_leaves_less_room() -> None:
    connections, _ = ledger()
    connections._admission.admit(1, 100 * MIB, "a")
    receiving(connections, "b", 40 * MIB)
    assert closed(connections) == [("b", TOO_MUCH)]


def test_more_than_the_method_takes_is_not_held_for_long() -> None:
    connections, clock = ledger()
    receiving(connections, "a", SLACK + 50_000, limit=4096)
    assert closed(connections) == []
    clock.now += 0.9
    connections.at("a", str).measure(SLACK + 50_000, clock.now)
    assert closed(connections) == []
    clock.now += 0.2
    assert closed(connections) == [("a", TOO_LARGE)]


def test_those_that_hold_more_than_the_method_takes_go_before_larger_ones() -> None:
    connections, _ = ledger()
    receiving(connections, "large", 60 * MIB)
    receiving(connections, "exceeding", 10 * MIB, limit=4096)
    assert closed(connections) == [("exceeding", TOO_MUCH)]


def test_a_burst_of_calls_is_taken_up_one_by_one() -> None:
    """Their messages are received meanwhile, before anybody has asked for them."""
    connections, clock = ledger()
    for _ in range(40):
        clock.now += 0.05
        receiving(connections, "a", 30 * MIB, limit=2 * MIB)
        assert closed(connections) == []


def test_a_call_that_was_cancelled_in_the_middle_of_its_message_holds_nothing() -> None:
    connections, clock = ledger()
    connection = connections.at("a", str)
    cancelled = connections.expect(connection, 64 * MIB, end=lambda: None)
    connection.measure(40 * MIB, clock.now)
    cancelled.arrived(0)
    assert connection in connections.waiting()
    connection.measure(41 * MIB, clock.now)
    assert connections.waiting() == []
    receiving(connections, "a", 42 * MIB)
    assert connection.held == MIB


def test_a_busy_connection_whose_messages_are_taken_in_holds_nothing() -> None:
    """Headers and frames count in what was received: they must not add up beside a stream that waits."""
    connections, _ = ledger()
    connection = connections.at("a", str)
    connections.expect(connection, MIB, end=lambda: None, streamed=True)
    received = 0
    for _ in range(100_000):
        connections.expect(connection, MIB, end=lambda: None).arrived(300)
        received += 300 + 150
        connection.measure(received, 0.0)
    assert connection.held == 0
    connection.measure(received + 5 * MIB, 0.0)
    assert connection.held > 4 * MIB


def test_large_messages_over_tls_do_not_add_up() -> None:
    """Records of TLS and frames of HTTP/2, 31 bytes for 16 KiB, come with each message for as long as it is used."""
    connections, clock = ledger()
    connection = connections.at("a", str)
    received = 0
    for _ in range(10_000):
        transfer = connections.expect(connection, 64 * MIB, end=lambda: None)
        received += 16 * MIB + 31 * 1024
        clock.now += 1
        connection.measure(received - MIB, clock.now)
        assert closed(connections) == []
        transfer.arrived(16 * MIB)


def test_a_connection_on_which_several_messages_are_always_arriving_is_not_slow() -> None:
    connections, clock = ledger()
    connection = connections.at("a", str)
    arriving = connections.expect(connection, 64 * MIB, end=lambda: None)
    received = 8 * MIB
    for _ in range(1000):
        clock.now += 1
        following = connections.expect(connection, 64 * MIB, end=lambda: None)
        received += 4 * MIB * 33 // 32
        connection.measure(received, clock.now)
        assert connection.held > SLACK
        assert closed(connections) == []
        arriving.arrived(4 * MIB)
        arriving = following


def test_a_message_that_stops_in_the_middle_is_slow_beside_small_ones() -> None:
    connections, clock = ledger()
    connection = connections.at("a", str)
    connections.expect(connection, 64 * MIB, end=lambda: None, streamed=True)
    received = 40 * MIB
    for _ in range(11):
        connection.measure(received, clock.now)
        assert closed(connections) == []
        clock.now += 1
        connections.expect(connection, MIB, end=lambda: None).arrived(300)
        received += 450
    connection.measure(received, clock.now)
    assert closed(connections) == [("a", TOO_SLOW)]


def test_what_a_client_sends_beside_messages_is_forgiven() -> None:
    """A stream that waits for a week while PINGs and windows for large answers arrive."""
    connections, clock = ledger()
    connection = connections.at("a", str)
    connections.expect(connection, MIB, end=lambda: None, streamed=True)
    received = 0
    for _ in range(10_000):
        clock.now += 60
        answered = connections.expect(connection, MIB, end=lambda: None)
        answered.arrived(300)
        answered.leaving(60 * MIB)
        answered.left()
        received += 300 + 150 + 200_000 + 6 * 17
        connection.measure(received, clock.now)
        assert closed(connections) == []


def test_an_answer_has_its_time_to_leave_and_a_message_its_time_to_arrive() -> None:
    connections, clock = ledger()
    ended: list[str] = []
    connection = connections.at("a", str)
    late = connections.expect(connection, MIB, end=lambda: ended.append("late"))
    answered = connections.expect(connection, MIB, end=lambda: ended.append("answered"))
    answered.arrived(100)
    answered.leaving(1000)
    clock.now += 9
    assert (closed(connections), ended) == ([], [])
    clock.now += 2
    assert (closed(connections), ended) == ([("a", UNREAD)], ["late"])
    late.arrived(0)
    answered.left()
    assert closed(connections) == []


def test_the_hosts_with_the_most_connections_lose_some_first() -> None:
    connections, _ = ledger()
    names = [f"ipv4:10.0.0.1:{port}" for port in range(6)] + ["ipv4:10.0.0.2:1"]
    assert connections.surplus(names, 7, network_of) == []
    assert set(connections.surplus(names, 5, network_of)) <= set(names[:6])
    for name in names[:5]:
        connections.at(name, str).calls = 1
    assert connections.surplus(names, 5, network_of) == [names[5], names[6]]


def test_all_addresses_of_an_ipv6_network_are_one_host() -> None:
    connections, _ = ledger()
    many = [f"ipv6:%5B2001:db8:0:1::{number:x}%5D:4711" for number in range(1, 7)]
    few = ["ipv6:%5B2001:db8:0:2::1%5D:4711", "ipv6:%5B2001:db8:0:2::1%5D:4712"]
    assert set(connections.surplus([*few, *many], 4, network_of)) <= set(many)


def test_a_connection_that_came_while_others_were_counted_is_kept() -> None:
    connections, clock = ledger()
    connections.at("before", str).active = clock.now - 1
    connections.at("since", str).active = clock.now + 1
    connections.keep_only((), clock.now)
    assert set(connections._open) == {"since"}


async def test_calls_go_on_while_connections_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, began, may_end = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def open_sockets(_: Collection[int]) -> dict[str, int]:
        loop.call_soon_threadsafe(began.set)
        assert may_end.wait(60)
        return {}

    monkeypatch.setattr(sockets, "open_sockets", open_sockets)
    connections, clock = ledger()
    watching = asyncio.create_task(ConnectionWatch(connections, 0).run())
    async with asyncio.timeout(60):
        await began.wait()
        late: asyncio.Future[None] = loop.create_future()
        connections.expect(connections.at("a", str), MIB, end=partial(late.set_result, None))
        clock.now += 11
        await late
    may_end.set()
    watching.cancel()


async def test_a_count_that_fails_is_logged_once_and_made_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop, unhandled, third = asyncio.get_running_loop(), list[object](), asyncio.Event()
    counts = itertools.count(1)

    def open_sockets(_: Collection[int]) -> dict[str, int]:
        if next(counts) >= 3:
            loop.call_soon_threadsafe(third.set)
        raise OSError(24, "too many open files")

    monkeypatch.setattr(sockets, "open_sockets", open_sockets)
    monkeypatch.setattr(watch, "COUNT_SECONDS", 0)
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    watching = ConnectionWatch(ledger()[0], 0)
    watching.start()
    await asyncio.wait_for(third.wait(), 60)
    watching.stop()
    assert unhandled == []
    assert [record.message for record in caplog.records] == ["gRPC's connections can't be counted for now"]


async def test_a_watch_that_ends_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Clock):
        def __call__(self) -> float:
            raise RuntimeError

    connections, _ = ledger()
    connections.clock = Broken()
    watching = ConnectionWatch(connections, 0)
    watching.start()
    assert watching._running is not None
    await asyncio.wait([watching._running])
    await asyncio.sleep(0)
    assert [record.message for record in caplog.records] == [
        "gRPC's connections aren't watched any more: restart this server"
    ]


def test_without_a_limit_of_files_there_is_one_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    for files in (resource.RLIM_INFINITY, (1 << 63) - 1):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert max_connections(ledger()[0].config) == 750_000


def test_one_caller_takes_seven_eighths_at_most_and_others_find_the_rest() -> None:
    shares = Shares(80)
    while shares.fits(1) and shares.is_fair("greedy", 1):
        shares.take("greedy", 1)
    assert shares.held == 70
    assert shares.is_fair("late", 10)
    shares.take("late", 10)
    assert not shares.fits(1)
    shares.give_back("greedy", 70)
    assert shares.held == 10


def test_a_caller_beyond_its_share_is_told_so() -> None:
    admission = Admission(AdmissionConfig(max_images=80, max_bytes=8000))
    for _ in range(7):
        admission.admit(10, 10, "greedy")
    with pytest.raises(Overloaded) as caught:
        admission.admit(10, 10, "greedy")
    assert caught.value.reason == "SHARE_EXCEEDED"
    admission.admit(10, 10, "late")


def test_a_list_of_long_names_fits_into_the_headers_of_an_answer() -> None:
    names = [letter * 250 for letter in "abcdefghijklmnopqrstuvwxyz"]
    assert listed(names) == f"{names[0]}, {names[1]}, {names[2]} and 23 more"
    assert listed(["é" * 250] * 2) == f"{'é' * 250} and 1 more"
    error = InvalidRequest("LAYER_UNKNOWN", f"the layers: {listed(names)}", "activations.names[0]")
    status = to_grpc(status_of(error))
    details: Any = dict(status.trailing_metadata)["grpc-status-details-bin"]
    assert len(status.details) + len(details) < 4096
    assert details.count(names[0].encode()) == 1  # gRPC's message is in it
