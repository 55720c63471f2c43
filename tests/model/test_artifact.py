"""The artifact's words about itself survive the way into a file and back; damage is noticed."""

import json
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine.model import (
    DIGITS,
    DIGITS_INPUT,
    PIXELS_SHAPE,
    ActivationStatistics,
    ArtifactError,
    ArtifactMetadata,
    ClassificationTask,
    GoldenSample,
    LayerKind,
    LayerStatistics,
    OutputKind,
    TrainingFacts,
    deviation,
    deviations,
    layer_catalogue,
    parse_layers,
)
from vitrine.model.artifact import check_classes
from vitrine.model.errors import shortened
from vitrine.model.graph import CONSTANTS

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
        "small",
        DIGITS_INPUT,
        ClassificationTask(DIGITS),
        layers,
        facts,
        golden,
        data_sha256="00ff",
        statistics=statistics,
        novelty_threshold=-2.5,
    )


def input_with(**changes: object) -> str:
    """The input's document, with changes."""
    return json.dumps(json.loads(metadata().to_properties()["vitrine.input"]) | changes)


def training_with(**changes: object) -> str:
    """The training facts' document, with changes."""
    return json.dumps(json.loads(metadata().to_properties()["vitrine.training"]) | changes)


def statistics_with(images: object = 64, mean: object = 0.25, dead_ratio: object = None) -> str:
    """The activation statistics' document, with changes to its first layer."""
    document = json.loads(metadata().to_properties()["vitrine.activation_statistics"])
    document["layers"]["input"] = {"mean": mean, "dead_ratio": dead_ratio}
    return json.dumps(document | {"images": images})


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
    "value",
    [
        "x" * 9999,
        ["x" * 9999] * 9,
        {"x" * 9999: 1},
        10**4000,
        [10**4000] * 9,
        [[1]] * 999,
        "\ud800" * 9999,
    ],
    ids=["text", "texts", "object", "number", "numbers", "lists", "surrogates"],
)
def test_an_error_shows_no_more_than_a_line_of_a_damaged_artifact(value: object) -> None:
    given = metadata().to_properties()
    refused = 0
    for properties in changed_everywhere(given, value):
        with suppress(ArtifactError), only_short_errors():
            ArtifactMetadata.from_properties(properties)
            continue
        refused += 1
    assert refused > 20


@contextmanager
def only_short_errors() -> Iterator[None]:
    """Fails where an error inside has a long text."""
    try:
        yield
    except ArtifactError as error:
        if len(str(error)) >= 700:
            pytest.fail(f"a text of {len(str(error))} characters: {str(error)[:200]}")
        raise


