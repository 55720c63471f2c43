"""What is no digit, in the open protocol: the same novelties and judgements as in Vitrine's own."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from oip.wire import Output, array, pixels_input, refused, request
from support.artifacts import random_pixels
from support.environments import Environment
from support.serving import RunningServer

from vitrine.client import Client, Prediction
from vitrine.model import answer_size
from vitrine.oip import inference_pb2 as pb
from vitrine.oip import model_config_pb2 as config_pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.inference.requests import Classification
from vitrine.server.protocols.oip.outputs import further_bytes, write_response

Pixels = npt.NDArray[np.uint8]
VERDICT = [("digit", "INT64", []), ("softmax", "FP32", [10]), ("novelty", "FP32", []), ("is_digit", "BOOL", [])]
"""What comes unasked: the name, the datatype, and the extent of every axis but the images'."""


@pytest.fixture(scope="module")
def judging(judging_server: RunningServer) -> Iterator[GRPCInferenceServiceStub]:
    """The stub of a server whose model can tell what is no digit."""
    with grpc.insecure_channel(judging_server.target) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def predictions(judging_server: RunningServer, pixels: Pixels) -> list[Prediction]:
    """What Vitrine's own client gets for the pixels."""
    with Client(judging_server.target) as client:
        return list(client.classify_many(pixels, preparation="none"))


def asked(pixels: Pixels, *outputs: str) -> pb.ModelInferRequest:
    return request(
        pixels_input(shape=pixels.shape), pixels.tobytes(), outputs=[Output(name=output) for output in outputs]
    )


def test_novelties_are_equal_bit_by_bit_and_so_are_the_judgements(
    judging: GRPCInferenceServiceStub, pixels: Pixels, predictions: list[Prediction]
) -> None:
    answer = judging.ModelInfer(asked(pixels, "is_digit", "novelty"))
    assert [(output.name, output.datatype, list(output.shape)) for output in answer.outputs] == [
        ("is_digit", "BOOL", [16]),
        ("novelty", "FP32", [16]),
    ]
    assert array(answer, "novelty").tolist() == [prediction.novelty for prediction in predictions]
    assert array(answer, "is_digit").tolist() == [prediction.is_digit for prediction in predictions]


def test_they_come_unasked_and_are_in_the_metadata(judging: GRPCInferenceServiceStub, pixels: Pixels) -> None:
    answer = judging.ModelInfer(asked(pixels))
    assert [(output.name, output.datatype, list(output.shape)[1:]) for output in answer.outputs] == VERDICT
    metadata = judging.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
    assert [(output.name, output.datatype, list(output.shape)[1:]) for output in metadata.outputs] == VERDICT


def test_the_config_has_them_and_the_threshold(judging: GRPCInferenceServiceStub) -> None:
    config = judging.ModelConfig(pb.ModelConfigRequest(name="tiny")).config
    datatypes = {output.name: (output.data_type, list(output.dims)) for output in config.output}
    assert datatypes == {
        name: (config_pb.DataType.Value(f"TYPE_{datatype}"), extent) for name, datatype, extent in VERDICT
    }
    assert float(config.parameters["novelty_threshold"].string_value) == -2.5


def test_only_what_is_asked_for_comes(judging: GRPCInferenceServiceStub, pixels: Pixels) -> None:
    answer = judging.ModelInfer(asked(pixels, "relu_2", "novelty"))
    assert [output.name for output in answer.outputs] == ["relu_2", "novelty"]


@pytest.mark.parametrize("output", ["novelty", "is_digit"])
def test_a_model_that_can_not_tell_has_no_such_outputs(
    stub: GRPCInferenceServiceStub, pixels: Pixels, output: str
) -> None:
    code, text, reason, field = refused(lambda: stub.ModelInfer(asked(pixels, output)))
    assert (code, reason, field) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_OUTPUT", "outputs[0].name")
    assert text.endswith("it has: digit, input, linear_1, relu_1, linear_2, relu_2, linear_3, softmax")
    assert [output.name for output in stub.ModelInfer(asked(pixels)).outputs] == ["digit", "softmax"]


TRITON = """
import json, sys
import numpy as np
import tritonclient.grpc as triton

pixels = np.frombuffer(bytes.fromhex(sys.argv[2]), np.uint8).reshape(-1, 18, 18)
given = triton.InferInput("pixels", list(pixels.shape), "UINT8").set_data_from_numpy(pixels)
answer = triton.InferenceServerClient(sys.argv[1]).infer("tiny", [given])
print(json.dumps([answer.as_numpy(name).tolist() for name in ("novelty", "is_digit")]))
"""


def test_tritons_own_client_reads_them(
    triton_environment: Environment, judging_server: RunningServer, pixels: Pixels, predictions: list[Prediction]
) -> None:
    said = triton_environment.says("-c", TRITON, judging_server.target, pixels.tobytes().hex())
    novelties, are_digits = json.loads(said)
    assert novelties == [prediction.novelty for prediction in predictions]
    assert are_digits == [prediction.is_digit for prediction in predictions]


@pytest.mark.parametrize("outputs", [(), ("novelty", "digit", "softmax"), ("digit",)])
def test_an_answer_takes_no_more_bytes_than_are_reckoned_for_it(
    judging_artifact: Path, outputs: tuple[str, ...]
) -> None:
    model = load_artifact(judging_artifact, Device.CPU)
    count = 10_000  # so many that what is reckoned for an answer however few hides nothing
    wanted = asked(random_pixels(1), *outputs)
    numbers: npt.NDArray[np.float32] = np.ones((count, 10), np.float32)
    answer = Classification(model, numbers.argmin(axis=1), numbers, {}, numbers[:, 0], numbers[:, 0] > 0)
    reckoned = answer_size(model.metadata.layers, ()).of(count) + further_bytes(wanted, model) * count
    assert write_response(wanted, answer).ByteSize() <= reckoned
