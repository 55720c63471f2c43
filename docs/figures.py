"""Draws the pictures of the docs: image preparation, test images, layers, architecture. Run by `make figures`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from vitrine.client import Activations, ModelIdentity, Prediction
from vitrine.client.drawing.plot import plot_prediction
from vitrine.model import prepare
from vitrine.model.preparation.image import read_grey
from vitrine.model.preparation.photo import find_ink_in_photo
from vitrine.model.preparation.pipeline import PLAIN_SIDE, find_box, find_ink, place, stretch
from vitrine.server.bundled import bundled_model
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.training import digit_images
from vitrine.training.rendering.forms_sheet import draw_forms
from vitrine.training.rendering.nondigits import LOOK_ALIKE_SETS, NON_DIGITS
from vitrine.training.rendering.nondigits import draw_non_digits as draw_non_digit_images
from vitrine.training.rendering.stress import CONDITIONS, draw_sheet

HERE = Path(__file__).parent
TEXT = "#1f2430"
GREY = "#6b7280"


def main() -> None:
    """Draws all pictures."""
    draw_eight(HERE.parent / "examples" / "eight.png")
    draw_preparation(HERE / "preparation.png")
    draw_stress(HERE / "stress.png")
    draw_non_digits(HERE / "nondigits.png")
    draw_forms().quantize(64).save(HERE / "forms.png", optimize=True)
    draw_architecture(HERE / "architecture.png")
    draw_layers(HERE.parent / "examples" / "eight.png", HERE / "layers.png")


def draw_eight(path: Path) -> None:
    """The image of the README's example: an 8 drawn in one stroke, leaning a little."""
    turn = np.linspace(0, 2 * np.pi, 600)
    across, down = np.sin(2 * turn), -np.cos(turn)
    stroke = np.stack([240 + 62 * across * (1 + 0.15 * down) - 22 * down, 240 + 130 * down], axis=1)
    page = Image.new("L", (480, 480), 255)
    for x, y in stroke:
        ImageDraw.Draw(page).ellipse((x - 16, y - 16, x + 16, y + 16), 30)
    page.resize((160, 160), Image.Resampling.LANCZOS).save(path, optimize=True)


def draw_layers(image: Path, path: Path) -> None:
    """Draws every layer's activations in the bundled model for an image, with the SDK's plot."""
    model = load_artifact(bundled_model(), Device.CPU)
    names = [layer.name for layer in model.metadata.layers]
    activations = {name: values[0] for name, values in model.engine.run(prepare(image)[None], names).items()}
    probabilities = activations[names[-1]]
    identity, classes = ModelIdentity(model.name, model.version, model.engine.provider), model.metadata.classes
    layers = {layer.name: layer for layer in model.metadata.layers}
    prediction = Prediction(
        int(probabilities.argmax()),
        probabilities,
        Activations(activations, layers),
        identity,
        classes,
        model.metadata.input,
    )
    plot_prediction(prediction, path, title=f"{image.name}: what every layer calculated")


def draw_preparation(path: Path) -> None:
    """Four images, step by step, on their way to pixels."""
    scan = Image.fromarray(digit_images()[0][8])
    rows = {
        "pen on cream paper": _pen_on_paper(),
        "table and shadow": _sheet_on_a_table(),
        "chalk on a board": _chalk_on_board(),
        "a scan, 12 × 12": scan,
    }
    figure = Figure(figsize=(11, 8.6), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 6)
    for row, (name, image) in zip(axes, rows.items(), strict=True):
        grey = read_grey(image)
        ink = find_ink_in_photo(grey) if max(grey.shape) > PLAIN_SIDE else find_ink(grey, paper=int(grey[0, 0]))
        box = find_box(grey)
        placed = place(box)
        row[0].imshow(image, cmap="gray", vmin=0, vmax=255)
        row[0].set_ylabel(name, color=TEXT, fontsize=11)
        row[1].imshow(grey, cmap="gray", vmin=0, vmax=255)
        for axis, matrix in zip(row[2:], (ink, box, placed, stretch(placed)), strict=True):
            axis.imshow(matrix, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    titles = ("image", "1 grey", "2 ink", "3 box", "4 place: 18 × 18", "5 stretch: pixels")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, color=TEXT, fontsize=12, pad=10)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], anchor="N")
        axis.spines[:].set_color("#c9ced6")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_stress(path: Path) -> None:
    """Ten embedded digits under each condition of the stress set; MNIST's own may not be there."""
    images = [Image.fromarray(255 - image[:, 2:-2]) for image in digit_images()[0][:10]]
    large = [np.asarray(image.resize((15, 20), Image.Resampling.BICUBIC)) for image in images]
    draw_sheet(np.stack([np.pad(image, ((4, 4), (6, 7))) for image in large]), list(CONDITIONS), 0, path)


