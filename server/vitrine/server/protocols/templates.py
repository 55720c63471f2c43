"""Recognises requests that differ from an earlier one in their pixels alone, without parsing. It knows no protocol.

A message of protobuf is a row of fields, each with its length before it. So the bytes of one field have no influence on
how the rest is read: two messages of one length that are equal before and behind a field are equal but for it.
Callers send the same kind of request again and again, and what was read of the first holds for the others.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from vitrine.server.errors import InvalidRequest

MAX_TEMPLATES = 256
"""Templates that are kept; the oldest is forgotten when there are more."""

MAX_FRAME_BYTES = 1024
"""Bytes of a request beside its pixels, at most, for it to become a template."""

MAX_PAYLOAD_BYTES = 1 << 20
"""Bytes of its pixels, at most: parsing a larger request takes little of its time."""

LEARNT_EVERY = 4
"""Of unknown requests, each so many-th becomes a template: learning takes longer than parsing, and may be in vain."""

INVERTED = bytes(255 - byte for byte in range(256))

Sent = TypeVar("Sent", bound=Message)
Facts = TypeVar("Facts")
Key = TypeVar("Key")
Value = TypeVar("Value")


def set_fields(message: Message) -> set[str]:
    """The names of a message's fields that are set."""
    return {field.name for field, _ in message.ListFields()}


class Payload(NamedTuple, Generic[Sent]):
    """The part of a message that differs from request to request."""

    get: Callable[[Sent], bytes]
    """Gives it."""
    put: Callable[[Sent, bytes], None]
    """Replaces it."""


class Templates(Generic[Sent, Facts]):
    """The kinds of requests that have come.

    Args:
        parse: makes a message of bytes.
        payload: the field of pixels.
        facts: what there is to know about a message beside its payload; None: it is no simple one.
    """

    def __init__(
        self, parse: Callable[[bytes], Sent], payload: Payload[Sent], facts: Callable[[Sent], Facts | None]
    ) -> None:
        self._parse, self._payload, self._facts = parse, payload, facts
        self._places: dict[int, tuple[int, int]] = {}  # begin and end of the payload, by the message's length
        # By the message's length, and the bytes before and behind the payload. These may be equal in a longer message,
        # whose payload ends earlier than this one's, with further fields behind it.
        self._known: dict[tuple[int, bytes, bytes], Facts] = {}
        self._unknown = 0

    def decoder(self, known: Callable[[Facts, bytes, npt.NDArray[np.uint8]], object]) -> Callable[[bytes], object]:
        """A decoder that gives messages, and for those that it has learnt to recognise something else.

        Args:
            known: makes it of the facts, the message's bytes and its payload, uint8 (n,), a view of these.
        """

        def decode_or_recognise(data: bytes) -> object:
            if (found := self.find(data)) is not None:
                facts, begin, size = found
                return known(facts, data, np.frombuffer(data, np.uint8, size, begin))
            message = self._parse(data)
            self.consider(data, message)
            return message

        return decode_or_recognise

    def find(self, data: bytes) -> tuple[Facts, int, int] | None:
        """The facts about a message, and the begin and the size of its payload; None: it is to be parsed."""
        length = len(data)
        place = self._places.get(length)
        if place is None:
            return None
        begin, end = place
        facts = self._known.get((length, data[:begin], data[end:]))
        return None if facts is None else (facts, begin, end - begin)

    def consider(self, data: bytes, message: Sent) -> None:
        """Makes a template of a message that wasn't known, if it is simple."""
        self._unknown += 1
        if self._unknown % LEARNT_EVERY:
            return
        payload = self._payload.get(message)
        if not 0 < len(payload) <= MAX_PAYLOAD_BYTES or len(data) - len(payload) > MAX_FRAME_BYTES:
            return
        begin, facts = data.find(payload), self._facts(message)
        if begin < 0 or facts is None or not self._is_free(data, begin, payload, message):
            return
        end = begin + len(payload)
        _keep(self._places, len(data), (begin, end))
        _keep(self._known, (len(data), data[:begin], data[end:]), facts)

    def _is_free(self, data: bytes, begin: int, payload: bytes, message: Sent) -> bool:
        """True if other bytes in this place make the same message with another payload: the place is the right one."""
        other = payload.translate(INVERTED)
        try:
            found = self._parse(b"%b%b%b" % (data[:begin], other, data[begin + len(payload) :]))
        except InvalidRequest:  # it wasn't the payload that was found
            return False
        self._payload.put(message, other)
        equal = bool(found == message)
        self._payload.put(message, payload)
        return equal


def _keep(kept: dict[Key, Value], key: Key, value: Value) -> None:
    """Keeps a value; in a full dictionary, in place of the oldest."""
    if key not in kept and len(kept) >= MAX_TEMPLATES:
        del kept[next(iter(kept))]
    kept[key] = value
