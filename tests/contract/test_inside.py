"""Interventions and attribution over the wire: they equal PyTorch's hooks and autograd for random networks."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest
import torch
from support.artifacts import random_pixels
from support.networks import Arithmetic, biased_mlp, changed_activations, input_gradients
from support.serving import RunningServer, running_server

from vitrine.model import DIGITS, TOLERANCE, OutputKind, TrainingFacts
from vitrine.training.network.export import export
from vitrine.training.network.mlp import MLP
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

Pixels = npt.NDArray[np.uint8]
SHAPE = (9, 14)
WIDTHS = (40, 24, 33, 8, 17, 21)
BATCHES = (1, 2, 7, 64)
NETWORKS: dict[str, tuple[int, OutputKind]] = {
    f"{output}_{depth}": (depth, output) for output in ("softmax", "sigmoid") for depth in range(1, 7)
}
ALL = pb.LayerSelection(all=True)


def mlp_of(name: str) -> MLP:
    depth, output = NETWORKS[name]
    return biased_mlp(WIDTHS[:depth], output, depth, SHAPE)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClassifierServiceStub]:
    """A real server of a repository with random networks of one to six hidden layers, softmax and sigmoid."""
    root = tmp_path_factory.mktemp("networks")
    for name in NETWORKS:
        path = root / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        facts = TrainingFacts("noise", seed=0, epochs=0)
        seen = random_pixels(64, shape=SHAPE)
        export(mlp_of(name), path, name=name, facts=facts, pixels=seen, classes=DIGITS, novelty_threshold=0.0)
    with (
        running_server("--model-repository", root, "--default-model", "softmax_2") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        yield ClassifierServiceStub(channel)


def tensor(pixels: Pixels) -> pb.Tensor:
    return pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())


def array(tensor: pb.Tensor) -> npt.NDArray[np.float32]:
    return np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)


def random_changes(mlp: MLP, random: np.random.Generator) -> list[Arithmetic]:
    """Up to four changes of one image: factors and values, of some units and of all."""
    layers = mlp.layers[:-1]
    changes = []
    for _ in range(random.integers(0, 5)):
        layer = layers[random.integers(len(layers))]
        some = random.choice(layer.width, random.integers(1, layer.width + 1), replace=False)
        scale, shift = ((0.0, float(random.normal())), (float(random.normal()), 0.0))[random.integers(2)]
        changes.append((layer.name, some.tolist(), scale, shift))
    return changes


def written(changes: Sequence[Arithmetic], mlp: MLP) -> pb.ImageInterventions:
    """The changes on the wire; all of a layer's units are named by none."""
    widths = {layer.name: layer.width for layer in mlp.layers}
    entries = []
    for layer, units, scale, shift in changes:
        named = units if len(units) < widths[layer] else []
        entry = pb.Intervention(layer=layer, units=named)
        if scale == 0:
            entry.value = shift
        else:
            entry.scale = scale
        entries.append(entry)
    return pb.ImageInterventions(interventions=entries)


@pytest.mark.parametrize("name", NETWORKS)
def test_interventions_equal_pytorchs_hooks_also_beside_plain_requests(
    networks: ClassifierServiceStub, name: str
) -> None:
    mlp, random = mlp_of(name), np.random.default_rng(7)
    requests, expected = [], []
    for count in (*BATCHES, *BATCHES):
        pixels = random_pixels(count, seed=count, shape=SHAPE)
        changes = [random_changes(mlp, random) for _ in range(count)]
        untouched: list[list[Arithmetic]] = [[] for _ in range(count)]
        plain = pb.ClassifyRequest(model=name, pixels=tensor(pixels), activations=ALL)
        changed = pb.ClassifyRequest(
            model=name, pixels=tensor(pixels), activations=ALL, interventions=[written(c, mlp) for c in changes]
        )
        requests += [plain, changed]
        expected += [
            (changed_activations(mlp, pixels, untouched), None),
            (changed_activations(mlp, pixels, changes), changed_activations(mlp, pixels, untouched)),
        ]
    with ThreadPoolExecutor(len(requests)) as pool:  # all at once: the server gathers them
        answers = list(pool.map(networks.Classify, requests))
    for answer, (wanted, baseline) in zip(answers, expected, strict=True):
        check_activations(answer, wanted)
        assert answer.HasField("baseline") is (baseline is not None)
        if baseline is not None:
            check_activations(answer.baseline, baseline)


