"""Sends over plain sockets what is no HTTP/2, no gRPC, or far too much of either."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import TypeAlias

import grpc
from hpack import Decoder

from endurance.fuzzing import frames as h2
from endurance.fuzzing.corpus import CLASSIFY, STREAM, messages
from endurance.fuzzing.verdict import Outcome

Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Bytes: TypeAlias = Callable[[Random], bytes]

PATIENCE_SECONDS = 30
FLOOD = 2000
"""How many frames a flood has."""

QUICK_SECONDS = 0.5
"""How long an answer is waited for that may never come."""

LAST_PING = b"the last"

STATUS = {str(code.value[0]): code.name for code in grpc.StatusCode}


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[Connection]:
    """A plain connection; at the end it is dropped without a word."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


# What is no HTTP/2, or too much of it: the server may only turn the connection out, or ignore what it doesn't know.


def noise(rng: Random) -> bytes:
    """Random bytes, or another protocol."""
    others = (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        h2.PREFACE[:13],
        b"",
    )
    return rng.choice(others) + rng.randbytes(rng.randint(0, 4096))


def frames_of_noise(rng: Random) -> bytes:
    """A good beginning, and then frames of any kind with anything in them."""
    any_frames = (
        h2.frame(
            rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 1, 2, 3, 2**31)), rng.randbytes(rng.randrange(64))
        )
        for _ in range(rng.randint(1, 20))
    )
    return h2.greeting() + b"".join(any_frames)


def lying_lengths(rng: Random) -> bytes:
    """Frames that are longer or shorter than they say."""
    length = rng.choice((0, 1, 4, 5, 7, 9, h2.LARGEST_FRAME, h2.LARGEST_FRAME + 1, 2**24 - 1))
    return h2.greeting() + h2.frame(rng.randrange(10), rng.randrange(16), 1, rng.randbytes(rng.randrange(64)), length)


def mutated_call(rng: Random) -> bytes:
    """A good call with bits flipped anywhere behind the preface."""
    body = bytearray(h2.greeting() + _call(rng))
    for _ in range(rng.randint(1, 8)):
        body[rng.randrange(len(h2.PREFACE), len(body))] ^= 1 << rng.randrange(8)
    return bytes(body)


def header_noise(rng: Random) -> bytes:
    """A block of headers that no HPACK encoder writes."""
    return h2.greeting() + h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, rng.randbytes(rng.randrange(1, 512)))


def oversized_headers(rng: Random) -> bytes:
    """Headers larger than any server takes."""
    headers = [*h2.call_headers(CLASSIFY), *((f"x-{i}", "v" * 4000) for i in range(rng.randint(2, 40)))]
    whole = h2.headers_frame(headers, 1)[h2.HEADER_BYTES :]
    first, rest = whole[: h2.LARGEST_FRAME], whole[h2.LARGEST_FRAME :]
    parts = [rest[at : at + h2.LARGEST_FRAME] for at in range(0, len(rest), h2.LARGEST_FRAME)]
    continued = [h2.frame(h2.CONTINUATION, 0, 1, part) for part in parts]
    end = h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1)
    return h2.greeting() + h2.frame(h2.HEADERS, 0, 1, first) + b"".join(continued) + end


def settings_flood(rng: Random) -> bytes:
    """SETTINGS without end, each of which wants an acknowledgement; some with impossible values."""
    setting = rng.randrange(8).to_bytes(2, "big") + rng.getrandbits(32).to_bytes(4, "big")
    return h2.greeting() + h2.frame(h2.SETTINGS, payload=rng.choice((b"", setting))) * FLOOD


def ping_flood(rng: Random) -> bytes:
    """PINGs without end, each of which wants an answer."""
    return h2.greeting() + h2.frame(h2.PING, payload=rng.randbytes(8)) * FLOOD


