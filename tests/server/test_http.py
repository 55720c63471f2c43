"""Connect and gRPC-Web over HTTP/1.1: the same answers, errors and limits as over gRPC, whichever host carries them."""

import asyncio
import base64
import gzip
import json
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
import trustme
from grpc_health.v1 import health_pb2
from support.callers import line, secret
from support.http_calls import (
    CONTENT_TYPES,
    FORMS,
    Ended,
    Posted,
    begin,
    call,
    call_stream,
    connect,
    envelope,
    message,
    post,
    written,
)
from support.serving import (
    PATIENCE_SECONDS,
    Log,
    a_call,
    comes,
    logged_server,
    open_log,
    refused_start,
    running_server,
)

from vitrine.server.errors import StartupError
from vitrine.server.frontends import Frontend
from vitrine.server.frontends.asgi.application import Application
from vitrine.server.frontends.asgi.events import Event
from vitrine.server.frontends.asgi.http_server import HttpFrontend
from vitrine.server.frontends.asgi.methods import JSON_BYTES
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.config import BatchingConfig, Limits
from vitrine.server.inference.connections import SURPLUS, TOO_MUCH, UNREAD, ConnectionConfig
from vitrine.server.inference.requests import ClassifyRequest
from vitrine.server.inference.service import Service
from vitrine.server.opening import open_service
from vitrine.server.process.port import can_be_shared
from vitrine.server.protocols.compression import largest_unpacked
from vitrine.server.protocols.endpoint import NAME_BYTES
from vitrine.server.security.addresses import is_fixed
from vitrine.server.service_config import ServiceConfig
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

SERVICE = "/vitrine.v1.ClassifierService"
CLASSIFY, GET_MODEL, STREAM = (f"{SERVICE}/{name}" for name in ("Classify", "GetModel", "ClassifyStream"))
HEALTH = "/grpc.health.v1.Health/Check"
CONNECT = ("connect", "connect json")
HOSTS = ["uvicorn", *(["envoy"] if find_spec("pyvoy") else [])]
"""The hosts that are installed; Envoy's runs on Linux only."""


def request_of(pixels: npt.NDArray[np.uint8], **fields: Any) -> pb.ClassifyRequest:
    tensor = pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())
    return pb.ClassifyRequest(pixels=tensor, **fields)


BLANK = request_of(np.zeros((1, 18, 18), np.uint8))


@contextmanager
def http_server(host: str, *arguments: str | Path) -> Iterator[tuple[str, str]]:
    """A real server that speaks HTTP/1.1: its addresses for gRPC, and for HTTP."""
    if host == "envoy":
        with running_server(*arguments, "--frontend", "envoy") as server:
            yield server.target, server.target
        return
    with open_log() as (pipe, log), logged_server(pipe, *arguments, "--frontend", "grpc", "--http-port", "0") as server:
        yield server.target, http_address(log)


def http_address(log: Log) -> str:
    return log.wait_for(r"Connect and gRPC-Web are at https?://(\S+)")[0]


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def addresses(host: str, tiny_artifact: Path) -> Iterator[tuple[str, str]]:
    with http_server(host, tiny_artifact, "--max-message-mb", "1") as pair:
        yield pair


@pytest.fixture(scope="module")
def address(addresses: tuple[str, str]) -> str:
    return addresses[1]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_form_gives_the_answer_that_grpc_gives(
    addresses: tuple[str, str], form: str, pixels: npt.NDArray[np.uint8]
) -> None:
    target, address = addresses
    request = request_of(pixels, activations=pb.LayerSelection(all=True))
    with grpc.insecure_channel(target) as channel:
        stub: Any = ClassifierServiceStub(channel)
        expected = stub.Classify(request)
    assert message(call(address, form, CLASSIFY, request), form, pb.ClassifyResponse) == expected


OWN_HOSTS = [
    "localhost",
    "localhost.:80",
    "LOCALHOST:8080",
    "look.localhost:1",
    "127.0.0.1:5",
    "[::1]:80",
    "[::1]",
    "10.0.0.7",
]
OTHER_HOSTS = [
    "rebound.example",
    "rebound.example:8080",
    "localhost.example",
    "notlocalhost",
    "127.0.0.1.example:80",
    "",
]


@pytest.mark.parametrize("name", OWN_HOSTS)
def test_a_browser_calls_this_machine_by_an_address_or_as_localhost(address: str, name: str) -> None:
    ended = call(address, "connect json", CLASSIFY, BLANK, host=name, origin=f"http://{name}")
    message(ended, "connect json", pb.ClassifyResponse)


