"""The strips in the terminal and the figure: what they show, and that every shape of network fits."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrine.client import (
    Activations,
    ModelIdentity,
    Prediction,
    UsageError,
    plot_prediction,
    render_pixels,
    render_strips,
)
from vitrine.client.layout import Box, arrange, grid_shape
from vitrine.client.plot import draw_prediction
from vitrine.client.terminal import BARS, bin_means
from vitrine.model import OutputKind, layer_catalogue

IDENTITY = ModelIdentity("digits", "3f2a91c0b7de", "CPUExecutionProvider")
SHAPES: list[tuple[list[int], OutputKind]] = [
    ([8], "softmax"),
    ([4096, 8], "sigmoid"),
    ([13, 509, 64], "softmax"),
    ([512, 256, 128, 64], "softmax"),
    ([100] * 5, "sigmoid"),
    ([4096, 2048, 1024, 512, 256, 128], "softmax"),
]


def prediction_of(hidden: Sequence[int], output: OutputKind = "softmax", only: Sequence[str] = ()) -> Prediction:
    """A made-up prediction: noise through layers that keep their kinds' ranges."""
    rng = np.random.default_rng(0)
    values: dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    for layer in layer_catalogue(hidden, output):
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
    return Prediction(int(probabilities.argmax()), probabilities, Activations(kept), IDENTITY)


def strip_of(line: str) -> str:
    return line.split("│")[1]


def relu(*values: float) -> Prediction:
    return Prediction(0, np.ones(1, np.float32), Activations({"relu_1": np.array(values, np.float32)}), IDENTITY)


@pytest.mark.parametrize(("hidden", "output"), SHAPES)
def test_strips_have_a_line_for_each_layer_and_one_width(hidden: list[int], output: OutputKind) -> None:
    prediction = prediction_of(hidden, output)
    lines = render_strips(prediction, width=40).splitlines()
    assert [line.split()[0] for line in lines] == list(prediction.activations)
    assert [int(line.split()[1]) for line in lines] == [len(values) for values in prediction.activations.values()]
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


def test_a_linear_strip_goes_from_its_smallest_to_its_largest() -> None:
    values = Activations({"linear_1": np.array([-2, 0, 2], np.float32)})
    line = render_strips(Prediction(0, np.ones(1, np.float32), values, IDENTITY), width=3)
    assert strip_of(line) == "▁▅█"
    assert line.endswith("-2.00 to 2.00")


def test_a_layer_of_a_newer_kind_is_drawn_in_grey() -> None:
    values = Activations({"gelu_1": np.array([-2, 0, 2], np.float32)})
    prediction = Prediction(0, np.ones(1, np.float32), values, IDENTITY)
    line = render_strips(prediction, width=3)
    assert strip_of(line) == "▁▅█"
    assert line.endswith("-2.00 to 2.00")
    assert render_strips(prediction, width=3, colour=True).count("\x1b[38;5;245m") == 3


def test_a_figure_leaves_out_a_layer_of_a_newer_kind() -> None:
    values = Activations({"gelu_1": np.ones(7, np.float32), "relu_1": np.ones(8, np.float32)})
    texts = draw_prediction(Prediction(0, np.ones(1, np.float32), values, IDENTITY)).texts
    assert {text.get_text() for text in texts} >= {"relu_1 · 8"}
    assert not any("gelu_1" in text.get_text() for text in texts)


def test_many_units_are_averaged_in_runs_of_nearly_equal_length() -> None:
    values = np.arange(10, dtype=np.float32)
    np.testing.assert_allclose(bin_means(values, 4), [0.5, 3, 5.5, 8])
    np.testing.assert_allclose(bin_means(values, 99), values)


def test_what_stands_out_is_said_beside_a_strip() -> None:
    assert render_strips(relu(0, 0, 0, 2)).endswith("75% zero, up to 2.00")
    softmax = Activations({"softmax": np.array([0.25, 0.75], np.float32)})
    assert render_strips(Prediction(1, np.ones(2, np.float32), softmax, IDENTITY)).endswith("1 at 75.0%")


def test_colours_come_only_when_asked_for() -> None:
    prediction = prediction_of([8])
    plain, coloured = render_strips(prediction), render_strips(prediction, colour=True)
    assert "\x1b" not in plain
    assert "\x1b" not in render_pixels(prediction.activations["input"])
    assert "\x1b[38;5;" in coloured
    for code in set(coloured.split("\x1b")[1:]):
        coloured = coloured.replace("\x1b" + code[: code.index("m") + 1], "")
    assert coloured == plain


def test_no_activations_give_no_strips() -> None:
    assert render_strips(Prediction(0, np.ones(1, np.float32), Activations({}), IDENTITY)) == ""


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
    prediction = prediction_of(hidden, output)
    shown = {text.get_text() for text in draw_prediction(prediction).texts}
    assert {f"{name} · {len(values)}" for name, values in prediction.activations.items()} <= shown


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
    prediction = prediction_of([8])
    shown = [text.get_text() for text in draw_prediction(prediction).texts]
    assert shown[0] == f"{prediction.digit} · {prediction.probability:.1%}"
    no_digit = replace(prediction, novelty=1.5, is_digit=False)
    assert draw_prediction(no_digit).texts[0].get_text() == f"{shown[0]} · no digit"
    assert draw_prediction(prediction, title="an eight").texts[0].get_text() == "an eight"


def test_a_dead_layer_can_be_drawn(tmp_path: Path) -> None:
    plot_prediction(relu(0, 0, 0), tmp_path / "dead.png")


def test_drawing_leaves_matplotlibs_global_state_alone(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from vitrine.client import *\n"
        "one = np.ones(1, np.float32)\n"
        "plot_prediction(Prediction(0, one, Activations({'relu_1': one}), ModelIdentity('', '', '')), sys.argv[1])\n"
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
