"""Sends mutated messages through gRPC itself: only the message's bytes are wrong."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from random import Random
from typing import Any

import grpc
import grpc.aio

from endurance.fuzzing.corpus import (
    CHECK,
    CLASSIFY,
    INFER,
    INFER_STREAM,
    OPEN_SERVICE,
    REFLECT,
    SERVICE,
    STREAM,
    STREAMS,
    files,
    messages,
)
from endurance.fuzzing.mutation import ANY_BYTES, MESSAGE_BYTES, field, mutated
from endurance.fuzzing.outcomes import Outcome

PATIENCE_SECONDS = 60
"""A call without an end after this time hangs."""

MAX_STREAM_MESSAGES = 12
LARGE_SHARE = 0.7
"""Share of the methods that classify: they have most of the fields that can be wrong."""


async def send_message(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A mutated message to a unary method of Vitrine's service."""
    return await _unary(channel, *_unary_message(rng, CLASSIFY, SERVICE))


async def send_open_message(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A mutated message to a unary method of the open protocol."""
    return await _unary(channel, *_unary_message(rng, INFER, OPEN_SERVICE))


async def send_image(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A valid message with one or two mutated image files."""
    broken = [mutated(rng, rng.choice(list(files().values())), ANY_BYTES) for _ in range(rng.randint(1, 2))]
    encoded = b"".join(field(1, file) for file in broken)
    return await _unary(channel, CLASSIFY, field(3, encoded))


async def send_stream(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A stream of valid messages with mutated ones among them; in Vitrine's service the first bad one ends it."""
    method = rng.choice((STREAM, INFER_STREAM))
    good = messages()[method]
    length = rng.randint(1, MAX_STREAM_MESSAGES)
    sent = [mutated_message(rng, method) if rng.random() < 0.3 else rng.choice(good) for _ in range(length)]
    return await _stream(channel, method, sent)


async def send_to_other_service(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A mutated message to health or reflection, or to a method that doesn't exist."""
    method = rng.choice((CHECK, REFLECT))
    data = mutated_message(rng, method)
    if rng.random() < 0.1:
        return await _unary(channel, rng.choice((SERVICE + "Nothing", "/a.B/C", "/")), data)
    return await (_stream(channel, method, [data]) if method in STREAMS else _unary(channel, method, data))


def mutated_message(rng: Random, method: str) -> bytes:
    """A mutated message to a method."""
    return mutated(rng, rng.choice(messages()[method]), MESSAGE_BYTES)


def _unary_message(rng: Random, large: str, service: str) -> tuple[str, bytes]:
    """A method of a service, and a mutated message to it; often the method that classifies."""
    others = [method for method in messages() if method.startswith(service) and method not in STREAMS]
    method = large if rng.random() < LARGE_SHARE else rng.choice(others)
    return method, mutated_message(rng, method)


async def _unary(channel: grpc.aio.Channel, method: str, data: bytes) -> Outcome:
    call: Any = channel.unary_unary(method)  # no serializers: the message is bytes
    return await _outcome(call(data, timeout=PATIENCE_SECONDS))


async def _stream(channel: grpc.aio.Channel, method: str, sent: Sequence[bytes]) -> Outcome:
    async def requests() -> AsyncIterator[bytes]:
        for data in sent:
            yield data

    async def answers() -> None:
        call: Any = channel.stream_stream(method)
        async for _ in call(requests(), timeout=PATIENCE_SECONDS):
            pass

    return await _outcome(answers(), len(sent))


async def _outcome(call: Awaitable[object], sent: int = 1) -> Outcome:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return Outcome(error.code().name, error.details() or "", sent)
    return Outcome("OK", messages=sent)
