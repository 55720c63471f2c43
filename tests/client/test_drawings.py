"""The strips in the terminal and the figure: their content, for networks of every shape and any classes."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from vitrine.client import (
    Activations,
    ModelIdentity,
    Prediction,
    UsageError,
    plot_prediction,
    render_pixels,
    render_strips,
    strips_legend,
)
from vitrine.client.drawing.layout import Box, arrange, choose_ticks, grid_shape
from vitrine.client.drawing.plot import draw_prediction
from vitrine.client.drawing.terminal import BARS, bin_means
from vitrine.model import DIGITS, PIXELS_SHAPE, Layer, LayerKind, ModelInput, OutputKind, Shape, layer_catalogue

IDENTITY = ModelIdentity("digits", "3f2a91c0b7de", "CPUExecutionProvider")
SHAPES: list[tuple[list[int], OutputKind]] = [
    ([8], "softmax"),
    ([4096, 8], "sigmoid"),
    ([13, 509, 64], "softmax"),
    ([512, 256, 128, 64], "softmax"),
    ([100] * 5, "sigmoid"),
    ([4096, 2048, 1024, 512, 256, 128], "softmax"),
]


def prediction_of(
    hidden: Sequence[int],
    output: OutputKind = "softmax",
    only: Sequence[str] = (),
    classes: tuple[str, ...] = DIGITS,
    shape: Shape = PIXELS_SHAPE,
) -> Prediction:
    """A made-up prediction: noise through layers that keep their kinds' ranges."""
    rng = np.random.default_rng(0)
    values: dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    layers = layer_catalogue(hidden, output, len(classes), shape)
    for layer in layers:
        noise = rng.normal(size=layer.width).astype(np.float32)
        match layer.kind:
            case "input":
                values[layer.name] = noise.clip(0, 1)
            case "linear":
                values[layer.name] = noise
            case "relu":
                values[layer.name] = values[layer.reads[0]].clip(0)
            case _:
                values[layer.name] = np.exp(noise) / np.exp(noise).sum()
    probabilities = values[output]
    kept = {name: array for name, array in values.items() if not only or name in only}
    return prediction(kept, layers, probabilities, classes, shape)


def prediction(
    values: Mapping[str, Any],
    layers: Sequence[Layer],
    probabilities: Any = (1.0,),
    classes: tuple[str, ...] = ("0",),
    shape: Shape = PIXELS_SHAPE,
) -> Prediction:
    """A prediction with these activations; `layers` is the catalogue of the model."""
    arrays = {name: np.asarray(array, np.float32) for name, array in values.items()}
    scores = np.asarray(probabilities, np.float32)
    activations = Activations(arrays, {layer.name: layer for layer in layers})
    given = ModelInput("pixels", "uint8", shape, "ink")
    return Prediction(int(scores.argmax()), scores, activations, IDENTITY, classes, given)


def single(kind: LayerKind, *values: float) -> Prediction:
    """A prediction of one layer alone, `layer`, in a model of that one layer and an output."""
    layers = (Layer("layer", kind, (len(values),), 0, ()), Layer("output", LayerKind.SOFTMAX, (1,), 0, ()))
    return prediction({"layer": values}, layers)


def strip_of(line: str) -> str:
    return line.split("│")[1]


def relu(*values: float) -> Prediction:
    return single(LayerKind.RELU, *values)


@pytest.mark.parametrize(("hidden", "output"), SHAPES)
def test_strips_have_a_line_for_each_layer_and_one_width(hidden: list[int], output: OutputKind) -> None:
    made = prediction_of(hidden, output)
    lines = render_strips(made, width=40).splitlines()
    assert [line.split()[0] for line in lines] == list(made.activations)
    assert [int(line.split()[1]) for line in lines] == [len(values) for values in made.activations.values()]
    assert {len(strip_of(line)) for line in lines} == {40}
    assert {line.index("│") for line in lines} == {lines[0].index("│")}


