"""The learning rate of each step: a short rise, then half a cosine down to nearly nothing.

One cycle, after L. N. Smith and N. Topin 2018 (arXiv:1708.07120), falling as I. Loshchilov and F. Hutter 2017 have it
(arXiv:1608.03983). A function of the step alone, so that a resumed run needs no state of it.
"""

import math

WARM_UP = 0.15
"""The share of all steps in which the learning rate rises."""

FLOOR = 0.005
"""The share of the peak where it begins and ends."""


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """The learning rate of step `step` (0 to `steps` - 1); it is `peak` at the end of the rise."""
    position = (step + 0.5) / steps
    if position < WARM_UP:
        return peak * (FLOOR + (1 - FLOOR) * position / WARM_UP)
    fall = (position - WARM_UP) / (1 - WARM_UP)
    return peak * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * fall)) / 2)
