"""The parts of an answer whose bytes are joined: protobuf's heads of fields, and elements. It knows no message.

The encoding: https://protobuf.dev/programming-guides/encoding
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def field_head(field: int, size: int) -> bytes:
    """The bytes before a field of so many bytes: its tag (wire type 2), and its length."""
    return _varint(field << 3 | 2) + _varint(size)


def elements_of(values: npt.NDArray[Any], dtype: "npt.DTypeLike | None" = None) -> memoryview:
    """An array's elements as the wire has them; no copy where they are in memory like that already.

    Args:
        values: the array.
        dtype: the wire's type and byte order; None: the array has them.
    """
    return np.ascontiguousarray(values, dtype).data


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
