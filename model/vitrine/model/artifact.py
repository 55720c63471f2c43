"""What an artifact says of itself: the metadata of the ONNX file, as types and as the strings that are stored.

It knows no ONNX: the exporter writes the strings into a file, the server hands over those that it found in one.
"""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vitrine.model.errors import ArtifactError
from vitrine.model.layers import DIGITS, Layer, parse_layers
from vitrine.model.preparation.pipeline import PIXELS_SHAPE
from vitrine.model.statistics import ActivationStatistics, LayerStatistics

FORMAT_VERSION = 1
"""The version of this layout. A reader refuses one that it doesn't know."""

PREFIX = "vitrine."
"""What the keys of the metadata begin with."""

NOVELTY = "novelty"
"""The name of the graph's output that says how unlike a digit an image is: float32 [N], −log Σ exp of the last linear
layer's activations, the energy of W. Liu et al. 2020 (arXiv:2010.03759). The larger, the less like a digit."""

TOLERANCE = 1e-4
"""The largest `deviation` between the activations that training computed and those that are served."""


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """How a model was trained."""

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
    """What a linear layer stores."""

    weight: npt.NDArray[np.float32]
    """float32 (width, width of the layer it reads)."""
    bias: npt.NDArray[np.float32]
    """float32 (width,)."""


