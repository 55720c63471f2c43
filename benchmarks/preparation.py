"""Time of image preparation: a phone's photo of 12 megapixels as JPEG, a scan, drawn pages, and 28 × 28 pixels.

    python -m benchmarks.preparation [--rounds 50] [--json]

The photo comes from the stress set, so that it has everything that makes preparation slow: a table, shadows and noise.
It prints the median and the 95th percentile over rounds, in milliseconds.
"""

import io
import json
import time

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import in_turns
from vitrine.model import ImageSource, prepare
from vitrine.training import held_out_digit_images
from vitrine.training.rendering.stress import render

MEGAPIXELS_12 = (4000, 3000)
PERCENTILES = (50, 95)
PAGE_SIDES = (64, 100, 280, 800)
"""Sides of drawn pages, in pixels: above 64, no image is plain."""


@click.command()
@click.option("--rounds", default=50, show_default=True, help="Preparations of each image.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(rounds: int, as_json: bool) -> None:
    """Measure the time of preparing images, and print it."""
    sources = images()
    found: dict[str, list[float]] = {name: [] for name in sources}
    for _, name in in_turns(list(sources), rounds):
        found[name].append(milliseconds(sources[name]))
    times = {name: np.percentile(values, PERCENTILES).tolist() for name, values in found.items()}
    if as_json:
        named = {name: {"p50_ms": p50, "p95_ms": p95} for name, (p50, p95) in times.items()}
        click.echo(json.dumps({"machine": machine("numpy", "pillow"), "rounds": rounds, "images": named}))
        return
    click.echo(f"{machine_line('numpy', 'pillow')}, {rounds} rounds")
    for name, (p50, p95) in times.items():
        click.echo(f"{name:<32} median {p50:8.3f} ms   p95 {p95:8.3f} ms")


def images() -> dict[str, ImageSource]:
    """Images to prepare, by name."""
    drawn, _ = held_out_digit_images()
    digit = np.array(Image.fromarray(255 - drawn[0]).resize((28, 28), Image.Resampling.BICUBIC))
    photo = Image.open(io.BytesIO(render("phone_photo", digit, 0, 0))).resize(MEGAPIXELS_12)
    return {
        "12-megapixel photo, JPEG bytes": encoded(photo, "JPEG"),
        "scan of 800 × 600, PNG bytes": encoded(photo.convert("L").resize((800, 600)), "PNG"),
        **{f"drawn page of {side} × {side}, array": drawn_page(digit, side) for side in PAGE_SIDES},
        "28 × 28, array": digit,
        "28 × 28, PNG bytes": encoded(Image.fromarray(digit), "PNG"),
    }


def drawn_page(digit: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """A white page with a digit in black, as a drawing program gives it: uint8 (side, side)."""
    return np.asarray(Image.fromarray(255 - digit).resize((side, side), Image.Resampling.BILINEAR))


def encoded(image: Image.Image, kind: str) -> bytes:
    """Bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def milliseconds(image: ImageSource) -> float:
    """Time of one preparation."""
    begin = time.perf_counter()
    prepare(image)
    return (time.perf_counter() - begin) * 1e3


if __name__ == "__main__":
    main()