def test_a_strip_shows_zero_as_nothing_and_the_largest_as_a_full_block() -> None:
    assert strip_of(render_strips(relu(0, 1, 2), width=3)) == " ▅█"


def test_a_weak_activation_is_told_from_none() -> None:
    assert strip_of(render_strips(relu(0, 0.0001, 1), width=3)) == " ▁█"


def test_a_layer_that_is_all_zero_has_an_empty_strip() -> None:
    assert strip_of(render_strips(relu(0, 0), width=4)) == " " * 4


def test_a_few_units_take_several_characters_each() -> None:
    assert strip_of(render_strips(relu(0, 1), width=5)) == "  ██ "


def test_a_linear_strip_shows_below_zero_zero_and_above_without_colours() -> None:
    line = render_strips(single(LayerKind.LINEAR, -2, -0.5, 0, 0.01, 2), width=5)
    assert strip_of(line) == "▓░·▁█"
    assert line.endswith("-2.00 to 2.00")


def test_the_legend_tells_how_many_units_a_character_stands_for() -> None:
    made = prediction_of([96])
    assert "one unit, or the mean of up to 7 neighbours" in strips_legend(made, width=48)  # of the 324 pixels
    assert strips_legend(relu(0, 1)).startswith("a character is one unit: ")
    assert strips_legend(prediction({}, ())) == ""


def test_a_layer_of_a_newer_kind_is_drawn_in_grey() -> None:
    newer = prediction({"gelu_1": [-2, 0, 2]}, ())
    line = render_strips(newer, width=3)
    assert strip_of(line) == "▓·█"
    assert line.endswith("-2.00 to 2.00")
    assert render_strips(newer, width=3, colour=True).count("\x1b[38;5;245m") == 3


def test_a_figure_leaves_out_a_layer_of_a_newer_kind() -> None:
    values = {"gelu_1": np.ones(7), "relu_1": np.ones(8)}
    texts = draw_prediction(prediction(values, layer_catalogue([8], classes=1))).texts
    assert {text.get_text() for text in texts} >= {"relu_1 · 8"}
    assert not any("gelu_1" in text.get_text() for text in texts)


def test_many_units_are_averaged_in_runs_of_nearly_equal_length() -> None:
    values = np.arange(10, dtype=np.float32)
    np.testing.assert_allclose(bin_means(values, 4), [0.5, 3, 5.5, 8])
    np.testing.assert_allclose(bin_means(values, 99), values)


def test_what_stands_out_is_said_beside_a_strip() -> None:
    assert render_strips(relu(0, 0, 0, 2)).endswith("75% of the units zero, up to 2.00")
    layers = layer_catalogue([8], classes=2)
    softmax = prediction({"softmax": [0.25, 0.75]}, layers, [0.25, 0.75], ("left", "right"))
    assert render_strips(softmax).endswith("right at 75.0%")


def test_colours_come_only_when_asked_for() -> None:
    made = prediction_of([8])
    plain, coloured = render_strips(made), render_strips(made, colour=True)
    assert "\x1b" not in plain
    assert "\x1b" not in render_pixels(made.activations["input"])
    assert "\x1b[38;5;" in coloured
    for code in set(coloured.split("\x1b")[1:]):
        coloured = coloured.replace("\x1b" + code[: code.index("m") + 1], "")
    assert coloured == plain


def test_no_activations_give_no_strips() -> None:
    assert render_strips(prediction({}, ())) == ""


def test_bars_are_nine_heights() -> None:
    assert len(BARS) == len(set(BARS)) == 9


def test_pixels_are_drawn_two_to_a_character() -> None:
    pixels = np.zeros((18, 18), np.float32)
    pixels[:2, 0], pixels[0, 1], pixels[1, 2], pixels[:2, 3] = 1, 1, 1, 0.5
    lines = render_pixels(pixels.ravel()).splitlines()
    assert [len(line) for line in lines] == [18] * 9
    assert lines[0][:5] == "█▀▄▒ "


