"""HTTP/2 frames as bytes, written by hand: a library would refuse to write deliberate mistakes.

Frames follow RFC 9113, section 6; messages inside them follow gRPC's protocol over HTTP/2.
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
"""Bytes of payload that every peer accepts."""

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Frame:
    """A received frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """Bytes of a frame; `length` replaces the true length of the payload in its header."""
    declared = len(payload) if length is None else length
    return declared.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def greeting(initial_window: int | None = None) -> bytes:
    """A client's first bytes; `initial_window` sets the flow-control window of each answer, in bytes."""
    setting = (
        b"" if initial_window is None else INITIAL_WINDOW_SIZE.to_bytes(2, "big") + initial_window.to_bytes(4, "big")
    )
    return PREFACE + frame(SETTINGS, payload=setting)


def call_headers(path: str, **changed: str) -> list[tuple[str, str]]:
    """Headers of a gRPC call; a keyword replaces one, with `_` for `-` and `pseudo_` for `:` in its name."""
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
    """A HEADERS frame whose encoding doesn't depend on the connection's earlier ones."""
    return frame(HEADERS, flags, stream, _encoded(tuple(headers)))


@lru_cache(maxsize=64)
def _encoded(headers: Headers) -> bytes:
    """Headers in HPACK; cached, since floods repeat the same headers thousands of times."""
    payload: bytes = Encoder().encode([(name, value, True) for name, value in headers], huffman=False)
    return payload


def grpc_message(data: bytes, compressed: int = 0, length: int | None = None) -> bytes:
    """A message as in gRPC's DATA; `compressed` and `length` replace the true values in its prefix."""
    return bytes([compressed]) + (len(data) if length is None else length).to_bytes(4, "big") + data


def data_frames(data: bytes, stream: int, flags: int = END_STREAM) -> bytes:
    """DATA frames of a size that every peer accepts; the last one has the flags."""
    parts = [data[at : at + LARGEST_FRAME] for at in range(0, len(data), LARGEST_FRAME)] or [b""]
    last = frame(DATA, flags, stream, parts[-1])
    return b"".join(frame(DATA, 0, stream, part) for part in parts[:-1]) + last


def read_frames(buffer: bytearray) -> Iterator[Frame]:
    """Removes whole frames from the beginning of a buffer and gives them."""
    while len(buffer) >= HEADER_BYTES:
        end = HEADER_BYTES + int.from_bytes(buffer[:3], "big")
        if len(buffer) < end:
            return
        stream = int.from_bytes(buffer[5:9], "big") & 0x7FFFFFFF
        yield Frame(buffer[3], buffer[4], stream, bytes(buffer[HEADER_BYTES:end]))
        del buffer[:end]
