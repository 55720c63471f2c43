"""The stress set: MNIST digits rendered as photos, scans and drawings, and a model's accuracy on them.

`strokes` draws a digit with different pens, `scene` adds paper, table, light and camera, `conditions` combines them,
and `accuracy` measures a model.
"""

from vitrine.training.rendering.stress.accuracy import ConditionResult, draw_sheet, measure_stress
from vitrine.training.rendering.stress.conditions import CONDITIONS, render

__all__ = ["CONDITIONS", "ConditionResult", "draw_sheet", "measure_stress", "render"]
