"""Sends mutated messages in the forms that need no gRPC, gRPC-Web and Connect, over HTTP/1.1.

The message may be wrong, its frame, the text around it, and the headers.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeAlias

from google.protobuf.json_format import MessageToJson
from google.rpc import code_pb2

from endurance.fuzzing import http1
from endurance.fuzzing.calls import mutated_message
from endurance.fuzzing.connections import STATUS, connected
from endurance.fuzzing.corpus import CHECK, CLASSIFY, INFER, INFER_STREAM, SERVICE, STREAM, requests
from endurance.fuzzing.frames import grpc_message
from endurance.fuzzing.json_mutation import JSON_TEXT
from endurance.fuzzing.mutation import ANY_BYTES, mutated
from endurance.fuzzing.outcomes import Outcome

PATIENCE_SECONDS = 60
"""A call without an end after this time hangs."""

FAULT_SHARE = 0.3
"""Share of calls in which more than the message is wrong."""

ONE = (CLASSIFY, CLASSIFY, INFER, INFER, CHECK, *(SERVICE + name for name in ("GetParameters", "Explain", "Prepare")))
STREAMS = (STREAM, INFER_STREAM)
MAX_MESSAGES = 4
"""Messages of a stream."""

TRAILER, END_STREAM = 0x80, 0x02
"""Flags of the last envelope of an answer: gRPC-Web's and Connect's."""

CODES = {"canceled": "CANCELLED"} | {code.lower(): code for code in code_pb2.Code.keys()}  # noqa: SIM118 - it is no mapping
"""Names of status codes by those that Connect has for them."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request before it is written."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Fault: TypeAlias = Callable[[Random, Call], Call]
"""Makes a call wrong."""


async def send_web_call(target: str, rng: Random) -> Outcome:
    """One call in a form of `FORMS`, over its own connection."""
    form = rng.choice(list(FORMS))
    call = _call(rng, form)
    if rng.random() < FAULT_SHARE:
        call = rng.choice(FAULTS)(rng, call)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), connected(target) as (reader, writer):
            writer.write(http1.request(call.path, call.body, call.headers))
            answer = await http1.read_answer(reader)
    except TimeoutError:
        return Outcome("hangs", f"{form}: {call}"[:200])
    return _outcome(answer)


def _call(rng: Random, form: str) -> Call:
    """A call whose messages are mutated."""
    streams = "connect+" in form or (form in ENVELOPED and rng.random() < 0.2)
    method = rng.choice(STREAMS if streams else ONE)
    count = rng.randint(1, MAX_MESSAGES) if streams else 1
    written = [_json(rng, method) if form.endswith("json") else mutated_message(rng, method) for _ in range(count)]
    return Call(method, {"content-type": form}, FORMS[form](written))


def _json(rng: Random, method: str) -> bytes:
    return mutated(rng, MessageToJson(rng.choice(requests()[method])).encode(), JSON_TEXT)


def _plain(written: Sequence[bytes]) -> bytes:
    return b"".join(written)


def _enveloped(written: Sequence[bytes]) -> bytes:
    return b"".join(map(grpc_message, written))


def _text(written: Sequence[bytes]) -> bytes:
    return b64encode(_enveloped(written))


ENVELOPED: Mapping[str, Callable[[Sequence[bytes]], bytes]] = {
    "application/grpc-web": _enveloped,
    "application/grpc-web+proto": _enveloped,
    "application/grpc-web-text": _text,
    "application/grpc-web-text+proto": _text,
}
FORMS: Mapping[str, Callable[[Sequence[bytes]], bytes]] = {
    **ENVELOPED,
    "application/json": _plain,
    "application/proto": _plain,
    "application/connect+json": _enveloped,
    "application/connect+proto": _enveloped,
}
"""How messages are written as a body, by content type."""


def _headers(**odd: Sequence[str]) -> Fault:
    """Sets one of these headers to one of its values; `_` stands for `-`."""

    def fault(rng: Random, call: Call) -> Call:
        name = rng.choice(list(odd))
        return replace(call, headers={**call.headers, name.replace("_", "-"): rng.choice(odd[name])})

    return fault


