"""Interventions in the open protocol: optional inputs that scale and shift a layer's activations."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from oip.wire import Input, Output
from support.artifacts import random_mlp, random_pixels
from support.networks import Arithmetic, changed_activations
from support.serving import RunningServer

from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub

TOLERANCE = 1e-4
Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def tiny(server: RunningServer) -> Iterator[GRPCInferenceServiceStub]:
    """The stub of a server of the small model."""
    with grpc.insecure_channel(server.target) as channel:
        yield GRPCInferenceServiceStub(channel)


def message(pixels: npt.NDArray[np.uint8], changes: dict[str, Floats], *, raw: bool = True) -> pb.ModelInferRequest:
    """A request for two layers with optional inputs, the pixels in the middle."""
    given: dict[str, npt.NDArray[Any]] = {**changes, "pixels": pixels}
    names = sorted(given)
    request = pb.ModelInferRequest(model_name="tiny", outputs=[Output(name="relu_1"), Output(name="softmax")])
    for name in names:
        datatype = "UINT8" if name == "pixels" else "FP32"
        tensor = Input(name=name, datatype=datatype, shape=given[name].shape)
        if raw:
            request.raw_input_contents.append(given[name].tobytes())
        elif name == "pixels":
            tensor.contents.uint_contents.extend(given[name].ravel().tolist())
        else:
            tensor.contents.fp32_contents.extend(given[name].ravel().tolist())
        request.inputs.append(tensor)
    return request


@pytest.mark.parametrize("raw", [True, False])
def test_optional_inputs_scale_and_shift(tiny: GRPCInferenceServiceStub, raw: bool) -> None:
    random, pixels = np.random.default_rng(3), random_pixels(3)
    scale, shift = (random.normal(size=(3, 32)).astype(np.float32) for _ in range(2))
    answer = tiny.ModelInfer(message(pixels, {"relu_1.scale": scale, "relu_1.shift": shift}, raw=raw))
    changes: list[list[Arithmetic]] = [
        [("relu_1", [unit], float(scale[image, unit]), float(shift[image, unit])) for unit in range(32)]
        for image in range(3)
    ]
    expected = changed_activations(random_mlp([32, 16]), pixels, changes)
    for tensor, values in zip(answer.outputs, answer.raw_output_contents, strict=True):
        found = np.frombuffer(values, "<f4").reshape(tensor.shape)
        np.testing.assert_allclose(found, expected[tensor.name], rtol=0, atol=TOLERANCE)


def test_the_configuration_lists_them(tiny: GRPCInferenceServiceStub) -> None:
    config = tiny.ModelConfig(pb.ModelConfigRequest(name="tiny")).config
    listed = {given.name: (list(given.dims), given.optional) for given in config.input}
    assert listed["pixels"] == ([18, 18], False)
    assert listed["relu_2.shift"] == ([16], True)
    assert "softmax.scale" not in listed
    assert len(listed) == 1 + 2 * 6
    (given,) = tiny.ModelMetadata(pb.ModelMetadataRequest(name="tiny")).inputs  # clients fill in all that are here
    assert given.name == "pixels"


ONES = np.ones((2, 32), np.float32)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another width": ({"relu_1.scale": ONES[:, 1:]}, "expected FP32 [-1,32]"),
    "another count": ({"relu_1.scale": ONES[:1], "relu_1.shift": ONES}, "different numbers of images"),
    "not a number": ({"relu_1.shift": ONES * np.float32("nan")}, "finite numbers"),
    "the output layer": ({"softmax.scale": ONES}, "unexpected inference input 'softmax.scale'"),
    "more than any request": ({"linear_3.scale": np.ones((1025, 10), np.float32)}, "1,025 interventions, and at most"),
    "more than images": ({"relu_1.scale": np.ones((3, 32), np.float32)}, "3 entries came for 2 images"),
}


@pytest.mark.parametrize("fault", BAD)
def test_inputs_without_sense_are_refused(tiny: GRPCInferenceServiceStub, fault: str) -> None:
    changes, sentence = BAD[fault]
    with pytest.raises(grpc.RpcError) as caught:
        tiny.ModelInfer(message(random_pixels(2), changes))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in str(caught.value.details())
