"""Writes a run's model card: what the model is, for whom, where it ends, and the command that makes it again.

The form follows M. Mitchell et al. 2019 (arXiv:1810.03993).
"""

import shlex
from dataclasses import dataclass

from vitrine.model import DIGITS, NOVELTY, PIXELS_SHAPE, Layer
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.network.calibration import KEPT, Calibration
from vitrine.training.network.evaluate import Evaluation, percent
from vitrine.training.run.checkpoint import Checkpoint, RunIdentity
from vitrine.training.run.config import FitConfig
from vitrine.training.run.teacher import NETWORKS

ABOUT_DATA = {
    "digits": (
        "scikit-learn's `load_digits`: 1,797 handwritten digits of 13 people, 8 × 8 with 17 grey levels, the test part "
        "of E. Alpaydin and C. Kaynak's *Optical Recognition of Handwritten Digits* (UCI, 1998, "
        "doi:10.24432/C50P49, CC BY 4.0). 20 % of each digit are held out. Who wrote what isn't known, so the same "
        "people wrote both parts: on other people's digits expect a larger error."
    ),
    "mnist": (
        "MNIST (Y. LeCun, C. Cortes and C. J. C. Burges, 1998): 60,000 training and 10,000 test images, 28 × 28. "
        "The people who wrote the test images wrote no training image."
    ),
}
"""What is known of the data sets that come with Vitrine."""

ABOUT_OTHER_DATA = "One's own images, one folder for each class; 20 % of each class are held out."
"""What is known of a folder."""


@dataclass(frozen=True, slots=True)
class _Things:
    """The words for what a model tells apart."""

    one: str
    many: str
    singly: str
    all: str
    named: str


def _things(identity: RunIdentity) -> _Things:
    if identity.classes == DIGITS:
        return _Things("digit", "digits", "single digits", "the ten digits", "the ten digits")
    count = len(identity.classes)
    named = f"{count} classes ({', '.join(identity.classes)})"
    return _Things("image", "images", "images of its classes", f"the {count} classes", named)


def model_card(folder: RunFolder, checkpoint: Checkpoint, evaluation: Evaluation) -> str:
    """The card, in Markdown; its pictures are those of the run folder."""
    identity, kept, things = checkpoint.identity, checkpoint.kept, _things(checkpoint.identity)
    height, width = identity.shape
    mlp, calibration = checkpoint.kept_mlp(), checkpoint.calibration()
    return f"""# {identity.name}

A ReLU MLP that tells {things.named} apart on {height} × {width} pixels, 0 = white (paper) and 255 = black \
(ink). It gives the activations of every layer.

| | |
| --- | --- |
| test error | **{evaluation.error:.2%}** ({evaluation.errors:,} of {evaluation.count:,}) |
| validation error | {kept.validation_error:.2%}, {_which_epoch(checkpoint)} |
| calibration error | {_how_calibrated(calibration)} |
| parameters | {sum(layer.parameter_count for layer in mlp.layers):,} |
| output | {checkpoint.config.output} |
| trained | {_how_long(checkpoint)} |

## Use

For learning and showing how a network reads {things.singly}, drawn, photographed or scanned: one {things.one} on \
paper, dark on light or light on dark. `vitrine-server {folder.model.name}` serves it; `vitrine.model.prepare` turns \
any image into its pixels.

**Limits.** Every image gets one of {things.all} and its probability, also one that shows none of them, or two. \
{_what_novelty_tells(calibration, things)}

Several {things.many} in one image must be cut apart first. Not for cheques, ballots, medicine, or whatever else a \
wrong {things.one} harms.

## Data

{ABOUT_DATA.get(identity.source, ABOUT_OTHER_DATA)}
{_about_teaching(checkpoint.config)}
## Figures

![Learning curve]({folder.learning_curve.name})
![Confusion matrix]({folder.confusion_matrix.name})

{_class_table(evaluation, things)}

## Layers

{_layer_table(mlp.layers)}

## Make it again

```
{fit_command(identity, checkpoint.config)}
```

{_how_alike(checkpoint)} Every number is in `{folder.metrics.name}`.
"""


