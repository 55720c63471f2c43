"""The command `vitrine-train`: options, output and errors."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from vitrine.model.artifact import MOST_UNEQUAL
from vitrine.training import Checkpoint, RunFolder, held_out_digit_images
from vitrine.training.cli import main
from vitrine.training.lengths import LARGEST_SIDE, SMALLEST_SIDE

Draw = Callable[[int, int], np.ndarray]

QUICK = ("--hidden", "8", "--epochs", "2", "--batch-size", "8", "--device", "cpu", "--counter-examples", "0", "--quiet")


def vitrine_train(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def assert_one_sentence(result: Result, *parts: str) -> None:
    """Asserts that the command failed with one line on stderr that contains all parts."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


@pytest.fixture
def run(bars: Path, tmp_path: Path) -> Path:
    result = vitrine_train("fit", "--dataset", bars, "--run", tmp_path / "run", *QUICK)
    assert result.exit_code == 0, result.output
    return tmp_path / "run"


def test_a_fit_says_its_error_and_where_the_model_is(bars: Path, tmp_path: Path) -> None:
    result = vitrine_train("fit", "--dataset", bars, "--run", tmp_path / "run", *QUICK)
    assert result.stdout.startswith("test error ")
    assert result.stdout.rstrip().endswith(str(tmp_path / "run" / "model.onnx"))
    assert result.stderr == ""


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", "tkagg"])
def test_pictures_are_drawn_whatever_shows_figures_elsewhere(bars: Path, tmp_path: Path, backend: str) -> None:
    program, folder = Path(sys.executable).with_name("vitrine-train"), tmp_path / "run"
    calls: list[tuple[str | Path, ...]] = [
        ("fit", "--dataset", bars, "--run", folder, *QUICK),
        ("evaluate", folder, "--quiet"),
    ]
    for words in calls:
        environment = os.environ | {"MPLBACKEND": backend}
        ended = subprocess.run([program, *words], capture_output=True, text=True, check=False, env=environment)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert (folder / "learning_curve.png").exists()
    assert (folder / "evaluation" / "confusion_matrix.png").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["vitrine-train", "vitrine-server"])
