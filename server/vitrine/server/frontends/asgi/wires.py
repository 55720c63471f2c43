"""The forms in which a call travels over HTTP: gRPC, gRPC-Web and Connect. It knows no message's meaning.

- gRPC: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
- gRPC-Web: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
- Connect: https://connectrpc.com/docs/protocol
"""

import json
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from vitrine.server.frontends.asgi.events import Event, Headers, body, start, trailers, whole
from vitrine.server.protocols.endpoint import WrittenAnswer
from vitrine.server.protocols.metadata import NO_RETRY, REQUEST_ID

OK = status_pb2.Status()
"""The status of a call that was answered."""

TRAILER, END_STREAM = 0x80, 0x02
"""Flags of the last envelope of an answer: gRPC-Web's and Connect's."""

HTTP_STATUSES: Mapping[int, int] = {
    code_pb2.CANCELLED: 499,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.INTERNAL: 500,
}
"""The status of HTTP that Connect has for each status code."""

PRINTABLE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters of a text that gRPC sends as they are, beside letters and digits."""


def envelope(data: bytes, flags: int = 0) -> bytes:
    """A message with its flags and its length before it: gRPC's length-prefixed message, and Connect's envelope."""
    return b"%c%b%b" % (flags, len(data).to_bytes(4, "big"), data)


def _prefix(size: int) -> bytes:
    """The flags and the length before a message."""
    return b"\0" + size.to_bytes(4, "big")


class Wire(ABC):
    """One form. Calls name it by their content type.

    Args:
        content_type: the content type of requests and answers.
        json: messages are JSON, rather than protobuf's bytes.
    """

    enveloped: ClassVar[bool] = True
    """Each message has its length before it."""
    encoding_header: ClassVar[bytes] = b"grpc-encoding"
    """The header that names the compression of requests."""
    timeout_header: ClassVar[bytes] = b"grpc-timeout"
    """The header that has the time which the caller gives."""
    needs_trailers: ClassVar[bool] = False
    """Its status travels in trailers, which not every host can send."""
    text: ClassVar[bool] = False
    """Bodies are Base64."""

    def __init__(self, content_type: str, *, json: bool = False) -> None:
        self.json = json
        self.content_type = content_type.encode()
        self.prefixed = self.enveloped and not self.text
        """Bodies are envelopes as they are."""
        self._headers: Headers = [(b"content-type", self.content_type)]
        self._head = start(200, self._headers, trailers=self.needs_trailers)

    def encode(self, answer: Message | WrittenAnswer) -> bytes:
        """An answer's message as a part of the body."""
        if self.json:
            message = answer if isinstance(answer, Message) else answer.message()
            return self.part(MessageToJson(message, indent=None).encode())
        if self.prefixed and not isinstance(answer, Message):
            return answer.behind(_prefix)
        return self.part(answer.SerializeToString())

    def part(self, data: bytes) -> bytes:
        """A message's bytes as a part of the body."""
        return envelope(data)

    def head(self) -> Event:
        """The head of an answer."""
        return self._head

    @abstractmethod
    def answer(self, part: bytes) -> Sequence[Event]:
        """A whole answer of one encoded message: its head, its body, and trailers if there are any."""

    @abstractmethod
    def end(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """The end of an answer, after its messages."""

    @abstractmethod
    def refuse(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """A whole answer without a message."""


class Grpc(Wire):
    """gRPC over HTTP/2."""

    needs_trailers = True

    def answer(self, part: bytes) -> Sequence[Event]:
        """See `Wire`."""
        return self._head, body(part), OK_TRAILERS

    def end(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """See `Wire`."""
        return body(b""), trailers(_grpc_status(status, request_id))

    def refuse(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """See `Wire`."""
        return start(200, [*self._headers, *_grpc_status(status, request_id)]), body(b"")


class GrpcWeb(Wire):
    """gRPC-Web: gRPC's trailers are the last part of the body, so that HTTP/1.1 and browsers can have them."""

    def answer(self, part: bytes) -> Sequence[Event]:
        """See `Wire`."""
        return self.head(), body(part + self._trailer(OK, ""))

    def end(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """See `Wire`."""
        return (body(self._trailer(status, request_id)),)

    def refuse(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """See `Wire`."""
        return self.head(), body(self._trailer(status, request_id))

    def _trailer(self, status: status_pb2.Status, request_id: str) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in _grpc_status(status, request_id)]
        return envelope(b"".join(lines), TRAILER)


class GrpcWebText(GrpcWeb):
    """gRPC-Web in Base64, for browsers that read an answer as text while it arrives."""

    text = True

    def part(self, data: bytes) -> bytes:
        """See `Wire`."""
        return b64encode(envelope(data))

    def _trailer(self, status: status_pb2.Status, request_id: str) -> bytes:
        return b64encode(super()._trailer(status, request_id))


class ConnectUnary(Wire):
    """Connect, one message each way: a plain HTTP request, whose failures have an HTTP status and JSON."""

    enveloped = False
    encoding_header = b"content-encoding"
    timeout_header = b"connect-timeout-ms"

    def part(self, data: bytes) -> bytes:
        """See `Wire`: the message is the body."""
        return data

    def answer(self, part: bytes) -> Sequence[Event]:
        """See `Wire`."""
        return whole(200, self._headers, part)

    def end(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:  # noqa: ARG002 - as others do
        """See `Wire`: nothing comes after its one message."""
        return (body(b""),)

    def refuse(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """See `Wire`."""
        headers = [(b"content-type", b"application/json"), *_request_id(request_id)]
        return whole(HTTP_STATUSES[status.code], headers, json.dumps(_connect_error(status)).encode())


class ConnectStream(Wire):
    """Connect, streams of messages: the last envelope has the status as JSON."""

    encoding_header = b"connect-content-encoding"
    timeout_header = b"connect-timeout-ms"

    def answer(self, part: bytes) -> Sequence[Event]:
        """See `Wire`."""
        return self.head(), body(part + self._last(OK, ""))

    def end(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """See `Wire`."""
        return (body(self._last(status, request_id)),)

    def refuse(self, status: status_pb2.Status, request_id: str) -> Sequence[Event]:
        """See `Wire`."""
        return self.head(), body(self._last(status, request_id))

    def _last(self, status: status_pb2.Status, request_id: str) -> bytes:
        metadata = {name.decode(): [value.decode()] for name, value in _request_id(request_id)}
        error = {"error": _connect_error(status)} if status.code else {}
        return envelope(json.dumps({**error, "metadata": metadata}).encode(), END_STREAM)


NO_RETRY_HEADER = [(NO_RETRY[0].encode(), NO_RETRY[1].encode())]
OK_TRAILERS = trailers([(b"grpc-status", b"0")])


def _grpc_status(status: status_pb2.Status, request_id: str) -> Headers:
    if not status.code:
        return [(b"grpc-status", b"0")]
    return [
        (b"grpc-status", b"%d" % status.code),
        (b"grpc-message", quote(status.message, safe=PRINTABLE).encode()),
        (b"grpc-status-details-bin", b64encode(status.SerializeToString())),
        *_request_id(request_id),
        *(NO_RETRY_HEADER if status.code == code_pb2.INTERNAL else ()),
    ]


def _request_id(request_id: str) -> Headers:
    return [(REQUEST_ID.encode(), request_id.encode())] if request_id else []


def _connect_error(status: status_pb2.Status) -> dict[str, object]:
    """A status in Connect's JSON; details are Base64 without padding, under their type's name."""
    details = [
        {"type": detail.TypeName(), "value": b64encode(detail.value).rstrip(b"=").decode()} for detail in status.details
    ]
    name = "canceled" if status.code == code_pb2.CANCELLED else code_pb2.Code.Name(status.code).lower()
    return {"code": name, "message": status.message, "details": details}


def _by_content_type(*wires: Wire) -> dict[bytes, Wire]:
    """The wires by their content types; gRPC's may be shortened, as they mean protobuf by default."""
    found = {wire.content_type: wire for wire in wires}
    return found | {kind.removesuffix(b"+proto"): wire for kind, wire in found.items() if b"grpc" in kind}


ONE = _by_content_type(
    Grpc("application/grpc+proto"),
    GrpcWeb("application/grpc-web+proto"),
    GrpcWebText("application/grpc-web-text+proto"),
    ConnectUnary("application/proto"),
    ConnectUnary("application/json", json=True),
)
"""The forms of calls with one message each way, by their content types."""

STREAMS = _by_content_type(
    *{wire for wire in ONE.values() if wire.enveloped},
    ConnectStream("application/connect+proto"),
    ConnectStream("application/connect+json", json=True),
)
"""The forms of calls with streams."""


def wire_of(wires: Mapping[bytes, Wire], content_type: bytes) -> Wire | None:
    """The form that a content type names, whatever parameters it has; None: there is none."""
    return wires.get(content_type) or wires.get(content_type.partition(b";")[0].strip().lower())
