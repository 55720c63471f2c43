"""A server that is ready, and one that leaves."""

from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from oip.wire import blank
from support.serving import running_server

from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub


def test_health_and_reflection_know_the_service(channel: grpc.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert "inference.GRPCInferenceService" in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_a_leaving_server_is_live_and_answers_and_is_not_ready(tiny_artifact: Path) -> None:
    with (
        running_server(tiny_artifact, "--propagation-seconds", "600", "--drain-seconds", "0") as server,
        grpc.insecure_channel(server.target) as own,
    ):
        stub = GRPCInferenceServiceStub(own)
        health: Any = health_pb2_grpc.HealthStub(own)
        states = health.Watch(health_pb2.HealthCheckRequest())
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        server.process.terminate()
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not stub.ServerReady(pb.ServerReadyRequest()).ready
        assert not stub.ModelReady(pb.ModelReadyRequest(name="tiny")).ready
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert stub.ModelInfer(blank()).model_name == "tiny"
        server.process.terminate()  # the second signal ends it at once
