"""Sends mutated messages through gRPC itself: what is wrong is in the bytes of the message alone."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from random import Random
from typing import Any

import grpc
import grpc.aio

from endurance.fuzzing.corpus import CHECK, CLASSIFY, REFLECT, SERVICE, STREAM, STREAMS, files, messages
from endurance.fuzzing.mutation import ANY_BYTES, MESSAGE_BYTES, field, mutated
from endurance.fuzzing.verdict import Outcome

PATIENCE_SECONDS = 60
"""No answer within this, and the server hangs."""

LONGEST_STREAM = 12
OF_VITRINE = (CLASSIFY, SERVICE + "ListModels", SERVICE + "GetModel", SERVICE + "GetParameters")
METHOD_WEIGHTS = (7, 1, 1, 1)
"""Most of what there is to get wrong is in `Classify`."""


async def send_message(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A mutated message to a method that takes one."""
    (method,) = rng.choices(OF_VITRINE, METHOD_WEIGHTS)
    return await _unary(channel, method, _mutated_message(rng, method))


async def send_image(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A good message that holds one or two mutated image files."""
    broken = [mutated(rng, rng.choice(list(files().values())), ANY_BYTES) for _ in range(rng.randint(1, 2))]
    encoded = b"".join(field(1, file) for file in broken)
    return await _unary(channel, CLASSIFY, field(3, encoded))


async def send_stream(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A stream of good messages, with mutated ones among them; the first bad one ends it."""
    good = messages()[STREAM]
    length = rng.randint(1, LONGEST_STREAM)
    sent = [_mutated_message(rng, STREAM) if rng.random() < 0.3 else rng.choice(good) for _ in range(length)]
    return await _stream(channel, STREAM, sent)


async def send_to_neighbours(channel: grpc.aio.Channel, rng: Random) -> Outcome:
    """A mutated message to the health service or to reflection, or to a method that isn't there."""
    method = rng.choice((CHECK, REFLECT))
    data = _mutated_message(rng, method)
    if rng.random() < 0.1:
        return await _unary(channel, rng.choice((SERVICE + "Nothing", "/a.B/C", "/")), data)
    return await (_stream(channel, method, [data]) if method in STREAMS else _unary(channel, method, data))


def _mutated_message(rng: Random, method: str) -> bytes:
    return mutated(rng, rng.choice(messages()[method]), MESSAGE_BYTES)


async def _unary(channel: grpc.aio.Channel, method: str, data: bytes) -> Outcome:
    call: Any = channel.unary_unary(method)  # without serializers, bytes go and bytes come
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