@pytest.mark.parametrize("name", OTHER_HOSTS[:-1])
def test_a_page_whose_name_was_rebound_to_this_machine_gets_no_answer(address: str, form: str, name: str) -> None:
    ended = call(address, form, CLASSIFY, BLANK, host=name, origin=f"http://{name}")
    assert (ended.code, ended.reason) == ("PERMISSION_DENIED", "HOST_UNKNOWN")
    assert "let that send `Host: localhost`" in ended.status.message


def test_a_program_that_is_no_browser_calls_by_any_name(address: str) -> None:
    message(call(address, "connect", CLASSIFY, BLANK, host="digits.example"), "connect", pb.ClassifyResponse)


@pytest.mark.parametrize("name", OTHER_HOSTS)
def test_names_that_a_name_server_decides_are_not_fixed(name: str) -> None:
    assert not is_fixed(name)


def test_with_tokens_a_browser_may_call_by_any_name(host: str, tiny_artifact: Path, tmp_path: Path) -> None:
    """A page that was rebound has no token: it is kept for one origin."""
    (tmp_path / "tokens").write_text(line("alice", "predict"))
    with http_server(host, tiny_artifact, "--tokens", tmp_path / "tokens") as (_, address):
        named, token = {"host": "digits.example", "origin": "https://digits.example"}, f"Bearer {secret('alice')}"
        ended = call(address, "connect", CLASSIFY, BLANK, authorization=token, tls=None, **named)
    message(ended, "connect", pb.ClassifyResponse)


def test_an_error_has_its_code_reason_field_and_request_id(address: str, form: str) -> None:
    wrong = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 2], dtype=pb.DATA_TYPE_UINT8, data=b"ab"))
    ended = call(address, form, CLASSIFY, wrong, x_request_id="mine-1")
    assert (ended.code, ended.reason, ended.field) == ("INVALID_ARGUMENT", "WRONG_SHAPE", "pixels.shape")
    assert ended.request_id == "mine-1"
    assert "18, 18" in ended.status.message
    assert ended.http == (400 if form.startswith("connect") else 200)


def test_a_text_of_an_error_keeps_its_letters(address: str, form: str) -> None:
    ended = call(address, form, GET_MODEL, pb.GetModelRequest(model="größe 100 %\n"))
    assert ended.code == "NOT_FOUND"
    assert "größe 100 %" in ended.status.message


def test_health_is_answered(address: str, form: str) -> None:
    answer = message(call(address, form, HEALTH, health_pb2.HealthCheckRequest()), form, health_pb2.HealthCheckResponse)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_can_be_watched(address: str) -> None:
    """A server's stream over HTTP/1.1: the first status comes at once, and the stream stays open."""
    data = envelope(health_pb2.HealthCheckRequest().SerializeToString())
    with closing(connect(address)) as connection:
        response = begin(connection, "/grpc.health.v1.Health/Watch", data, content_type="application/connect+proto")
        assert response.read(5 + 2) == envelope(b"\x08\x01")
        assert not response.isclosed()


def test_a_stream_answers_each_message_in_turn(address: str, pixels: npt.NDArray[np.uint8]) -> None:
    requests = [pb.ClassifyStreamRequest(request=request_of(pixels[at : at + 1])) for at in range(3)]
    ended = call_stream(address, STREAM, requests)
    assert ended.code == "OK"
    together = message(call(address, "connect", CLASSIFY, request_of(pixels[:3])), "connect", pb.ClassifyResponse)
    answers = [pb.ClassifyStreamResponse.FromString(data).response for data in ended.messages]
    assert [answer.digits[0] for answer in answers] == list(together.digits)


def test_the_first_bad_message_ends_a_stream_after_the_answers_before_it(address: str) -> None:
    bad = pb.ClassifyStreamRequest(request=pb.ClassifyRequest())
    requests = [pb.ClassifyStreamRequest(request=BLANK), bad, pb.ClassifyStreamRequest(request=BLANK)]
    ended = call_stream(address, STREAM, requests, x_request_id="stream-1")
    assert len(ended.messages) == 1
    assert (ended.code, ended.reason, ended.request_id) == ("INVALID_ARGUMENT", "NO_IMAGES", "stream-1")


