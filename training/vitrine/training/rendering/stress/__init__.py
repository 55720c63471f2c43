"""The stress set: MNIST's digits as people send them, rendered from a seed, and what a model makes of them.

`strokes` writes a digit with any pen, `scene` has paper, table, light and camera, `conditions` puts them together, and
`measure` counts.
"""

from vitrine.training.rendering.stress.accuracy import ConditionResult, draw_sheet, measure_stress
from vitrine.training.rendering.stress.conditions import CONDITIONS, render

__all__ = ["CONDITIONS", "ConditionResult", "draw_sheet", "measure_stress", "render"]
