"""Draws the pictures of docs/gallery.md and docs/tutorial.md with a server of the bundled model. Run by `make figures`.

It draws the tutorial's image, too: a 4 whose top leans over so far that the model takes it for a 9.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vitrine.client import Client, compare, zero

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
OUT = HERE / "inside"
READY = "vitrine-server listening on "


def main() -> None:
    """Draws all pictures."""
    draw_four(EXAMPLES / "four.png")
    OUT.mkdir(exist_ok=True)
    with served() as target, Client(target) as client:
        four, eight = EXAMPLES / "four.png", EXAMPLES / "eight.png"
        for label in ("4", "9"):
            client.explain(four, label).plot(OUT / f"four_as_{label}.png")
        client.explain(eight, method="integrated_gradients").plot(OUT / "eight_integrated.png")
        client.parameters("linear_1").plot(OUT / "weights.png")
        compare(client.classify(eight), client.classify(four), OUT / "eight_and_four.png")
        scores = client.parameters("linear_4").weight  # (10, 256)
        favour = (scores[9] - scores[4]) * client.classify(four).activations["relu_3"]  # (256,)
        silenced = client.classify(four, interventions=[zero("relu_3", np.argsort(-favour)[:5])])
        assert silenced.baseline is not None
        compare(silenced.baseline, silenced, OUT / "silenced.png")


def draw_four(path: Path) -> None:
    """A 4 that leans: its slanting stroke ends near the top of its stem, so that the upper part is nearly closed."""
    page = Image.new("L", (480, 480), 255)
    for begin, end in (((276, 95), (165, 200)), ((165, 200), (289, 200)), ((310, 90), (250, 400))):
        for x, y in np.linspace(begin, end, 200):
            ImageDraw.Draw(page).ellipse((x - 14, y - 14, x + 14, y + 14), 30)
    page.resize((160, 160), Image.Resampling.LANCZOS).save(path, optimize=True)


@contextmanager
def served() -> Iterator[str]:
    """The address of a server of the bundled model."""
    command = [str(Path(sys.executable).with_name("vitrine-server")), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix(READY).strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
