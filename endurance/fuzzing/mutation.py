"""Makes bad bytes of good ones. Some mutations know protobuf's encoding: random ones hardly get past its parser."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

Mutation: TypeAlias = Callable[[Random, bytes], bytes]

MOST_AT_ONCE = 4
"""How many mutations a message gets at most: one that is wrong everywhere is refused at its first byte."""

EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
"""Numbers at which something overflows, changes its sign, or gets longer."""

MOST_ELEMENTS = 20_000
DEEPEST = 300
"""Protobuf's parsers give up at 100."""

NOT_UTF8 = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"ok\x00\xe2\x82")


def mutated(rng: Random, data: bytes, mutations: Sequence[Mutation]) -> bytes:
    """The bytes after a few mutations; once in a while, as they were."""
    for mutation in rng.choices(mutations, k=rng.randrange(MOST_AT_ONCE + 1)):
        data = mutation(rng, data)
    return data


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def field(number: int, content: bytes) -> bytes:
    """A field that holds bytes: a string, a message, a packed list."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def _somewhere(rng: Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _insert(rng: Random, data: bytes, extra: bytes) -> bytes:
    at = _somewhere(rng, data)
    return data[:at] + extra + data[at:]


def flip_bits(rng: Random, data: bytes) -> bytes:
    """One to eight bits, anywhere."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_byte(rng: Random, data: bytes) -> bytes:
    """One byte, near the beginning: that is where headers, tags and lengths are."""
    changed = bytearray(data)
    if changed:
        changed[min(rng.randrange(len(changed)), rng.randrange(64))] = rng.randrange(256)
    return bytes(changed)


def truncate(rng: Random, data: bytes) -> bytes:
    """What is left when the end is missing."""
    return data[: _somewhere(rng, data)]


def splice(rng: Random, data: bytes) -> bytes:
    """A part of it copied over another place."""
    start, at = sorted((_somewhere(rng, data), _somewhere(rng, data)))
    return data[:at] + data[start : start + rng.randrange(1, 64)] + data[at:]


def cut(rng: Random, data: bytes) -> bytes:
    """A part of it missing."""
    at = _somewhere(rng, data)
    return data[:at] + data[at + rng.randrange(1, 64) :]


def insert_noise(rng: Random, data: bytes) -> bytes:
    """Random bytes inside."""
    return _insert(rng, data, rng.randbytes(rng.randint(1, 32)))


def insert_varint(rng: Random, data: bytes) -> bytes:
    """A number inside that is extreme in some way."""
    return _insert(rng, data, varint(rng.choice(EXTREMES)))


def overlong_varint(rng: Random, data: bytes) -> bytes:
    """A number that never ends."""
    return _insert(rng, data, b"\xff" * rng.randint(5, 20))


def lying_length(rng: Random, data: bytes) -> bytes:
    """A field that says it is longer than it is, or than anything is."""
    return data + varint(rng.randint(1, 5) << 3 | 2) + varint(rng.choice(EXTREMES)) + rng.randbytes(8)


def repeat_whole(rng: Random, data: bytes) -> bytes:
    """Every field several times over: of single ones the last counts, lists get longer."""
    return data * rng.randint(2, 5)


def unknown_field(rng: Random, data: bytes) -> bytes:
    """A field of a later version, of any wire type, the abandoned ones among them."""
    tag = varint(rng.choice((6, 15, 16, 19_000, 2**29 - 1)) << 3 | rng.randrange(8))
    return _insert(rng, data, tag + rng.randbytes(rng.randint(0, 16)))


def deep_nesting(rng: Random, data: bytes) -> bytes:
    """Messages in messages, in groups or in fields."""
    depth = rng.randint(2, DEEPEST)
    number = rng.randint(1, 6)
    if rng.random() < 0.5:
        return data + varint(number << 3 | 3) * depth + varint(number << 3 | 4) * rng.choice((depth, depth - 1))
    for _ in range(depth):
        data = field(number, data)
    return data


def huge_shape(rng: Random, data: bytes) -> bytes:
    """Pixels that declare extents which their bytes don't have: extreme ones, or many."""
    count = rng.choice((1, 2, 3, 3, 3, 4, 1000, MOST_ELEMENTS))
    extents = b"".join(varint(rng.choice((*EXTREMES, 18, 18))) for _ in range(min(count, 100)))
    return data + field(2, field(2, extents * max(1, count // 100)) + b"\x18\x01")


def many_elements(rng: Random, data: bytes) -> bytes:
    """A list of empty files, or of empty names of layers, far longer than any good one."""
    empty = rng.choice((b"\x0a\x00", b"\x12\x00"))
    return data + field(rng.choice((3, 4)), empty * rng.randint(1, MOST_ELEMENTS))


def invalid_text(rng: Random, data: bytes) -> bytes:
    """A name of a model or of a layer that is no UTF-8."""
    text = rng.choice(NOT_UTF8)
    return data + (field(1, text) if rng.random() < 0.5 else field(4, field(2, text)))


def long_text(rng: Random, data: bytes) -> bytes:
    """A name that is long, and full of what must be escaped where it is said back."""
    return data + field(1, rng.choice(("ä", "\r\n", "%00", "\x7f", "🜁", "@")).encode() * rng.randint(1, 3000))


ANY_BYTES: Sequence[Mutation] = (flip_bits, set_byte, truncate, splice, cut, insert_noise)
"""Those that know nothing of what the bytes mean: for files."""

MESSAGE_BYTES: Sequence[Mutation] = (
    *ANY_BYTES,
    insert_varint,
    overlong_varint,
    lying_length,
    repeat_whole,
    unknown_field,
    deep_nesting,
    huge_shape,
    many_elements,
    invalid_text,
    long_text,
)
"""Those for protobuf messages."""
