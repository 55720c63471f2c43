"""Writes the model card of a run: purpose, limits, data, results, and the command that repeats the run.

The form follows M. Mitchell et al. 2019 (arXiv:1810.03993).
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vitrine.model import DIGITS, NOVELTY, PIXELS_SHAPE, Layer
from vitrine.training.data import DRAWINGS
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.markdown import plain_markdown
from vitrine.training.network.calibration import KEPT, Calibration
from vitrine.training.network.evaluate import Evaluation, percent
from vitrine.training.run.checkpoint import Checkpoint, Origin, RunIdentity
from vitrine.training.run.config import FitConfig
from vitrine.training.run.teacher import NETWORKS
from vitrine.training.run.whose_handwriting import whose_handwriting

ABOUT_DATA = {
    "digits": (
        "scikit-learn's `load_digits`: 1,797 handwritten digits of 13 people, 8 × 8 with 17 grey levels, the test part "
        "of E. Alpaydin and C. Kaynak's *Optical Recognition of Handwritten Digits* (UCI, 1998, "
        "doi:10.24432/C50P49, CC BY 4.0). 20 % of each digit are held out. The writers are not recorded, so the same "
        "people wrote both parts: expect a larger error on digits by other people."
    ),
    "mnist": (
        "MNIST (Y. LeCun, C. Cortes and C. J. C. Burges, 1998): 60,000 training and 10,000 test images, 28 × 28. "
        "The people who wrote the test images wrote no training image."
    ),
    "unipen": (
        "The isolated digits of UNIPEN, train_r01_v07 (I. Guyon et al. 1994, Zenodo record 1195803, CC BY 4.0): pen "
        f"trajectories of fourteen contributors, each drawn {DRAWINGS} times with pens of every width. A fifth of each "
        "contributor's writers are held out."
    ),
    "handwriting": (
        "MNIST (Y. LeCun, C. Cortes and C. J. C. Burges, 1998): 60,000 training and 10,000 test images, 28 × 28. And "
        "the isolated digits of UNIPEN, train_r01_v07 (I. Guyon et al. 1994, Zenodo record 1195803, CC BY 4.0): pen "
        f"trajectories of fourteen contributors, each drawn with up to {DRAWINGS} pens. The people who wrote the test "
        "images of either wrote no training image."
    ),
}
"""Descriptions of the built-in data sets."""

MOST_LISTED = 20
"""The largest number of classes that the first sentence names; the table has all."""

ABOUT_OTHER_DATA = "A folder of images with one subfolder per class; 20 % of each class are held out."
"""Description of a data set from a folder."""


@dataclass(frozen=True, slots=True)
class _Nouns:
    """Words for the classes of a model."""

    one: str
    many: str
    singly: str
    all: str
    named: str


def _nouns(identity: RunIdentity) -> _Nouns:
    if identity.classes == DIGITS:
        return _Nouns("digit", "digits", "single digits", "the ten digits", "the ten digits")
    count = len(identity.classes)
    listed = [plain_markdown(label) for label in identity.classes]
    if count > MOST_LISTED:
        listed = [*listed[: MOST_LISTED - 1], "…", listed[-1]]
    named = f"{count:,} classes ({', '.join(listed)})"
    return _Nouns("symbol", "symbols", "single symbols", f"the {count:,} classes", named)


def model_card(
    folder: RunFolder,
    checkpoint: Checkpoint,
    evaluation: Evaluation,
    by_source: Mapping[str, Evaluation] = MappingProxyType({}),
) -> str:
    """The model card in Markdown; it links to the pictures in the run folder.

    Args:
        folder: the run's folder.
        checkpoint: the run's state.
        evaluation: of its kept network on the test images.
        by_source: the same for the test images of each source; empty for a single one.
    """
    identity, kept, nouns = checkpoint.identity, checkpoint.kept, _nouns(checkpoint.identity)
    height, width = identity.shape
    mlp, calibration = checkpoint.kept_mlp(), checkpoint.calibration()
    return f"""# {identity.name}

