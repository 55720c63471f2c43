"""Error and calibration of artifacts by source of handwriting, contributor, digit and form.

    python -m benchmarks.handwriting MODEL.onnx… [--part validation|test] [--json]

The validation part is what a fit of `handwriting` holds out by default: all choices are made by it. The test part is
for the end. Beside both stand sets that no fit learns from: written forms with another seed, the embedded digits of
scikit-learn, enlarged, and UNIPEN's drawings that may be one stroke of a digit of several. MNIST's images are also
bent, in eight ways each, because a few thousand images as they are can't tell good networks apart.

It needs MNIST with `writers.npz`, and UNIPEN, in the folder that `VITRINE_DATA_DIR` names.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import click
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.harness.machine import machine
from benchmarks.harness.rounds import with_progress
from vitrine.model import ArtifactMetadata, prepare
from vitrine.training import Dataset, Examples, load_dataset
from vitrine.training.data import digit_images, is_part, load_unipen, split, stratified_split, without_repeats
from vitrine.training.data.mnist import VALIDATION
from vitrine.training.data.pen_digits import draw_digits
from vitrine.training.examples.batches import CHUNK_SIZE, VERSIONS_SEED, AugmentedBatches
from vitrine.training.examples.written_forms import written_forms
from vitrine.training.network.artifact_file import open_session
from vitrine.training.network.calibration import expected_calibration_error
from vitrine.training.randomness import Stream, torch_generator

Part: TypeAlias = Literal["validation", "test"]

ENLARGED = 5
"""Factor by which the embedded digits, 8 × 8 pixels, are enlarged."""

EMBEDDED_TEST = 0.5
"""Share of the embedded digits that belongs to the test part; the other half is looked at before."""

FORMS = 8100
"""Written forms: at least 162 of each."""

FORMS_SEEDS: Mapping[Part, int] = {"validation": 1, "test": 2}
"""Seeds of the written forms; a fit learns from seed 0."""

BENDS = 8
"""Bent versions of each of MNIST's images."""

VERSION = 1077
"""Version number of the bent images; no fit has so many versions."""

CHUNK = 4096
"""Images that are classified at a time, to bound memory."""


@dataclass(frozen=True)
class Figures:
    """Results of an artifact for a set of images."""

    count: int
    errors: int
    calibration_error: float
    """Expected calibration error, 0 to 1."""
    by_source: Mapping[str, tuple[int, int]]
    """Images and errors by contributor or form."""
    by_digit: Mapping[str, tuple[int, int]]
    """Images and errors by digit."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with shares."""
        tables = {name: getattr(self, name) for name in ("by_source", "by_digit")}
        return {
            "count": self.count,
            "errors": self.errors,
            "error": self.errors / self.count,
            "calibration_error": self.calibration_error,
            **{
                name: {
                    key: {"count": n, "errors": wrong, "accuracy": 1 - wrong / n} for key, (n, wrong) in rows.items()
                }
                for name, rows in tables.items()
            },
        }


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--part", type=click.Choice(get_args(Part)), default="validation", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(models: tuple[Path, ...], part: Part, as_json: bool) -> None:
    """Classify all sets of handwriting with the artifacts MODELS, and print errors by source, digit and form."""
    sets = handwriting_sets(part)
    found = {str(model): measure(model, sets) for model in with_progress(models)}
    if as_json:
        document = {name: {key: each.to_dict() for key, each in figures.items()} for name, figures in found.items()}
        click.echo(json.dumps({"machine": machine("onnxruntime"), "part": part, "models": document}))
    else:
        click.echo("\n\n".join(f"{name}, {part}\n{as_text(figures)}" for name, figures in found.items()))


def handwriting_sets(part: Part) -> dict[str, Examples]:
    """All sets of a part by name."""
    handwriting = _part_of(load_dataset("handwriting", progress=False), part)
    sources = handwriting.members()
    mnist = handwriting[sources.pop("mnist")]
    return {
        "mnist": mnist,
        "mnist, bent": _bent(mnist),
        "unipen": handwriting[np.sort(np.concatenate([*sources.values()]))],
        **_parts_of_digits(),
        "forms": written_forms(FORMS, seed=FORMS_SEEDS[part], progress=False),
        "embedded": _embedded(part),
    }


def measure(model: Path, sets: Mapping[str, Examples]) -> dict[str, Figures]:
    """Classifies all sets as the server would."""
    session = open_session(model)
    metadata = ArtifactMetadata.from_properties(session.get_modelmeta().custom_metadata_map)
    output = metadata.layers[-1].name
    found = {}
    for name, examples in sets.items():
        chunks = np.array_split(examples.pixels, np.arange(CHUNK, len(examples), CHUNK))
        probabilities = np.concatenate([session.run([output], {"pixels": chunk})[0] for chunk in chunks])
        found[name] = figures_of(probabilities, examples)
    return found


def figures_of(probabilities: npt.NDArray[np.float32], examples: Examples) -> Figures:
    """Counts the errors of probabilities, float32 (N, 10)."""
    labels = examples.labels
    wrong = probabilities.argmax(axis=1) != labels

    def rows(members: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, tuple[int, int]]:
        return {name: (len(places), int(wrong[places].sum())) for name, places in members.items()}

    return Figures(
        len(labels),
        int(wrong.sum()),
        expected_calibration_error(probabilities, labels),
        rows(examples.members() if examples.sources is not None else {}),
        rows({str(digit): np.flatnonzero(labels == digit) for digit in np.unique(labels)}),
    )


def as_text(found: Mapping[str, Figures]) -> str:
    """Tables for a terminal."""
    lines = []
    for name, each in found.items():
        lines.append(
            f"{name}: error {each.errors / each.count:.2%} of {each.count:,}, calibration error "
            f"{each.calibration_error:.2%}"
        )
        for rows in (each.by_source, each.by_digit):
            lines += ["  " + ", ".join(f"{key} {1 - wrong / n:.1%} of {n:,}" for key, (n, wrong) in rows.items())]
    return "\n".join(line for line in lines if line.strip())


def _part_of(dataset: Dataset, part: Part) -> Examples:
    if part == "test":
        return dataset.test
    _, held_out = split(dataset.train, VALIDATION, 0)
    return dataset.train[held_out]


def _bent(examples: Examples) -> Examples:
    """`BENDS` bent versions of each example."""
    batches = AugmentedBatches(examples, 1.0, VERSIONS_SEED, torch.device("cpu"))
    generator = torch_generator(VERSIONS_SEED, Stream.VERSION, VERSION)
    versions = torch.arange(len(batches)).repeat(BENDS).reshape(BENDS, -1)
    bent = [batches.augmented(chosen, generator) for each in versions for chosen in torch.split(each, CHUNK_SIZE)]
    return Examples(torch.cat(bent).round().to(torch.uint8).numpy(), np.tile(examples.labels, BENDS))


def _parts_of_digits() -> dict[str, Examples]:
    parts = [each for each in without_repeats(load_unipen()) if is_part(each)]
    return {"unipen, parts of digits": draw_digits(parts, progress=False)} if parts else {}


def _embedded(part: Part) -> Examples:
    """The embedded digits, enlarged."""
    images, labels = digit_images()
    halves = stratified_split(images, labels, EMBEDDED_TEST, 0)
    chosen = halves[part == "test"]
    side = ENLARGED * images.shape[1]
    enlarged = (Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC) for image in images[chosen])
    return Examples(np.stack([prepare(image) for image in enlarged]), labels[chosen])


if __name__ == "__main__":
    main()
