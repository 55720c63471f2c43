"""Undoes the compression of a request, which may not grow beyond the limit of its method."""

import zlib
from collections.abc import Mapping

from vitrine.server.errors import InvalidRequest, RequestTooLarge

FORMATS: Mapping[bytes, int] = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
"""The compressions that requests may have, and zlib's number for each; gRPC's `deflate` is zlib's own format."""

MAX_RATIO = 32
"""Bytes that one compressed byte may become: otherwise 64 KB would hold up all calls while 64 MiB are unpacked."""

FREE_BYTES = 1 << 20
"""Bytes that a message may become whatever its ratio."""

MARKS: Mapping[bytes, bytes] = {
    b"\x1f\x8b\x08": b"gzip",
    **dict.fromkeys((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), b"deflate"),
}
"""First bytes of compressed messages; gzip's begin none of ours, and deflate's hardly ever do."""


def largest_unpacked(size: int, limit: int) -> int:
    """The bytes that a message of `size` compressed bytes may become, where no message may be larger than `limit`."""
    return min(limit, max(FREE_BYTES, MAX_RATIO * size))


def compression_of(data: bytes) -> bytes | None:
    """The compression that a message's first bytes show; None: it isn't compressed."""
    return MARKS.get(data[:3]) or MARKS.get(data[:2])


def unpacked(data: bytes, encoding: bytes, limit: int) -> bytes:
    """The message that was compressed, where no message may be larger than `limit`; no more than that is unpacked.

    Raises:
        RequestTooLarge: it is larger, or grows beyond `MAX_RATIO`.
        InvalidRequest: it isn't of that compression, or is cut off.
    """
    largest = largest_unpacked(len(data), limit)
    unpacking = zlib.decompressobj(FORMATS[encoding])
    try:
        message = unpacking.decompress(data, largest + 1)
    except zlib.error as error:
        raise InvalidRequest("NOT_A_MESSAGE", f"the request's bytes are no {encoding.decode()}") from error
    if len(message) > largest:
        what = f"the request becomes more than {largest:,} bytes when it is unpacked: split it, or don't compress it"
        raise RequestTooLarge("REQUEST_TOO_LARGE", what)
    if not unpacking.eof or unpacking.unused_data:
        raise InvalidRequest("NOT_A_MESSAGE", f"the request's bytes are no whole {encoding.decode()}")
    return message
