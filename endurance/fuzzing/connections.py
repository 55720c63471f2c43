"""Plain connections to a server, and the server's reaction on them. It knows no attacks."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
from hpack import Decoder

from endurance.fuzzing import frames as h2
from endurance.fuzzing.outcomes import Outcome

Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PROBE = b"the last"
"""Payload of the PING behind an attack."""

STATUS = {str(code.value[0]): code.name for code in grpc.StatusCode}


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[Connection]:
    """A plain connection to HOST:PORT, aborted at the end."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def send_and_ping(target: str, data: bytes, patience_seconds: float) -> Outcome:
    """Sends bytes and a PING behind them: a server that answers the PING has survived the bytes."""
    try:
        async with connected(target) as (reader, writer):
            writer.write(data + h2.frame(h2.PING, payload=PROBE))
            async with asyncio.timeout(patience_seconds):
                return Outcome(await _reaction(reader))
    except TimeoutError:
        return Outcome("waiting", repr(data[:100]))
    except ConnectionError:
        return Outcome("reset")


async def _reaction(reader: asyncio.StreamReader) -> str:
    """The first of GOAWAY, the answer to the PING, and the connection's end."""
    buffer = bytearray()
    while data := await reader.read(h2.LARGEST_FRAME):
        buffer += data
        for frame in h2.read_frames(buffer):
            if frame.kind == h2.GOAWAY:
                return "GOAWAY"
            if frame.kind == h2.PING and frame.flags & h2.ACK and frame.payload == PROBE:
                return "PING answered"
    return "closed"


async def read_status(reader: asyncio.StreamReader) -> tuple[str, str]:
    """End of the connection's only call: its status and message, or the frame that ended the stream instead.

    An answer without a status of gRPC ends with its body: a refusal of HTTP's own.
    """
    buffer, decoder, refusal = bytearray(), Decoder(), ""
    while data := await reader.read(h2.LARGEST_FRAME):
        buffer += data
        for frame in h2.read_frames(buffer):
            if frame.kind in (h2.RST_STREAM, h2.GOAWAY):
                return ("RST_STREAM" if frame.kind == h2.RST_STREAM else "GOAWAY"), repr(frame.payload)
            if frame.kind == h2.HEADERS:
                headers = {str(name): str(value) for name, value in decoder.decode(frame.payload, raw=False)}
                refusal = refusal or _status(headers)
                if frame.flags & h2.END_STREAM:
                    return _status(headers), headers.get("grpc-message", "")
            if frame.kind == h2.DATA and frame.flags & h2.END_STREAM:
                return refusal, ""
    return "closed", ""


def _status(headers: Mapping[str, str]) -> str:
    if "grpc-status" in headers:
        return STATUS.get(headers["grpc-status"], f"status {headers['grpc-status']}")
    return f"HTTP {headers.get(':status')}"
