"""How long preparation takes: a phone's photo of 12 megapixels as JPEG, a scan, and 28 × 28 pixels.

    python benchmarks/preparation.py [--rounds 50]

The photo is one of the stress set's, so it has everything that makes preparation slow: a table, shadows and noise.
"""

import argparse
import io
import platform
import statistics
import time
from importlib.metadata import version

import numpy as np
from PIL import Image

from vitrine.model import ImageSource, prepare
from vitrine.training import held_out_digit_images
from vitrine.training.rendering.stress import render

MEGAPIXELS_12 = (4000, 3000)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="how often each image is prepared  [50]")
    rounds = parser.parse_args().rounds
    print(f"Python {platform.python_version()}, numpy {np.__version__}, Pillow {version('pillow')}, {rounds} rounds")
    for name, image in images().items():
        times = sorted(measure(image) for _ in range(rounds))
        median, slowest = statistics.median(times), times[int(0.95 * (rounds - 1))]
        print(f"{name:<32} median {1e3 * median:8.3f} ms   95 % below {1e3 * slowest:8.3f} ms")


def images() -> dict[str, ImageSource]:
    """What is prepared, by name."""
    drawn, _ = held_out_digit_images()
    digit = np.array(Image.fromarray(255 - drawn[0]).resize((28, 28), Image.Resampling.BICUBIC))
    photo = Image.open(io.BytesIO(render("phone_photo", digit, 0, 0))).resize(MEGAPIXELS_12)
    return {
        "12-megapixel photo, JPEG bytes": encoded(photo, "JPEG"),
        "scan of 800 × 600, PNG bytes": encoded(photo.convert("L").resize((800, 600)), "PNG"),
        "28 × 28, array": digit,
        "28 × 28, PNG bytes": encoded(Image.fromarray(digit), "PNG"),
    }


def encoded(image: Image.Image, kind: str) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def measure(image: ImageSource) -> float:
    """How long one preparation takes, in seconds."""
    begun = time.perf_counter()
    prepare(image)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
