"""HTTP/1.1 as bytes, written by hand: a library would refuse to write deliberate mistakes. It knows no calls."""

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass

LAST_BYTES = 64 << 20
"""The longest line or body of an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has arrived."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes


def request(path: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> bytes:
    """A request whose connection ends with its answer. Headers are written as they are, in Latin-1."""
    whole = {"host": "localhost", "connection": "close", "content-length": str(len(body))} | dict(headers)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in whole.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def read_answer(reader: asyncio.StreamReader) -> Answer | None:
    """The final answer of a connection; None where that ends without one."""
    try:
        while True:
            status, headers = await _read_head(reader)
            if status >= 200:
                return Answer(status, headers, await _read_body(reader, headers))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = (line.split(":", 1) for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, value in headers}


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        body = bytearray()
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        return bytes(body)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read(LAST_BYTES)


def unbased(data: bytes) -> bytes:
    """Base64 that may be padded in between, at the end of each part that was sent."""
    return b"".join(b64decode(data[at : at + 4]) for at in range(0, len(data), 4))
