"""Fixtures for the wire as any language sees it: generated stubs on a plain channel."""

from collections.abc import Iterator

import grpc
import pytest
from support.serving import RunningServer

from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub


@pytest.fixture(scope="session")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    """A channel to the server without size limits of its own."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.target, unlimited) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> ClassifierServiceStub:
    """The generated stub on that channel."""
    return ClassifierServiceStub(channel)