def fit_command(identity: RunIdentity, config: FitConfig) -> str:
    """The command that fits with these settings, each one spelled out; a folder is looked for where one stands."""
    data_set = identity.source if identity.source in ABOUT_DATA else f"./{identity.dataset}"
    size = [] if identity.shape == PIXELS_SHAPE else ["--size", "x".join(map(str, identity.shape))]
    patience = [] if config.patience is None else ["--patience", str(config.patience)]
    words = [
        *("vitrine-train", "fit", "--dataset", data_set, *size, "--name", identity.name),
        *("--hidden", ",".join(map(str, config.hidden)), "--output", config.output),
        *("--epochs", str(config.epochs), "--batch-size", str(config.batch_size)),
        *("--learning-rate", str(config.learning_rate), "--weight-decay", str(config.weight_decay)),
        *("--seed", str(config.seed), "--device", config.device, "--threads", str(config.threads)),
        *("--validation", str(config.validation), "--augment", str(config.augment), *patience),
        *("--counter-examples", str(config.counter_examples)),
        *("--teacher-epochs", str(config.teacher_epochs), "--versions", str(config.versions)),
    ]
    return shlex.join(words)


def _how_calibrated(calibration: Calibration) -> str:
    return (
        f"{calibration.error:.2%} on the validation part, by temperature {calibration.temperature:.3g}; "
        f"{calibration.error_before:.2%} without"
    )


def _what_novelty_tells(calibration: Calibration, things: _Things) -> str:
    return (
        f"That is what the output `{NOVELTY}` is for: above {calibration.novelty_threshold:.3g} an image is unlike the "
        f"{things.many} that this model knows. Of those that it reads rightly in the validation part, {KEPT:.1%} or "
        "more lie no higher. It is a hint and no proof: below it an image may still show anything, for many letters "
        f"and shapes resemble some {things.one}, and an unusual {things.one} may lie above."
    )


def _about_teaching(config: FitConfig) -> str:
    """What else it learnt from, as paragraphs of their own; empty where that was the data set alone."""
    counter = (
        f"Beside them it learnt from {config.counter_examples:,} made images without a digit (printed letters, words "
        "and numbers, shapes, scribbles, noise, empty pages) and a quarter as many printed digits, drawn from a seed."
    )
    teacher = (
        f"It learnt from the answers of a teacher, {NETWORKS} convolutional networks that had learnt the same images "
        f"for {config.teacher_epochs} epochs each, about {config.versions} bent versions of each image."
    )
    told = [text for text, used in ((counter, config.counter_examples), (teacher, config.teacher_epochs)) if used]
    return "".join(f"\n{text}\n" for text in told)


def _which_epoch(checkpoint: Checkpoint) -> str:
    number = checkpoint.kept.number
    return f"after epoch {number}, the last" if checkpoint.teacher else f"by which epoch {number} was chosen"


def _how_alike(checkpoint: Checkpoint) -> str:
    """How much of the run comes back when it is made again: CUDA adds up in whatever order is fastest."""
    if all(epoch.device == "cpu" for epoch in checkpoint.history):
        teacher = " and the same teacher, whose file `--teacher` names," if checkpoint.config.teacher_epochs else ","
        return f"On one CPU, with the same versions{teacher} this gives the same weights, bit for bit."
    return "It was trained on CUDA: this gives a model as good, and not the same weights bit for bit."


def _how_long(checkpoint: Checkpoint) -> str:
    seconds = sum(epoch.seconds for epoch in checkpoint.history)
    interrupted = "" if checkpoint.finished else f" of {checkpoint.config.epochs}; it was interrupted"
    teacher = "; its teacher's time isn't counted" if checkpoint.config.teacher_epochs else ""
    return f"{seconds:.0f} s, {len(checkpoint.history)} epochs{interrupted}{teacher}"


def _class_table(evaluation: Evaluation, things: _Things) -> str:
    rows = [
        f"| {label} | {count:,} | {percent(evaluation.recall[label])} | {percent(evaluation.precision[label])} |"
        for label, count in zip(evaluation.classes, evaluation.confusion.sum(axis=1), strict=True)
    ]
    return "\n".join((f"| {things.one} | test images | recall | precision |", "| --- | ---: | ---: | ---: |", *rows))


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