def changed_everywhere(properties: dict[str, str], value: object) -> Iterator[dict[str, str]]:
    """The properties with the value in place of each entry, of each one's fields, and of each one's first field."""
    for key, text in properties.items():
        document = json.loads(text)
        yield properties | {key: json.dumps(value)}
        for name, entry in document.items() if isinstance(document, dict) else ():
            yield properties | {key: json.dumps(document | {name: value})}
            if isinstance(entry, list):
                yield properties | {key: json.dumps(document | {name: [value, *entry[1:]]})}
            if isinstance(entry, dict):
                yield properties | {key: json.dumps(document | {name: entry | {next(iter(entry), "a"): value}})}
        for place, entry in enumerate(document) if isinstance(document, list) else ():
            for name in entry:
                changed = [*document[:place], entry | {name: value}, *document[place + 1 :]]
                yield properties | {key: json.dumps(changed)}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("format_version", "3", "its format version is 3, and this Vitrine reads 1 and 2"),
        ("format_version", "true", "its format version is True (bool), not a whole number"),
        ("format_version", '"2"', "its format version is '2' (str), not a whole number"),
        ("format_version", "2.0", "its format version is 2.0 (float), not a whole number"),
        ("format_version", "0", "its format version is 0 (int), not a whole number of 1 or more"),
        ("format_version", "", "damaged"),
        ("layers", "[]", "doesn't begin with an input layer"),
        ("layers", '[{"name": "input"}]', "the layer catalogue can't be read"),
        ("layers", '[{"name": "input", "kind": "input", "shape": [Infinity]}]', "the layer catalogue can't be read"),
        ("layers", "[" * 100_000, "damaged"),
        ("name", '""', "its name is '', which no request can ask for"),
        ("name", "7", "its name is 7, which no request can ask for"),
        ("name", '"a\\nb"', "its name is 'a\\nb', which no request can ask for"),
        ("name", '"\\ud800"', "which no request can ask for"),
        ("task", '{"kind": "regression"}', "its task is 'regression', and this Vitrine knows classification only"),
        ("task", '{"kind": "classification", "classes": ["a", "b"]}', "it has 2 classes, and its output layer 10"),
        ("task", '{"kind": "classification", "classes": "0123456789"}', "its classes are '0123456789', not two texts"),
        ("task", '{"kind": "classification", "classes": ["a"]}', "not two texts or more"),
        ("task", '{"kind": "classification", "classes": ["a", 1]}', "not two texts or more"),
        ("task", '{"kind": "classification", "classes": ["a", "a"]}', "two classes with the same label"),
        ("task", json.dumps({"kind": "classification", "classes": ["\xe9", "e\u0301"]}), r"same label: 'é' ('\xe9')"),
        ("task", '{"kind": "classification", "classes": ["a", " "]}', "it has a class ' '"),
        ("task", '{"kind": "classification", "classes": ["a", " b"]}', "it has a class ' b': labels have no space"),
        ("task", '{"kind": "classification", "classes": ["a", "a "]}', "it has a class 'a ': labels have no space"),
        ("task", '{"kind": "classification", "classes": ["a", "\\n"]}', "it has a class '\\n'"),
        ("task", '{"kind": "classification", "classes": ["a", "%s"]}' % ("b" * 101), "labels are 1 to 100 printable"),
        ("task", '{"kind": "classification", "classes": {"a": 1, "b": 2}}', "not two texts or more"),
        ("task", "[]", "damaged"),
        ("input", "{}", "damaged"),
        ("input", input_with(shape=[18]), "not height and width"),
        ("input", input_with(shape=[18, 0]), "not height and width"),
        ("input", input_with(shape=[18, -18]), "not height and width"),
        ("input", input_with(shape=[18, 1.5]), "damaged"),
        ("input", input_with(shape=[513, 513]), "not height and width of 1 to 512 pixels"),
        ("input", input_with(shape=[90, 10]), "one at most 8 times the other"),
        ("input", input_with(shape=[12, 20]), "of the impossible shape"),
        ("input", input_with(name="image"), "its input is 'image' of 'uint8'"),
        ("input", input_with(dtype="float32"), "its input is 'pixels' of 'float32'"),
        (
            "input",
            input_with(preparation="photo"),
            "its images are prepared by 'photo', and this Vitrine knows ink only",
        ),
        ("data_sha256", "7", "its data_sha256 is 7"),
        ("training", '{"dataset": "d", "seed": "x", "epochs": 1, "metrics": {}, "versions": {}}', "damaged"),
        (
            "training",
            '{"dataset": "d", "seed": 18446744073709551616, "epochs": 1, "metrics": {}, "versions": {}}',
            "range",
        ),
        ("training", '{"dataset": "d", "seed": 1, "epochs": 1, "metrics": [1], "versions": {}}', "damaged"),
        ("training", '{"dataset": "d", "seed": 1, "epochs": 1, "metrics": {"a": "b"}, "versions": {}}', "damaged"),
        ("training", '{"dataset": "digits"}', "damaged"),
        ("training", training_with(dataset=["d"]), "damaged"),
        ("training", training_with(dataset="\ud800"), "damaged"),
        ("training", training_with(seed=1.5), "damaged"),
        ("training", training_with(epochs="9"), "damaged"),
        ("training", training_with(metrics={"test_accuracy": "0.9"}), "damaged"),
        ("training", training_with(metrics={"test_accuracy": True}), "damaged"),
        ("training", training_with(versions={"torch": None}), "damaged"),
        ("training", training_with(versions={"\ud800": "2"}), "damaged"),
        ("training", training_with(dataset="d\nserver INFO all is well"), "printable text of up to 500"),
        ("training", training_with(dataset="\x1b[2J"), "printable text of up to 500"),
        ("training", training_with(dataset="d" * 501), "printable text of up to 500"),
        ("training", training_with(metrics={"a\n": 1.0}), "printable text of up to 500"),
        ("training", training_with(versions={f"v{n}": "1" for n in range(257)}), "more than 256 metrics or versions"),
        ("training", "[]", "damaged"),
        ("activation_statistics", '{"images": 9, "layers": {}}', "damaged"),
        ("activation_statistics", "[]", "damaged"),
        ("activation_statistics", statistics_with(images=0), "its activation statistics are of 0 images"),
        ("activation_statistics", statistics_with(images=2**63), "which is out of range"),
        ("activation_statistics", statistics_with(images=1.5), "damaged"),
        ("activation_statistics", statistics_with(mean="1"), "damaged"),
        ("activation_statistics", statistics_with(mean=float("nan")), "its activation statistics of input are nan"),
        ("activation_statistics", statistics_with(dead_ratio=1.5), "and 1.5, which is out of range"),
        ("activation_statistics", statistics_with(dead_ratio=float("nan")), "and nan, which is out of range"),
        ("novelty_threshold", "NaN", "its novelty threshold is nan"),
        ("novelty_threshold", "-Infinity", "its novelty threshold is -inf"),
        ("novelty_threshold", '"high"', "damaged"),
        ("novelty_threshold", "[1]", "damaged"),
        ("novelty_threshold", '"-2.5"', "damaged"),
        ("novelty_threshold", "true", "damaged"),
        ("golden_sample", "{}", "damaged"),
        ("golden_sample", '{"pixels": "", "activations": {}}', "its golden sample is empty"),
        ("golden_sample", '{"pixels": "AAAA", "activations": {}}', "damaged"),
    ],
)
def test_damaged_metadata_are_refused(key: str, value: str, says: str) -> None:
    properties = metadata().to_properties() | {f"vitrine.{key}": value}
    with pytest.raises(ArtifactError, match=re.escape(says)):
        ArtifactMetadata.from_properties(properties)