def test_a_request_larger_than_the_limit_is_refused(address: str, form: str) -> None:
    large = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[bytes(2 << 20)]))
    ended = call(address, form, CLASSIFY, large)
    assert (ended.code, ended.reason) == ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")


def test_a_request_of_names_has_a_limit_of_its_own(address: str, form: str) -> None:
    ended = call(address, form, HEALTH, health_pb2.HealthCheckRequest(service="a" * NAME_BYTES))
    assert (ended.code, ended.reason) == ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")


def test_a_body_is_refused_while_it_arrives(address: str) -> None:
    """The caller promises a gigabyte, sends a little more than the limit, and is answered then."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as raw:
        head = f"POST {CLASSIFY} HTTP/1.1\r\nhost: a\r\ncontent-type: application/proto\r\n"
        raw.sendall(f"{head}content-length: {1 << 30}\r\n\r\n".encode())
        raw.sendall(bytes((1 << 20) + 1))
        assert raw.recv(4096).startswith(b"HTTP/1.1 429 ")


@pytest.mark.parametrize(
    ("content_type", "data", "headers"),
    [
        ("application/proto", b"x", {"content_encoding": "zstd"}),
        ("application/json", b"x", {"content_encoding": "br"}),
        ("application/grpc-web", envelope(b"x"), {"grpc_encoding": "snappy"}),
        ("application/grpc-web", envelope(b"x", flags=1), {}),
    ],
)
def test_an_unknown_compression_is_refused(
    address: str, content_type: str, data: bytes, headers: dict[str, Any]
) -> None:
    response = post(address, CLASSIFY, data, content_type=content_type, **headers)
    assert b"COMPRESSION_UNKNOWN" in base64.b64decode(details_of(response))
    assert response.status == (200 if "grpc" in content_type else 501)


def details_of(response: Posted) -> bytes:
    """The first detail of a failed call, in Base64."""
    if response.status == 200:
        return bytes(re.findall(rb"grpc-status-details-bin: (\S+)", response.body)[0])
    value: str = json.loads(response.body)["details"][0]["value"]
    return value.encode() + b"=="


WEB = CONTENT_TYPES["grpc-web"]
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("encoding", COMPRESSORS)
def test_a_compressed_request_is_answered_as_any(address: str, encoding: str) -> None:
    packed = COMPRESSORS[encoding](BLANK.SerializeToString())
    plain = post(address, CLASSIFY, written("connect", BLANK), content_type="application/proto")
    connected = post(address, CLASSIFY, packed, content_type="application/proto", content_encoding=encoding)
    web = post(
        address, CLASSIFY, envelope(packed, flags=1), content_type="application/grpc-web", grpc_encoding=encoding
    )
    assert (connected.status, connected.body) == (200, plain.body)
    assert web.body.startswith(envelope(plain.body))
    cut = post(address, CLASSIFY, packed[:-3], content_type="application/proto", content_encoding=encoding)
    assert json.loads(cut.body)["code"] == "invalid_argument"


@pytest.mark.parametrize("encoding", COMPRESSORS)
def test_a_compressed_request_may_not_grow_beyond_the_limit(address: str, encoding: str) -> None:
    packed = COMPRESSORS[encoding](bytes(32 << 20))
    assert len(packed) < 1 << 20
    connected = post(address, CLASSIFY, packed, content_type="application/proto", content_encoding=encoding)
    assert json.loads(connected.body)["code"] == "resource_exhausted"
    web = post(
        address, CLASSIFY, envelope(packed, flags=1), content_type="application/grpc-web", grpc_encoding=encoding
    )
    assert b"grpc-status: 8\r\n" in web.body


def test_a_compressed_request_may_become_32_times_as_large() -> None:
    assert largest_unpacked(size=65_536, limit=64 << 20) == 2 << 20
    assert largest_unpacked(size=4 << 20, limit=64 << 20) == 64 << 20
    assert largest_unpacked(size=10, limit=64 << 20) == 1 << 20
    assert largest_unpacked(size=10, limit=4096) == 4096


@pytest.mark.parametrize(
    "data", [b"", envelope(b"")[:3], envelope(b"abc")[:-1], envelope(b"") * 2, envelope(b"") + b"\0"], ids=repr
)
def test_a_body_that_is_not_one_message_is_refused(address: str, data: bytes) -> None:
    response = post(address, GET_MODEL, data, content_type="application/grpc-web")
    assert b"grpc-status: 3\r\n" in response.body


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no vitrine.v1.ClassifyRequest"),
        ('{"pixel": {}}', "no field named"),
        (r'{"\ud800": 1, "\ud800": 2}', r"duplicate key \ud800"),
        ('{"pixels": 7}', "no vitrine.v1.ClassifyRequest"),
        ("[" * 100, "no vitrine.v1.ClassifyRequest"),
        ("[" * 200_000, "fields"),
        ('{"activations": {"names": [' + ",".join(['"a"'] * 100_000) + "]}}", "fields"),
        ("\xff", "no vitrine.v1.ClassifyRequest"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_is_no_message_is_refused(address: str, text: str, said: str) -> None:
    response = post(address, CLASSIFY, text.encode("latin-1"), content_type="application/json; charset=utf-8")
    answer = json.loads(response.body)
    assert (response.status, answer["code"]) == (400, "invalid_argument")
    assert said in answer["message"]


def test_json_has_a_limit_of_its_own(tiny_artifact: Path) -> None:
    with http_server("uvicorn", tiny_artifact) as (_, address):
        response = post(address, CLASSIFY, b" " * (JSON_BYTES + 1), content_type="application/json")
        assert (response.status, json.loads(response.body)["code"]) == (400, "invalid_argument")


def test_a_method_that_is_not_there_is_not_found(address: str) -> None:
    assert post(address, "/nothing", b"", content_type="application/json").status == 404
    assert post(address, f"{SERVICE}/Nothing", b"", content_type="application/proto").status == 404
    for path in (f"{SERVICE}/Nothing", "/"):  # which is the page for browsers
        response = post(address, path, envelope(b""), content_type="application/grpc-web")
        assert b"grpc-status: 12\r\n" in response.body


def test_what_is_no_call_is_told_so(address: str) -> None:
    with closing(connect(address)) as connection:
        connection.request("GET", CLASSIFY)
        response = connection.getresponse()
        assert (response.status, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("path", "content_type"),
    [(CLASSIFY, "text/plain"), (CLASSIFY, "application/connect+proto"), (STREAM, "application/json")],
)
def test_a_form_that_a_method_lacks_is_refused(address: str, path: str, content_type: str) -> None:
    posted = post(address, path, b"", content_type=content_type)
    assert posted.status == 415
    assert "application/grpc-web+proto" in posted.headers["accept-post"]
    assert content_type not in posted.headers["accept-post"]


def test_grpc_over_http_1_is_not_mistaken_for_a_call(tiny_artifact: Path) -> None:
    """It needs trailers; without them, a caller would wait for its status."""
    with http_server("uvicorn", tiny_artifact) as (_, address):
        response = post(address, CLASSIFY, envelope(b""), content_type="application/grpc")
        assert response.status == 415
        assert "application/grpc+proto" not in response.headers["accept-post"]


def test_tokens_are_asked_for(host: str, tiny_artifact: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("alice", "predict"))
    with http_server(host, tiny_artifact, "--tokens", tokens) as (_, address):

        def ended(form: str, path: str, request: Any, token: str = "") -> Ended:
            headers: dict[str, Any] = {"authorization": f"Bearer {token}"} if token else {}
            return call(address, form, path, request, **headers)

        for form in FORMS:
            assert ended(form, CLASSIFY, BLANK).reason == "TOKEN_MISSING"
            assert ended(form, CLASSIFY, BLANK, "wrong").reason == "TOKEN_UNKNOWN"
            assert ended(form, CLASSIFY, BLANK, secret("alice")).code == "OK"
            lacking = ended(form, f"{SERVICE}/GetParameters", pb.GetParametersRequest(), secret("alice"))
            assert (lacking.code, lacking.reason) == ("PERMISSION_DENIED", "PERMISSION_LACKING")
            assert ended(form, HEALTH, health_pb2.HealthCheckRequest()).code == "OK"
        alice = {"authorization": f"Bearer {secret('alice')}"}
        requests = [pb.ClassifyStreamRequest(request=BLANK)]
        assert call_stream(address, STREAM, requests, **alice).code == "OK"
        assert call_stream(address, STREAM, requests).reason == "TOKEN_MISSING"


def test_a_caller_cannot_name_itself_another_address(host: str, tiny_artifact: Path) -> None:
    with http_server(host, tiny_artifact, "--caller-rate", "0.001", "--max-images", "1") as (_, address):
        codes = [
            call(address, "connect", CLASSIFY, BLANK, x_forwarded_for=f"192.0.2.{n}", forwarded=f"for=192.0.2.{n}").code
            for n in range(3)
        ]
    assert codes.count("RESOURCE_EXHAUSTED") >= 1


def test_a_deadline_ends_a_call_that_waits(host: str, tiny_artifact: Path) -> None:
    waits = ("--max-batch-rows", "4", "--max-queue-delay-us", "3600000000")
    with http_server(host, tiny_artifact, *waits) as (_, address):
        for form in FORMS:
            header: dict[str, Any] = {"connect_timeout_ms": "50"} if form in CONNECT else {"grpc_timeout": "50m"}
            assert call(address, form, CLASSIFY, BLANK, **header).code == "DEADLINE_EXCEEDED"
        for time in ("soon", "-1"):
            assert call(address, "connect", CLASSIFY, BLANK, connect_timeout_ms=time).reason == "MALFORMED_TIMEOUT"


@pytest.mark.parametrize("workers", [1, *([2] if can_be_shared() else [])])
def test_workers_share_the_port(host: str, tiny_artifact: Path, workers: int) -> None:
    with http_server(host, tiny_artifact, "--workers", str(workers)) as (_, address):
        for _ in range(8):
            assert call(address, "connect", CLASSIFY, BLANK).code == "OK"


def test_tls_encrypts_and_takes_a_renewed_certificate(host: str, tiny_artifact: Path, tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def publish(authority: trustme.CA) -> None:
        leaf = authority.issue_cert("127.0.0.1")
        for path, content in ((cert, leaf.cert_chain_pems[0].bytes()), (key, leaf.private_key_pem.bytes())):
            beside = path.with_suffix(".new")
            beside.write_bytes(content)
            beside.rename(path)

    def trusting(authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    publish(old)
    with http_server(host, tiny_artifact, "--tls-cert", cert, "--tls-key", key) as (_, address):
        assert call(address, "connect", CLASSIFY, BLANK, tls=trusting(old)).code == "OK"
        with pytest.raises(ssl.SSLCertVerificationError):
            call(address, "connect", CLASSIFY, BLANK, tls=trusting(new))
        publish(new)
        assert comes(lambda: _answered(address, trusting(new)), True)


def _answered(address: str, tls: ssl.SSLContext) -> bool:
    try:
        return call(address, "connect", CLASSIFY, BLANK, tls=tls).code == "OK"
    except ssl.SSLCertVerificationError:
        return False


def test_mutual_tls_takes_a_certificate_of_its_authority_only(host: str, tiny_artifact: Path, tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    paths = [tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem")]
    contents = (leaf.cert_chain_pems[0], leaf.private_key_pem, authority.cert_pem)
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content.bytes())
    flags = zip(("--tls-cert", "--tls-key", "--tls-client-ca"), paths, strict=True)
    with http_server(host, tiny_artifact, *(part for flag in flags for part in flag)) as (_, address):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with pytest.raises((ssl.SSLError, OSError)):
            call(address, "connect", CLASSIFY, BLANK, tls=context)
        stranger.issue_cert("somebody@example.org").configure_cert(context)
        with pytest.raises((ssl.SSLError, OSError)):
            call(address, "connect", CLASSIFY, BLANK, tls=context)
        authority.issue_cert("alice@example.org").configure_cert(context)
        assert call(address, "connect", CLASSIFY, BLANK, tls=context).code == "OK"


def test_a_port_that_is_taken_is_refused(tiny_artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused_start(tiny_artifact, "--http-port", str(taken.getsockname()[1]), VITRINE_FRONTEND="grpc")
    assert "can't listen on 127.0.0.1" in said


# What needs a look inside: the front end in this process, over a real socket.


@pytest.fixture
async def waiting_service(tiny_artifact: Path) -> AsyncIterator[Service]:
    """A service whose batches wait for company for an hour."""
    batching = BatchingConfig(max_rows=4, max_delay=3600)
    async with open_service(ServiceConfig(tiny_artifact, batching=batching)) as opened:
        yield opened


@pytest.fixture
async def impatient_service(tiny_artifact: Path) -> AsyncIterator[Service]:
    """A service whose requests have a tenth of a second to arrive, and its answers as long to leave."""
    async with open_service(ServiceConfig(tiny_artifact, connections=ConnectionConfig(0.1))) as opened:
        yield opened


async def started(service: Service) -> HttpFrontend:
    frontend = HttpFrontend(service, GrpcConfig(port=0))
    await frontend.start()
    return frontend


async def sent(frontend: HttpFrontend, request: Any = BLANK) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a request has been sent."""
    reader, writer = await asyncio.open_connection(*frontend.address.rsplit(":", 1))
    data = written("connect", request)
    head = f"POST {CLASSIFY} HTTP/1.1\r\nhost: a\r\ncontent-type: {CONTENT_TYPES['connect']}\r\n"
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    return reader, writer


