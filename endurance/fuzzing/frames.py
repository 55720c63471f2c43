"""HTTP/2 as bytes, written by hand: a library would refuse to write what is wrong on purpose.

Frames are those of RFC 9113, section 6; gRPC's messages inside them those of its protocol over HTTP/2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
ACK = 0x1

INITIAL_WINDOW_SIZE = 4
CANCEL = 8
LARGEST_FRAME = 16_384
"""The payload that every peer takes."""

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame; its header may lie about the payload's length."""
    said = len(payload) if length is None else length
    return said.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def greeting(initial_window: int | None = None) -> bytes:
    """How a client begins; with the window that each answer gets, where it isn't the usual one."""
    setting = (
        b"" if initial_window is None else INITIAL_WINDOW_SIZE.to_bytes(2, "big") + initial_window.to_bytes(4, "big")
    )
    return PREFACE + frame(SETTINGS, payload=setting)


def call_headers(path: str, **changed: str) -> list[tuple[str, str]]:
    """The headers of a gRPC call. A change's name has `_` for `-` and `pseudo_` for `:`."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "fuzz",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    named = {name.replace("pseudo_", ":").replace("_", "-"): value for name, value in changed.items()}
    return list((headers | named).items())


def headers_frame(headers: Headers, stream: int, flags: int = END_HEADERS) -> bytes:
    """A HEADERS frame, in an encoding that needs no memory of the connection's earlier ones."""
    return frame(HEADERS, flags, stream, _encoded(tuple(headers)))


@lru_cache(maxsize=64)
def _encoded(headers: Headers) -> bytes:
    """Headers in HPACK, kept: floods have the same ones thousands of times, and Huffman's code takes long to make."""
    payload: bytes = Encoder().encode([(name, value, True) for name, value in headers], huffman=False)
    return payload


def grpc_message(data: bytes, compressed: int = 0, length: int | None = None) -> bytes:
    """A message as gRPC puts it into DATA; its prefix may lie about the length, or say that it is compressed."""
    return bytes([compressed]) + (len(data) if length is None else length).to_bytes(4, "big") + data


def data_frames(data: bytes, stream: int, flags: int = END_STREAM) -> bytes:
    """DATA frames of a size that every peer takes; the flags are the last one's."""
    parts = [data[at : at + LARGEST_FRAME] for at in range(0, len(data), LARGEST_FRAME)] or [b""]
    last = frame(DATA, flags, stream, parts[-1])
    return b"".join(frame(DATA, 0, stream, part) for part in parts[:-1]) + last


def read_frames(buffer: bytearray) -> Iterator[Frame]:
    """Takes the whole frames from the beginning of a buffer."""
    while len(buffer) >= HEADER_BYTES:
        end = HEADER_BYTES + int.from_bytes(buffer[:3], "big")
        if len(buffer) < end:
            return
        stream = int.from_bytes(buffer[5:9], "big") & 0x7FFFFFFF
        yield Frame(buffer[3], buffer[4], stream, bytes(buffer[HEADER_BYTES:end]))
        del buffer[:end]
