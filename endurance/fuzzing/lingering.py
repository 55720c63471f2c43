"""Callers that take a server's patience: they stay and say nothing, don't read, or leave without a word."""

import asyncio
from contextlib import AsyncExitStack
from random import Random

from endurance.fuzzing import frames as h2
from endurance.fuzzing.corpus import CLASSIFY, STREAM, messages, pixels
from endurance.fuzzing.rubbish import connected
from endurance.fuzzing.verdict import Outcome
from vitrine.v1 import classifier_pb2 as pb

STREAMS_PER_CONNECTION = 50
SILENT_AT_ONCE = 20
LONGEST_STAY = 0.5
"""Seconds that a caller stays at most."""

IMAGES = 140
"""Of a slow reader's request: its pixels fit into the window that a connection begins with, and the answer is large."""


async def abandon_streams(target: str, rng: Random) -> Outcome:
    """Opens streams, gets some under way, and leaves them in one of the ways that there are."""
    async with connected(target) as (_, writer):
        writer.write(h2.greeting())
        for stream in range(1, 2 * STREAMS_PER_CONNECTION, 2):
            writer.write(h2.headers_frame(h2.call_headers(STREAM), stream) + _begun(rng, stream))
        await writer.drain()
        await asyncio.sleep(rng.random() * LONGEST_STAY)
        if rng.random() < 0.3:
            writer.write(h2.frame(h2.GOAWAY, payload=bytes(8)))
        if rng.random() < 0.3:
            writer.write_eof()
    return Outcome("left", messages=STREAMS_PER_CONNECTION)


def _begun(rng: Random, stream: int) -> bytes:
    """What comes after a stream's headers: nothing, a message, half of one, and perhaps the stream's cancellation."""
    message = h2.grpc_message(rng.choice(messages()[STREAM]))
    sent = rng.choice((b"", message, message[: len(message) // 2]))
    data = h2.data_frames(sent, stream, flags=0) if sent else b""
    cancelled = h2.frame(h2.RST_STREAM, 0, stream, h2.CANCEL.to_bytes(4, "big"))
    return data + cancelled if rng.random() < 0.3 else data


async def read_slowly(target: str, rng: Random) -> Outcome:
    """Asks for every layer of many images, lets the answer trickle or reads none of it, and goes."""
    request = pb.ClassifyRequest(pixels=pixels(IMAGES), activations=pb.LayerSelection(all=True)).SerializeToString()
    async with connected(target) as (reader, writer):
        writer.write(h2.greeting(initial_window=rng.choice((0, 1, 100))))
        writer.write(h2.headers_frame(h2.call_headers(CLASSIFY), 1))
        writer.write(h2.data_frames(h2.grpc_message(request), 1))
        for _ in range(rng.randrange(20)):
            writer.write(h2.frame(h2.WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")))
            await asyncio.sleep(rng.random() * LONGEST_STAY / 10)
            await reader.read(1)
    return Outcome("left")


async def say_nothing(target: str, rng: Random) -> Outcome:
    """Connects, says nothing or only hello, and stays a while."""
    async with AsyncExitStack() as stack:
        for _ in range(SILENT_AT_ONCE):
            _, writer = await stack.enter_async_context(connected(target))
            writer.write(rng.choice((b"", h2.PREFACE[: rng.randrange(24)], h2.greeting())))
        await asyncio.sleep(rng.random() * LONGEST_STAY)
    return Outcome("left", messages=SILENT_AT_ONCE)