@pytest.mark.parametrize("name", ["", "n" * 256, "a\nb", "\x1b[31mred", "\ud800"])
def test_a_name_that_no_request_can_ask_for_is_refused_in_one_printable_line(name: str) -> None:
    with pytest.raises(ArtifactError, match="which no request can ask for") as caught:
        ArtifactMetadata.from_properties(metadata().to_properties() | {"vitrine.name": json.dumps(name)})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_more_classes_or_layers_than_a_description_can_hold_are_refused() -> None:
    with pytest.raises(ArtifactError, match="it has 4,097 classes"):
        check_classes([f"class {number}" for number in range(4097)])
    many = json.loads(json.dumps([asdict(layer) for layer in layer_catalogue([1] * 600)]))
    with pytest.raises(ArtifactError, match="has 1,203 layers"):
        parse_layers(many, PIXELS_SHAPE)


def test_a_foreign_text_is_shown_in_part_and_without_control_characters() -> None:
    said = shortened("\x1b[2J\nforged\u202e\ud800" + 1000 * "x")
    assert said.startswith(r"\x1b[2J\nforged\u202e\ud800xxx")
    assert said.isprintable()
    assert len(said) < 130


@pytest.mark.parametrize("key", ["name", "input", "task", "layers", "training", "golden_sample"])
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
        ("input", "input", 324, 0, ()),
        ("linear_1", "linear", 512, 325 * 512, ("input",)),
        ("relu_1", "relu", 512, 0, ("linear_1",)),
        ("linear_2", "linear", 256, 513 * 256, ("relu_1",)),
        ("relu_2", "relu", 256, 0, ("linear_2",)),
        ("linear_3", "linear", 10, 257 * 10, ("relu_2",)),
        ("sigmoid", "sigmoid", 10, 0, ("linear_3",)),
    ]


def with_layer(number: int, **changes: object) -> list[dict[str, object]]:
    """The catalogue's document, with changes to one layer."""
    entries: list[dict[str, object]] = json.loads(metadata().to_properties()["vitrine.layers"])
    entries[number] |= changes
    return entries


@pytest.mark.parametrize(
    ("number", "changes", "says"),
    [
        (0, {"kind": "relu"}, "doesn't begin with an input layer"),
        (0, {"shape": [323]}, "a layer input of the impossible shape [323]"),
        (1, {"kind": "input"}, "a layer linear_1 that reads 1 layers"),
        (1, {"kind": "input", "reads": []}, "a layer linear_1 that reads 0 layers"),
        (1, {"shape": [8]}, "a layer linear_1 of 2275 parameters, and it stores 2600"),
        (1, {"shape": [0]}, "a layer linear_1 of the impossible shape [0]"),
        (1, {"shape": []}, "a layer linear_1 of the impossible shape []"),
        (1, {"shape": [7, 1]}, "a layer linear_1 of the impossible shape [7, 1]"),
        (1, {"kind": "softmax"}, "a layer linear_1 of the impossible shape [7]"),
        (1, {"kind": "gelu"}, "can't be read"),
        (1, {"parameter_count": 2275.0}, "can't be read"),
        (1, {"reads": "input"}, "can't be read"),
        (2, {"reads": []}, "a layer relu_1 that reads 0 layers"),
        (2, {"reads": ["linear_1", "input"]}, "a layer relu_1 that reads 2 layers"),
        (2, {"reads": ["relu_2"]}, "a layer relu_1 that reads 'relu_2', not a layer before it"),
        (2, {"reads": ["relu_1"]}, "a layer relu_1 that reads 'relu_1', not a layer before it"),
        (2, {"reads": ["pixels"]}, "a layer relu_1 that reads 'pixels', not a layer before it"),
        (2, {"name": "linear_1"}, "two layers linear_1"),
        (2, {"name": "novelty"}, "the name 'novelty', which no layer can have"),
        (2, {"name": "pixels_scaled"}, "the name 'pixels_scaled', which no layer can have"),
        (2, {"name": "class"}, "the name 'class', which no layer can have"),
        (2, {"name": "is_digit"}, "the name 'is_digit', which no layer can have"),
        (2, {"name": "linear_1.bias"}, "the name 'linear_1.bias', which no layer can have"),
        (2, {"name": ""}, "the name '', which no layer can have"),
        (6, {"kind": "relu"}, "doesn't end with a softmax or sigmoid of a linear layer"),
    ],
)
def test_a_catalogue_that_can_not_be_calculated_is_refused(number: int, changes: dict[str, object], says: str) -> None:
    with pytest.raises(ArtifactError, match=re.escape(says)):
        parse_layers(with_layer(number, **changes), PIXELS_SHAPE)


