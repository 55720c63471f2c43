"""A model of 12 × 20 pixels and four directions beside the digits: the open protocol and the metrics know each."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from oip.wire import Input, Output, array, refused
from support.artifacts import ARROWS, ARROWS_SHAPE, export_random, random_pixels
from support.drawings import draw_arrows
from support.scrapes import measured_server
from support.serving import RunningServer, running_server

from vitrine.client import Client
from vitrine.model import prepare
from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub

PIXELS = random_pixels(5, shape=ARROWS_SHAPE)


def options(root: Path) -> tuple[str | Path, ...]:
    """The options of a server of `digits`, the default, and `arrows`, which are exported here."""
    for name in ("digits", "arrows"):
        (root / name / "1").mkdir(parents=True)
    export_random(root / "digits" / "1" / "model.onnx", [32, 16])
    export_random(
        root / "arrows" / "1" / "model.onnx", [24], novelty_threshold=-1.4, shape=ARROWS_SHAPE, classes=ARROWS
    )
    return "--model-repository", root, "--default-model", "digits"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of `digits`, the default, and `arrows`."""
    root = tmp_path_factory.mktemp("both")
    with running_server(*options(root)) as server:
        yield server


@pytest.fixture(scope="module")
def stub(both: RunningServer) -> Iterator[GRPCInferenceServiceStub]:
    with grpc.insecure_channel(both.target) as channel:
        yield GRPCInferenceServiceStub(channel)


def asked(tensor: Input, *raw: bytes, outputs: tuple[Output, ...] = ()) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="arrows", inputs=[tensor], raw_input_contents=raw, outputs=outputs)


def given(datatype: str, *shape: int) -> Input:
    return Input(name="pixels", datatype=datatype, shape=shape)


def test_the_metadata_has_the_models_own_shapes(stub: GRPCInferenceServiceStub) -> None:
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="arrows"))
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        ("pixels", "UINT8", [-1, 12, 20])
    ]
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs] == [
        ("class", "INT64", [-1]),
        ("softmax", "FP32", [-1, 4]),
        ("novelty", "FP32", [-1]),
        ("is_digit", "BOOL", [-1]),
    ]


def test_the_config_has_the_models_own_shapes_and_classes(stub: GRPCInferenceServiceStub) -> None:
    config = stub.ModelConfig(pb.ModelConfigRequest(name="arrows")).config
    assert [list(tensor.dims) for tensor in config.input if not tensor.optional] == [[12, 20]]
    changeable = {"input": 240, "linear_1": 24, "relu_1": 24, "linear_2": 4}
    optional = {tensor.name: list(tensor.dims) for tensor in config.input if tensor.optional}
    assert optional == {
        f"{layer}.{kind}": [width] for layer, width in changeable.items() for kind in ("scale", "shift")
    }
    assert [(tensor.name, list(tensor.dims)) for tensor in config.output][:2] == [("class", []), ("softmax", [4])]
    parameters = {name: parameter.string_value for name, parameter in config.parameters.items()}
    assert parameters["layers"] == "input:240,linear_1:24,relu_1:24,linear_2:4,softmax:4"
    assert parameters["classes"] == '["up", "down", "left", "right"]'


def test_every_form_of_the_pixels_is_answered_alike(stub: GRPCInferenceServiceStub, both: RunningServer) -> None:
    with Client(both.target) as client:
        expected = list(client.classify_many(PIXELS, model="arrows", preparation="none"))
    floats = PIXELS.astype("<f4").tobytes()
    typed = given("FP32", 5, 12, 20)
    typed.contents.fp32_contents.extend(PIXELS.ravel().tolist())
    for request in (
        asked(given("UINT8", 5, 12, 20), PIXELS.tobytes()),
        asked(given("UINT8", 5, 240), PIXELS.tobytes()),
        asked(given("FP32", 5, 12, 20), floats),
        asked(typed),
    ):
        answer = stub.ModelInfer(request)
        assert array(answer, "class").tolist() == [prediction.index for prediction in expected]
        np.testing.assert_array_equal(array(answer, "softmax"), [prediction.probabilities for prediction in expected])


def test_files_are_prepared_at_the_models_own_shape(stub: GRPCInferenceServiceStub, tmp_path: Path) -> None:
    drawing = draw_arrows(tmp_path, count=1) / "up" / "0.png"
    tensor = given("BYTES", 1)
    tensor.contents.bytes_contents.append(drawing.read_bytes())
    answer = stub.ModelInfer(asked(tensor, outputs=(Output(name="input"),)))
    np.testing.assert_allclose(array(answer, "input")[0], prepare(drawing, shape=ARROWS_SHAPE).ravel() / 255, atol=1e-6)


def test_classes_come_with_the_models_own_labels(stub: GRPCInferenceServiceStub) -> None:
    top = Output(name="softmax", parameters={"classification": pb.InferParameter(int64_param=9)})
    answer = stub.ModelInfer(asked(given("UINT8", 5, 12, 20), PIXELS.tobytes(), outputs=(top,)))
    assert list(answer.outputs[0].shape) == [5, 4]
    texts = answer.raw_output_contents[0]
    assert all(texts.count(f":{index}:{label}".encode()) == 5 for index, label in enumerate(ARROWS))


def test_what_is_wrong_is_said_with_the_models_own_shapes_and_outputs(stub: GRPCInferenceServiceStub) -> None:
    _, text, reason, _ = refused(lambda: stub.ModelInfer(asked(given("UINT8", 1, 18, 18), bytes(324))))
    expected = "unexpected shape for input 'pixels' for model 'arrows'. Expected [-1,12,20] or [-1,240]"
    assert text == f"{expected}, got [1,18,18]"
    assert reason == "WRONG_SHAPE"
    outputs = (Output(name="digit"),)
    _, text, reason, _ = refused(lambda: stub.ModelInfer(asked(given("UINT8", 1, 240), bytes(240), outputs=outputs)))
    assert text.endswith("it has: class, input, linear_1, relu_1, linear_2, softmax, novelty, is_digit")
    assert reason == "UNKNOWN_OUTPUT"


def test_the_largest_typed_request_fits_the_largest_model(tmp_path: Path) -> None:
    """The limit on fields comes before the model is known: it follows from what is served, 40 × 64 pixels here."""
    artifact = export_random(tmp_path / "arrows.onnx", [8], shape=(40, 64), classes=ARROWS)
    typed = given("FP32", 1024, 40, 64)
    typed.contents.fp32_contents.extend([255.0] * (1024 * 40 * 64))
    with running_server(artifact) as server, grpc.insecure_channel(server.target) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(asked(typed, outputs=(Output(name="class"),)))
    assert array(answer, "class").shape == (1024,)


def test_metrics_tell_the_models_apart_and_count_any_number_of_classes(tmp_path: Path) -> None:
    with measured_server(*options(tmp_path / "models")) as measured:
        with Client(measured.target) as client:
            predictions = list(client.classify_many(PIXELS, model="arrows", preparation="none"))
            list(client.classify_many(random_pixels(3), preparation="none"))
        scrape = measured.scrape_when(lambda scrape: scrape.value("vitrine_images_total") == 8)
    passed = sum(prediction.is_digit is True for prediction in predictions)
    counted = scrape.by("vitrine_images_total", "model", "is_digit")
    assert counted.get(("arrows", "true"), 0) == passed
    assert counted.get(("arrows", "false"), 0) == 5 - passed
    assert counted[("digits", "unknown")] == 3
