"""The methods that calls can name, and what each takes: decoders, permissions and the largest request."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from vitrine.server.errors import InvalidRequest
from vitrine.server.inference.call import Call
from vitrine.server.protocols.decoding import decoder_of
from vitrine.server.protocols.endpoint import Answer, Decode, Endpoint
from vitrine.server.security.access import Permission

JSON_BYTES = 8 << 20
"""The largest request in JSON, which is read on the event loop, and takes several times its size meanwhile."""

JSON_SEPARATORS = b",:[{"
"""Characters of which a JSON text has at least one for each of its values."""

SEPARATORS_PER_FIELD = 3
"""Those that a field of a good request has at most: a colon, a comma, and a bracket."""

Observers = Sequence[Callable[[Call], None]]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service."""

    path: str
    """Its name, as calls give it: `/PACKAGE.SERVICE/METHOD`."""
    answer: Answer
    """Makes answers."""
    permission: Permission | None
    """The permission that it takes; None: it is open to all."""
    decode: Decode
    """Makes a message of a request's bytes."""
    decode_json: Callable[[bytes], Message]
    """Makes a message of a request's JSON."""
    max_bytes: int
    """The largest request."""
    takes_stream: bool
    """Requests are a stream of messages."""
    gives_stream: bool
    """Answers are a stream of messages."""
    observers: Observers
    """Told of every call that was let in, when it is over."""
    meters: Observers
    """Told of those that were refused at once."""


def methods_by_path(
    endpoints: Iterable[Endpoint], max_message_bytes: int, observers: Observers, meters: Observers
) -> dict[str, Method]:
    """All methods of some services, by their paths."""
    return {
        endpoint.path(descriptor.name): _method(endpoint, descriptor, max_message_bytes, observers, meters)
        for endpoint in endpoints
        for descriptor in endpoint.descriptor.methods
        if descriptor.name in endpoint.methods
    }


def _method(
    endpoint: Endpoint, descriptor: MethodDescriptor, max_message_bytes: int, observers: Observers, meters: Observers
) -> Method:
    message_class = GetMessageClass(descriptor.input_type)
    return Method(
        path=endpoint.path(descriptor.name),
        answer=endpoint.methods[descriptor.name],
        permission=None if endpoint.public else endpoint.permissions.get(descriptor.name, Permission.PREDICT),
        decode=decoder_of(endpoint, descriptor),
        decode_json=json_decoder(message_class, endpoint.max_fields),
        max_bytes=endpoint.message_limit(descriptor.name, max_message_bytes),
        takes_stream=descriptor.client_streaming,
        gives_stream=descriptor.server_streaming,
        observers=meters if endpoint.public else observers,
        meters=meters,
    )


def json_decoder(message_class: type[Message], max_fields: Callable[[], int]) -> Callable[[bytes], Message]:
    """A decoder of JSON; it raises `InvalidRequest` for a text that is no message, or is too large to be read."""
    name = message_class.DESCRIPTOR.full_name

    def decode(data: bytes) -> Message:
        if len(data) > JSON_BYTES:
            message = f"a request in JSON has {JSON_BYTES:,} bytes at most, not {len(data):,}: send protobuf"
            raise InvalidRequest("JSON_TOO_LARGE", message)
        if sum(map(data.count, JSON_SEPARATORS)) > SEPARATORS_PER_FIELD * (limit := max_fields()):
            raise InvalidRequest("TOO_MANY_FIELDS", f"the request has more than {limit:,} fields: split it")
        try:
            return Parse(data, message_class())
        except (ParseError, ValueError, RecursionError) as error:
            raise InvalidRequest("NOT_A_MESSAGE", f"the request's JSON is no {name}: {_shortened(error)}") from error

    return decode


def _shortened(error: Exception) -> str:
    """An error's text in one line. It may quote halves of characters, which JSON can escape and no message can hold."""
    text = " ".join(str(error).encode(errors="backslashreplace").decode().split())
    return text if len(text) <= 200 else text[:200] + "…"
