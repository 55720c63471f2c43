"""The gRPC front end: its settings, the gate before its services, and what protocols hand it."""

import asyncio
import errno
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from support.callers import bearer, line, secret
from support.serving import PATIENCE_SECONDS

from vitrine.server.errors import StartupError
from vitrine.server.frontends import Frontend
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.core_server import TAKERS, _RegisteredMethods
from vitrine.server.frontends.grpc.server import GrpcFrontend
from vitrine.server.inference.call import Call, Outcome
from vitrine.server.inference.readiness import Readiness
from vitrine.server.inference.service import Service
from vitrine.server.opening import open_service
from vitrine.server.protocols.endpoint import Endpoint
from vitrine.server.protocols.health import HealthServicer
from vitrine.server.protocols.oip.servicer import OipServicer
from vitrine.server.protocols.reflection import ReflectionServicer
from vitrine.server.protocols.services import METHODS
from vitrine.server.protocols.v1.servicer import ClassifierServicer
from vitrine.server.security.access import Access
from vitrine.server.security.addresses import address_of, is_loopback
from vitrine.server.security.certificates import TlsFiles
from vitrine.server.security.listening import cannot_listen
from vitrine.server.security.tokens import read_tokens
from vitrine.server.service_config import ServiceConfig
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

CERTIFICATES = TlsFiles(Path("cert.pem"), Path("key.pem"))


@pytest.fixture
async def service(tiny_artifact: Path) -> AsyncIterator[Service]:
    async with open_service(ServiceConfig(tiny_artifact)) as opened:
        yield opened


async def test_it_is_a_frontend(service: Service) -> None:
    frontend: Frontend = GrpcFrontend(service, GrpcConfig(port=0))
    assert frontend.address.startswith("127.0.0.1:")
    await frontend.start()
    await frontend.drain(0)


async def test_calls_of_a_busy_method_that_arrive_together_are_taken_up_together(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = {"/vitrine.v1.ClassifierService/Classify", "/inference.GRPCInferenceService/ModelInfer"}
    assert busy < set(METHODS)
    planned = {path.encode(): TAKERS if path in busy else 1 for path in METHODS}
    expected: Counter[bytes] = Counter()
    as_many_as_planned = asyncio.Event()
    expect_call = _RegisteredMethods._request_registered_call

    def expect(server: _RegisteredMethods, method: bytes) -> Any:
        expected[method] += 1
        if expected.total() == sum(planned.values()):
            as_many_as_planned.set()
        return expect_call(server, method)

    monkeypatch.setattr(_RegisteredMethods, "_request_registered_call", expect)
    frontend = GrpcFrontend(service, GrpcConfig(port=0))
    await frontend.start()
    await asyncio.wait_for(as_many_as_planned.wait(), PATIENCE_SECONDS)
    assert expected == planned
    await frontend.drain(0)


def test_every_method_of_a_protocol_has_a_coroutine(service: Service) -> None:
    endpoints: list[Endpoint] = [
        ClassifierServicer(service).endpoint,
        OipServicer(service).endpoint,
        HealthServicer(Readiness(), [""]).endpoint,
        *ReflectionServicer([]).endpoints,
    ]
    for endpoint in endpoints:
        assert set(endpoint.methods) >= set(endpoint.descriptor.methods_by_name)  # health has one that is newer
        assert set(endpoint.permissions) <= set(endpoint.methods)
    assert (
        tuple(endpoint.path(name) for endpoint in endpoints for name in endpoint.descriptor.methods_by_name) == METHODS
    )


class CountingAccess(Access):
    """Counts how often a caller is identified."""

    def __init__(self, tokens: Path) -> None:
        super().__init__(lambda: read_tokens(tokens))
        self.count = 0

    def caller(self, authorization: Any) -> Any:
        self.count += 1
        return super().caller(authorization)


async def test_a_callers_token_is_looked_up_once_for_a_call_and_for_each_message_of_a_stream(
    service: Service, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("alice", "predict"))
    service.access = access = CountingAccess(tokens)
    told: list[Call] = []
    service.observers = [told.append]
    frontend = GrpcFrontend(service, GrpcConfig(port=0))
    await frontend.start()
    async with grpc.aio.insecure_channel(frontend.address) as channel:
        stub: Any = ClassifierServiceStub(channel)
        await stub.ListModels(pb.ListModelsRequest(), metadata=bearer(secret("alice")))
        assert access.count == 1
        stream = stub.ClassifyStream(metadata=bearer(secret("alice")))
        for _ in range(3):
            pixels = pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324))
            await stream.write(pb.ClassifyStreamRequest(request=pb.ClassifyRequest(pixels=pixels)))
            await stream.read()
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert access.count == 1 + 1 + 3
    await frontend.drain(10)
    assert {call.caller.name for call in told} == {"alice"}


async def test_where_nobody_measures_a_caller_without_a_token_still_may_not_change_the_server(service: Service) -> None:
    """No gate is needed then, and the service refuses by itself."""
    told: list[Call] = []
    service.observers = [told.append]
    frontend = GrpcFrontend(service, GrpcConfig(port=0))
    await frontend.start()
    async with grpc.aio.insecure_channel(frontend.address) as channel:
        for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
            call: Any = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            assert await call(b"").code() is grpc.StatusCode.PERMISSION_DENIED
    await frontend.drain(10)
    assert [call.outcome for call in told] == [Outcome.PERMISSION_DENIED] * 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "vitrine.example"])
def test_plaintext_for_other_machines_is_refused_unless_it_is_allowed(host: str) -> None:
    with pytest.raises(StartupError, match="--insecure"):
        GrpcConfig(host)
    assert GrpcConfig(host, insecure=True).exposes_plaintext
    assert not GrpcConfig(host, tls=CERTIFICATES).exposes_plaintext


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(StartupError, match="take a whole number from 0 to 65,535"):
        GrpcConfig(port=port)


def test_addresses_are_written_as_they_are_dialled() -> None:
    assert address_of("127.0.0.1", 80) == "127.0.0.1:80"
    assert address_of("::1", 80) == "[::1]:80"
    assert is_loopback("[::1]")
    assert "can't listen on [::1]:80" in str(cannot_listen("::1", 80, "--port", OSError(errno.EADDRINUSE, "")))