A ReLU MLP that tells {nouns.named} apart on {height} × {width} pixels, 0 = white (paper) and 255 = black \
(ink). It gives the activations of every layer.

| | |
| --- | --- |
| test error | **{evaluation.error:.2%}** ({evaluation.errors:,} of {evaluation.count:,}) |
| validation error | {kept.validation_error:.2%}, {_epoch_text(checkpoint)} |
| calibration error | {_calibration_text(calibration)} |
| parameters | {sum(layer.parameter_count for layer in mlp.layers):,} |
| output | {checkpoint.config.output} |
| trained | {_duration_text(checkpoint)} |

## Use

For learning and showing how a network reads {nouns.singly}, drawn, photographed or scanned: one {nouns.one} on \
paper, dark on light or light on dark. `vitrine-server {folder.model.name}` serves it; `vitrine.model.prepare` turns \
any image into its pixels.

**Limits.** Every image gets one of {nouns.all} and its probability, also one that shows none of them, or two. \
{_novelty_text(calibration, nouns)}

An image with several {nouns.many} must be split first. Do not use the model for cheques, ballots, medicine, or any \
other purpose where a wrong {nouns.one} does harm.

## Data

{ABOUT_DATA.get(identity.source, ABOUT_OTHER_DATA)}
{_origin_text(checkpoint.origin)}{_further_data_text(checkpoint.config, identity)}
## Whose handwriting

{whose_handwriting(identity.source, identity.classes, _learnt_forms(checkpoint.config), by_source)}

## Figures

![Learning curve]({folder.learning_curve.name})
![Confusion matrix]({folder.confusion_matrix.name})

{_class_table(evaluation)}

## Layers

{_layer_table(mlp.layers)}

## Reproduce

```
{fit_command(identity, checkpoint.config, checkpoint.origin)}
```

