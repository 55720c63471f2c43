"""Counts the fields of a message before it is parsed.

Parsing takes time and memory by the field, and a field takes two bytes: 64 MiB of empty ones would become more than a
gigabyte, and hold up everybody for seconds. Counting stops as soon as there are too many. The encoding is protobuf's:
https://protobuf.dev/programming-guides/encoding
"""

from google.protobuf.descriptor import Descriptor, FieldDescriptor

SMALL_BYTES = 64 << 10
"""Messages up to this many bytes can't hold enough fields to hurt."""

VARINT_BYTES = 10
"""The longest number."""


class UncountableError(Exception):
    """These bytes are no message."""


def has_more_fields(data: bytes, message: Descriptor, most: int, packed_bytes: int = 1) -> bool:
    """Tells whether a message, with those inside it, has more fields than `most`; a list's elements count each.

    Of a list of numbers in packed form, `packed_bytes` bytes count as one field: such a list is parsed in one go.

    Raises:
        UncountableError: it is large, and no message. A parser that read further than this would be exposed to what
            this limit prevents.
    """
    if len(data) <= SMALL_BYTES:
        return False
    try:
        return _count(data, 0, len(data), message, most, packed_bytes) > most
    except (IndexError, ValueError) as error:
        raise UncountableError from error


def _count(data: bytes, at: int, end: int, message: Descriptor, most: int, packed_bytes: int) -> int:
    """The fields between two places; as soon as they are more than `most`, those so far."""
    count = groups = 0
    while at < end and count <= most:
        tag, at = _varint(data, at)
        count += 1
        match tag & 7:
            case 0:  # a varint
                _, at = _varint(data, at)
            case 1:  # eight bytes
                at += 8
            case 5:  # four bytes
                at += 4
            case 3:  # a group begins, which proto3 has none of: what is in it is no field of this message
                groups += 1
            case 4:  # and ends
                groups -= 1
            case 2:  # so many bytes
                length, at = _varint(data, at)
                field = None if groups else message.fields_by_number.get(tag >> 3)
                count += _count_inside(data, at, min(at + length, end), field, most - count, packed_bytes)
                at += length
    return count


def _count_inside(data: bytes, at: int, end: int, field: FieldDescriptor | None, most: int, packed_bytes: int) -> int:
    """The fields of a message, or at most the elements of a packed list; texts, bytes and unknown fields have none."""
    if field is None or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return 0
    if field.message_type is not None:
        return _count(data, at, end, field.message_type, most, packed_bytes)
    return (end - at) // packed_bytes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    number = 0
    for index in range(VARINT_BYTES):
        byte = data[at + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at + index + 1
    raise ValueError("no number is that long")
