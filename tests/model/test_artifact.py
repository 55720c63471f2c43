"""The artifact's words about itself survive the way into a file and back; damage is noticed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from vitrine.model import (
    DIGITS,
    ActivationStatistics,
    ArtifactError,
    ArtifactMetadata,
    GoldenSample,
    LayerKind,
    LayerStatistics,
    OutputKind,
    TrainingFacts,
    deviation,
    layer_catalogue,
    parse_layers,
)

NOVELTY_OF_TWO = np.array([-7.25, -3.5], np.float32)


def metadata(output: OutputKind = "softmax") -> ArtifactMetadata:
    layers = layer_catalogue([7, 5], output)
    random = np.random.default_rng(0)
    golden = GoldenSample(
        random.integers(0, 256, (2, 18, 18), dtype=np.uint8),
        {layer.name: random.normal(size=(2, layer.width)).astype(np.float32) for layer in layers},
        NOVELTY_OF_TWO,
    )
    facts = TrainingFacts("digits", seed=3, epochs=9, metrics={"test_accuracy": 0.97}, versions={"torch": "2"})
    seen = {layer.name: LayerStatistics(0.25, 0.5 if layer.kind is LayerKind.RELU else None) for layer in layers}
    statistics = ActivationStatistics(64, seen)
    return ArtifactMetadata(
        "small", layers, DIGITS, facts, golden, data_sha256="00ff", statistics=statistics, novelty_threshold=-2.5
    )


def with_golden(**changes: object) -> dict[str, str]:
    """The properties, with changes to the golden sample's document."""
    properties = metadata().to_properties()
    golden = json.loads(properties["vitrine.golden_sample"]) | changes
    return properties | {"vitrine.golden_sample": json.dumps(golden)}


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_metadata_survive_the_way_into_a_file(output: OutputKind) -> None:
    written = metadata(output)
    read = ArtifactMetadata.from_properties(written.to_properties())
    assert replace(read, golden=written.golden).to_properties() == written.to_properties()
    assert (read.name, read.layers, read.classes) == (written.name, written.layers, written.classes)
    assert (read.training, read.data_sha256) == (written.training, written.data_sha256)
    assert read.statistics == written.statistics
    np.testing.assert_array_equal(read.golden.pixels, written.golden.pixels)
    for name, values in written.golden.activations.items():
        np.testing.assert_array_equal(read.golden.activations[name], values)
    assert read.novelty_threshold == -2.5
    assert read.golden.novelty is not None
    np.testing.assert_array_equal(read.golden.novelty, NOVELTY_OF_TWO, strict=True)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("format_version", "2", "its format version is 2, and this Vitrine reads 1"),
        ("format_version", "", "damaged"),
        ("layers", "[]", "the layer catalogue can't be read"),
        ("layers", '[{"name": "input"}]', "the layer catalogue can't be read"),
        ("layers", '[{"name": "input", "kind": "input", "width": Infinity}]', "the layer catalogue can't be read"),
        ("layers", "[" * 100_000, "damaged"),
        ("name", '""', "its name is '', which no request can ask for"),
        ("name", "7", "its name is 7, which no request can ask for"),
        ("classes", '["a", "b"]', "a model's are the ten digits"),
        ("classes", '["3", "5", "8"]', "a model's are the ten digits"),
        ("training", '{"dataset": "d", "seed": "x", "epochs": 1, "metrics": {}, "versions": {}}', "damaged"),
        (
            "training",
            '{"dataset": "d", "seed": 18446744073709551616, "epochs": 1, "metrics": {}, "versions": {}}',
            "range",
        ),
        ("training", '{"dataset": "d", "seed": 1, "epochs": 1, "metrics": [1], "versions": {}}', "damaged"),
        ("training", '{"dataset": "d", "seed": 1, "epochs": 1, "metrics": {"a": "b"}, "versions": {}}', "damaged"),
        ("training", '{"dataset": "digits"}', "damaged"),
        ("training", "[]", "damaged"),
        ("activation_statistics", '{"images": 9, "layers": {}}', "damaged"),
        ("activation_statistics", "[]", "damaged"),
        ("novelty_threshold", "NaN", "its novelty threshold is nan"),
        ("novelty_threshold", "-Infinity", "its novelty threshold is -inf"),
        ("novelty_threshold", '"high"', "damaged"),
        ("novelty_threshold", "[1]", "damaged"),
        ("golden_sample", "{}", "damaged"),
        ("golden_sample", '{"pixels": "", "activations": {}}', "its golden sample is empty"),
        ("golden_sample", '{"pixels": "AAAA", "activations": {}}', "damaged"),
    ],
)
def test_damaged_metadata_are_refused(key: str, value: str, says: str) -> None:
    properties = metadata().to_properties() | {f"vitrine.{key}": value}
    with pytest.raises(ArtifactError, match=says):
        ArtifactMetadata.from_properties(properties)


