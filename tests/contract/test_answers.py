"""Valid requests over the wire: answers hold the model's activations, in the wire's encoding."""

import io
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from support.artifacts import random_mlp

from vitrine.model import TOLERANCE, layer_catalogue, prepare
from vitrine.training.network.export import compute_activations
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

Pixels = npt.NDArray[np.uint8]
ALL = pb.LayerSelection(all=True)


def tensor(pixels: Pixels) -> pb.Tensor:
    return pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())


def array(tensor: pb.Tensor) -> npt.NDArray[np.float32]:
    assert tensor.dtype == pb.DATA_TYPE_FLOAT32
    return np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)


def test_every_layer_served_equals_pytorchs(stub: ClassifierServiceStub, pixels: Pixels) -> None:
    answer = stub.Classify(pb.ClassifyRequest(pixels=tensor(pixels), activations=ALL))
    expected = compute_activations(random_mlp([32, 16]), pixels)
    assert [entry.name for entry in answer.activations] == list(expected)
    for entry in answer.activations:
        np.testing.assert_allclose(array(entry), expected[entry.name], rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(answer.digits, expected["softmax"].argmax(axis=1))
    np.testing.assert_array_equal(array(answer.probabilities), array(answer.activations[-1]))


def test_only_the_wanted_layers_come_in_the_order_of_the_layers(stub: ClassifierServiceStub, pixels: Pixels) -> None:
    wanted = pb.LayerSelection(names=["relu_2", "input", "relu_2"])
    answer = stub.Classify(pb.ClassifyRequest(pixels=tensor(pixels), activations=wanted))
    assert [entry.name for entry in answer.activations] == ["input", "relu_2"]


def test_without_a_selection_no_activations_come(stub: ClassifierServiceStub, pixels: Pixels) -> None:
    answer = stub.Classify(pb.ClassifyRequest(pixels=tensor(pixels)))
    assert len(answer.activations) == 0
    assert array(answer.probabilities).shape == (16, 10)


def test_files_are_prepared_as_locally(stub: ClassifierServiceStub) -> None:
    files = []
    for seed in range(3):
        picture = np.full((60, 40), 250, np.uint8)
        picture[10 + seed : 50, 12:28] = np.random.default_rng(seed).integers(0, 200, (40 - seed, 16))
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        files.append(buffer.getvalue())
    prepared = np.stack([prepare(file) for file in files])
    sent = stub.Classify(pb.ClassifyRequest(encoded=pb.EncodedImages(files=files), activations=ALL))
    local = stub.Classify(pb.ClassifyRequest(pixels=tensor(prepared), activations=ALL))
    assert sent == local


def test_a_stream_answers_in_order(stub: ClassifierServiceStub, pixels: Pixels) -> None:
    def requests() -> Iterator[pb.ClassifyStreamRequest]:
        for count in range(1, 17):
            yield pb.ClassifyStreamRequest(request=pb.ClassifyRequest(pixels=tensor(pixels[:count])))

    counts = [len(answer.response.digits) for answer in stub.ClassifyStream(requests())]
    assert counts == list(range(1, 17))


def test_the_model_is_described(stub: ClassifierServiceStub) -> None:
    model = stub.GetModel(pb.GetModelRequest()).model
    assert (model.identity.name, model.identity.provider) == ("tiny", "CPUExecutionProvider")
    assert len(model.identity.version) == 12
    described = [(layer.name, layer.width, layer.parameter_count, layer.reads) for layer in model.layers]
    assert described == [(x.name, x.width, x.parameter_count, "".join(x.reads)) for x in layer_catalogue([32, 16])]
    assert list(model.pixels_shape) == [18, 18]
    assert list(model.classes) == [str(digit) for digit in range(10)]
    assert model.limits == pb.Limits(max_images=1024, max_message_bytes=64 << 20, max_image_pixels=52_000_000)
    assert model.training.dataset == "noise"
    assert dict(model.training.metrics) == {"test_accuracy": 0.1}


def test_the_models_are_listed(stub: ClassifierServiceStub) -> None:
    (summary,) = stub.ListModels(pb.ListModelsRequest()).models
    assert summary.default
    assert (summary.state, summary.reason) == (pb.MODEL_STATE_AVAILABLE, "")
    assert summary.identity == stub.GetModel(pb.GetModelRequest(model="tiny")).model.identity


def test_parameters_are_the_stored_ones(stub: ClassifierServiceStub) -> None:
    answer = stub.GetParameters(pb.GetParametersRequest(layer="linear_2"))
    stored = random_mlp([32, 16]).linears["linear_2"].state_dict()
    np.testing.assert_array_equal(array(answer.weight), stored["weight"].numpy())
    np.testing.assert_array_equal(array(answer.bias), stored["bias"].numpy())
    assert answer.model.name == "tiny"


def test_health_is_serving_for_the_server_and_the_service(channel: grpc.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("", "vitrine.v1.ClassifierService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="elsewhere"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
