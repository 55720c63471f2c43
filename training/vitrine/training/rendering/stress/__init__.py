"""The stress set: MNIST digits rendered as photos, scans and drawings, and a model's accuracy on them.

Beside them stand digits in forms that MNIST has few of, written by hand (`forms`).

`strokes` draws a digit with different pens, `scene` adds paper, table, light and camera, `conditions` combines them,
and `accuracy` measures a model.
"""

from vitrine.training.rendering.stress.accuracy import ConditionResult, draw_sheet, measure_stress
from vitrine.training.rendering.stress.conditions import CONDITIONS, render
from vitrine.training.rendering.stress.forms import FORM_CONDITIONS, render_form

__all__ = [
    "CONDITIONS",
    "EVERY_CONDITION",
    "FORM_CONDITIONS",
    "ConditionResult",
    "draw_sheet",
    "measure_stress",
    "render",
    "render_form",
]

EVERY_CONDITION = (*CONDITIONS, *FORM_CONDITIONS)
"""Names of all conditions, those of forms last."""