@dataclass(frozen=True, slots=True, eq=False)
class GoldenSample:
    """A few pixels with the activations that PyTorch computed for them: what a served model is checked against."""

    pixels: npt.NDArray[np.uint8]
    """uint8 (G, 18, 18)."""
    activations: Mapping[str, npt.NDArray[np.float32]]
    """float32 (G, width) for every layer, by name."""
    novelty: npt.NDArray[np.float32] | None = None
    """float32 (G,): how unlike a digit each is; None: the graph has no output `NOVELTY`."""

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
    """What the model is called when it is served."""
    layers: tuple[Layer, ...]
    """Every layer, from the input to the output layer."""
    classes: tuple[str, ...]
    """The label of every class, in the order of the output layer's activations: `DIGITS`."""
    training: TrainingFacts
    """How it was trained."""
    golden: GoldenSample
    """What it must compute."""
    data_sha256: str | None = None
    """The SHA-256 of the weights' file, in hex, when they lie beside the ONNX file; None when they are inside."""
    statistics: ActivationStatistics | None = None
    """What its activations were like on held-out examples; None: it was exported before that was recorded."""
    novelty_threshold: float | None = None
    """The largest novelty that is still a digit's; None: the graph has no output `NOVELTY`."""

    def to_properties(self) -> dict[str, str]:
        """The strings that are stored in the ONNX file's metadata."""
        document = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "layers": [asdict(layer) for layer in self.layers],
            "classes": list(self.classes),
            "output": self.layers[-1].kind,
            "training": asdict(self.training),
            "golden_sample": self.golden.to_document(),
            "data_sha256": self.data_sha256,
            "activation_statistics": self.statistics and asdict(self.statistics),
            "novelty_threshold": self.novelty_threshold,
        }
        return {PREFIX + key: json.dumps(value) for key, value in document.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> Self:
        """Reads the metadata of an ONNX file.

        Raises:
            ArtifactError: the file isn't Vitrine's, is of a newer format, or its metadata is damaged.
        """
        if PREFIX + "format_version" not in properties:
            raise ArtifactError("it isn't a Vitrine artifact: its metadata has no vitrine.format_version")
        try:
            document = {k.removeprefix(PREFIX): json.loads(v) for k, v in properties.items() if k.startswith(PREFIX)}
            _check_format(document["format_version"])
            layers = parse_layers(document["layers"])
            golden = _golden_sample(document["golden_sample"], layers)
            return cls(
                name=_name(document["name"]),
                layers=layers,
                classes=_classes(document["classes"], layers[-1]),
                training=_training_facts(document["training"]),
                golden=golden,
                data_sha256=document.get("data_sha256"),
                statistics=_statistics(document.get("activation_statistics"), layers),
                novelty_threshold=_threshold(document.get("novelty_threshold"), golden),
            )
        except ArtifactError:
            raise
        except (LookupError, ArithmeticError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"its metadata is damaged: {error!r}") from error


def deviation(
    computed: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    logits: npt.NDArray[np.float32] | None = None,
) -> float:
    """How far activations are from what they should be: the largest difference, 0 or more.

    float32 has 24 bits for a number of any size, so where a layer's activations go beyond 1 the difference is taken
    relative to the largest of them. Values that aren't finite, or shapes that differ, deviate infinitely.

    Args:
        computed: float32, of any shape.
        expected: what they should be.
        logits: for a novelty, what it is calculated from: it may come out small where they are large, and is then no
            more exact than they are.
    """
    if computed.shape != expected.shape or not np.isfinite(computed).all():
        return float("inf")
    if expected.size == 0:
        return 0.0
    size = max(float(np.abs(values).max()) for values in (expected, logits) if values is not None)
    return float(np.abs(computed - expected).max() / max(1.0, size))


def deviations(
    computed: Mapping[str, npt.NDArray[np.float32]], expected: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, float]:
    """How far each output of a graph is from what it should be, by name.

    Args:
        computed: all that is expected, by name.
        expected: every layer's activations, in their order, and the novelty, where the graph has it.
    """
    *_, logits, _output = (values for name, values in expected.items() if name != NOVELTY)
    return {
        name: deviation(computed[name], values, logits if name == NOVELTY else None)
        for name, values in expected.items()
    }


def _check_format(version: object) -> None:
    if version != FORMAT_VERSION:
        raise ArtifactError(f"its format version is {version}, and this Vitrine reads {FORMAT_VERSION}")


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ArtifactError(f"its name is {name!r}, which no request can ask for")
    return name


def _classes(labels: object, output: Layer) -> tuple[str, ...]:
    if labels != list(DIGITS) or output.width != len(DIGITS):
        raise ArtifactError(f"its classes are {labels}, and a model's are the ten digits")
    return DIGITS


def _training_facts(document: Mapping[str, Any]) -> TrainingFacts:
    """The facts, each of the type and within the range that the wire has for it."""
    facts = TrainingFacts(
        dataset=str(document["dataset"]),
        seed=int(document["seed"]),
        epochs=int(document["epochs"]),
        metrics={str(name): float(value) for name, value in document["metrics"].items()},
        versions={str(name): str(value) for name, value in document["versions"].items()},
    )
    if not (-(2**63) <= facts.seed < 2**63 and 0 <= facts.epochs < 2**31):
        raise ArtifactError(f"its training has seed {facts.seed} and {facts.epochs} epochs, which is out of range")
    return facts


def _golden_sample(document: Mapping[str, Any], layers: tuple[Layer, ...]) -> GoldenSample:
    flat = np.frombuffer(base64.b64decode(document["pixels"], validate=True), np.uint8)
    pixels = flat.reshape(-1, *PIXELS_SHAPE)  # (G, 18, 18)
    if len(pixels) == 0:
        raise ArtifactError("its golden sample is empty")
    novelty = document.get("novelty")
    return GoldenSample(
        pixels=pixels,
        activations={
            layer.name: _floats(document["activations"][layer.name]).reshape(len(pixels), layer.width)
            for layer in layers
        },
        novelty=None if novelty is None else _floats(novelty).reshape(len(pixels)),
    )


def _statistics(document: Mapping[str, Any] | None, layers: tuple[Layer, ...]) -> ActivationStatistics | None:
    if document is None:
        return None
    entries = {layer.name: document["layers"][layer.name] for layer in layers}
    return ActivationStatistics(
        int(document["images"]),
        {name: LayerStatistics(float(e["mean"]), _ratio(e["dead_ratio"])) for name, e in entries.items()},
    )


def _threshold(value: Any, golden: GoldenSample) -> float | None:
    if value is None:
        return None
    if golden.novelty is None:
        raise ArtifactError("it has a novelty threshold, and its golden sample says nothing of the novelty")
    if not math.isfinite(threshold := float(value)):
        raise ArtifactError(f"its novelty threshold is {threshold}, by which nothing can be told apart")
    return threshold


def _ratio(value: Any) -> float | None:
    return None if value is None else float(value)


def _floats(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4")


def _to_base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")