async def at_last(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_it_is_a_frontend(waiting_service: Service) -> None:
    frontend: Frontend = HttpFrontend(waiting_service, GrpcConfig(port=0))
    assert frontend.address.startswith("127.0.0.1:")
    await frontend.start()
    await frontend.drain(0)


async def test_the_rows_of_a_caller_that_goes_leave_the_queue(waiting_service: Service) -> None:
    frontend = await started(waiting_service)
    _, writer = await sent(frontend)
    await at_last(lambda: waiting_service.workload.waiting == 1)
    writer.close()
    await at_last(lambda: waiting_service.workload.waiting == 0)
    assert waiting_service.workload.images == 0
    await frontend.drain(0)


async def test_calls_under_way_are_answered_while_it_drains(waiting_service: Service) -> None:
    frontend = await started(waiting_service)
    reader, writer = await sent(frontend)
    await at_last(lambda: waiting_service.workload.waiting == 1)
    draining = asyncio.ensure_future(frontend.drain(PATIENCE_SECONDS))
    await asyncio.sleep(0)
    others = ClassifyRequest(waiting_service.models.snapshot.default, pixels=np.zeros((3, 18, 18), np.uint8))
    await waiting_service.classify(others, a_call())  # which fills the batch
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    await draining
    writer.close()


async def test_calls_that_last_longer_than_the_drain_are_told_so(waiting_service: Service) -> None:
    frontend = await started(waiting_service)
    reader, writer = await sent(frontend)
    await at_last(lambda: waiting_service.workload.waiting == 1)
    await frontend.drain(0)
    assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
    writer.close()
    assert waiting_service.workload.images == 0


async def test_a_body_that_takes_too_long_is_refused(impatient_service: Service) -> None:
    frontend = await started(impatient_service)
    reader, writer = await asyncio.open_connection(*frontend.address.rsplit(":", 1))
    head = f"POST {CLASSIFY} HTTP/1.1\r\nhost: a\r\ncontent-type: application/proto\r\ncontent-length: 9\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 504 ")
    writer.close()
    await frontend.drain(0)


