"""The metadata of an artifact, as types and as the strings that are stored in the ONNX file.

It knows no ONNX: the exporter writes the strings into a file, and the server hands over the strings that it found.
"""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vitrine.model.catalogue import parse_layers, whole_number
from vitrine.model.digits import PIXELS_SHAPE
from vitrine.model.errors import ArtifactError, shown
from vitrine.model.graph import INPUT
from vitrine.model.labels import find_same
from vitrine.model.layers import Layer, Shape
from vitrine.model.statistics import ActivationStatistics, LayerStatistics

FORMAT_VERSION = 2
"""The version of this layout that is written."""

READABLE_VERSIONS = (1, 2)
"""The versions that are read. Version 1 knew digits on 18 × 18 pixels only."""

PREFIX = "vitrine."
"""The prefix of every key of the metadata."""

DTYPE = "uint8"
"""The type of an input's values."""

PREPARATIONS = ("ink",)
"""The ways in which an image becomes pixels. `ink` is `vitrine.model.prepare`: 0 = paper, 255 = ink."""

LONGEST_SIDE = 512
"""The largest height and width of pixels: images are averaged down to about this before they are prepared."""

MOST_UNEQUAL = 8
"""The largest ratio of the pixels' sides: image preparation needs memory in proportion to it."""

LONGEST_NAME = 255
"""The largest number of characters of a model's name, as of a folder's."""

LONGEST_TEXT = 500
"""The largest number of characters of a fact about the training, or of its name."""

MOST_FACTS = 256
"""The largest number of metrics, and of versions: a description is sent as one message."""

MOST_CLASSES = 4096
"""The largest number of classes, for the same reason."""

LONGEST_LABEL = 100
"""The largest number of characters of a class's label: labels stand in answers, tables and figures."""

CLASSIFICATION = "classification"
"""The kind of a task with one label for each image."""


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The input of a model: one tensor, and how an image becomes it."""

    name: str
    """The tensor's name in the graph."""
    dtype: str
    """The type of its values: `uint8`."""
    shape: Shape
    """The shape of one image's values, without the axis of images: height, width."""
    preparation: str
    """Name of the preparation that makes these values of an image: `ink` is `vitrine.model.prepare` at this shape."""


DIGITS_INPUT = ModelInput(INPUT, DTYPE, PIXELS_SHAPE, "ink")
"""The input of a digit model."""