def check_activations(answer: pb.ClassifyResponse | pb.Baseline, expected: dict[str, npt.NDArray[np.float32]]) -> None:
    assert [entry.name for entry in answer.activations] == list(expected)
    for entry in answer.activations:
        np.testing.assert_allclose(array(entry), expected[entry.name], rtol=0, atol=TOLERANCE, err_msg=entry.name)
    *_, logits, output = expected.values()
    np.testing.assert_allclose(array(answer.probabilities), output, rtol=0, atol=TOLERANCE)
    novelty = -np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
    np.testing.assert_allclose(answer.novelties, novelty, rtol=0, atol=TOLERANCE)
    assert list(answer.digits) == array(answer.probabilities).argmax(axis=1).tolist()


def test_one_entry_is_for_all_images(networks: ClassifierServiceStub) -> None:
    mlp, pixels = mlp_of("softmax_2"), random_pixels(5, shape=SHAPE)
    changes: list[Arithmetic] = [("relu_1", [3], 0.0, 1.5), ("relu_1", [3, 4], 2.0, 0.0)]
    answer = networks.Classify(
        pb.ClassifyRequest(pixels=tensor(pixels), activations=ALL, interventions=[written(changes, mlp)])
    )
    check_activations(answer, changed_activations(mlp, pixels, [changes] * 5))
    relu = array(answer.activations[2])
    np.testing.assert_array_equal(relu[:, 3], 3.0)  # set first, then scaled


def test_one_images_activations_can_be_put_into_another(networks: ClassifierServiceStub) -> None:
    first, second = random_pixels(1, seed=1, shape=SHAPE), random_pixels(1, seed=2, shape=SHAPE)
    seen = networks.Classify(pb.ClassifyRequest(pixels=tensor(first), activations=ALL))
    values = pb.UnitValues(values=array(seen.activations[2])[0])
    patch = pb.ImageInterventions(interventions=[pb.Intervention(layer="relu_1", values=values)])
    patched = networks.Classify(pb.ClassifyRequest(pixels=tensor(second), activations=ALL, interventions=[patch]))
    np.testing.assert_allclose(array(patched.probabilities), array(seen.probabilities), rtol=0, atol=TOLERANCE)
    assert array(patched.baseline.probabilities).tolist() != array(patched.probabilities).tolist()


def test_in_a_stream_each_request_has_its_own(networks: ClassifierServiceStub) -> None:
    mlp, pixels = mlp_of("softmax_2"), random_pixels(2, shape=SHAPE)
    changes: list[Arithmetic] = [("linear_1", [0, 5], -1.0, 0.0)]
    plain = pb.ClassifyRequest(pixels=tensor(pixels), activations=ALL)
    changed = pb.ClassifyRequest(pixels=tensor(pixels), activations=ALL, interventions=[written(changes, mlp)])
    stream = networks.ClassifyStream(pb.ClassifyStreamRequest(request=one) for one in (plain, changed, plain))
    first, second, third = (answer.response for answer in stream)
    check_activations(second, changed_activations(mlp, pixels, [changes] * 2))
    assert first == third
    assert not first.HasField("baseline")


def refusal(stub: ClassifierServiceStub, request: pb.ClassifyRequest | pb.ExplainRequest) -> tuple[str, str]:
    """The status and the sentence of a refused request."""
    call = stub.Classify if isinstance(request, pb.ClassifyRequest) else stub.Explain
    with pytest.raises(grpc.RpcError) as caught:
        call(request)  # type: ignore[arg-type]  # each takes its own
    assert isinstance(caught.value, grpc.Call)
    return caught.value.code().name, str(caught.value.details())


