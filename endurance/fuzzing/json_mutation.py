"""Turns valid requests in JSON into bad ones. It knows JSON's grammar, and no message's meaning."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from endurance.fuzzing.mutation import ANY_BYTES, MAX_DEPTH, MAX_ELEMENTS, Mutation

ODD_VALUES: Sequence[Any] = (
    None,
    True,
    -1,
    0.5,
    2**31,
    2**63,
    -(2**70),
    1e308,
    float("nan"),
    float("inf"),
    "",
    "NaN",
    "-Infinity",
    "1e400",
    "AAAA",
    "not Base64!",
    "\ud800",
    "\x00",
    "ä" * 3000,
    [],
    [[]],
    [None],
    {},
    {"": {}},
    {"@type": "type.googleapis.com/google.protobuf.Any"},
    {"value": {"value": 1}},
)
"""Values that a field of most types doesn't have."""

ODD_TEXTS = (b"", b"null", b"[]", b'"', b"{", b"1", b"{}{}", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{'a': 1}", b"{} // no")
"""Texts that are no request, or an empty one."""


def odd_value(rng: Random, data: bytes) -> bytes:
    """Sets a value anywhere to one of `ODD_VALUES`."""
    whole = _read(data)
    holders = [found for found in _within(whole) if found]
    if holders:
        holder = rng.choice(holders)
        holder[rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))] = rng.choice(ODD_VALUES)
    return json.dumps(whole).encode()


def unknown_name(rng: Random, data: bytes) -> bytes:
    """Adds a field that no message has, or one that another message has."""
    whole = _read(data)
    objects = [found for found in _within(whole) if isinstance(found, dict)]
    if objects:
        name = rng.choice(("nothing", "", "pixels", "rawInputContents", "model_name", "@type", "\ud83d"))
        rng.choice(objects)[name] = rng.choice(ODD_VALUES)
    return json.dumps(whole).encode()


def repeated_name(_: Random, data: bytes) -> bytes:
    """Repeats the content of the outermost object: each name comes twice."""
    inside = data.strip()[1:-1]
    return b"{%b,%b}" % (inside, inside)


def deep_values(rng: Random, data: bytes) -> bytes:
    """Nests the request in as many objects or lists as a parser can follow, or more."""
    depth = rng.choice((2, 99, 101, MAX_DEPTH, MAX_ELEMENTS))
    begin, end = rng.choice(((b"[", b"]"), (b'{"model":', b"}"), (b'{"request":', b"}"), (b'{"parameters":', b"}")))
    return begin * depth + data + end * rng.choice((depth, depth - 1, 0))


def many_values(rng: Random, data: bytes) -> bytes:
    """Adds a list that is far longer than any valid one."""
    value = rng.choice((b"1", b'""', b"{}", b"[]", b"1e9", b'"AAAA"'))
    name = rng.choice((b"encoded", b"interventions", b"inputs", b"nothing", b"classes"))
    return b'{"%b":[%b],' % (name, b",".join([value] * rng.randint(1, MAX_ELEMENTS))) + data.strip()[1:]


def long_number(rng: Random, data: bytes) -> bytes:
    """Adds a number of many digits."""
    digits = b"9" * rng.choice((20, 400, 4301, 100_000))
    return b'{"classes":[%b%b],' % (rng.choice((b"", b"-", b"1e", b"0.")), digits) + data.strip()[1:]


def odd_text(rng: Random, _: bytes) -> bytes:
    """Takes one of `ODD_TEXTS` instead."""
    return rng.choice(ODD_TEXTS)


def _read(data: bytes) -> Any:
    """The value of a text; an empty object where an earlier mutation has broken it."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {}


def _within(value: Any) -> list[Any]:
    """A value's objects and lists, itself included, down to a depth that none of the valid requests has."""
    found, layer = list[Any](), [value]
    for _ in range(MAX_DEPTH):
        holders = [each for each in layer if isinstance(each, dict | list)]
        found += holders
        layer = [inner for each in holders for inner in (each.values() if isinstance(each, dict) else each)]
    return found


JSON_TEXT: Sequence[Mutation] = (
    *ANY_BYTES,
    odd_value,
    odd_value,
    odd_value,
    unknown_name,
    repeated_name,
    deep_values,
    many_values,
    long_number,
    odd_text,
)
"""Mutations for requests in JSON."""