{_reproducibility_text(checkpoint)} Every number is in `{folder.metrics.name}`.
"""


def fit_command(identity: RunIdentity, config: FitConfig, origin: Origin | None = None) -> str:
    """The command that repeats a fit, with every setting spelled out. A folder is assumed in the working directory.

    A fine-tuned run names the model that it started from; its file is to be put in the place of the name.
    """
    data_set = identity.source if identity.source in ABOUT_DATA else f"./{identity.dataset}"
    size = [] if identity.shape == PIXELS_SHAPE else ["--size", "x".join(map(str, identity.shape))]
    start = [] if origin is None else ["--from", f"{origin.name}.onnx"]
    patience = [] if config.patience is None else ["--patience", str(config.patience)]
    words = [
        *("vitrine-train", "fit", "--dataset", data_set, *size, "--name", identity.name, *start),
        *("--hidden", ",".join(map(str, config.hidden)), "--output", config.output),
        *("--epochs", str(config.epochs), "--batch-size", str(config.batch_size)),
        *("--learning-rate", str(config.learning_rate), "--weight-decay", str(config.weight_decay)),
        *("--seed", str(config.seed), "--device", config.device, "--threads", str(config.threads)),
        *("--validation", str(config.validation), "--augment", str(config.augment), *patience),
        *("--drawings", str(config.drawings), "--forms", str(config.forms)),
        *("--counter-examples", str(config.counter_examples)),
        *("--teacher-epochs", str(config.teacher_epochs), "--versions", str(config.versions)),
    ]
    return shlex.join(words)


def _calibration_text(calibration: Calibration) -> str:
    return (
        f"{calibration.error:.2%} on the validation part with temperature {calibration.temperature:.3g}; "
        f"{calibration.error_before:.2%} without"
    )


def _novelty_text(calibration: Calibration, nouns: _Nouns) -> str:
    return (
        f"The output `{NOVELTY}` detects such images: above {calibration.novelty_threshold:.3g} an image is unlike the "
        f"{nouns.many} that this model knows. {KEPT:.1%} or more of the correctly classified validation images are "
        f"at or below this threshold. Novelty is a hint, not proof: many other motifs resemble one of the {nouns.many} "
        f"and stay below it, and an unusual {nouns.one} can be above it."
    )


def _origin_text(origin: Origin | None) -> str:
    """A paragraph about the network that a fine-tuned run started from; empty for a random start."""
    if origin is None:
        return ""
    return (
        f"\nThe run was fine-tuned. It started from the parameters of the model {plain_markdown(origin.name)}, trained "
        f"on {plain_markdown(origin.dataset)} (SHA-256 of its file {origin.sha256}), which misclassified "
        f"{percent(origin.test_error)} of these test images. So the model has also seen what that one was trained "
        "on.\n"
    )


def _further_data_text(config: FitConfig, identity: RunIdentity) -> str:
    """Paragraphs about counter-examples and the teacher; empty for a model trained on the data set alone."""
    printed = " and a quarter as many printed digits" if identity.classes == DIGITS else ""
    counter = (
        f"The training data also contain {config.counter_examples:,} generated images without a digit (printed "
        "and handwritten letters of several scripts, words and numbers, shapes, scribbles, noise, empty pages)"
        f"{printed}. Letters that people write exactly as a digit, such as O, l and S, aren't among them."
    )
    teacher = (
        f"The model was distilled from a teacher: {NETWORKS} convolutional networks, trained on the same images for "
        f"{config.teacher_epochs} epochs each. It learnt their logits for {config.versions} augmented copies of each "
        "image."
    )
    used = [text for text, wanted in ((counter, config.counter_examples), (teacher, config.teacher_epochs)) if wanted]
    return "".join(f"\n{text}\n" for text in used)


def _learnt_forms(config: FitConfig) -> bool:
    return bool(config.to_dict().get("forms"))


def _epoch_text(checkpoint: Checkpoint) -> str:
    number = checkpoint.kept.number
    return f"after epoch {number}, the last" if checkpoint.teacher else f"by which epoch {number} was selected"


def _reproducibility_text(checkpoint: Checkpoint) -> str:
    """A sentence on how closely a new run repeats this one. CUDA adds numbers in no fixed order."""
    if all(epoch.device == "cpu" for epoch in checkpoint.history):
        teacher = " and the same teacher file (`--teacher`)," if checkpoint.config.teacher_epochs else ","
        return f"On one CPU, with the same versions{teacher} this gives the same weights bit for bit."
    return "The model was trained on CUDA: this gives an equally good model, but not the same weights bit for bit."


def _duration_text(checkpoint: Checkpoint) -> str:
    seconds = sum(epoch.seconds for epoch in checkpoint.history)
    interrupted = "" if checkpoint.finished else f" of {checkpoint.config.epochs}; it was interrupted"
    teacher = ", without the teacher's training" if checkpoint.config.teacher_epochs else ""
    return f"{seconds:.0f} s, {len(checkpoint.history)} epochs{interrupted}{teacher}"


def _class_table(evaluation: Evaluation) -> str:
    noun = "digit" if evaluation.classes == DIGITS else "class"
    recall, precision = evaluation.recall, evaluation.precision
    rows = [
        f"| {plain_markdown(label)} | {count:,} | {percent(recall[label])} | {percent(precision[label])} |"
        for label, count in zip(evaluation.classes, evaluation.confusion.sum(axis=1), strict=True)
    ]
    return "\n".join((f"| {noun} | test images | recall | precision |", "| --- | ---: | ---: | ---: |", *rows))


def _layer_table(layers: tuple[Layer, ...]) -> str:
    rows = [
        f"| `{layer.name}` | {layer.kind} | {layer.width:,} | {layer.parameter_count:,} | {_code(*layer.reads)} |"
        for layer in layers
    ]
    return "\n".join(
        ("| layer | kind | activations | parameters | reads |", "| --- | --- | ---: | ---: | --- |", *rows)
    )


def _code(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names) or "the pixels"