def test_help_for_a_full_disk_is_one_sentence(command: str) -> None:
    program = Path(sys.executable).with_name(command)
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([program, "-h"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "Error: can't write the output: No space left on device\n")


def test_a_progress_bar_is_shown_on_stderr_unless_quiet(bars: Path, tmp_path: Path) -> None:
    result = vitrine_train("fit", "--dataset", bars, "--run", tmp_path / "run", *QUICK[:-1])
    assert result.exit_code == 0
    assert "epoch 2/2, validation error" in result.stderr
    assert "bars has 3 classes (0, 1, 2), 18 images to train on and 6 to test with\n" in result.stderr


def test_flags_become_settings_and_the_recipe_gives_the_rest(run: Path) -> None:
    config = Checkpoint.load(RunFolder(run).checkpoint).config
    assert (config.hidden, config.epochs, config.batch_size, config.augment) == ((8,), 2, 8, 1.0)


def test_augmentation_can_be_switched_off(bars: Path, tmp_path: Path) -> None:
    vitrine_train("fit", "--dataset", bars, "--run", tmp_path / "run", "--no-augment", *QUICK)
    assert Checkpoint.load(RunFolder(tmp_path / "run").checkpoint).config.augment == 0.0


def test_without_a_run_folder_it_goes_to_runs(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    vitrine_train("fit", "--dataset", "bars", *QUICK)
    assert Path("runs", "bars", "model.onnx").exists()


def test_a_run_is_not_replaced_unless_that_is_said(bars: Path, run: Path) -> None:
    again = ("fit", "--dataset", bars, "--run", run, *QUICK)
    assert_one_sentence(vitrine_train(*again), str(run), "--resume", "--overwrite")
    assert vitrine_train(*again, "--overwrite").exit_code == 0


def test_resume_needs_no_other_flag_than_the_run(run: Path) -> None:
    result = vitrine_train("fit", "--run", run, "--resume", "--quiet")
    assert result.exit_code == 0, result.output
    assert_one_sentence(vitrine_train("fit", "--run", run, "--resume", "--seed", "9"), "seed 0, not 9")
    assert_one_sentence(vitrine_train("fit", "--run", run, "--resume", "--epochs", "1"), "epochs 2, not 1")


@pytest.mark.parametrize("size", ["12", "12x", "x12", "12x20x3", "-4x18", "12×20", "1e1x10", "12 x 20", "1234567890x1"])
def test_a_size_that_is_no_height_and_width_is_a_usage_error(bars: Path, tmp_path: Path, size: str) -> None:
    result = vitrine_train("fit", "--dataset", bars, "--run", tmp_path / "run", "--size", size, *QUICK)
    assert result.exit_code == 2
    assert f"{size} is not HEIGHTxWIDTH in pixels, such as 18x18 or 12x20" in result.stderr


@pytest.mark.parametrize("flag", ["--size", "--hidden"])
def test_a_number_of_thousands_of_digits_is_a_short_usage_error(flag: str) -> None:
    number = "9" * 5000
    result = vitrine_train("fit", flag, f"{number}x{number}" if flag == "--size" else number)
    assert result.exit_code == 2
    assert len(result.stderr) < 500


def test_the_help_of_the_size_has_its_limits() -> None:
    words = " ".join(vitrine_train("fit", "--help").stdout.split())
    assert f"each side {SMALLEST_SIDE} to {LARGEST_SIDE}, one at most {MOST_UNEQUAL} times the other" in words
    guide = " ".join((Path(__file__).parents[2] / "docs" / "training.md").read_text().split())
    assert f"from {SMALLEST_SIDE} to {LARGEST_SIDE}, one at most {MOST_UNEQUAL} times the other" in guide


@pytest.mark.parametrize("size", ["3x18", "18x129", "99999999x99999999"])
def test_a_size_that_is_out_of_range_is_an_error(bars: Path, tmp_path: Path, size: str) -> None:
    result = vitrine_train("fit", "--dataset", bars, "--run", tmp_path / "run", "--size", size, *QUICK)
    assert_one_sentence(result, f"pixels of {size} can't be trained on: height and width are 4 to 128")


def test_a_resumed_run_keeps_its_size(bars: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fitted = vitrine_train("fit", "--dataset", bars, "--run", run, "--size", "8x12", *QUICK)
    assert fitted.exit_code == 0, fitted.output
    assert vitrine_train("fit", "--run", run, "--resume", "--quiet").exit_code == 0
    assert vitrine_train("evaluate", run, "--quiet").exit_code == 0
    other = vitrine_train("fit", "--run", run, "--resume", "--size", "18x18", "--quiet")
    assert_one_sentence(other, "the run was started with size 8x12, not 18x18")


def test_other_classes_than_digits_have_counter_examples_only_where_that_is_said(bars: Path, tmp_path: Path) -> None:
    (bars / "0").rename(bars / "none")
    without = ("fit", "--dataset", bars, "--hidden", "8", "--epochs", "1", "--device", "cpu", "--quiet")
    for name, more, expected in (("default", (), 0), ("asked", ("--counter-examples", "14"), 14)):
        result = vitrine_train(*without, "--run", tmp_path / name, *more)
        assert result.exit_code == 0, result.output
        checkpoint = Checkpoint.load(RunFolder(tmp_path / name).checkpoint)
        assert checkpoint.identity.classes == ("1", "2", "none")
        assert checkpoint.config.counter_examples == expected


def test_a_folder_of_some_digits_is_a_model_of_these_and_of_no_counter_examples(bars: Path, tmp_path: Path) -> None:
    words = ("fit", "--dataset", bars, "--hidden", "8", "--epochs", "1", "--device", "cpu", "--quiet")
    assert vitrine_train(*words, "--run", tmp_path / "run").exit_code == 0
    checkpoint = Checkpoint.load(RunFolder(tmp_path / "run").checkpoint)
    assert checkpoint.identity.classes == ("0", "1", "2")
    assert checkpoint.config.counter_examples == 0
    assert "tells 3 classes (0, 1, 2) apart" in (tmp_path / "run" / "MODEL_CARD.md").read_text()


def test_evaluate_prints_a_table_and_json(run: Path) -> None:
    table = vitrine_train("evaluate", run, "--quiet").stdout
    document = json.loads(vitrine_train("evaluate", run, "--json", "--quiet").stdout)
    counted = json.loads((run / "metrics.json").read_text())["test"]
    assert {name: document[name] for name in counted} == counted
    assert [line.split()[:2] for line in table.splitlines()[1:4]] == [["0", "2"], ["1", "2"], ["2", "2"]]
    assert list(counted["classes"]) == ["0", "1", "2"]  # a folder has no other digits than those it shows
    assert f"{document['errors']} of {document['count']} misclassified" in table


def count_evaluated(run: Path, *words: str | Path) -> int:
    result = vitrine_train("evaluate", run, "--json", "--quiet", *words)
    assert result.exit_code == 0, result.output
    return int(json.loads(result.stdout)["count"])


@pytest.mark.parametrize("named", [True, False])
def test_evaluate_refuses_the_runs_own_data_set_when_it_has_changed(
    run: Path, bars: Path, draw: Draw, named: bool
) -> None:
    Image.fromarray(draw(4, 0)).save(bars / "0" / "!first.png")
    result = vitrine_train("evaluate", run, "--quiet", *(("--dataset", bars) if named else ()))
    assert_one_sentence(result, f"{bars} has changed since", "fit again", "--dataset")


def test_evaluate_takes_all_of_another_folder(run: Path, bars: Path, draw: Draw, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for label in (0, 1):
        (other / str(label)).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(draw(label + 3, number)).save(other / str(label) / f"{number}.png")
    assert count_evaluated(run, "--dataset", other) == 10


def test_evaluate_takes_the_held_out_part_of_digits_and_of_the_runs_folder_wherever_it_is(
    bars: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for digit in range(3, 10):
        shutil.copytree(bars / "2", bars / str(digit))
    assert vitrine_train("fit", "--dataset", bars, "--run", run, *QUICK).exit_code == 0
    assert count_evaluated(run, "--dataset", "digits") == len(held_out_digit_images()[1])
    assert count_evaluated(run, "--dataset", bars.rename(tmp_path / "moved")) == 20


def test_evaluate_takes_the_test_part_of_mnist_also_where_its_writers_are_not_known(
    mnist: Path, tmp_path: Path
) -> None:
    words = ("fit", "--dataset", "mnist", "--data-dir", mnist, "--run", tmp_path / "run", *QUICK)
    assert vitrine_train(*words).exit_code == 0
    (mnist / "writers.npz").unlink()
    assert count_evaluated(tmp_path / "run", "--data-dir", mnist) == 6


@pytest.mark.parametrize("where", ["load_dataset", "fit"])
def test_ctrl_c_with_nothing_to_keep_exits_as_shells_expect(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"vitrine.training.cli.fit.{where}", interrupt)
    result = vitrine_train("fit", "--dataset", bars, "--run", tmp_path / "run", *QUICK)
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_the_environment_says_where_mnist_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DATA_DIR", str(tmp_path / "nowhere"))
    result = vitrine_train("fit", "--dataset", "mnist", "--run", tmp_path / "run", *QUICK)
    assert_one_sentence(result, f"{tmp_path / 'nowhere'} has no train-images-idx3-ubyte.gz")


def test_a_damaged_metrics_file_is_an_error_that_names_it(run: Path) -> None:
    for damage in ("", "{", "[]", "{}", '{"test": {"accuracy": null}}'):
        (run / "metrics.json").write_text(damage)
        assert_one_sentence(vitrine_train("export", run), f"{run / 'metrics.json'} is damaged", "fit --resume")


def test_export_writes_where_it_is_told(run: Path, tmp_path: Path) -> None:
    result = vitrine_train("export", run, "--out", tmp_path / "copy.onnx")
    assert result.stdout == f"{tmp_path / 'copy.onnx'}\n"
    assert (tmp_path / "copy.onnx").read_bytes() == (run / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("fit", "--dataset", "no-such-data"), ("no-such-data", "neither digits nor mnist")),
        (("fit", "--dataset", "mnist", "--data-dir", "."), ("has no train-images-idx3-ubyte.gz",)),
        (("fit", "--epochs", "0"), ("epochs is at least 1, not 0",)),
        (("fit", "--hidden", "8,0"), ("hidden is one width or more",)),
        (("fit", "--resume"), ("the checkpoint runs/digits/checkpoint.pt does not exist",)),
        (("evaluate", "no-such-run"), ("the checkpoint no-such-run/checkpoint.pt does not exist",)),
        (("export", "no-such-run"), ("the checkpoint no-such-run/checkpoint.pt does not exist",)),
    ],
    ids=lambda value: " ".join(value),
)
def test_an_error_is_one_sentence_and_no_traceback(
    words: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(vitrine_train(*words), *parts)


def test_cuda_without_cuda_is_an_error_before_any_data_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = vitrine_train(
        "fit", "--dataset", tmp_path / "nowhere", "--run", tmp_path / "run", *QUICK, "--device", "cuda"
    )
    assert_one_sentence(result, "finds no CUDA device")


def test_a_place_that_can_not_be_written_is_an_error_that_names_it(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_one_sentence(vitrine_train("export", run, "--out", tmp_path / "file" / "m.onnx"), str(tmp_path / "file"))


def test_a_run_of_data_that_a_program_made_asks_for_a_data_set(run: Path) -> None:
    folder = RunFolder(run)
    checkpoint = Checkpoint.load(folder.checkpoint)
    replace(checkpoint, identity=replace(checkpoint.identity, source="")).save(folder.checkpoint)
    assert_one_sentence(vitrine_train("evaluate", run), "was built by a program", "--dataset")


@pytest.mark.parametrize("widths", ["8,x", "", "8;4"])
def test_widths_that_are_no_numbers_are_a_usage_error(widths: str) -> None:
    result = vitrine_train("fit", "--hidden", widths)
    assert result.exit_code == 2
    assert "512,256" in result.stderr


def test_every_flag_has_help() -> None:
    assert isinstance(main, click.Group)
    for name, command in main.commands.items():
        assert command.help, name
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, (name, parameter.name)
