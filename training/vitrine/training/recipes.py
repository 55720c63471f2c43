"""The settings that a data set is fitted with when nobody says otherwise.

They were chosen by the validation part alone; the test part was looked at once, at the end.
"""

from collections.abc import Mapping

from vitrine.training.config import FitConfig

RECIPES: Mapping[str, FitConfig] = {
    "digits": FitConfig(hidden=(128, 64), epochs=40, batch_size=64, learning_rate=4e-3),
    "mnist": FitConfig(hidden=(512, 256), epochs=50, batch_size=128, learning_rate=2e-3, weight_decay=0.1),
}
"""By the data set's source: what `load_dataset` finds it by."""


def recipe(dataset: str) -> FitConfig:
    """The settings for a data set by its source; a folder of one's own images gets the defaults, whatever its name."""
    return RECIPES.get(dataset, FitConfig())
