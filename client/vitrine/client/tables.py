"""Many predictions as one table or as one array for each layer: row i is image i. It needs no server.

pandas is imported only when a frame is asked for; it belongs to no extra.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vitrine.client.errors import UsageError
from vitrine.client.types import Floats, Prediction

if TYPE_CHECKING:
    import pandas as pd


def stack_activations(predictions: Iterable[Prediction]) -> dict[str, Floats]:
    """The activations of many images by layer: float32 (N, *layer.shape) each; empty without predictions.

    Raises:
        UsageError: the predictions have other layers, or layers of other shapes, than the first one has.
    """
    made = list(predictions)
    try:
        return {
            name: np.stack([each.activations[name] for each in made]) for name in (made[0].activations if made else ())
        }
    except (KeyError, ValueError) as error:
        raise UsageError("the predictions have different layers: stack those of one model, asked for alike") from error


def to_frame(predictions: Iterable[Prediction]) -> "pd.DataFrame":
    """The predictions as a pandas frame, a row for each image.

    The columns are `image`, `label`, `probability`, `novelty`, `is_digit` and `model`, and for each class its
    probability, as `p(CLASS)`.

    Raises:
        UsageError: pandas isn't installed, or the predictions have different classes.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError("a frame needs pandas: pip install pandas") from error
    made = list(predictions)
    if len({each.classes for each in made}) > 1:
        raise UsageError("the predictions have different classes: make a frame for each model")
    return pd.DataFrame([_row(each) for each in made])


def _row(prediction: Prediction) -> dict[str, object]:
    facts: Sequence[tuple[str, object]] = (
        ("image", prediction.image),
        ("label", prediction.label),
        ("probability", prediction.probability),
        ("novelty", prediction.novelty),
        ("is_digit", prediction.is_digit),
        ("model", prediction.model.label),
    )
    probabilities = zip(prediction.classes, prediction.probabilities.tolist(), strict=True)
    return dict(facts) | {f"p({label})": probability for label, probability in probabilities}
