"""The deviation of activations from their expected values, and the largest one that a served model may have."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from vitrine.model.graph import NOVELTY

TOLERANCE = 1e-4
"""The largest `deviation` between the activations that training computed and those that are served."""


def deviation(
    computed: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    logits: npt.NDArray[np.float32] | None = None,
) -> float:
    """The largest difference between activations and their expected values, 0 or more.

    float32 has 24 bits for a number of any size, so above 1 the difference is relative to the largest activation.
    Values that aren't finite, or shapes that differ, deviate infinitely.

    Args:
        computed: float32, of any shape.
        expected: the expected values.
        logits: for a novelty, the logits that it is calculated from. It can be small where they are large, and is then
            no more exact than they are.
    """
    if computed.shape != expected.shape or not np.isfinite(computed).all():
        return float("inf")
    if expected.size == 0:
        return 0.0
    size = max(float(np.abs(values).max()) for values in (expected, logits) if values is not None)
    return float(np.abs(computed - expected).max() / max(1.0, size))


def deviations(
    computed: Mapping[str, npt.NDArray[np.float32]],
    expected: Mapping[str, npt.NDArray[np.float32]],
    logits: str,
) -> dict[str, float]:
    """The `deviation` of each output of a graph, by name.

    Args:
        computed: every expected output, by name.
        expected: every layer's activations, and the novelty, where the graph has it.
        logits: the layer that the output layer reads, of which the novelty is calculated.
    """
    return {
        name: deviation(computed[name], values, expected[logits] if name == NOVELTY else None)
        for name, values in expected.items()
    }