async def test_a_host_that_is_not_there_is_refused(waiting_service: Service) -> None:
    with pytest.raises(StartupError, match=re.escape("can't listen on 192.0.2.1:1")):
        HttpFrontend(waiting_service, GrpcConfig("192.0.2.1", 1, insecure=True))


async def opened(frontend: HttpFrontend) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*frontend.address.rsplit(":", 1), limit=1024)


async def test_a_body_counts_while_it_arrives_and_no_longer(waiting_service: Service) -> None:
    frontend = await started(waiting_service)
    _, writer = await opened(frontend)
    head = f"POST {CLASSIFY} HTTP/1.1\r\nhost: a\r\ncontent-type: application/proto\r\ncontent-length: 9999999\r\n\r\n"
    writer.write(head.encode() + bytes(2 << 20))
    await at_last(lambda: waiting_service.workload.arriving_bytes == 2 << 20)
    writer.close()
    await at_last(lambda: waiting_service.workload.arriving_bytes == 0)
    await frontend.drain(0)


async def test_bodies_that_fill_the_room_are_ended(tiny_artifact: Path) -> None:
    """Together they are larger than half of what may be pending; the largest goes."""
    limits, admission = Limits(max_message_bytes=4 << 20), AdmissionConfig(max_bytes=8 << 20)
    async with open_service(ServiceConfig(tiny_artifact, limits=limits, admission=admission)) as service:
        frontend = await started(service)
        head = f"POST {CLASSIFY} HTTP/1.1\r\nhost: a\r\ncontent-type: application/proto\r\ncontent-length: 4000000\r\n"
        small, large = await opened(frontend), await opened(frontend)
        for (_, writer), size in ((small, 5 << 19), (large, 3 << 20)):
            writer.write(f"{head}\r\n".encode() + bytes(size))
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await large[0].read(1000)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert service.workload.closed == {TOO_MUCH: 1}
        assert service.workload.arriving_bytes == 5 << 19
        for _, writer in (small, large):
            writer.close()
        await frontend.drain(0)


