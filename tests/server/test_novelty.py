"""What is no digit is said to be none: the novelty of each image over the wire, judged by its model's threshold."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from onnx import TensorProto, helper, numpy_helper
from support.artifacts import export_random, random_mlp, random_pixels
from support.callers import bearer, line, secret
from support.publishing import HIDDEN, publish
from support.scrapes import measured_server
from support.serving import RunningServer, refused_start, running_server

from vitrine.client import Client, Prediction
from vitrine.model import NOVELTY, TOLERANCE, ArtifactError, GoldenSample, OutputKind
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.engine.session import check_golden_sample
from vitrine.training.network.export import compute_novelty
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

Pixels = npt.NDArray[np.uint8]


def request_of(pixels: Pixels, **fields: Any) -> pb.ClassifyRequest:
    tensor = pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())
    return pb.ClassifyRequest(pixels=tensor, **fields)


def classified(client: Client, pixels: Pixels, **wanted: Any) -> list[Prediction]:
    return list(client.classify_many(pixels, preparation="none", **wanted))


def test_of_a_model_without_a_threshold_nothing_is_said(server: RunningServer, pixels: Pixels) -> None:
    with grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        answer = stub.Classify(request_of(pixels))
        assert (len(answer.digits), len(answer.novelties), len(answer.are_digits)) == (16, 0, 0)
        assert not stub.GetModel(pb.GetModelRequest()).model.HasField("novelty_threshold")
    with Client(server.target) as client:
        assert client.model().novelty_threshold is None
        assert {(one.novelty, one.is_digit) for one in classified(client, pixels)} == {(None, None)}


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_the_novelty_is_what_pytorch_computes_and_that_of_the_served_last_linear_layer(
    output: OutputKind, pixels: Pixels, tmp_path: Path
) -> None:
    artifact = export_random(tmp_path / "judge.onnx", HIDDEN, output, novelty_threshold=-2.5)
    with running_server(artifact) as server, Client(server.target) as client:
        assert client.model().novelty_threshold == -2.5
        predictions = classified(client, pixels, activations="linear_3")
    novelties = np.array([prediction.novelty for prediction in predictions])
    logits = np.stack([prediction.activations["linear_3"] for prediction in predictions]).astype(np.float64)
    np.testing.assert_allclose(novelties, -np.log(np.exp(logits).sum(axis=1)), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(novelties, compute_novelty(random_mlp(HIDDEN, output), pixels), rtol=0, atol=TOLERANCE)
    assert [prediction.is_digit for prediction in predictions] == (novelties <= -2.5).tolist()
    assert {prediction.is_digit for prediction in predictions} == {True, False}


def test_a_small_novelty_of_large_logits_is_served_and_a_wrong_one_of_small_logits_is_not() -> None:
    """What it is calculated from has no more digits than float32 holds, and neither has it."""
    pixels, output = random_pixels(1), np.full((1, 10), 0.1, np.float32)
    novelty, computed = np.array([0.5], np.float32), np.array([0.505], np.float32)
    for largest, allowed in ((100.0, True), (1.0, False)):
        activations = {"linear_1": np.linspace(-largest, -0.5, 10, dtype=np.float32)[None], "softmax": output}
        golden = GoldenSample(pixels, activations, novelty)
        with nullcontext() if allowed else pytest.raises(ArtifactError, match=r"novelty deviates by 0\.005"):
            check_golden_sample({**activations, NOVELTY: computed}, golden, "linear_1")


def test_what_is_a_digit_flips_exactly_at_the_threshold_of_the_version_that_answers(tmp_path: Path) -> None:
    """Of float64, too: the second threshold is the first one when it is rounded to float32, as the novelty is."""
    image, scratch = random_pixels(1), export_random(tmp_path / "scratch.onnx", HIDDEN, novelty_threshold=0.0)
    novelty = load_artifact(scratch, Device.CPU).engine.run(image, [NOVELTY])[NOVELTY].item()
    below = float(np.nextafter(novelty, -np.inf))
    assert np.float32(below) == np.float32(novelty)
    root = tmp_path / "models"
    for version, threshold in ((1, novelty), (2, below)):
        file = export_random(scratch, HIDDEN, novelty_threshold=threshold).read_bytes()
        publish(root, "judge", version, file)
    with (
        running_server("--model-repository", root, "--versions", "all") as server,
        Client(server.target) as client,
    ):
        at, above = (client.classify(image[0], preparation="none", model=f"judge@{version}") for version in (1, 2))
        assert [client.model(f"judge@{version}").novelty_threshold for version in (1, 2)] == [novelty, below]
    assert (at.novelty, at.is_digit) == (novelty, True)
    assert (above.novelty, above.is_digit) == (novelty, False)


async def test_each_caller_gets_the_novelty_of_its_own_images_whoever_it_shares_a_run_with(
    judging_artifact: Path,
) -> None:
    """Batches hold 8 images: most requests share theirs, and those of 20 are split over several."""
    pixels = random_pixels(140, seed=5)
    expected = compute_novelty(random_mlp(HIDDEN), pixels)

    async def caller(stub: Any, first: int) -> None:
        rows = slice(first, first + (20 if first % 7 == 0 else 1 + first % 5))
        wanted = pb.LayerSelection(names=["relu_1"] if first % 2 else [])
        answer = await stub.Classify(request_of(pixels[rows], activations=wanted))
        np.testing.assert_allclose(answer.novelties, expected[rows], rtol=0, atol=TOLERANCE)
        assert list(answer.are_digits) == [novelty <= -2.5 for novelty in answer.novelties]

    batches = ("--max-batch-rows", "8", "--max-queue-delay-us", "1000")
    with running_server(judging_artifact, *batches) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = ClassifierServiceStub(channel)
            await asyncio.gather(*(caller(stub, first) for first in range(120)))


def test_a_stream_and_image_files_have_it_too(judging_server: RunningServer, pixels: Pixels) -> None:
    with grpc.insecure_channel(judging_server.target) as channel:
        stub = ClassifierServiceStub(channel)
        alone = stub.Classify(request_of(pixels))
        streamed = [pb.ClassifyStreamRequest(request=request_of(pixels))] * 2
        assert [answer.response for answer in stub.ClassifyStream(iter(streamed))] == [alone, alone]
        eight = (Path(__file__).parents[2] / "examples" / "eight.png").read_bytes()
        answer = stub.Classify(pb.ClassifyRequest(encoded=pb.EncodedImages(files=[eight] * 3)))
    assert (len(answer.novelties), len(answer.are_digits)) == (3, 3)


def test_the_novelty_is_no_layer(judging_server: RunningServer, pixels: Pixels) -> None:
    with grpc.insecure_channel(judging_server.target) as channel:
        stub = ClassifierServiceStub(channel)
        answer = stub.Classify(request_of(pixels, activations=pb.LayerSelection(all=True)))
        layers = [layer.name for layer in stub.GetModel(pb.GetModelRequest()).model.layers]
        assert [tensor.name for tensor in answer.activations] == layers
        assert NOVELTY not in layers
        with pytest.raises(grpc.RpcError) as caught:
            stub.Classify(request_of(pixels, activations=pb.LayerSelection(names=[NOVELTY])))
    error: Any = caught.value
    status: Any = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "LAYER_UNKNOWN"


def test_whoever_may_predict_gets_it(judging_artifact: Path, pixels: Pixels, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("alice", "predict"))
    with (
        running_server(judging_artifact, "--tokens", tokens) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        answer = ClassifierServiceStub(channel).Classify(request_of(pixels), metadata=bearer(secret("alice")))
    assert (len(answer.novelties), len(answer.are_digits)) == (16, 16)


def test_images_are_counted_by_whether_they_are_digits_beside_the_health_of_activations(
    judging_artifact: Path, pixels: Pixels
) -> None:
    """The first run of a model is sampled: what is looked at is then every layer, and the novelty all the same."""
    with measured_server(judging_artifact) as server, Client(server.target) as client:
        judged = [prediction.is_digit for _ in range(3) for prediction in classified(client, pixels)]
        scrape = server.scrape_when(
            lambda scrape: scrape.value("vitrine_images_total") == len(judged) and scrape.has_activations
        )
    assert scrape.by("vitrine_images_total", "model", "is_digit") == {
        ("tiny", "true"): judged.count(True),
        ("tiny", "false"): judged.count(False),
    }
    assert NOVELTY not in {layer for (layer,) in scrape.by("vitrine_activation_mean", "layer")}


def test_images_that_nobody_judges_are_counted_as_unknown_and_refused_ones_not_at_all(
    tiny_artifact: Path, pixels: Pixels
) -> None:
    with (
        measured_server(tiny_artifact, "--max-images", "10") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = ClassifierServiceStub(channel)
        stub.Classify(request_of(pixels[:7]))
        with pytest.raises(grpc.RpcError):
            stub.Classify(request_of(pixels))
        scrape = server.scrape_after(requests=2)
    assert scrape.by("vitrine_images_total", "model", "is_digit") == {("tiny", "unknown"): 7}


Change = Callable[[onnx.ModelProto], None]


def changed(artifact: Path, out: Path, change: Change) -> Path:
    model = onnx.load(artifact)
    change(model)
    out.write_bytes(model.SerializeToString())
    return out


def property_of(model: onnx.ModelProto, key: str) -> onnx.StringStringEntryProto:
    return next(entry for entry in model.metadata_props if entry.key == f"vitrine.{key}")


def node_of(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def axis_of(model: onnx.ModelProto) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == "class_axis")


def lose_the_threshold(model: onnx.ModelProto) -> None:
    property_of(model, "novelty_threshold").value = "null"


def lose_the_output(model: onnx.ModelProto) -> None:
    del model.graph.output[-1]


def lose_all_of_the_graphs_novelty(model: onnx.ModelProto) -> None:
    del model.graph.output[-1], model.graph.node[-2:]
    model.graph.initializer.remove(axis_of(model))


def lose_all_but_the_golden_samples(model: onnx.ModelProto) -> None:
    lose_the_threshold(model)
    lose_all_of_the_graphs_novelty(model)


def give_one_for_all_images(model: onnx.ModelProto) -> None:
    model.graph.output[-1].type.tensor_type.shape.dim[0].dim_value = 1


def sum_over_the_images(model: onnx.ModelProto) -> None:
    axis_of(model).CopyFrom(numpy_helper.from_array(np.array([0], np.int64), "class_axis"))


def sum_over_everything(model: onnx.ModelProto) -> None:
    axis_of(model).CopyFrom(numpy_helper.from_array(np.array([0, 1], np.int64), "class_axis"))


def cut_the_axis_off(model: onnx.ModelProto) -> None:
    axis_of(model).raw_data = b"\x01"


def put_the_axis_elsewhere(model: onnx.ModelProto) -> None:
    axis = axis_of(model)
    axis.ClearField("raw_data")
    axis.data_location = TensorProto.EXTERNAL
    axis.external_data.add(key="location", value="tiny.onnx.data")


def sum_the_probabilities(model: onnx.ModelProto) -> None:
    node_of(model, "ReduceLogSumExp").input[0] = "softmax"


def keep_the_classes_axis(model: onnx.ModelProto) -> None:
    node_of(model, "ReduceLogSumExp").attribute[0].i = 1


def turn_the_sign(model: onnx.ModelProto) -> None:
    node_of(model, "Neg").op_type = "Identity"


def do_something_more(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Neg", ["novelty"], ["more"]))


OPERATORS = "its operators aren't those that calculate the layers of its catalogue"
AXIS = r"its constant class_axis isn't int64 \[1\] of 1, as in every graph"
TAMPERED: dict[Change, str] = {
    lose_the_threshold: "its graph gives a novelty, and its metadata have no threshold to judge it by",
    lose_all_but_the_golden_samples: "its golden sample has a novelty, and its metadata have no threshold",
    lose_the_output: "its metadata have a novelty threshold, and its graph gives no novelty",
    lose_all_of_the_graphs_novelty: "its metadata have a novelty threshold, and its graph gives no novelty",
    give_one_for_all_images: r"its outputs aren't the layers of its catalogue, .* and novelty, float32 \[N\]",
    sum_over_the_images: AXIS,
    sum_over_everything: AXIS,
    cut_the_axis_off: AXIS,
    put_the_axis_elsewhere: AXIS,
    sum_the_probabilities: OPERATORS,
    keep_the_classes_axis: OPERATORS,
    turn_the_sign: OPERATORS,
    do_something_more: OPERATORS,
}


@pytest.mark.parametrize(("change", "says"), TAMPERED.items(), ids=[change.__name__ for change in TAMPERED])
def test_a_graph_that_calculates_another_novelty_is_refused(
    judging_artifact: Path, tmp_path: Path, change: Change, says: str
) -> None:
    with pytest.raises(ArtifactError, match=says):
        read_artifact(changed(judging_artifact, tmp_path / "tampered.onnx", change))


def test_a_model_without_a_threshold_stores_no_axis(tiny_artifact: Path, tmp_path: Path) -> None:
    def store_an_axis(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "class_axis"))

    with pytest.raises(ArtifactError, match="what it stores isn't the weight and bias of each linear layer"):
        read_artifact(changed(tiny_artifact, tmp_path / "more.onnx", store_an_axis))


def test_a_server_says_what_is_wrong_with_the_novelty_and_does_not_start(
    judging_artifact: Path, tmp_path: Path
) -> None:
    said = refused_start(changed(judging_artifact, tmp_path / "tampered.onnx", sum_over_the_images))
    assert "tampered.onnx is not served: its constant class_axis isn't int64 [1]" in said


def with_another_golden_novelty(model: onnx.ModelProto) -> None:
    """The golden sample's first novelty is a thousandth off."""
    golden = property_of(model, "golden_sample")
    document = json.loads(golden.value)
    novelty = np.frombuffer(base64.b64decode(document["novelty"]), "<f4").copy()
    novelty[0] += 1e-3
    golden.value = json.dumps(document | {"novelty": base64.b64encode(novelty.tobytes()).decode()})