def test_an_output_layer_that_reads_no_linear_layer_is_refused() -> None:
    entries = with_layer(6, reads=["linear_1"], shape=[7])
    assert parse_layers(entries, PIXELS_SHAPE)[-1].width == 7
    with pytest.raises(ArtifactError, match="doesn't end with a softmax or sigmoid of a linear layer"):
        parse_layers(with_layer(6, reads=["relu_1"], shape=[7]), PIXELS_SHAPE)


def test_deviation_is_relative_beyond_one_and_never_hides_what_is_not_finite() -> None:
    def values(*numbers: float) -> "np.typing.NDArray[np.float32]":
        return np.array([numbers], np.float32)

    assert deviation(values(0.5, 0.25), values(0.5, 0.25)) == 0
    assert deviation(values(0.5, 0.25), values(0.5, 0)) == 0.25
    assert deviation(values(101, 0), values(100, 0)) == pytest.approx(0.01)
    assert deviation(values(np.nan, 0), values(0, 0)) == np.inf
    assert deviation(values(np.inf, 0), values(np.inf, 0)) == np.inf
    assert deviation(values(0), values(0, 0)) == np.inf


def test_the_logits_are_those_that_the_output_layer_reads() -> None:
    def values(*numbers: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.array([numbers], np.float32)

    expected = {"linear_1": values(-100.0, 0.5), "relu_1": values(0.0, 0.5), "softmax": values(0.4, 0.6)}
    expected["novelty"] = np.array([0.5], np.float32)
    computed = expected | {"novelty": np.array([0.51], np.float32)}
    assert deviations(computed, expected, "linear_1")["novelty"] == pytest.approx(1e-4)
    assert deviations(computed, expected, "relu_1")["novelty"] == pytest.approx(1e-2)


def test_a_graphs_constants_cant_be_changed() -> None:
    assert CONSTANTS
    for values in CONSTANTS.values():
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 7


def test_a_novelty_is_as_exact_as_the_logits_that_it_is_calculated_from() -> None:
    novelty, exact = np.array([0.51], np.float32), np.array([0.5], np.float32)
    assert deviation(novelty, exact, np.array([[-100.0, 0.5]], np.float32)) == pytest.approx(1e-4)
    assert deviation(novelty, exact, np.array([[0.1, 0.5]], np.float32)) == pytest.approx(1e-2)


LABELS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=100).filter(
    lambda label: label.isprintable() and label.strip() == label
)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)).filter(lambda sides: max(sides) <= 8 * min(sides)),
    classes=st.lists(LABELS, min_size=2, max_size=6, unique_by=lambda label: unicodedata.normalize("NFC", label)).map(
        tuple
    ),
    hidden=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    output=st.sampled_from(["softmax", "sigmoid"]),
)
def test_metadata_of_any_model_survive_the_way_into_a_file(
    shape: tuple[int, int], classes: tuple[str, ...], hidden: list[int], output: OutputKind
) -> None:
    layers = layer_catalogue(hidden, output, len(classes), shape)
    activations = {layer.name: np.full((1, *layer.shape), 0.5, np.float32) for layer in layers}
    golden = GoldenSample(np.zeros((1, *shape), np.uint8), activations)
    model_input = replace(DIGITS_INPUT, shape=shape)
    facts = TrainingFacts("any", seed=0, epochs=1)
    written = ArtifactMetadata("any", model_input, ClassificationTask(classes), layers, facts, golden)
    read = ArtifactMetadata.from_properties(written.to_properties())
    assert (read.input, read.task, read.layers) == (model_input, written.task, layers)
    assert read.golden.pixels.shape == (1, *shape)
    assert read.to_properties() == written.to_properties()