@dataclass(frozen=True, slots=True)
class ClassificationTask:
    """The task of giving each image one label."""

    classes: tuple[str, ...]
    """The label of every class, in the order of the output layer's activations; two or more."""

    def to_document(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": CLASSIFICATION, "classes": list(self.classes)}


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """Facts about the training of a model."""

    dataset: str
    """The data set's name."""
    seed: int
    """The seed of the random start and of the examples' order."""
    epochs: int
    """The number of passes over the training examples that the weights have seen."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Measured results by name, for example `test_accuracy` (0 to 1)."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the frameworks by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """The parameters of a linear layer."""

    weight: npt.NDArray[np.float32]
    """float32 (width, width of the layer it reads)."""
    bias: npt.NDArray[np.float32]
    """float32 (width,)."""


@dataclass(frozen=True, slots=True, eq=False)
class GoldenSample:
    """A few pixels with the activations that PyTorch computed for them; a served model is checked against it."""

    pixels: npt.NDArray[np.uint8]
    """uint8 (G, height, width)."""
    activations: Mapping[str, npt.NDArray[np.float32]]
    """float32 (G, *the layer's shape) for every layer, by name."""
    novelty: npt.NDArray[np.float32] | None = None
    """float32 (G,): the novelty of each; None: the graph has no output `NOVELTY`."""

    def to_document(self) -> dict[str, Any]:
        """As plain data, the arrays' little-endian bytes in base64."""
        return {
            "pixels": _to_base64(self.pixels),
            "activations": {name: _to_base64(values) for name, values in self.activations.items()},
            "novelty": None if self.novelty is None else _to_base64(self.novelty),
        }


@dataclass(frozen=True, slots=True, eq=False)
class ArtifactMetadata:
    """Everything that an artifact says of itself."""

    name: str
    """The name that the model is served under."""
    input: ModelInput
    """Its input."""
    task: ClassificationTask
    """The meaning of its output layer."""
    layers: tuple[Layer, ...]
    """Every layer, from the input to the output layer."""
    training: TrainingFacts
    """Facts about its training."""
    golden: GoldenSample
    """Some pixels, and the activations that it must give for them."""
    data_sha256: str | None = None
    """The SHA-256 of the weights' file, in hex, when they lie beside the ONNX file; None when they are inside."""
    statistics: ActivationStatistics | None = None
    """Statistics of its activations on held-out examples; None: it was exported before they were recorded."""
    novelty_threshold: float | None = None
    """The largest novelty of an image like those it knows; None: the graph has no output `NOVELTY`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The label of every class, in the order of the output layer's activations."""
        return self.task.classes

    def to_properties(self) -> dict[str, str]:
        """The strings that are stored in the ONNX file's metadata."""
        document = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "input": asdict(self.input),
            "task": self.task.to_document(),
            "layers": [asdict(layer) for layer in self.layers],
            "training": asdict(self.training),
            "golden_sample": self.golden.to_document(),
            "data_sha256": self.data_sha256,
            "activation_statistics": self.statistics and asdict(self.statistics),
            "novelty_threshold": self.novelty_threshold,
        }
        return {PREFIX + key: json.dumps(value) for key, value in document.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> Self:
        """Reads the metadata of an ONNX file, of this format or of an older one.

        Raises:
            ArtifactError: the file isn't Vitrine's, is of a newer format, or its metadata is damaged.
        """
        if PREFIX + "format_version" not in properties:
            raise ArtifactError("it isn't a Vitrine artifact: its metadata has no vitrine.format_version")
        try:
            document = {k.removeprefix(PREFIX): json.loads(v) for k, v in properties.items() if k.startswith(PREFIX)}
            return cls._from_document(_in_this_format(document))
        except ArtifactError:
            raise
        except (LookupError, ArithmeticError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"its metadata is damaged: {shown(error)}") from error

    @classmethod
    def _from_document(cls, document: Mapping[str, Any]) -> Self:
        model_input = _input(document["input"])
        layers = parse_layers(document["layers"], model_input.shape)
        golden = _golden_sample(document["golden_sample"], layers, model_input.shape)
        return cls(
            name=check_name(document["name"]),
            input=model_input,
            task=_task(document["task"], layers[-1]),
            layers=layers,
            training=_training_facts(document["training"]),
            golden=golden,
            data_sha256=_digest(document.get("data_sha256")),
            statistics=_statistics(document.get("activation_statistics"), layers),
            novelty_threshold=_threshold(document.get("novelty_threshold"), golden),
        )


def _in_this_format(document: dict[str, Any]) -> dict[str, Any]:
    """A document of any readable version as one of the newest."""
    version = document["format_version"]
    if type(version) is not int or version < 1:
        raise ArtifactError(
            f"its format version is {shown(version)} ({type(version).__name__}), not a whole number of 1 or more: "
            "its metadata is damaged"
        )
    if version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise ArtifactError(
            f"its format version is {shown(version)}, and this Vitrine reads {known}: install a newer Vitrine"
        )
    return _from_version_1(document) if version == 1 else document


def _from_version_1(document: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had one input, flat layers that read one layer by its name, and classes without a task."""
    layers = [
        {**layer, "shape": [layer["width"]], "reads": [layer["reads"]] if layer["reads"] else []}
        for layer in document["layers"]
    ]
    task = {"kind": CLASSIFICATION, "classes": document["classes"]}
    return {**document, "input": asdict(DIGITS_INPUT) | {"shape": list(PIXELS_SHAPE)}, "task": task, "layers": layers}


def check_name(name: object) -> str:
    """Checks the name that a model is served under.

    Raises:
        ArtifactError: it isn't a printable text of 1 to `LONGEST_NAME` characters.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise ArtifactError(f"its name is {shown(name)}, which no request can ask for")
    return name


def _input(document: Mapping[str, Any]) -> ModelInput:
    name, dtype, preparation = (str(document[key]) for key in ("name", "dtype", "preparation"))
    shape = tuple(whole_number(extent) for extent in document["shape"])
    if (name, dtype) != (INPUT, DTYPE):
        raise ArtifactError(
            f"its input is {shown(name)} of {shown(dtype)}, and this Vitrine knows {INPUT!r} of {DTYPE!r} only"
        )
    if preparation not in PREPARATIONS:
        known = ", ".join(PREPARATIONS)
        raise ArtifactError(f"its images are prepared by {shown(preparation)}, and this Vitrine knows {known} only")
    return ModelInput(name, dtype, check_pixels_shape(shape), preparation)


def check_pixels_shape(shape: Shape) -> Shape:
    """Checks the shape of one image's pixels.

    Raises:
        ArtifactError: it isn't height and width of 1 to `LONGEST_SIDE`, or one is over `MOST_UNEQUAL` times the other.
    """
    if len(shape) != 2 or not 1 <= min(shape) <= max(shape) <= LONGEST_SIDE or max(shape) > MOST_UNEQUAL * min(shape):
        raise ArtifactError(
            f"its input has the shape {shown(list(shape))}, not height and width of 1 to {LONGEST_SIDE} pixels, "
            f"one at most {MOST_UNEQUAL} times the other"
        )
    return shape


def _task(document: Mapping[str, Any], output: Layer) -> ClassificationTask:
    if document["kind"] != CLASSIFICATION:
        raise ArtifactError(f"its task is {shown(document['kind'])}, and this Vitrine knows {CLASSIFICATION} only")
    task = ClassificationTask(check_classes(document["classes"]))
    if len(task.classes) != output.width:
        raise ArtifactError(f"it has {len(task.classes)} classes, and its output layer {output.width} activations")
    return task


def check_classes(labels: object) -> tuple[str, ...]:
    """Checks the labels of a model's classes.

    Raises:
        ArtifactError: there are fewer than two, or more than `MOST_CLASSES`; two look the same; or one fails
            `check_label`.
    """
    found = labels if isinstance(labels, list | tuple) else ()
    classes = tuple(label for label in found if isinstance(label, str))
    if len(classes) < len(found) or len(classes) < 2:
        raise ArtifactError(f"its classes are {shown(labels)}, not two texts or more")
    if len(classes) > MOST_CLASSES:
        raise ArtifactError(f"it has {len(classes):,} classes, and at most {MOST_CLASSES:,} can be described")
    for label in classes:
        check_label(label)
    if same := find_same(classes):
        raise ArtifactError(
            f"it has two classes with the same label: {same[0]!r} ({same[0]!a}) and {same[1]!r} ({same[1]!a})"
        )
    return classes


def check_label(label: str) -> str:
    """Checks the label of a class.

    Raises:
        ArtifactError: it isn't a printable text of 1 to `LONGEST_LABEL` characters, or has a space at an end.
    """
    if not label.strip() or not label.isprintable() or len(label) > LONGEST_LABEL:
        raise ArtifactError(
            f"it has a class {label[:LONGEST_LABEL]!r}: labels are 1 to {LONGEST_LABEL} printable characters"
        )
    if label != label.strip():
        raise ArtifactError(f"it has a class {label!r}: labels have no space at the beginning or end")
    return label


def _digest(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ArtifactError(f"its data_sha256 is {shown(value)}, not a digest in hex")
    return value


def _training_facts(document: Mapping[str, Any]) -> TrainingFacts:
    """The facts, each of the type and within the range that the wire has for it."""
    facts = TrainingFacts(
        dataset=_text(document["dataset"]),
        seed=whole_number(document["seed"]),
        epochs=whole_number(document["epochs"]),
        metrics={_text(name): _number(value) for name, value in document["metrics"].items()},
        versions={_text(name): _text(value) for name, value in document["versions"].items()},
    )
    if max(len(facts.metrics), len(facts.versions)) > MOST_FACTS:
        raise ArtifactError(f"its training has more than {MOST_FACTS} metrics or versions")
    if not (-(2**63) <= facts.seed < 2**63 and 0 <= facts.epochs < 2**31):
        raise ArtifactError(
            f"its training has seed {shown(facts.seed)} and {shown(facts.epochs)} epochs, which is out of range"
        )
    return facts


def _golden_sample(document: Mapping[str, Any], layers: tuple[Layer, ...], shape: Shape) -> GoldenSample:
    flat = np.frombuffer(base64.b64decode(document["pixels"], validate=True), np.uint8)
    pixels = flat.reshape(-1, *shape)  # (G, height, width)
    if len(pixels) == 0:
        raise ArtifactError("its golden sample is empty")
    novelty = document.get("novelty")
    return GoldenSample(
        pixels=pixels,
        activations={
            layer.name: _floats(document["activations"][layer.name]).reshape(len(pixels), *layer.shape)
            for layer in layers
        },
        novelty=None if novelty is None else _floats(novelty).reshape(len(pixels)),
    )


def _statistics(document: Mapping[str, Any] | None, layers: tuple[Layer, ...]) -> ActivationStatistics | None:
    if document is None:
        return None
    images = whole_number(document["images"])
    if not 1 <= images < 2**63:
        raise ArtifactError(f"its activation statistics are of {shown(images)} images, which is out of range")
    entries = {layer.name: document["layers"][layer.name] for layer in layers}
    return ActivationStatistics(images, {name: _layer_statistics(name, entry) for name, entry in entries.items()})


def _layer_statistics(name: str, entry: Mapping[str, Any]) -> LayerStatistics:
    mean, ratio = _number(entry["mean"]), entry["dead_ratio"]
    dead_ratio = None if ratio is None else _number(ratio)
    if not math.isfinite(mean) or not (dead_ratio is None or 0 <= dead_ratio <= 1):
        raise ArtifactError(f"its activation statistics of {name} are {mean} and {dead_ratio}, which is out of range")
    return LayerStatistics(mean, dead_ratio)


def _threshold(value: Any, golden: GoldenSample) -> float | None:
    if value is None:
        return None
    if golden.novelty is None:
        raise ArtifactError("it has a novelty threshold, and its golden sample says nothing of the novelty")
    if not math.isfinite(threshold := _number(value)):
        raise ArtifactError(f"its novelty threshold is {threshold}, by which nothing can be told apart")
    return threshold


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is no number")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is no text")
    if len(value) > LONGEST_TEXT or not value.isprintable():  # JSON can hold half of a surrogate pair, messages can't
        raise ValueError(f"{shown(value)} isn't a printable text of up to {LONGEST_TEXT} characters")
    return value


def _floats(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4")


def _to_base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")