async def test_a_stream_that_holds_nothing_stays_where_too_much_arrives(tiny_artifact: Path) -> None:
    """On one connection, the last to come goes; an idle stream would free no room."""
    limits, admission = Limits(max_message_bytes=4 << 20), AdmissionConfig(max_bytes=8 << 20)
    async with open_service(ServiceConfig(tiny_artifact, limits=limits, admission=admission)) as service:
        application = Application(service, reflection=False)
        application.start()
        first = Request(application, CLASSIFY, b"application/proto", bytes(5 << 19))
        last = Request(application, CLASSIFY, b"application/proto", bytes(3 << 20))
        stream = Request(application, STREAM, b"application/connect+proto", b"")
        assert b"too much is arriving" in await last.answer()
        data = envelope(pb.ClassifyStreamRequest(request=BLANK).SerializeToString())
        stream.parts.put_nowait({"type": "http.request", "body": data})
        assert b"error" not in await stream.answer()
        first.parts.put_nowait({"type": "http.disconnect"})
        await first.answer()
        await application.drain(0)


class Request:
    """A request by the one connection of an application's host, the first part of whose body has arrived."""

    def __init__(self, application: Application, path: str, content_type: bytes, part: bytes) -> None:
        self.parts: asyncio.Queue[Event] = asyncio.Queue()
        self.parts.put_nowait({"type": "http.request", "body": part, "more_body": True})
        self._answer = bytearray()
        scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-type", content_type)]}
        self._ends = asyncio.ensure_future(application(scope, self.parts.get, self._send))

    async def answer(self) -> bytes:
        """All of its answer."""
        await asyncio.wait_for(self._ends, PATIENCE_SECONDS)
        return bytes(self._answer)

    async def _send(self, event: Event) -> None:
        self._answer += event.get("body", b"")