def test_coloured_pixels_are_black_on_white() -> None:
    pixels = np.zeros(324, np.float32)
    pixels[0] = 1
    drawn = render_pixels(pixels, colour=True)
    assert drawn.startswith("\x1b[38;5;232;48;5;255m▀\x1b[38;5;255;48;5;255m▀")
    assert len(drawn.splitlines()) == 9


@pytest.mark.parametrize(("hidden", "output"), SHAPES)
def test_a_figure_has_every_layer_of_every_shape(hidden: list[int], output: OutputKind) -> None:
    made = prediction_of(hidden, output)
    shown = {text.get_text() for text in draw_prediction(made).texts}
    assert {f"{name} · {len(values)}" for name, values in made.activations.items()} <= shown


def test_a_figure_is_written_as_an_image(tmp_path: Path) -> None:
    plot_prediction(prediction_of([8]), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert min(image.size) > 500


@pytest.mark.parametrize(("hidden", "output"), SHAPES)
def test_no_panel_covers_another_or_leaves_the_figure(hidden: list[int], output: OutputKind) -> None:
    layout = arrange(prediction_of(hidden, output))
    assert layout.pixels is not None
    assert layout.scores is not None
    panels = [layout.pixels, layout.scores[1], layout.probabilities]
    panels += [box for column in layout.columns for box in (*column.panels.values(), column.scale)]
    for number, panel in enumerate(panels):
        assert 0 < panel.left < panel.right < layout.width
        assert 0 < panel.bottom < panel.top < layout.height
        assert not any(overlap(panel, other) for other in panels[number + 1 :])


def overlap(one: Box, other: Box) -> bool:
    return one.left < other.right and other.left < one.right and one.bottom < other.top and other.bottom < one.top


def test_the_area_of_a_layer_grows_with_its_width() -> None:
    layout = arrange(prediction_of([1024, 256]))
    wide, narrow = (next(iter(column.panels.values())) for column in layout.columns)
    assert wide.width * wide.height == pytest.approx(4 * narrow.width * narrow.height)


@pytest.mark.parametrize("width", [1, 7, 8, 10, 13, 32, 100, 509, 512, 4096])
def test_a_grid_holds_all_units_and_is_nearly_square(width: int) -> None:
    rows, columns = grid_shape(width)
    assert width <= rows * columns < width + columns
    assert rows <= columns <= 2 * rows + 1


@pytest.mark.parametrize("only", [["relu_1"], ["linear_2"], ["input"], ["linear_1"], ["softmax"]])
def test_a_figure_of_some_layers_shows_those_and_the_probabilities(only: list[str]) -> None:
    shown = {text.get_text() for text in draw_prediction(prediction_of([16], only=only)).texts}
    names = {text.split(" · ")[0] for text in shown if text.endswith((" · 16", " · 10", " · 324"))}
    assert names == {*only, "softmax" if only == ["softmax"] else "output"}


def test_a_figure_without_linear_layers_has_no_empty_row() -> None:
    assert arrange(prediction_of([16], only=["input", "relu_1"])).height < arrange(prediction_of([16])).height - 2


def test_a_figures_title_says_the_digit_unless_another_is_given() -> None:
    made = prediction_of([8])
    shown = [text.get_text() for text in draw_prediction(made).texts]
    assert shown[0] == f"{made.digit} · {made.probability:.1%}"
    no_digit = replace(made, novelty=1.5, is_digit=False)
    assert draw_prediction(no_digit).texts[0].get_text() == f"{shown[0]} · no digit"
    assert draw_prediction(made, title="an eight").texts[0].get_text() == "an eight"


ARROWS, ARROWS_SHAPE = ("up", "down", "left", "right"), (13, 20)


def arrows(**changes: Any) -> Prediction:
    """A prediction of a model that knows no digits, on pixels of an odd height."""
    return replace(prediction_of([12, 8], classes=ARROWS, shape=ARROWS_SHAPE), **changes)


def test_a_title_says_the_label_and_that_an_image_is_none_of_the_classes() -> None:
    made = arrows(novelty=1.5, is_digit=False)
    title = draw_prediction(made).texts[0].get_text()
    assert title == f"{made.label} · {made.probability:.1%} · none of the classes"


def labels_of(made: Prediction) -> list[list[str]]:
    """The labels on the classes' axes: of the last linear layer, and of the output layer."""
    charts = draw_prediction(made).axes[-2:]
    return [[label.get_text() for label in axes.get_xticklabels()] for axes in charts]


def test_bars_are_labelled_by_the_models_classes() -> None:
    assert labels_of(prediction_of([8])) == [list(DIGITS)] * 2
    assert labels_of(arrows()) == [list(ARROWS)] * 2


def test_labels_that_dont_fit_side_by_side_stand_upright_and_have_room() -> None:
    assert not choose_ticks(ARROWS, 0).rotated
    months = tuple(f"month {number:02}" for number in range(1, 13))
    ticks = choose_ticks(months, 0)
    assert ticks.rotated
    layout = arrange(prediction_of([8], classes=months))
    assert layout.scores is not None
    assert layout.probabilities.bottom >= ticks.depth
    assert layout.scores[1].bottom - layout.probabilities.top >= ticks.depth


def test_among_a_thousand_classes_the_predicted_one_is_labelled_and_seen() -> None:
    made = prediction_of([64], classes=tuple(f"class {number}" for number in range(1000)))
    assert labels_of(made) == [[made.label]] * 2
    bar = draw_prediction(made).axes[-1].patches[-1]
    assert isinstance(bar, Rectangle)
    assert bar.get_width() > 3  # bars: one alone would be a third of a pixel


def test_two_classes_and_very_long_labels_can_be_drawn() -> None:
    made = prediction_of([8], classes=("n" * 100, "y" * 100))
    assert all(len(label) <= 12 for labels in labels_of(made) for label in labels)
    assert len(draw_prediction(made).texts[0].get_text()) < 60


@pytest.mark.parametrize("text", ["$unclosed_{$", "$x^2$", "8 € $, 数字"])
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_labels_and_titles_are_drawn_as_they_stand(
    text: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.client.drawing.plot.DPI", 10)
    made = prediction_of([8], classes=(text, "b"))
    plot_prediction(made, tmp_path / f"label.{suffix}")
    plot_prediction(made, tmp_path / f"title.{suffix}", title=text)
    figure = draw_prediction(made, title=text)
    ticks = [tick for axes in figure.axes for tick in axes.get_xticklabels() if tick.get_text() == text]
    assert len(ticks) == 2
    assert not any(written.get_parse_math() for written in [*figure.texts, *ticks])


def test_the_picture_keeps_the_shape_of_the_models_input() -> None:
    layout = arrange(arrows())
    assert layout.pixels is not None
    assert layout.pixels.width / layout.pixels.height == pytest.approx(20 / 13)
    assert "13 × 20 pixels" in " ".join(text.get_text() for text in draw_prediction(arrows()).texts)


def test_pixels_of_an_odd_height_are_drawn_in_full() -> None:
    pixels = np.zeros((3, 4), np.float32)
    pixels[2] = 1
    assert render_pixels(pixels) == "    \n▀▀▀▀"
    last = render_pixels(pixels, colour=True).splitlines()[1]
    assert last == "\x1b[38;5;232;49m▀" * 4 + "\x1b[0m"
    assert len(render_pixels(arrows().pixels).splitlines()) == 7


def test_flat_pixels_of_no_square_are_refused() -> None:
    with pytest.raises(UsageError, match=r"pixels are an array \(height, width\), not \(260,\): pass prediction"):
        render_pixels(arrows().activations["input"])


STRANGE_NAMES = (
    Layer("given", LayerKind.INPUT, (324,), 0, ()),
    Layer("widen", LayerKind.LINEAR, (8,), 0, ("given",)),
    Layer("linear_gate", LayerKind.RELU, (8,), 0, ("widen",)),
    Layer("relu_scores", LayerKind.LINEAR, (10,), 0, ("linear_gate",)),
    Layer("input_odds", LayerKind.SIGMOID, (10,), 0, ("relu_scores",)),
)
"""A model whose layers' names say nothing, or the wrong thing, of their kinds."""


def test_structure_comes_from_the_catalogue_and_not_from_names() -> None:
    values = {layer.name: np.full(layer.shape, 0.25, np.float32) for layer in STRANGE_NAMES}
    made = prediction(values, STRANGE_NAMES, values["input_odds"], DIGITS)
    layout = arrange(made)
    assert layout.scores is not None
    assert (layout.scores[0], layout.output) == ("relu_scores", "input_odds")
    (column,) = layout.columns
    assert list(column.panels) == ["widen", "linear_gate"]
    assert column.panels["widen"].bottom > column.panels["linear_gate"].top
    remarks = [line.rpartition("│ ")[2] for line in render_strips(made).splitlines()]
    assert remarks == ["25% ink", "0.25 to 0.25", "0% of the units zero, up to 0.25", "0.25 to 0.25", "0 at 25.0%"]
    assert {text.get_text() for text in draw_prediction(made).texts} >= {"given · 324", "linear_gate · 8"}


def test_layers_with_maps_are_drawn_side_by_side() -> None:
    layers = (
        Layer("map", LayerKind.LINEAR, (2, 4, 5), 0, ("input",)),
        Layer("gate", LayerKind.RELU, (2, 4, 5), 0, ("map",)),
        Layer("output", LayerKind.SOFTMAX, (1,), 0, ("gate",)),
    )
    maps = np.arange(40, dtype=np.float32).reshape(2, 4, 5)
    made = prediction({"map": maps, "gate": maps}, layers)
    above, below, *_ = draw_prediction(made).axes
    for axes in (above, below):
        np.testing.assert_array_equal(axes.images[0].get_array(), np.hstack([maps[0], maps[1]]))
    assert "map     40 │" in render_strips(made)


def test_two_layers_that_read_the_same_linear_layer_dont_cover_each_other() -> None:
    layers = (
        Layer("linear_1", LayerKind.LINEAR, (8,), 0, ("input",)),
        Layer("relu_1", LayerKind.RELU, (8,), 0, ("linear_1",)),
        Layer("sigmoid_1", LayerKind.SIGMOID, (8,), 0, ("linear_1",)),
        Layer("softmax", LayerKind.SOFTMAX, (1,), 0, ("sigmoid_1",)),
    )
    layout = arrange(prediction({layer.name: np.ones(layer.shape) for layer in layers}, layers))
    assert [list(column.panels) for column in layout.columns] == [["linear_1", "relu_1"], ["sigmoid_1"]]


def test_a_dead_layer_can_be_drawn(tmp_path: Path) -> None:
    plot_prediction(relu(0, 0, 0), tmp_path / "dead.png")


def test_drawing_leaves_matplotlibs_global_state_alone(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from vitrine.client import *\n"
        "one, layer = np.ones(1, np.float32), Layer('relu_1', LayerKind.RELU, (1,), 0, ())\n"
        "activations, given = Activations({'relu_1': one}, {'relu_1': layer}), ModelInput('', '', (1, 1), '')\n"
        "prediction = Prediction(0, one, activations, ModelIdentity('', '', ''), ('0',), given)\n"
        "plot_prediction(prediction, sys.argv[1])\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "figure.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'vitrine-serving\[plot\]'"):
        plot_prediction(relu(1), tmp_path / "figure.png")


@pytest.mark.parametrize("name", ["no/such/folder/figure.png", "figure.docx"])
def test_a_figure_that_cant_be_written_is_an_error_that_names_the_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"can't write the figure to .*{name}"):
        plot_prediction(relu(1), tmp_path / name)