def test_a_novelty_other_than_the_golden_samples_is_refused(judging_artifact: Path, tmp_path: Path) -> None:
    said = refused_start(changed(judging_artifact, tmp_path / "off.onnx", with_another_golden_novelty))
    assert "its golden sample disagrees: novelty deviates by" in said


def test_a_version_whose_novelty_disagrees_leaves_the_one_before_serving(
    judging_artifact: Path, pixels: Pixels, tmp_path: Path
) -> None:
    root, off = tmp_path / "models", changed(judging_artifact, tmp_path / "off.onnx", with_another_golden_novelty)
    publish(root, "tiny", 1, judging_artifact.read_bytes())
    publish(root, "tiny", 2, off.read_bytes())
    with running_server("--model-repository", root) as server, Client(server.target) as client:
        states = {(model.version, model.state): model.reason for model in client.models()}
        assert {prediction.model.version for prediction in classified(client, pixels)} == {"1"}
    assert set(states) == {("1", "AVAILABLE"), ("2", "FAILED")}
    assert "its golden sample disagrees: novelty deviates by" in states["2", "FAILED"]


def test_weights_beside_the_file_have_a_novelty_too(tmp_path: Path, pixels: Pixels) -> None:
    artifact = export_random(tmp_path / "beside.onnx", HIDDEN, inline_limit=1000, novelty_threshold=-2.5)
    assert artifact.with_name("beside.onnx.data").exists()
    with running_server(artifact) as server, Client(server.target) as client:
        novelties = np.array([prediction.novelty for prediction in classified(client, pixels)])
    np.testing.assert_allclose(novelties, compute_novelty(random_mlp(HIDDEN), pixels), rtol=0, atol=TOLERANCE)