BAD: dict[str, tuple[list[pb.Intervention], str]] = {
    "an unknown layer": ([pb.Intervention(layer="relu_9", scale=0)], "no layer is called 'relu_9'; those that can be"),
    "the output layer": ([pb.Intervention(layer="softmax", scale=0)], "no layer reads the output layer 'softmax'"),
    "a unit too far": ([pb.Intervention(layer="relu_1", units=[3, 40], value=1)], "has no unit 40: its 40 units are 0"),
    "a negative unit": ([pb.Intervention(layer="relu_1", units=[-1], value=1)], "has no unit -1"),
    "not a number": ([pb.Intervention(layer="relu_1", value=float("nan"))], "finite numbers from -1e+06 to 1e+06"),
    "no end": ([pb.Intervention(layer="relu_1", scale=float("inf"))], "finite numbers from -1e+06 to 1e+06"),
    "no change": ([pb.Intervention(layer="relu_1")], "needs a scale, a value, or values"),
    "too many": ([pb.Intervention(layer="relu_1", scale=1)] * 1025, "1,025 interventions, and at most 1,024"),
    "too few values": (
        [pb.Intervention(layer="relu_1", units=[1, 2], values=pb.UnitValues(values=[1.0]))],
        "1 values came for 2 units of 'relu_1'",
    ),
    "factors beyond float32": ([pb.Intervention(layer="relu_1", scale=1e6)] * 9, "too large for float32"),
}


@pytest.mark.parametrize("fault", BAD)
def test_interventions_without_sense_are_refused(networks: ClassifierServiceStub, fault: str) -> None:
    interventions, sentence = BAD[fault]
    request = pb.ClassifyRequest(
        pixels=tensor(random_pixels(2, shape=SHAPE)),
        interventions=[pb.ImageInterventions(interventions=interventions)],
    )
    status, details = refusal(networks, request)
    assert status == "INVALID_ARGUMENT"
    assert sentence in details


@pytest.mark.parametrize("name", ["softmax_2", "sigmoid_2"])
def test_activations_beyond_float32_are_refused_although_the_output_is_finite(
    networks: ClassifierServiceStub, name: str
) -> None:
    """ReLU silences a unit at minus infinity, and the rest of the network sees nothing of it."""
    changes = [pb.Intervention(layer="linear_1", units=[0], value=-1.0)]
    changes += [pb.Intervention(layer="linear_1", units=[0], scale=1e6)] * 9
    request = pb.ClassifyRequest(
        model=name,
        pixels=tensor(random_pixels(1, shape=SHAPE)),
        activations=pb.LayerSelection(names=["linear_1"]),
        interventions=[pb.ImageInterventions(interventions=changes)],
    )
    status, details = refusal(networks, request)
    assert (status, "too large for float32" in details) == ("INVALID_ARGUMENT", True)


