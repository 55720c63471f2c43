"""Calls over HTTP/1.1 in every form that isn't gRPC, Connect and gRPC-Web, written by hand as other clients do."""

import base64
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import unquote

from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from support.serving import PATIENCE_SECONDS

Answer = TypeVar("Answer", bound=Message)

FORMS = ("connect", "connect json", "grpc-web", "grpc-web-text")
CONTENT_TYPES = {
    "connect": "application/proto",
    "connect json": "application/json",
    "grpc-web": "application/grpc-web+proto",
    "grpc-web-text": "application/grpc-web-text+proto",
}
CONNECT_CODES = {code_pb2.Code.Name(value).lower(): value for value in code_pb2.Code.values()} | {"canceled": 1}


@dataclass
class Ended:
    """The end of a call: its messages as bytes, and its status."""

    messages: list[bytes] = field(default_factory=list)
    status: status_pb2.Status = field(default_factory=status_pb2.Status)
    request_id: str = ""
    http: int = 200

    @property
    def code(self) -> str:
        return str(code_pb2.Code.Name(self.status.code))

    @property
    def reason(self) -> str:
        return str(self._detail(error_details_pb2.ErrorInfo()).reason)

    @property
    def field(self) -> str:
        return str(self._detail(error_details_pb2.BadRequest()).field_violations[0].field)

    def _detail(self, wanted: Answer) -> Answer:
        assert [detail for detail in self.status.details if detail.Unpack(wanted)]
        return wanted


@dataclass(frozen=True)
class Posted:
    """The answer of an HTTP request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def connect(address: str, tls: ssl.SSLContext | None = None) -> HTTPConnection:
    if tls is not None:
        return HTTPSConnection(address, timeout=PATIENCE_SECONDS, context=tls)
    return HTTPConnection(address, timeout=PATIENCE_SECONDS)


def begin(connection: HTTPConnection, path: str, data: bytes, **headers: str) -> HTTPResponse:
    """Sends a request; gives the answer whose head has come."""
    connection.request("POST", path, data, {name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def post(address: str, path: str, data: bytes, *, tls: ssl.SSLContext | None = None, **headers: Any) -> Posted:
    """Sends a request on a connection of its own."""
    with closing(connect(address, tls)) as connection:
        response = begin(connection, path, data, **headers)
        return Posted(response.status, dict(response.headers), response.read())


def call(
    address: str, form: str, path: str, request: Message, *, tls: ssl.SSLContext | None = None, **headers: Any
) -> Ended:
    """One call with one message."""
    posted = post(address, path, written(form, request), tls=tls, content_type=CONTENT_TYPES[form], **headers)
    return read(form, posted)


def message(ended: Ended, form: str, kind: type[Answer]) -> Answer:
    """The one message of a call that was answered."""
    assert (ended.code, len(ended.messages)) == ("OK", 1), ended
    return Parse(ended.messages[0], kind()) if form == "connect json" else kind.FromString(ended.messages[0])


def envelope(data: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


def written(form: str, request: Message) -> bytes:
    data = MessageToJson(request).encode() if form == "connect json" else request.SerializeToString()
    if form.startswith("connect"):
        return data
    return base64.b64encode(envelope(data)) if form == "grpc-web-text" else envelope(data)


def read(form: str, posted: Posted) -> Ended:
    """The end of a call with one message."""
    if form.startswith("connect"):
        if posted.status == 200:
            return Ended([posted.body])
        request_id = posted.headers.get("x-request-id", "")
        return Ended([], _connect_status(json.loads(posted.body)), request_id, posted.status)
    assert posted.status == 200, posted.body
    return _web_ended(_unbased(posted.body) if form == "grpc-web-text" else posted.body)


def call_stream(address: str, path: str, requests: Sequence[Message], **headers: Any) -> Ended:
    """A call with a stream of messages, in Connect's form: all of them are sent before the first answer is read."""
    data = b"".join(envelope(request.SerializeToString()) for request in requests)
    posted = post(address, path, data, content_type="application/connect+proto", **headers)
    assert (posted.status, posted.headers["content-type"]) == (200, "application/connect+proto")
    *answers, (flags, last) = _envelopes(posted.body)
    assert flags == 2
    end = json.loads(last)
    status = _connect_status(end["error"]) if "error" in end else status_pb2.Status()
    return Ended([data for _, data in answers], status, end["metadata"].get("x-request-id", [""])[0])


def _envelopes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size = int.from_bytes(data[1:5], "big")
        assert len(data) >= 5 + size
        yield data[0], data[5 : 5 + size]
        data = data[5 + size :]


def _web_ended(data: bytes) -> Ended:
    *answers, (flags, trailer) = _envelopes(data)
    assert flags == 0x80
    lines = dict(line.split(": ", 1) for line in trailer.decode().splitlines())
    status = status_pb2.Status(code=int(lines["grpc-status"]), message=unquote(lines.get("grpc-message", "")))
    if "grpc-status-details-bin" in lines:
        detailed = status_pb2.Status.FromString(base64.b64decode(lines["grpc-status-details-bin"]))
        assert (detailed.code, detailed.message) == (status.code, status.message)
        status = detailed
    return Ended([data for _, data in answers], status, lines.get("x-request-id", ""))


def _connect_status(error: dict[str, str | list[dict[str, str]]]) -> status_pb2.Status:
    details = [
        any_pb2.Any(type_url=f"type.googleapis.com/{detail['type']}", value=base64.b64decode(detail["value"] + "=="))
        for detail in error["details"]
        if isinstance(detail, dict)
    ]
    return status_pb2.Status(code=CONNECT_CODES[str(error["code"])], message=str(error["message"]), details=details)


def _unbased(data: bytes) -> bytes:
    """Base64 that may be padded in between, at the end of each part that was sent."""
    groups = (data[at : at + 4] for at in range(0, len(data), 4))
    return b"".join(base64.b64decode(group, validate=True) for group in groups)
