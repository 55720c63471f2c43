"""Reflection in both its versions, asked as tools ask it."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from contract.test_bad_input import refusal
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

messages: Any = reflection_pb2
"""The messages of both versions, which differ in their names alone."""

VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")

Ask = Callable[..., Any]


@pytest.fixture(params=VERSIONS)
def path(request: pytest.FixtureRequest) -> str:
    return f"/{request.param}.ServerReflection/ServerReflectionInfo"


@pytest.fixture
def ask(channel: grpc.Channel, path: str) -> Ask:
    """Sends one question to a version of reflection; gives its answer."""

    def send(**question: Any) -> Any:
        request = messages.ServerReflectionRequest
        call = channel.stream_stream(path, request.SerializeToString, messages.ServerReflectionResponse.FromString)
        (answer,) = call(iter([request(**question)]))
        assert answer.original_request == request(**question)
        return answer

    return send


def test_every_service_is_listed_and_described(ask: Ask) -> None:
    names = [service.name for service in ask(list_services="").list_services_response.service]
    assert names == [
        "grpc.health.v1.Health",
        *(f"{version}.ServerReflection" for version in VERSIONS),
        "inference.GRPCInferenceService",
        "vitrine.v1.ClassifierService",
    ]
    for name in names:
        assert name.rpartition(".")[2] in services_of(ask(file_containing_symbol=name))


def services_of(answer: Any) -> list[str]:
    """The names of the services in the described files."""
    files = map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    return [service.name for file in files for service in file.service]


@pytest.mark.parametrize(
    "symbol",
    [
        "vitrine.v1.ClassifierService.Classify",
        "inference.GRPCInferenceService.ModelStreamInfer",
        "grpc.health.v1.Health.Check",
        "grpc.reflection.v1.ServerReflection.ServerReflectionInfo",
        "vitrine.v1.ClassifyRequest",
        "vitrine.v1.ClassifyRequest.model",
    ],
)
def test_methods_are_found_by_name_as_messages_are(ask: Ask, symbol: str) -> None:
    assert symbol.split(".")[-2] in services_of(ask(file_containing_symbol=symbol)) or "Request" in symbol
    assert ask(file_containing_symbol=symbol).file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize("symbol", ["vitrine.v1.ClassifierService.Sing", "vitrine.v2.Anything", "", "."])
def test_what_is_not_there_is_not_found(ask: Ask, symbol: str) -> None:
    assert ask(file_containing_symbol=symbol).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel, path: str) -> None:
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
    with pytest.raises(grpc.RpcError) as caught:
        next(call(iter([b"\xff\xff\xff"])))
    assert refusal(caught.value).reason == "NOT_A_MESSAGE"
