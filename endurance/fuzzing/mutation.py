"""Turns valid bytes into bad ones. Some mutations know protobuf's encoding: random ones rarely get past its parser."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

Mutation: TypeAlias = Callable[[Random, bytes], bytes]

MAX_MUTATIONS = 4
"""Mutations of one message at most: a message that is wrong everywhere is refused at its first byte."""

EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
"""Numbers at which an integer overflows, changes its sign, or needs more bytes."""

MAX_ELEMENTS = 20_000
MAX_DEPTH = 300
"""Nested messages; protobuf's parsers give up at 100."""

NOT_UTF8 = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"ok\x00\xe2\x82")


def mutated(rng: Random, data: bytes, mutations: Sequence[Mutation]) -> bytes:
    """Bytes after zero to `MAX_MUTATIONS` mutations."""
    for mutation in rng.choices(mutations, k=rng.randrange(MAX_MUTATIONS + 1)):
        data = mutation(rng, data)
    return data


def varint(number: int) -> bytes:
    """A number in protobuf's variable-length encoding."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field: a string, bytes, a message, or a packed list."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def _somewhere(rng: Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _insert(rng: Random, data: bytes, extra: bytes) -> bytes:
    at = _somewhere(rng, data)
    return data[:at] + extra + data[at:]


def flip_bits(rng: Random, data: bytes) -> bytes:
    """Flips one to eight bits anywhere."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_byte(rng: Random, data: bytes) -> bytes:
    """Sets one byte near the beginning, where headers, tags and lengths are."""
    changed = bytearray(data)
    if changed:
        changed[min(rng.randrange(len(changed)), rng.randrange(64))] = rng.randrange(256)
    return bytes(changed)


def truncate(rng: Random, data: bytes) -> bytes:
    """Removes the end."""
    return data[: _somewhere(rng, data)]


def splice(rng: Random, data: bytes) -> bytes:
    """Copies a part to another place."""
    start, at = sorted((_somewhere(rng, data), _somewhere(rng, data)))
    return data[:at] + data[start : start + rng.randrange(1, 64)] + data[at:]


def cut(rng: Random, data: bytes) -> bytes:
    """Removes a part."""
    at = _somewhere(rng, data)
    return data[:at] + data[at + rng.randrange(1, 64) :]


def insert_noise(rng: Random, data: bytes) -> bytes:
    """Inserts random bytes."""
    return _insert(rng, data, rng.randbytes(rng.randint(1, 32)))


def insert_varint(rng: Random, data: bytes) -> bytes:
    """Inserts one of `EXTREMES`."""
    return _insert(rng, data, varint(rng.choice(EXTREMES)))


def overlong_varint(rng: Random, data: bytes) -> bytes:
    """Inserts a number without an end."""
    return _insert(rng, data, b"\xff" * rng.randint(5, 20))


def wrong_length(rng: Random, data: bytes) -> bytes:
    """Appends a field with a false length."""
    return data + varint(rng.randint(1, 5) << 3 | 2) + varint(rng.choice(EXTREMES)) + rng.randbytes(8)


def repeat_whole(rng: Random, data: bytes) -> bytes:
    """Repeats every field: the last one counts, lists get longer."""
    return data * rng.randint(2, 5)


def unknown_field(rng: Random, data: bytes) -> bytes:
    """Inserts an unknown field of any wire type, including the deprecated ones."""
    tag = varint(rng.choice((6, 15, 16, 19_000, 2**29 - 1)) << 3 | rng.randrange(8))
    return _insert(rng, data, tag + rng.randbytes(rng.randint(0, 16)))


def deep_nesting(rng: Random, data: bytes) -> bytes:
    """Nests messages deeply, in groups or in fields."""
    depth = rng.randint(2, MAX_DEPTH)
    number = rng.randint(1, 6)
    if rng.random() < 0.5:
        return data + varint(number << 3 | 3) * depth + varint(number << 3 | 4) * rng.choice((depth, depth - 1))
    for _ in range(depth):
        data = field(number, data)
    return data


def huge_shape(rng: Random, data: bytes) -> bytes:
    """Appends pixels whose declared shape doesn't fit their bytes: extreme extents, or many."""
    count = rng.choice((1, 2, 3, 3, 3, 4, 1000, MAX_ELEMENTS))
    extents = b"".join(varint(rng.choice((*EXTREMES, 18, 18))) for _ in range(min(count, 100)))
    return data + field(2, field(2, extents * max(1, count // 100)) + b"\x18\x01")


def many_elements(rng: Random, data: bytes) -> bytes:
    """Appends a list of empty files or layer names, far longer than any valid one."""
    empty = rng.choice((b"\x0a\x00", b"\x12\x00"))
    return data + field(rng.choice((3, 4)), empty * rng.randint(1, MAX_ELEMENTS))


def huge_input(rng: Random, data: bytes) -> bytes:
    """Appends an input of the open protocol whose declared shape doesn't fit its bytes."""
    kind = rng.choice((b"UINT8", b"FP32", b"BYTES", b"INT64", b"\xff"))
    extents = b"".join(varint(rng.choice((*EXTREMES, 18, 324))) for _ in range(rng.randint(0, 5)))
    return data + field(5, field(1, b"pixels") + field(2, kind) + field(3, extents)) + field(7, rng.randbytes(8))


def many_elements_of_a_type(rng: Random, data: bytes) -> bytes:
    """Appends an input with a long list of typed elements."""
    number, element = rng.choice(((1, b"\1"), (4, b"\xff\1"), (6, b"\0\0\xc0\x7f"), (8, b"\x42\0")))
    content = element * rng.randint(1, MAX_ELEMENTS)
    return data + field(5, field(1, b"pixels") + field(5, content if number == 8 else field(number, content)))


def invalid_text(rng: Random, data: bytes) -> bytes:
    """Appends a model's or layer's name that isn't UTF-8."""
    text = rng.choice(NOT_UTF8)
    return data + (field(1, text) if rng.random() < 0.5 else field(4, field(2, text)))


def long_text(rng: Random, data: bytes) -> bytes:
    """Appends a long name of characters that need escaping in an error."""
    return data + field(1, rng.choice(("ä", "\r\n", "%00", "\x7f", "🜁", "@")).encode() * rng.randint(1, 3000))


ANY_BYTES: Sequence[Mutation] = (flip_bits, set_byte, truncate, splice, cut, insert_noise)
"""Mutations for files: they know nothing of the bytes' meaning."""

MESSAGE_BYTES: Sequence[Mutation] = (
    *ANY_BYTES,
    insert_varint,
    overlong_varint,
    wrong_length,
    repeat_whole,
    unknown_field,
    deep_nesting,
    huge_shape,
    many_elements,
    huge_input,
    many_elements_of_a_type,
    invalid_text,
    long_text,
)
"""Mutations for protobuf messages."""
