"""The whole path: train, export, serve, classify, and look at every layer.

The demo fits an MLP on the embedded handwriting and serves it with `vitrine-server` in a process of its own. It sends
held-out images as PNG files through the SDK, prints the activations of each layer, and draws one image's.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from vitrine.client import Client, Prediction
from vitrine.client.drawing.plot import plot_prediction
from vitrine.client.drawing.terminal import render_pixels, render_strips, strips_legend
from vitrine.training import fit, held_out_digit_images, load_dataset

SHOWN = 5
"""Number of held-out images that are classified one by one."""

READY = "vitrine-server listening on "
"""The server's words before its address when it is ready."""


NEXT = """\
look at every layer         open {layers}
serve this model            {folder}/vitrine-server {run}/model.onnx
ask it, in another terminal {folder}/vitrine classify {image} --activations
look at a unit's weights    {folder}/vitrine parameters linear_1 --unit 12 --image {image}
see where it is weak        {folder}/vitrine-train evaluate {run}
train on MNIST, 18 s        {folder}/vitrine-train fit --recipe quick
calculate a layer yourself  docs/one-layer.md"""
"""What to do after the demo."""


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/demo"), help="Folder for all files.")
@click.option("--required-accuracy", default=0.95, help="The demo fails below this accuracy on held-out images.")
def main(out: Path, required_accuracy: float) -> None:
    """Train, export, serve, classify, and look at every layer."""
    dataset = load_dataset("digits")
    heading(f"Training on {len(dataset.train):,} handwritten digits; {len(dataset.test)} are held out")
    run = fit(dataset, None, out / "run")
    click.echo(f"held-out accuracy {run.evaluation.accuracy:.2%}; everything about the run is in {run.folder.path}/")

    images, labels = held_out_digit_images()
    files = write_pngs(images, labels, out / "images")
    heading(f"Serving {run.folder.model}")
    with served(run.folder.model) as target, Client(target) as client:
        click.echo(f"{client!r} says it is {client.health().status}; {client.model()!r}")
        predictions = [show(client, file) for file in files[:SHOWN]]
        click.echo(f"\n{strips_legend(predictions[0])}")
        heading(f"Classifying all {len(files)} held-out images through the SDK")
        accuracy = accuracy_of(client, files, labels)

    layers = out / "layers.png"
    plot_prediction(predictions[0], layers, title=f"{files[0].name}: what every layer calculated")
    click.echo(f"served accuracy {accuracy:.2%}; every layer of {files[0].name} is drawn in {layers}")
    if accuracy < required_accuracy:
        sys.exit(f"the demo failed: the accuracy is {accuracy:.2%}, and {required_accuracy:.2%} are required")
    heading("What to try next")
    click.echo(next_steps(run.folder.path, files[0], layers))


def heading(text: str) -> None:
    """Prints the heading of a step."""
    click.secho(f"\n{text}", bold=True)


def next_steps(run: Path, image: Path, layers: Path) -> str:
    """The demo's last words, whose commands work as they are pasted, in a folder with spaces in its name, too."""
    paths = {"folder": Path(sys.executable).parent, "run": run, "image": image, "layers": layers}
    return NEXT.format(**{name: shlex.quote(str(path)) for name, path in paths.items()})


def write_pngs(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], folder: Path) -> list[Path]:
    """Writes images, uint8 (N, 12, 12), as PNG files that are named by number and label."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{index:03}_is_{label}.png" for index, label in enumerate(labels)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    return files


@contextmanager
def served(model: Path) -> Iterator[str]:
    """Runs a server for `model` in a process of its own; yields its address, and stops it at the end."""
    program = Path(sys.executable).with_name("vitrine-server")
    command: list[str | Path] = [program, model, "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()  # comes when the server is ready; empty if it fails to start
        if not line.startswith(READY):
            sys.exit("the demo failed: the server didn't start, and said why above")
        try:
            yield line.removeprefix(READY).strip()
        finally:
            server.terminate()


def show(client: Client, file: Path) -> Prediction:
    """Classifies one image and prints the activations of every layer."""
    prediction = client.classify(file)
    click.echo(f"\n{file.name}: digit {prediction.digit}, probability {prediction.probability:.1%}{judged(prediction)}")
    click.echo(render_pixels(prediction.pixels, colour=sys.stdout.isatty()))
    click.echo(render_strips(prediction, colour=sys.stdout.isatty()))
    return prediction


def judged(prediction: Prediction) -> str:
    """The words for `is_digit`; empty if the model has no threshold."""
    if prediction.is_digit is None:
        return ""
    return f", {'a digit' if prediction.is_digit else 'no digit'}: novelty {prediction.novelty:.2f}"


def accuracy_of(client: Client, files: list[Path], labels: npt.NDArray[np.int64]) -> float:
    """The share of files with the right digit."""
    digits = [prediction.digit for prediction in client.classify_many(files, activations=None)]
    return float(np.mean(digits == labels))


if __name__ == "__main__":
    main()
