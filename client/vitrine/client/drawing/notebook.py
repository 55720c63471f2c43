"""Results as HTML for notebooks: pictures of a few hundred bytes and bars, right on light and on dark, no script."""

import base64
import io
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitrine.client.drawable import shows
from vitrine.client.types import Explanation, Floats, Prediction, rejection_of

SHOWN_CLASSES = 10
"""The most probable classes of a prediction that get a bar."""

PICTURE = "height:9em;image-rendering:pixelated;border:1px solid #8888"
"""Style of a picture."""

RED, BLUE = (178, 24, 43), (33, 102, 172)
"""The colours of shares above and below zero."""


@shows(Prediction)
def prediction_html(prediction: Prediction) -> str:
    """The pixels, if they are here, and bars of the most probable classes; with a baseline, that beside it."""
    parts = [_bars(prediction, "with interventions" if prediction.baseline else "")]
    if prediction.baseline is not None:
        parts.append(_bars(prediction.baseline, "untouched"))
    if prediction.has_pixels:
        parts.insert(0, _picture(_ink(prediction.pixels), "the pixels"))
    return _row(parts)


@shows(Explanation)
def explanation_html(explanation: Explanation) -> str:
    """The pixels, their shares in the score, and the sum."""
    shares = explanation.contributions
    text = (
        f"<b>{escape(explanation.label)}</b>: score {explanation.score:.3f} = pixels {shares.sum():+.3f}, "
        f"bias {explanation.bias:+.3f}<br>red speaks for it, blue against it<br>{escape(explanation.method)}"
    )
    return _row([_picture(_ink(explanation.pixels), "the pixels"), _picture(_heat(shares), "contributions"), text])


def _row(parts: list[str]) -> str:
    cells = "".join(f'<div style="margin-right:1.5em">{part}</div>' for part in parts)
    return f'<div style="display:flex;align-items:flex-start;flex-wrap:wrap">{cells}</div>'


def _bars(prediction: Prediction, note: str) -> str:
    order = np.argsort(-prediction.probabilities, kind="stable")[:SHOWN_CLASSES]
    rows = "".join(
        f"<tr><th>{escape(prediction.classes[index])}</th><td>{prediction.probabilities[index]:.1%}</td>"
        f'<td><div style="width:{8 * float(prediction.probabilities[index]):.2f}em;height:.7em;background:#4a7fb5">'
        "</div></td></tr>"
        for index in order
    )
    rejected = f" · {rejection_of(prediction.classes)}" if prediction.is_digit is False else ""
    heading = f"<b>{escape(prediction.label)}</b> {prediction.probability:.1%}{rejected}"
    return f"{heading}{' · ' + note if note else ''}<table>{rows}</table>"


def _ink(pixels: Floats) -> npt.NDArray[np.uint8]:
    return np.round(255 * (1 - pixels)).astype(np.uint8)


def _heat(shares: Floats) -> npt.NDArray[np.uint8]:
    """uint8 (height, width, 3): white at zero, red above, blue below."""
    strength = np.abs(shares)[..., None] / (float(np.abs(shares).max()) or 1.0)
    colour = np.where(shares[..., None] > 0, np.array(RED), np.array(BLUE))
    return np.round(255 + (colour - 255) * strength).astype(np.uint8)


def _picture(values: npt.NDArray[np.uint8], alternative: str) -> str:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img style="{PICTURE}" alt="{alternative}" src="data:image/png;base64,{data}">'