def draw_non_digits(path: Path) -> None:
    """Twelve images of each set that shows no digit, as `vitrine-train evaluate` makes them; look-alikes last."""
    side, margin, names = 84, 130, (*NON_DIGITS, *LOOK_ALIKE_SETS)
    sheet = Image.new("RGB", (margin + 12 * side, len(names) * side), (225, 228, 233))
    for row, name in enumerate(names):
        ImageDraw.Draw(sheet).text((8, (row + 0.42) * side), name, TEXT, ImageFont.load_default(13))
        for column, grey in enumerate(draw_non_digit_images(name, 12, 1, part="evaluation")):
            image = ImageOps.contain(Image.fromarray(grey), (side - 6, side - 6))
            left, top = (side - image.width) // 2, (side - image.height) // 2
            sheet.paste(image, (margin + column * side + left, row * side + top))
    sheet.quantize(64).save(path, optimize=True)


def _sheet_on_a_table() -> Image.Image:
    """The same sheet in the shadow of a hand, on a table, with light from the left."""
    table = Image.new("RGB", (460, 380), (96, 66, 44))
    table.paste(_pen_on_paper().rotate(4, Image.Resampling.BICUBIC, fillcolor=(96, 66, 44)), (50, 40))
    across, down = np.arange(460)[None, :, None], np.arange(380)[:, None, None]
    light = (1 - 0.5 * across / 460) * np.where(across + down > 520, 0.6, 1.0)
    return Image.fromarray((np.asarray(table) * light).astype(np.uint8))


def _pen_on_paper() -> Image.Image:
    """A blue 3, off the centre of a sheet with some grain."""
    sheet = Image.new("RGB", (360, 300), (240, 232, 214))
    pen = ImageDraw.Draw(sheet)
    pen.arc((200, 60, 280, 130), 200, 450, (40, 62, 150), 9)
    pen.arc((195, 125, 290, 215), 270, 520, (40, 62, 150), 9)
    grain = np.random.default_rng(0).normal(0, 4, (300, 360, 1))
    soft = np.asarray(sheet.filter(ImageFilter.GaussianBlur(1.2)))
    return Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8))


