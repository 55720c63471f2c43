"""Messages that wait at their callers until there is room for them."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.serving import RunningServer, running_server

from endurance.attacking.attacks import CHECK, CLASSIFY
from endurance.attacking.peer import dialled
from endurance.fuzzing import frames as h2
from vitrine.server.inference.upload_queue import LEAST_BYTES, STALL_CALLS, UploadQueue, Uploads
from vitrine.v1 import classifier_pb2 as pb

MIB = 1 << 20
LIMIT = 64 * MIB
ONE_IMAGE = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)))


@pytest.fixture(scope="module")
def small(tiny_artifact: Path) -> Iterator[RunningServer]:
    """A server in which 64 MiB of messages may be arriving."""
    with running_server(tiny_artifact, "--max-pending-mb", "128") as running:
        yield running


def test_a_burst_beyond_what_may_arrive_loses_no_connection(small: RunningServer) -> None:
    message = ONE_IMAGE.SerializeToString() + b"\xfa\x7f\x80\x80\x80\x02" + bytes(4 * MIB)  # an unknown field
    with grpc.insecure_channel(small.target) as channel:
        method: Any = channel.unary_unary(CLASSIFY)
        calls = [method.future(message, timeout=120) for _ in range(64)]
        codes = [call.code() for call in calls]
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert grpc.StatusCode.OK in codes


@pytest.mark.skipif(sys.platform != "linux", reason="connections are measured on Linux only")
async def test_a_health_check_waits_for_no_upload(small: RunningServer) -> None:
    async with asyncio.timeout(60), dialled(small.target) as peer:
        for stream in range(1, 41, 2):
            peer.open(CLASSIFY, stream)
            await peer.send(stream, h2.grpc_message(b"", length=MIB), last=False)
        peer.open(CHECK, 41)
        await peer.send(41, h2.grpc_message(b""))
        await peer.over(41)


def queue(room: int = 256 * MIB) -> UploadQueue:
    return UploadQueue(lambda: room, room // 4)


def known(size: int = MIB) -> Uploads:
    """The messages of a connection by which one has come."""
    return Uploads(largest=size)


async def waits(uploads: UploadQueue, connection: Uploads) -> "asyncio.Task[int]":
    waiting = asyncio.create_task(uploads.wait(connection, LIMIT))
    await asyncio.sleep(0)
    return waiting


def fill(uploads: UploadQueue, connection: Uploads) -> list[int]:
    """Lets calls read until one has to wait; gives what they count as."""
    return list(iter(lambda: uploads.enter(connection, LIMIT), 0))


async def test_messages_of_an_unknown_size_fit_whatever_they_have() -> None:
    uploads, connection = queue(), Uploads()
    assert sum(fill(uploads, connection)) <= 256 * MIB
    assert connection.size(LIMIT) == LIMIT
    uploads.leave(connection, LIMIT, 1000)
    assert connection.size(LIMIT) == LEAST_BYTES


async def test_a_message_that_arrives_makes_room_for_the_next() -> None:
    uploads, connection = queue(), known(20 * MIB)
    first, *_ = fill(uploads, connection)
    waiting = await waits(uploads, connection)
    assert not waiting.done()
    uploads.leave(connection, first, 20 * MIB)
    assert await waiting == first == 20 * MIB


async def test_a_connection_that_fills_the_room_keeps_no_other_out() -> None:
    uploads, greedy, other = queue(), known(), known()
    fill(uploads, greedy)
    assert len(fill(uploads, other)) > 1


async def test_one_message_of_a_connection_may_always_arrive() -> None:
    uploads, connection = queue(room=0), known()
    assert fill(uploads, connection) == [LEAST_BYTES]


async def test_connections_take_turns() -> None:
    uploads, ann, bob = queue(room=0), known(), known()
    order: list[str] = []

    def note(name: str, _: object) -> None:
        order.append(name)

    for name, connection in (("ann", ann), ("bob", bob)):
        fill(uploads, connection)
        for _ in range(2):
            (await waits(uploads, connection)).add_done_callback(partial(note, name))
    for _ in range(2):
        for connection in (ann, bob):
            uploads.leave(connection, LEAST_BYTES, MIB)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert order == ["ann", "bob", "ann", "bob"]


async def test_a_call_that_goes_leaves_the_line() -> None:
    uploads, connection = queue(room=0), known()
    counted = fill(uploads, connection)[0]
    gone = [await waits(uploads, connection) for _ in range(2)]
    gone[0].cancel()  # while it waits
    await asyncio.wait(gone[:1])
    uploads.leave(connection, counted, MIB)
    gone[1].cancel()  # at the moment of its turn
    with suppress(asyncio.CancelledError):
        await gone[1]
    assert (connection.expected, connection.waiting, uploads._lines) == (0, {}, {})
    assert fill(uploads, connection) == [LEAST_BYTES]


async def test_calls_that_send_nothing_hold_up_the_others_for_a_moment() -> None:
    uploads, connection = queue(), known()
    fill(uploads, connection)
    waiting = [await waits(uploads, connection) for _ in range(2 * STALL_CALLS)]
    uploads.look(connection, 5 * MIB, 250 * MIB, now=1.0)
    uploads.look(connection, 9 * MIB, 250 * MIB, now=2.0)  # they do send
    await asyncio.sleep(0)
    assert not any(call.done() for call in waiting)
    uploads.look(connection, 9 * MIB, 250 * MIB, now=3.0)
    await asyncio.sleep(0)
    assert sum(call.done() for call in waiting) == STALL_CALLS
    for call in waiting:
        call.cancel()
