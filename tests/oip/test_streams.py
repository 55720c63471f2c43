"""What is wrong with a request of a stream, and what with the stream."""

import grpc
import pytest
from oip.wire import Output, blank

from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub


def many_outputs() -> bytes:
    return pb.ModelInferRequest(outputs=[Output()] * 40_000).SerializeToString()


ENDING = {
    "no message": (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
    "too many fields": (many_outputs(), grpc.StatusCode.INVALID_ARGUMENT),
    "over the message limit": (bytes(65 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED),
}


@pytest.mark.parametrize(("message", "code"), ENDING.values(), ids=ENDING.keys())
def test_what_cannot_be_read_ends_the_stream(channel: grpc.Channel, message: bytes, code: grpc.StatusCode) -> None:
    path = "/inference.GRPCInferenceService/ModelStreamInfer"
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([message])))
    assert caught.value.code() is code


def test_an_id_that_is_too_long_is_not_said_back(stub: GRPCInferenceServiceStub) -> None:
    refused, answered = stub.ModelStreamInfer(iter([blank(id="x" * 1025), blank(id="good")]))
    assert (refused.error_message, refused.infer_response.id) == ("the id has more than 1,024 bytes", "")
    assert answered.infer_response.id == "good"


def test_the_error_of_a_stream_says_whose_it_is(stub: GRPCInferenceServiceStub) -> None:
    bad, good = blank(id="bad"), blank(id="good")
    bad.model_version = "7"
    first, second = stub.ModelStreamInfer(iter([bad, good]))
    assert first.error_message.startswith("Request for unknown model: 'tiny' has no version '7'")
    assert first.infer_response == pb.ModelInferResponse(id="bad")
    assert (second.error_message, second.infer_response.id) == ("", "good")
