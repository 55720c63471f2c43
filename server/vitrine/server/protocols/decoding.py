"""Decodes requests: bytes that are no message, or have too many fields, are refused before anything is made of them."""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from vitrine.server.errors import InvalidRequest
from vitrine.server.protocols.endpoint import Decode, Endpoint
from vitrine.server.protocols.field_count import SMALL_BYTES, UncountableError, has_more_fields


def decoder_of(endpoint: Endpoint, method: MethodDescriptor) -> Decode:
    """The decoder of a method's requests, with its shortcut where there is one."""
    decode = message_decoder(GetMessageClass(method.input_type), endpoint.max_fields, endpoint.packed_bytes)
    shortcut = endpoint.shortcuts.get(method.name)
    return decode if shortcut is None else shortcut(decode)


def message_decoder(
    message_class: type[Message], max_fields: Callable[[], int], packed_bytes: int = 1
) -> Callable[[bytes], Message]:
    """A decoder of messages; it raises `InvalidRequest` for bytes that are none, or have too many fields.

    Args:
        message_class: the class of the messages.
        max_fields: gives the present limit on their fields.
        packed_bytes: the bytes of a list of numbers that count as one field.
    """
    descriptor: Any = message_class.DESCRIPTOR  # of a type whose stubs know two

    def parse(data: bytes) -> Message:
        if len(data) > SMALL_BYTES and has_more_fields(data, descriptor, limit := max_fields(), packed_bytes):
            raise InvalidRequest("TOO_MANY_FIELDS", f"the request has more than {limit:,} fields: split it")
        return message_class.FromString(data)

    def decode(data: bytes) -> Message:
        try:
            return parse(data)
        except (DecodeError, UncountableError) as error:
            name = message_class.DESCRIPTOR.full_name
            raise InvalidRequest("NOT_A_MESSAGE", f"the request's bytes are no {name}") from error

    return decode