def rapid_reset(rng: Random) -> bytes:
    """Calls that are opened and cancelled at once, again and again (CVE-2023-44487)."""
    reset = h2.CANCEL.to_bytes(4, "big")
    streams = range(1, 2 * FLOOD, 2)
    path = rng.choice((CLASSIFY, STREAM))
    return h2.greeting() + b"".join(
        h2.headers_frame(h2.call_headers(path), stream) + h2.frame(h2.RST_STREAM, 0, stream, reset)
        for stream in streams
    )


def continuation_flood(rng: Random) -> bytes:
    """Headers that never end (CVE-2024-27316)."""
    more = h2.frame(h2.CONTINUATION, 0, 1, rng.choice((b"", rng.randbytes(64), b"\x00\x01a\x01b" * 50)))
    return h2.greeting() + h2.headers_frame(h2.call_headers(CLASSIFY), 1, flags=0) + more * FLOOD


def empty_data_flood(_: Random) -> bytes:
    """DATA frames with nothing in them (CVE-2019-9518)."""
    return h2.greeting() + h2.headers_frame(h2.call_headers(STREAM), 1) + h2.frame(h2.DATA, 0, 1) * FLOOD


def window_flood(rng: Random) -> bytes:
    """Windows that are opened beyond what a number can hold, or by nothing."""
    step = rng.choice((0, 1, 2**31 - 1)).to_bytes(4, "big")
    return h2.greeting() + h2.frame(h2.WINDOW_UPDATE, 0, 0, step) * FLOOD


RUBBISH: tuple[Bytes, ...] = (
    noise,
    frames_of_noise,
    lying_lengths,
    mutated_call,
    header_noise,
    oversized_headers,
)
FLOODS: tuple[Bytes, ...] = (
    settings_flood,
    ping_flood,
    rapid_reset,
    continuation_flood,
    empty_data_flood,
    window_flood,
)


async def send_rubbish(target: str, rng: Random) -> Outcome:
    """A connection of rubbish. Some of it is a beginning of which the server rightly awaits the rest."""
    return await _turned_out(target, rng.choice(RUBBISH)(rng), QUICK_SECONDS)


async def send_flood(target: str, rng: Random) -> Outcome:
    """A connection of far too many frames; it counts as one message."""
    return await send_flood_of(rng.choice(FLOODS), target, rng)


async def send_flood_of(frames: Bytes, target: str, rng: Random) -> Outcome:
    """The same, of one kind."""
    return await _turned_out(target, frames(rng), PATIENCE_SECONDS)


async def _turned_out(target: str, data: bytes, patience: float) -> Outcome:
    """Sends, and a PING behind it: a server that answers that has got over all of it."""
    try:
        async with connected(target) as (reader, writer):
            writer.write(data + h2.frame(h2.PING, payload=LAST_PING))
            async with asyncio.timeout(patience):
                return Outcome(await _reaction(reader))
    except TimeoutError:
        return Outcome("awaits more", repr(data[:100]))
    except ConnectionError:
        return Outcome("reset")


async def _reaction(reader: asyncio.StreamReader) -> str:
    buffer = bytearray()
    while data := await reader.read(h2.LARGEST_FRAME):
        buffer += data
        for frame in h2.read_frames(buffer):
            if frame.kind == h2.GOAWAY:
                return "GOAWAY"
            if frame.kind == h2.PING and frame.flags & h2.ACK and frame.payload == LAST_PING:
                return "got over it"
    return "closed"


# What is good HTTP/2 and bad gRPC: the call must end, with a status that says so.


def _call(rng: Random, data: bytes | None = None, path: str = CLASSIFY, **headers: str) -> bytes:
    body = h2.grpc_message(rng.choice(messages()[CLASSIFY])) if data is None else data
    return h2.headers_frame(h2.call_headers(path, **headers), 1) + h2.data_frames(body, 1)


def _good_message(rng: Random) -> bytes:
    return rng.choice(messages()[CLASSIFY])