def test_as_many_entries_as_images_or_one(networks: ClassifierServiceStub) -> None:
    request = pb.ClassifyRequest(
        pixels=tensor(random_pixels(3, shape=SHAPE)), interventions=[pb.ImageInterventions()] * 2
    )
    assert refusal(networks, request) == (
        "INVALID_ARGUMENT",
        "2 entries came for 3 images: send one for all of them, or one for each",
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("count", BATCHES)
def test_contributions_equal_autograd_and_add_up_to_the_score(
    networks: ClassifierServiceStub, name: str, count: int
) -> None:
    mlp, pixels = mlp_of(name), random_pixels(count, seed=count, shape=SHAPE)
    classes = np.random.default_rng(count).integers(0, 10, count)
    answer = networks.Explain(pb.ExplainRequest(model=name, pixels=tensor(pixels), classes=classes))
    values = torch.tensor(pixels).float() / 255
    gradients, scores = input_gradients(mlp, values, classes.tolist())
    assert list(answer.classes) == classes.tolist()
    np.testing.assert_allclose(answer.scores, scores, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(array(answer.contributions), gradients * values.numpy(), rtol=0, atol=TOLERANCE)
    together = array(answer.contributions).sum(axis=(1, 2)) + np.array(answer.biases)
    np.testing.assert_allclose(together, answer.scores, rtol=0, atol=TOLERANCE)
    times_input = pb.ExplainRequest(
        model=name, pixels=tensor(pixels), classes=classes, method=pb.ATTRIBUTION_METHOD_GRADIENT_TIMES_INPUT
    )
    assert networks.Explain(times_input) == answer


@pytest.mark.parametrize("name", ["softmax_1", "sigmoid_3", "softmax_6"])
def test_integrated_gradients_equal_autograds_at_the_same_steps(networks: ClassifierServiceStub, name: str) -> None:
    mlp, pixels = mlp_of(name), random_pixels(5, shape=SHAPE)
    answer = networks.Explain(
        pb.ExplainRequest(
            model=name, pixels=tensor(pixels), classes=[3], method=pb.ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS
        )
    )
    values = torch.tensor(pixels).float() / 255
    steps = [input_gradients(mlp, values * ((step + 0.5) / 64), [3] * 5)[0] for step in range(64)]
    expected = values.numpy() * np.mean(steps, axis=0)
    np.testing.assert_allclose(array(answer.contributions), expected, rtol=0, atol=TOLERANCE)
    together = array(answer.contributions).sum(axis=(1, 2)) + np.array(answer.biases)
    np.testing.assert_allclose(together, answer.scores, rtol=0, atol=TOLERANCE)


def test_without_a_class_the_predicted_one_is_explained(networks: ClassifierServiceStub) -> None:
    pixels = random_pixels(6, shape=SHAPE)
    answer = networks.Explain(pb.ExplainRequest(pixels=tensor(pixels)))
    assert answer.classes == networks.Classify(pb.ClassifyRequest(pixels=tensor(pixels))).digits
    assert not answer.HasField("pixels")


BAD_CLASSES: dict[str, tuple[pb.ExplainRequest, str]] = {
    "an unknown class": (
        pb.ExplainRequest(classes=[10]),
        "there is no class 10: those of model 'softmax_2' are 0",
    ),
    "two classes": (pb.ExplainRequest(classes=[1, 2]), "2 classes came for 3 images"),
    "an unknown method": (pb.ExplainRequest(method=9), "no method has the number 9"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("fault", BAD_CLASSES)
def test_explanations_without_sense_are_refused(networks: ClassifierServiceStub, fault: str) -> None:
    wrong, sentence = BAD_CLASSES[fault]
    request = pb.ExplainRequest(pixels=tensor(random_pixels(3, shape=SHAPE)))
    request.MergeFrom(wrong)
    status, details = refusal(networks, request)
    assert status == "INVALID_ARGUMENT"
    assert sentence in details


def test_prepared_pixels_come_back_with_an_explanation(stub: ClassifierServiceStub) -> None:
    file = (Path(__file__).parents[2] / "examples" / "eight.png").read_bytes()
    answer = stub.Explain(pb.ExplainRequest(encoded=pb.EncodedImages(files=[file, file])))
    pixels = np.frombuffer(answer.pixels.data, np.uint8).reshape(answer.pixels.shape)
    again = stub.Explain(pb.ExplainRequest(pixels=tensor(pixels)))
    assert again.contributions == answer.contributions
    assert (array(answer.contributions)[pixels == 0] == 0).all()  # paper has no share


def test_a_running_server_still_gives_plain_answers_after_interventions(
    server: RunningServer, stub: ClassifierServiceStub, pixels: Pixels
) -> None:
    plain = pb.ClassifyRequest(pixels=tensor(pixels), activations=ALL)
    before = stub.Classify(plain)
    silenced = pb.ImageInterventions(interventions=[pb.Intervention(layer="relu_1", scale=0)])
    changed = stub.Classify(pb.ClassifyRequest(pixels=tensor(pixels), activations=ALL, interventions=[silenced]))
    assert stub.Classify(plain) == before
    assert changed.baseline.probabilities == before.probabilities
    assert changed.probabilities != before.probabilities