def _chalk_on_board() -> Image.Image:
    """A pale 7 on dark green."""
    board = Image.new("RGB", (240, 320), (38, 70, 58))
    ImageDraw.Draw(board).line([(50, 90), (150, 80), (90, 250)], (226, 230, 220), 12, joint="curve")
    speckle = np.random.default_rng(1).normal(0, 5, (320, 240, 1))
    return Image.fromarray((np.asarray(board) + speckle).clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Room:
    """A box of the architecture's picture."""

    title: str
    text: str
    corner: tuple[float, float]
    size: tuple[float, float]
    colour: str

    def side(self, x: float, y: float) -> tuple[float, float]:
        """A point of the box: (0, 0) is its lower left corner, (1, 1) its upper right one."""
        return self.corner[0] + x * self.size[0], self.corner[1] + y * self.size[1]


CLIENT = Room("client", "Python SDK · command line", (0.3, 6.3), (3.3, 1.0), "#fbe9ef")
OTHERS = Room("any gRPC client", "vitrine.v1 or Open Inference Protocol", (0.3, 4.8), (3.3, 1.0), "#f3f4f6")
TRAINING = Room("training", "data → fit → evaluate · PyTorch", (0.3, 3.1), (3.3, 1.0), "#e8f1fb")
ARTIFACT = Room("model.onnx", "every layer an output\nmetadata · golden sample", (0.3, 1.5), (3.3, 1.0), "#fff6dd")
SERVER = Room("", "", (5.5, 1.5), (6.6, 6.2), "#e7f6ec")
MODEL = Room(
    "model: shared by training, server and client",
    "prepare: image → pixels  ·  layers and their kinds  ·  the artifact's metadata",
    (0.3, 0.2),
    (11.8, 0.9),
    "#f0ebfa",
)

PROCESS = Room("process", "supervisor · workers · signals · drain", (5.8, 6.45), (6.0, 0.6), "#ffffff")
FRONTENDS = Room("frontends", "bytes and metadata: grpc.aio", (5.8, 5.55), (4.2, 0.6), "#ffffff")
PROTOCOLS = Room("protocols", "messages ↔ plain data: v1 · oip · health", (5.8, 4.58), (4.2, 0.6), "#ffffff")
INFERENCE = Room("inference", "service · batching · admission", (5.8, 3.61), (4.2, 0.6), "#ffffff")
ENGINE = Room("engine", "artifact check · ONNX Runtime", (5.8, 2.64), (4.2, 0.6), "#ffffff")
SECURITY = Room("security", "tokens · TLS files", (8.0, 1.7), (2.0, 0.6), "#ffffff")
MODELS = Room("models", "what is served", (5.8, 1.7), (2.0, 0.6), "#ffffff")
TELEMETRY = Room("telemetry", "logs\nmetrics\ntraces\nactivation\nhealth", (10.25, 1.7), (1.55, 4.45), "#ffffff")
INSIDE = (PROCESS, FRONTENDS, PROTOCOLS, INFERENCE, ENGINE, SECURITY, MODELS, TELEMETRY)
"""The packages of the server, each of which may import those below it."""


def draw_architecture(path: Path) -> None:
    """The packages, those inside the server among them, and what passes between them."""
    figure = Figure(figsize=(12, 7.7), facecolor="white")
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axis.set(xlim=(0, 12.4), ylim=(0, 7.95))
    axis.axis("off")
    for room in (CLIENT, OTHERS, TRAINING, ARTIFACT, SERVER, MODEL):
        _draw_room(axis, room, title_size=14, text_size=10.5)
    for room in INSIDE:
        _draw_room(axis, room, title_size=11.5, text_size=9.5)
    axis.text(*SERVER.side(0.5, 0.945), "server", ha="center", va="center", fontsize=14, weight="bold", color=TEXT)
    _draw_arrow(axis, CLIENT.side(1, 0.75), FRONTENDS.side(0, 0.8), "image or pixels", (0.05, 0.5))
    _draw_arrow(axis, FRONTENDS.side(0, 0.5), CLIENT.side(1, 0.25), "prediction,\nactivations", (-0.35, -0.32))
    _draw_arrow(axis, OTHERS.side(1, 0.5), FRONTENDS.side(0, 0.2), "", (0, 0), both=True)
    _draw_arrow(axis, TRAINING.side(0.5, 0), ARTIFACT.side(0.5, 1), "export, checked", (0.8, 0))
    _draw_arrow(axis, ARTIFACT.side(1, 0.7), ENGINE.side(0, 0.5), "load, checked", (-0.15, 0.3))
    for upper, lower in ((FRONTENDS, PROTOCOLS), (PROTOCOLS, INFERENCE), (INFERENCE, ENGINE)):
        _draw_arrow(axis, upper.side(0.5, 0), lower.side(0.5, 1), "", (0, 0), both=True, size=9)
    figure.savefig(path, dpi=110)


def _draw_room(axis: Axes, room: Room, title_size: float, text_size: float) -> None:
    box = FancyBboxPatch(
        room.corner, *room.size, boxstyle="round,pad=0,rounding_size=0.12", fc=room.colour, ec="#9aa3b2", lw=1.2
    )
    axis.add_patch(box)
    x, y = room.side(0.5, 0.5)
    half_line = 0.0135 * text_size  # in the picture's units
    lines = room.text.count("\n") + 1
    axis.text(
        x, y + half_line * lines, room.title, ha="center", va="center", fontsize=title_size, weight="bold", color=TEXT
    )
    axis.text(
        x, y - half_line * 1.2, room.text, ha="center", va="center", fontsize=text_size, color=TEXT, linespacing=1.4
    )


def _draw_arrow(
    axis: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str,
    offset: tuple[float, float],
    both: bool = False,
    size: float = 16,
) -> None:
    style = "<|-|>" if both else "-|>"
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=size, color=GREY, lw=1.6))
    middle: npt.NDArray[np.float64] = (np.array(start) + np.array(end)) / 2 + np.array(offset)
    axis.text(middle[0], middle[1], text, ha="center", va="center", fontsize=10, color=GREY, linespacing=1.3)


if __name__ == "__main__":
    main()