FAULTY: Mapping[str, Bytes] = {
    "good": _call,
    "content type": lambda rng: _call(rng, content_type=rng.choice(("text/html", "application/json", "", "\x7f"))),
    "path": lambda rng: _call(
        rng, path=rng.choice(("", "/", "//", "*", "/" + "x" * 5000, CLASSIFY + "/", CLASSIFY[1:]))
    ),
    "method": lambda rng: _call(rng, pseudo_method=rng.choice(("GET", "PUT", "CONNECT", "post", ""))),
    "te": lambda rng: _call(rng, te=rng.choice(("", "gzip"))),
    "timeout": lambda rng: _call(rng, grpc_timeout=rng.choice(("0n", "-1S", "1", "99999999H", "x", "1n"))),
    "encoding": lambda rng: _call(rng, grpc_encoding=rng.choice(("gzip", "deflate", "nonsense", ""))),
    "compressed": lambda rng: _call(rng, h2.grpc_message(_good_message(rng), rng.choice((1, 2, 255)))),
    "badly compressed": lambda rng: _call(rng, h2.grpc_message(_good_message(rng), 1), grpc_encoding="gzip"),
    "short prefix": lambda rng: _call(rng, b"\x00\x00\x00"[: rng.randrange(4)]),
    "says more": lambda rng: _call(rng, h2.grpc_message(_good_message(rng), 0, rng.choice((10_000, 2**31, 2**32 - 1)))),
    "says less": lambda rng: _call(rng, h2.grpc_message(_good_message(rng), 0, rng.randrange(10))),
    "two messages": lambda rng: _call(rng, h2.grpc_message(_good_message(rng)) * 2),
    "binary header": lambda rng: _call(rng, x_bin=rng.choice(("!!!", "a", "====", "\x00"))),
    "details header": lambda rng: _call(rng, grpc_status="13", grpc_message="%ff%", authorization="Bearer \x80\xff"),
}


ENDLESS = ("short prefix", "says more")
"""Calls that end before their message does. grpc.aio drops them without a status, and lets their callers wait."""


async def send_faulty_call(target: str, rng: Random) -> Outcome:
    """One call over a connection of its own whose frames are good, and whose gRPC isn't."""
    return await _call_and_wait(target, rng, rng.choice(list(FAULTY)))


async def send_good_call(target: str, rng: Random) -> Outcome:
    """The same, and nothing is wrong with it."""
    return await _call_and_wait(target, rng, "good")


async def _call_and_wait(target: str, rng: Random, name: str) -> Outcome:
    try:
        async with connected(target) as (reader, writer):
            writer.write(h2.greeting() + FAULTY[name](rng))
            async with asyncio.timeout(QUICK_SECONDS if name in ENDLESS else PATIENCE_SECONDS):
                ended, text = await read_status(reader)
    except TimeoutError:
        return Outcome("no answer" if name in ENDLESS else "hangs", name)
    except ConnectionError:
        return Outcome("reset", name)
    return Outcome(ended, text or name)


async def read_status(reader: asyncio.StreamReader) -> tuple[str, str]:
    """How the connection's call ends: its status and what is said to it, or what is done to the stream instead."""
    buffer, decoder = bytearray(), Decoder()
    while data := await reader.read(h2.LARGEST_FRAME):
        buffer += data
        for frame in h2.read_frames(buffer):
            if frame.kind in (h2.RST_STREAM, h2.GOAWAY):
                return ("RST_STREAM" if frame.kind == h2.RST_STREAM else "GOAWAY"), repr(frame.payload)
            if frame.kind == h2.HEADERS:
                headers = {str(name): str(value) for name, value in decoder.decode(frame.payload, raw=False)}
                if frame.flags & h2.END_STREAM:
                    return _status(headers), headers.get("grpc-message", "")
    return "closed", ""


def _status(headers: Mapping[str, str]) -> str:
    if "grpc-status" in headers:
        return STATUS.get(headers["grpc-status"], f"status {headers['grpc-status']}")
    return f"HTTP {headers.get(':status')}"
