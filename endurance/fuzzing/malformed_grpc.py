"""Calls of valid HTTP/2 that break gRPC's protocol: each must end, with a status that says so."""

import asyncio
from collections.abc import Callable, Mapping
from random import Random

from endurance.fuzzing import frames as h2
from endurance.fuzzing.connections import connected, read_status
from endurance.fuzzing.corpus import CLASSIFY, messages
from endurance.fuzzing.outcomes import Outcome

PATIENCE_SECONDS = 30
"""A call without an end after this time hangs."""

DROPPED_SECONDS = 0.5
"""Time to wait for the end of a call that may get none, see `DROPPED`."""


def _call(rng: Random, data: bytes | None = None, path: str = CLASSIFY, **headers: str) -> bytes:
    body = h2.grpc_message(_good_message(rng)) if data is None else data
    return h2.headers_frame(h2.call_headers(path, **headers), 1) + h2.data_frames(body, 1)


def _good_message(rng: Random) -> bytes:
    return rng.choice(messages()[CLASSIFY])


PATHS = ("", "/", "//", "*", "/" + "x" * 5000, CLASSIFY + "/", CLASSIFY[1:])

CALLS: Mapping[str, Callable[[Random], bytes]] = {
    "good": lambda rng: _call(rng),
    "content type": lambda rng: _call(rng, content_type=rng.choice(("text/html", "application/json", "", "\x7f"))),
    "path": lambda rng: _call(rng, path=rng.choice(PATHS)),
    "method": lambda rng: _call(rng, pseudo_method=rng.choice(("GET", "PUT", "CONNECT", "post", ""))),
    "te": lambda rng: _call(rng, te=rng.choice(("", "gzip"))),
    "timeout": lambda rng: _call(rng, grpc_timeout=rng.choice(("0n", "-1S", "1", "99999999H", "x", "1n"))),
    "encoding": lambda rng: _call(rng, grpc_encoding=rng.choice(("gzip", "deflate", "nonsense", ""))),
    "compressed flag": lambda rng: _call(rng, h2.grpc_message(_good_message(rng), rng.choice((1, 2, 255)))),
    "bad compression": lambda rng: _call(rng, h2.grpc_message(_good_message(rng), 1), grpc_encoding="gzip"),
    "short prefix": lambda rng: _call(rng, b"\x00\x00\x00"[: rng.randrange(4)]),
    "long length": lambda rng: _call(
        rng, h2.grpc_message(_good_message(rng), 0, rng.choice((10_000, 2**31, 2**32 - 1)))
    ),
    "short length": lambda rng: _call(rng, h2.grpc_message(_good_message(rng), 0, rng.randrange(10))),
    "two messages": lambda rng: _call(rng, h2.grpc_message(_good_message(rng)) * 2),
    "binary header": lambda rng: _call(rng, x_bin=rng.choice(("!!!", "a", "====", "\x00"))),
    "details header": lambda rng: _call(rng, grpc_status="13", grpc_message="%ff%", authorization="Bearer \x80\xff"),
}
"""Bytes of a call by what is wrong with it, without the client's greeting."""

DROPPED = ("short prefix", "long length")
"""Calls that end before their message does. grpc.aio drops them without a status, and lets their callers wait."""


async def send_malformed_call(target: str, rng: Random) -> Outcome:
    """One call of `CALLS`, over its own connection."""
    return await _send(target, rng, rng.choice(list(CALLS)))


async def send_good_call(target: str, rng: Random) -> Outcome:
    """One valid call, over its own connection."""
    return await _send(target, rng, "good")


async def _send(target: str, rng: Random, name: str) -> Outcome:
    try:
        async with connected(target) as (reader, writer):
            writer.write(h2.greeting() + CALLS[name](rng))
            async with asyncio.timeout(DROPPED_SECONDS if name in DROPPED else PATIENCE_SECONDS):
                ended, text = await read_status(reader)
    except TimeoutError:
        return Outcome("no answer" if name in DROPPED else "hangs", name)
    except ConnectionError:
        return Outcome("reset", name)
    return Outcome(ended, text or name)
