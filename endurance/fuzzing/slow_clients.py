"""Clients that hold a server's resources: they stay idle, don't read, or leave without a word."""

import asyncio
from contextlib import AsyncExitStack
from random import Random

from endurance.fuzzing import frames as h2
from endurance.fuzzing.connections import connected
from endurance.fuzzing.corpus import CLASSIFY, STREAM, messages, pixels
from endurance.fuzzing.outcomes import Outcome
from vitrine.v1 import classifier_pb2 as pb

STREAMS_PER_CONNECTION = 50
IDLE_CONNECTIONS = 20
MAX_STAY_SECONDS = 0.5

IMAGES = 140
"""Images of a slow reader's request: its pixels fit into a connection's first window, and its answer is large."""


async def abandon_streams(target: str, rng: Random) -> Outcome:
    """Opens streams, starts some of them, and leaves."""
    async with connected(target) as (_, writer):
        writer.write(h2.greeting())
        for stream in range(1, 2 * STREAMS_PER_CONNECTION, 2):
            writer.write(h2.headers_frame(h2.call_headers(STREAM), stream) + _stream_start(rng, stream))
        await writer.drain()
        await asyncio.sleep(rng.random() * MAX_STAY_SECONDS)
        if rng.random() < 0.3:
            writer.write(h2.frame(h2.GOAWAY, payload=bytes(8)))
        if rng.random() < 0.3:
            writer.write_eof()
    return Outcome("left", messages=STREAMS_PER_CONNECTION)


def _stream_start(rng: Random, stream: int) -> bytes:
    """Frames behind a stream's headers: nothing, a message or half of one, and sometimes a cancellation."""
    message = h2.grpc_message(rng.choice(messages()[STREAM]))
    sent = rng.choice((b"", message, message[: len(message) // 2]))
    data = h2.data_frames(sent, stream, flags=0) if sent else b""
    cancelled = h2.frame(h2.RST_STREAM, 0, stream, h2.CANCEL.to_bytes(4, "big"))
    return data + cancelled if rng.random() < 0.3 else data


async def read_slowly(target: str, rng: Random) -> Outcome:
    """Asks for every layer of many images, reads the answer byte by byte or not at all, and leaves."""
    request = pb.ClassifyRequest(pixels=pixels(IMAGES), activations=pb.LayerSelection(all=True)).SerializeToString()
    async with connected(target) as (reader, writer):
        writer.write(h2.greeting(initial_window=rng.choice((0, 1, 100))))
        writer.write(h2.headers_frame(h2.call_headers(CLASSIFY), 1))
        writer.write(h2.data_frames(h2.grpc_message(request), 1))
        for _ in range(rng.randrange(20)):
            writer.write(h2.frame(h2.WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")))
            await asyncio.sleep(rng.random() * MAX_STAY_SECONDS / 10)
            await reader.read(1)
    return Outcome("left")


async def stay_idle(target: str, rng: Random) -> Outcome:
    """Opens connections, sends nothing or a greeting, stays a while, and leaves."""
    async with AsyncExitStack() as stack:
        for _ in range(IDLE_CONNECTIONS):
            _, writer = await stack.enter_async_context(connected(target))
            writer.write(rng.choice((b"", h2.PREFACE[: rng.randrange(24)], h2.greeting())))
        await asyncio.sleep(rng.random() * MAX_STAY_SECONDS)
    return Outcome("left", messages=IDLE_CONNECTIONS)
