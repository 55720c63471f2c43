"""Broken HTTP/1.1: each connection must be refused, ended, or waits for more."""

import asyncio
from collections.abc import Callable, Mapping
from random import Random

from endurance.fuzzing import http1
from endurance.fuzzing.connections import connected
from endurance.fuzzing.corpus import CLASSIFY
from endurance.fuzzing.mutation import ANY_BYTES, mutated
from endurance.fuzzing.outcomes import Outcome

REACTION_SECONDS = 0.5
"""Time to wait for a reaction, which may never come."""

BODY = b'{"pixels": {"shape": [1, 18, 18], "dtype": "DATA_TYPE_UINT8", "data": "AAAA"}}'
JSON = {"content-type": "application/json"}


def _head(*lines: bytes, first: bytes = b"POST " + CLASSIFY.encode() + b" HTTP/1.1", body: bytes = BODY) -> bytes:
    """A request of these lines, beside those that every request has."""
    usual = (b"host: localhost", b"content-type: application/json")
    return b"\r\n".join([first, *usual, *lines, b"", b""]) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


FIRST_LINES = (
    b"", b"\0", b"POST", b"POST /", b"POST / HTTP/9.9", b"POST / HTTP/1.1 x", b"POST  /  HTTP/1.1", b"post / HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"HEAD / HTTP/1.1", b"TRACE / HTTP/1.1", b"GET / HTTP/0.9",
    b"GET http://other/ HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /../.. HTTP/1.1", b"GET /" + b"a" * 100_000,
    b"POST " + CLASSIFY.encode() + b" HTTP/1.0", b"G" * 10_000 + b" / HTTP/1.1", b"PRI * HTTP/2.0",
)  # fmt: skip
LENGTHS = (b"-1", b"+5", b"0x10", b"1 2", b"", b"99999999999999999999", b"5, 5", b"5, 6", b"\xb2")
CHUNKED = b"transfer-encoding: chunked"
SIZES = (b"-1", b"0x5", b"ffffffffffffffff1", b"5;a=b", b"g", b"", b" 5", b"5\n", b"1" * 100_000)
NAMES = (b"", b" x", b"x ", b"x\0", b"x:", b"(", b"x" * 70_000, b"\xff")

BROKEN: Mapping[str, Callable[[Random], bytes]] = {
    "first line": lambda rng: _head(b"content-length: %d" % len(BODY), first=rng.choice(FIRST_LINES)),
    "length": lambda rng: _head(b"content-length: " + rng.choice(LENGTHS)),
    "two lengths": lambda rng: _head(b"content-length: %d" % len(BODY), b"content-length: %d" % rng.randrange(200)),
    "length and chunks": lambda _: _head(b"content-length: 4", CHUNKED, body=b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    "encodings": lambda rng: _head(b"transfer-encoding: " + rng.choice((b"gzip", b"chunked, chunked", b"x", b""))),
    "chunk's size": lambda rng: _head(CHUNKED, body=rng.choice(SIZES) + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk's end": lambda _: _head(CHUNKED, body=b"5\r\n" + BODY + b"0\r\n\r\n"),
    "many chunks": lambda rng: _head(CHUNKED, body=_chunk(b"{") * rng.randint(1, 5000)),
    "trailers": lambda rng: _head(CHUNKED, body=_chunk(BODY) + b"0\r\n" + b"x: y\r\n" * rng.randint(1, 20_000)),
    "name": lambda rng: _head(rng.choice(NAMES) + b": 1", b"content-length: %d" % len(BODY)),
    "value": lambda rng: _head(b"x: " + rng.choice((b"\0", b"\r", b"\n", b"a\nb: c", b"\xff")), b"content-length: 0"),
    "folded": lambda _: _head(b"x: a\r\n b\r\n\tc", b"content-length: %d" % len(BODY)),
    "many headers": lambda rng: _head(*(b"x-%d: y" % number for number in range(rng.randint(50, 3000)))),
    "bare line ends": lambda _: _head(b"content-length: %d" % len(BODY)).replace(b"\r\n", b"\n"),
    "upgrade": lambda rng: _head(b"connection: upgrade", b"upgrade: " + rng.choice((b"h2c", b"websocket", b"TLS/1.0"))),
    "expectation": lambda rng: _head(b"expect: " + rng.choice((b"100-continue", b"200-ok")), b"content-length: 80"),
    "pipeline": lambda rng: _head(b"content-length: %d" % len(BODY)) * rng.randint(2, 50),
    "hop by hop": lambda _: _head(b"connection: content-type, host, te", b"te: gzip", b"content-length: 0", body=b""),
    "any bytes": lambda rng: mutated(rng, http1.request(CLASSIFY, BODY, JSON), ANY_BYTES),
    "slow": lambda rng: (whole := http1.request(CLASSIFY, BODY, JSON))[: rng.randrange(len(whole))],
}
"""Bytes of a connection by what is wrong with them."""


async def send_malformed(target: str, rng: Random) -> Outcome:
    """One connection of malformed bytes; its outcome is the status of the first answer, or what happens instead."""
    name = rng.choice(list(BROKEN))
    try:
        async with asyncio.timeout(REACTION_SECONDS), connected(target) as (reader, writer):
            writer.write(BROKEN[name](rng))
            answer = await http1.read_answer(reader)
    except TimeoutError:
        return Outcome("waiting", name)
    return Outcome(f"HTTP {answer.status}" if answer else "closed", name)