@pytest.mark.parametrize("key", ["name", "layers", "classes", "training", "golden_sample"])
def test_missing_metadata_are_refused(key: str) -> None:
    properties = metadata().to_properties()
    del properties[f"vitrine.{key}"]
    with pytest.raises(ArtifactError, match="damaged"):
        ArtifactMetadata.from_properties(properties)


def test_an_artifact_from_before_statistics_were_recorded_is_read() -> None:
    properties = metadata().to_properties()
    del properties["vitrine.activation_statistics"]
    assert ArtifactMetadata.from_properties(properties).statistics is None


@pytest.mark.parametrize("novelty", ["", "AAAA", "AAAAAA==", "?", 7, [1.0, 2.0]])
def test_a_golden_novelty_that_is_not_a_number_for_each_image_is_refused(novelty: object) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        ArtifactMetadata.from_properties(with_golden(novelty=novelty))


def test_a_threshold_without_a_golden_novelty_to_check_it_by_is_refused() -> None:
    with pytest.raises(ArtifactError, match="its golden sample says nothing of the novelty"):
        ArtifactMetadata.from_properties(with_golden(novelty=None))


def test_an_artifact_from_before_novelty_was_recorded_is_read() -> None:
    properties = metadata().to_properties()
    golden = json.loads(properties["vitrine.golden_sample"])
    del golden["novelty"], properties["vitrine.novelty_threshold"]
    read = ArtifactMetadata.from_properties(properties | {"vitrine.golden_sample": json.dumps(golden)})
    assert (read.novelty_threshold, read.golden.novelty) == (None, None)


def test_a_file_of_someone_else_is_refused() -> None:
    with pytest.raises(ArtifactError, match="it isn't a Vitrine artifact"):
        ArtifactMetadata.from_properties({"author": "someone"})


def test_the_catalogue_names_every_step_that_calculates() -> None:
    layers = layer_catalogue([512, 256], "sigmoid")
    assert [(x.name, x.kind.value, x.width, x.parameter_count, x.reads) for x in layers] == [
        ("input", "input", 324, 0, ""),
        ("linear_1", "linear", 512, 325 * 512, "input"),
        ("relu_1", "relu", 512, 0, "linear_1"),
        ("linear_2", "linear", 256, 513 * 256, "relu_1"),
        ("relu_2", "relu", 256, 0, "linear_2"),
        ("linear_3", "linear", 10, 257 * 10, "relu_2"),
        ("sigmoid", "sigmoid", 10, 0, "linear_3"),
    ]


def test_a_catalogue_that_is_no_mlp_is_refused() -> None:
    entries = json.loads(metadata().to_properties()["vitrine.layers"])
    entries[1]["width"] = 8
    with pytest.raises(ArtifactError, match="doesn't describe a ReLU MLP"):
        parse_layers(entries)
    entries[1]["kind"] = LayerKind.SOFTMAX
    with pytest.raises(ArtifactError, match="doesn't describe a ReLU MLP"):
        parse_layers(entries)


def test_deviation_is_relative_beyond_one_and_never_hides_what_is_not_finite() -> None:
    def values(*numbers: float) -> "np.typing.NDArray[np.float32]":
        return np.array([numbers], np.float32)

    assert deviation(values(0.5, 0.25), values(0.5, 0.25)) == 0
    assert deviation(values(0.5, 0.25), values(0.5, 0)) == 0.25
    assert deviation(values(101, 0), values(100, 0)) == pytest.approx(0.01)
    assert deviation(values(np.nan, 0), values(0, 0)) == np.inf
    assert deviation(values(np.inf, 0), values(np.inf, 0)) == np.inf
    assert deviation(values(0), values(0, 0)) == np.inf


def test_a_novelty_is_as_exact_as_the_logits_that_it_is_calculated_from() -> None:
    novelty, exact = np.array([0.51], np.float32), np.array([0.5], np.float32)
    assert deviation(novelty, exact, np.array([[-100.0, 0.5]], np.float32)) == pytest.approx(1e-4)
    assert deviation(novelty, exact, np.array([[0.1, 0.5]], np.float32)) == pytest.approx(1e-2)