async def test_an_answer_that_is_not_read_ends_with_its_connection(
    tiny_artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_service(ServiceConfig(tiny_artifact, connections=ConnectionConfig(2.0))) as service:
        frontend = await started(service)
        many = request_of(np.zeros((1024, 18, 18), np.uint8), activations=pb.LayerSelection(all=True))
        data = envelope(pb.ClassifyStreamRequest(request=many).SerializeToString()) * 20
        _, writer = await opened(frontend)
        head = f"POST {STREAM} HTTP/1.1\r\nhost: a\r\ncontent-type: application/connect+proto\r\n"
        writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        await at_last(lambda: service.workload.closed == {UNREAD: 1})
        await at_last(lambda: service.workload.bytes == service.workload.streams == 0)
        writer.close()
        await frontend.drain(0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]  # a caller's doing


async def test_a_stream_that_is_idle_does_not_hold_a_drain(waiting_service: Service) -> None:
    frontend = await started(waiting_service)
    reader, writer = await opened(frontend)
    head = f"POST {STREAM} HTTP/1.1\r\nhost: a\r\ncontent-type: application/connect+proto\r\n"
    writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
    await at_last(lambda: waiting_service.workload.streams == 1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await frontend.drain(2 * PATIENCE_SECONDS)
        assert b"unavailable" in await reader.read()
    writer.close()


async def test_beyond_the_limit_idle_connections_are_closed(tiny_artifact: Path) -> None:
    connections = ConnectionConfig(max_connections=2)
    async with open_service(ServiceConfig(tiny_artifact, connections=connections)) as service:
        frontend = await started(service)
        callers = [await opened(frontend) for _ in range(3)]
        await at_last(lambda: service.workload.closed == {SURPLUS: 1})
        await at_last(lambda: service.workload.connections == 2)
        for _, writer in callers:
            writer.close()
        await frontend.drain(0)


async def test_an_answer_leaves_at_once_on_a_connection_that_stays_open(tiny_artifact: Path) -> None:
    """Else its body would wait until the caller's system acknowledges the head, 40 ms later on Linux."""
    async with open_service(ServiceConfig(tiny_artifact)) as service:
        frontend = await started(service)
        _, writer = await opened(frontend)
        await at_last(lambda: len(frontend._state.connections) == 1)
        [connection] = frontend._state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        await frontend.drain(0)