def _odd_envelope(rng: Random, call: Call) -> Call:
    """An envelope with flags or a length that its message doesn't have, before the body or instead of it."""
    length = rng.choice((None, 0, 1, 10_000, 2**31, 2**32 - 1))
    odd = grpc_message(rng.randbytes(20), rng.choice((0, 1, TRAILER, END_STREAM, 255)), length)
    return replace(call, body=rng.choice((odd + call.body, call.body + odd, odd)))


def _odd_body(rng: Random, call: Call) -> Call:
    return replace(call, body=mutated(rng, call.body, ANY_BYTES))


def _other_path(rng: Random, call: Call) -> Call:
    """A path of another method, of none, or one that isn't plain."""
    odd = ("", "/", "//", "*", "/%ff", "/%2e%2e/", call.path + "?a=b", call.path + "/", call.path[1:], "/" + "x" * 9000)
    return replace(call, path=rng.choice((*odd, *requests())))


FAULTS: Sequence[Fault] = (
    _odd_envelope,
    _odd_body,
    _other_path,
    _headers(
        content_type=(*FORMS, "", "text/html", "application/grpc", "application/json; charset=x", "\x80"),
        content_encoding=("gzip", "deflate", "nonsense", "", "gzip, gzip"),
        grpc_encoding=("gzip", "deflate", "identity", "nonsense"),
        connect_content_encoding=("gzip", "br"),
        accept_encoding=("nonsense", "*;q=0"),
    ),
    _headers(
        grpc_timeout=("0n", "-1S", "1", "99999999H", "x", "1n", "5S"),
        connect_timeout_ms=("0", "-1", "1", "9999999999", "99999999999", "x", ""),
        connect_protocol_version=("0", "2", "x"),
    ),
    _headers(
        authorization=("Bearer x", "Basic eDp5", "\x80", ""),
        host=("", "evil.example", "[::1]", "a b", "\x80"),
        origin=("https://evil.example", "null", ""),
        traceparent=("00-0-0-0", "\x80", "x" * 5000),
        x_request_id=("", "\x80", "x" * 129, "a b"),
        x_odd=("v" * 20_000, "\x7f\x80\xff"),
    ),
)
"""What may be wrong beside the messages."""


def _outcome(answer: http1.Answer | None) -> Outcome:
    """The status of a call, in the way in which its answer's form tells it."""
    if answer is None:
        return Outcome("closed")
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if kind.startswith(("application/grpc-web", "application/connect+")):
        return _last_status(answer.body if "text" not in kind else http1.unbased(answer.body))
    if kind == "application/grpc":
        return Outcome(
            STATUS.get(answer.headers.get("grpc-status", "0"), "no status"), answer.headers.get("grpc-message", "")
        )
    if answer.status == 200:
        return Outcome("OK")
    return _connect_error(answer.body) or Outcome(f"HTTP {answer.status}", answer.body[:200].decode(errors="replace"))


def _last_status(body: bytes) -> Outcome:
    """The status in the last envelope; text where there is none is a fault of the server."""
    flags, last = 0, b""
    while body:
        flags, size = body[0], int.from_bytes(body[1:5], "big")
        last, body = body[5 : 5 + size], body[5 + size :]
    if flags == TRAILER:
        lines = dict(line.split(": ", 1) for line in last.decode().splitlines())
        return Outcome(STATUS.get(lines["grpc-status"], "no status"), lines.get("grpc-message", ""))
    if flags == END_STREAM:
        error = json.loads(last).get("error")
        return (error and _error(error)) or Outcome("OK")
    return Outcome("no status", repr(last[:100]))


def _connect_error(body: bytes) -> Outcome | None:
    """Connect's error in JSON; None: the body is something else, as a refusal of HTTP's own is."""
    try:
        return _error(json.loads(body))
    except (ValueError, TypeError, KeyError):
        return None


def _error(error: Mapping[str, str]) -> Outcome:
    return Outcome(CODES[error["code"]], error["message"])
