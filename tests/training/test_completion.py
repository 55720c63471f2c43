"""Content of a completed run folder: figures, model card, artifact."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from onnx import numpy_helper
from PIL import Image

from vitrine.model import DIGITS, ArtifactMetadata
from vitrine.training import Dataset, Evaluation, FitConfig, Run, export_run, fit
from vitrine.training.cli import main
from vitrine.training.data import BUILT_IN, split
from vitrine.training.rendering.forms import FORMS
from vitrine.training.run import plots
from vitrine.training.run.completion import FRAMEWORKS, export_checkpoint
from vitrine.training.run.model_card import fit_command, model_card
from vitrine.training.run.plots import draw_confusion_matrix, save
from vitrine.training.run.whose_handwriting import SEEN, whose_handwriting


@pytest.fixture
def run(toy: Dataset, tmp_path: Path) -> Run:
    config = FitConfig(hidden=(16, 8), epochs=8, batch_size=16, learning_rate=1e-2, seed=5, device="cpu", patience=9)
    return fit(toy, config, tmp_path / "run", name="shapes", progress=False)


def metadata_of(path: Path) -> ArtifactMetadata:
    return ArtifactMetadata.from_properties({entry.key: entry.value for entry in onnx.load(path).metadata_props})


def test_the_artifact_says_how_it_was_trained(run: Run) -> None:
    metadata = metadata_of(run.folder.model)
    facts, kept, calibration = metadata.training, run.checkpoint.kept, run.checkpoint.calibration()
    assert (metadata.name, metadata.classes) == ("shapes", DIGITS)
    assert (facts.dataset, facts.seed, facts.epochs) == ("toy", 5, kept.number)
    assert facts.metrics == {
        "validation_accuracy": 1 - kept.validation_error,
        "temperature": calibration.temperature,
        "validation_calibration_error": calibration.error,
        "validation_calibration_error_before": calibration.error_before,
        "test_accuracy": run.evaluation.accuracy,
    }
    assert metadata.novelty_threshold == calibration.novelty_threshold
    assert facts.versions.keys() == {"python", *FRAMEWORKS}


def test_an_export_of_the_run_is_the_same_artifact(run: Run, tmp_path: Path) -> None:
    out = export_run(run.folder.path, tmp_path / "elsewhere" / "copy.onnx")
    assert out.read_bytes() == run.folder.model.read_bytes()


def test_a_run_that_was_killed_can_still_be_exported(run: Run) -> None:
    for path in run.folder.path.iterdir():
        if path != run.folder.checkpoint:
            path.unlink()
    metrics = metadata_of(export_run(run.folder.path)).training.metrics
    assert {"validation_accuracy", "temperature"} < metrics.keys()
    assert "test_accuracy" not in metrics


def test_the_stored_parameters_are_those_of_the_best_epoch_with_the_temperature_divided_in(
    run: Run, tmp_path: Path
) -> None:
    labels = run.checkpoint.validation_labels.clone()
    labels[0] += 1  # a mistake, without which there is no temperature
    checkpoint = replace(run.checkpoint, validation_labels=labels)
    export_checkpoint(checkpoint, tmp_path / "model.onnx", None)
    stored = {
        entry.name: numpy_helper.to_array(entry) for entry in onnx.load(tmp_path / "model.onnx").graph.initializer
    }
    temperature = checkpoint.calibration().temperature
    assert temperature != 1
    for name, values in checkpoint.kept_weights.items():
        last = name.startswith("linears.linear_3.")
        expected = values / temperature if last else values
        np.testing.assert_array_equal(stored[name.removeprefix("linears.")], expected.numpy())


def test_the_artifact_keeps_the_rightly_seen_validation_digits_as_digits(run: Run, toy: Dataset) -> None:
    """As many as the threshold says: of so few, all."""
    session = onnxruntime.InferenceSession(run.folder.model, providers=["CPUExecutionProvider"])
    config, train, threshold = run.checkpoint.config, toy.train, run.checkpoint.calibration().novelty_threshold
    _, held_out = split(train, config.validation, config.seed)
    novelty, output = session.run(["novelty", "softmax"], {"pixels": train.pixels[held_out]})
    right = output.argmax(axis=1) == train.labels[held_out]
    assert right.any()
    assert (novelty[right] <= threshold + 1e-4).all()
    assert novelty[right].max() >= threshold - 1e-4


def test_the_metrics_and_the_card_have_the_calibration(run: Run) -> None:
    calibration = run.checkpoint.calibration()
    assert json.loads(run.folder.metrics.read_text())["calibration"] == asdict(calibration)
    card = run.folder.model_card.read_text()
    assert f"| calibration error | {calibration.error:.2%} on the validation part with temperature" in card
    assert f"above {calibration.novelty_threshold:.3g} an image is unlike the digits" in card


@pytest.mark.parametrize("picture", ["learning_curve", "confusion_matrix"])
def test_the_pictures_are_pictures_with_something_on_them(run: Run, picture: str) -> None:
    with Image.open(getattr(run.folder, picture)) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
        assert len(np.unique(np.asarray(image.convert("L")))) > 30


def test_a_confusion_matrix_with_empty_rows_is_drawn(tmp_path: Path) -> None:
    draw_confusion_matrix(Evaluation(np.diag([0, *range(1, 10)])), tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 1000


@pytest.mark.parametrize("count", [10, 18, 60, 100, 1000])
def test_a_confusion_matrix_of_any_number_of_classes_has_labels_that_do_not_meet(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(plots, "save", keep)
    classes = tuple(f"{number} of all the labels".ljust(100, "x") for number in range(count))
    plots.draw_confusion_matrix(Evaluation(np.eye(count, dtype=np.int64), classes), tmp_path / "matrix.png")
    (axes,) = figures[0].axes
    labels = axes.get_xticklabels()
    assert len(labels) == (count if count <= 60 else 0)
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))
    assert axes.get_window_extent().width > 0.7 * figures[0].bbox.width


def test_a_picture_that_can_not_be_drawn_does_not_end_the_fit(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr(plots, "draw_confusion_matrix", fail)
    finished = fit(toy, FitConfig((8,), epochs=1, device="cpu"), tmp_path / "run", progress=False)
    assert finished.folder.model_card.exists()
    assert f"the pictures of {tmp_path / 'run'} could not be drawn: RuntimeError('no font')" in caplog.text


def test_labels_are_drawn_as_they_are(tmp_path: Path) -> None:
    """Dollar signs are no formula, and a character that the font lacks gives no warning."""
    draw_confusion_matrix(Evaluation(np.eye(2, dtype=np.int64), ("$x_$", "日本")), tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 1000


def test_the_card_shows_labels_as_they_are(run: Run) -> None:
    classes = ("a|b", "<b>", *map(str, range(8)))
    checkpoint = replace(run.checkpoint, identity=replace(run.checkpoint.identity, classes=classes))
    card = model_card(run.folder, checkpoint, replace(run.evaluation, classes=classes))
    assert r"tells 10 classes (a\|b, \<b\>, 0, 1," in card
    assert r"| a\|b | 10 |" in card


def test_the_card_names_no_more_than_twenty_classes(toy: Dataset, tmp_path: Path) -> None:
    many = fit(
        toy.with_classes(tuple(map(str, range(100)))), FitConfig((8,), epochs=1, device="cpu"), tmp_path, progress=False
    )
    first, _ = many.folder.model_card.read_text().split(" apart ")
    assert first.endswith("100 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, …, 99)")


def test_the_card_has_every_layer_and_class_and_its_links_lead_somewhere(run: Run) -> None:
    card = run.folder.model_card.read_text()
    for layer in run.checkpoint.kept_mlp().layers:
        assert f"| `{layer.name}` | {layer.kind} | {layer.width:,} | {layer.parameter_count:,} |" in card
    for digit in "012":
        assert f"| {digit} | 10 |" in card
    assert "| 9 | 0 | – | – |" in card  # the toy data have no nines
    for picture in (run.folder.learning_curve, run.folder.confusion_matrix):
        assert f"]({picture.name})" in card
    assert f"**{run.evaluation.error:.2%}**" in card


def test_the_command_on_the_card_means_the_settings_of_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    command = fit_command(run.checkpoint.identity, run.checkpoint.config)
    assert command in run.folder.model_card.read_text()
    asked: dict[str, object] = {}

    def stub(dataset: object, config: FitConfig, *_arguments: object, **options: object) -> Run:
        asked.update(config=config, name=options["name"], dataset=dataset)
        return run

    monkeypatch.setattr("vitrine.training.cli.fit.load_dataset", lambda source, *_arguments, **_options: source)
    monkeypatch.setattr("vitrine.training.cli.fit.fit", stub)
    result = CliRunner().invoke(main, [*shlex.split(command)[1:], "--quiet"])
    assert result.exit_code == 0, result.output
    assert asked == {"config": run.checkpoint.config, "name": "shapes", "dataset": "./toy"}


@pytest.mark.parametrize("devices", [("cpu", "cpu"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_the_card_promises_the_same_bits_only_for_a_run_on_the_cpu(run: Run, devices: tuple[str, ...]) -> None:
    epochs = zip(run.checkpoint.history, devices, strict=False)
    checkpoint = replace(run.checkpoint, history=tuple(replace(epoch, device=device) for epoch, device in epochs))
    card = model_card(run.folder, checkpoint, run.evaluation)
    assert ("this gives the same weights bit for bit" in card) == ("cuda" not in devices)


def test_the_card_says_what_else_a_model_learnt_from(run: Run) -> None:
    """The command trains a teacher with the run's own seed, which may differ from the teacher of the run."""
    assert "teacher file" not in run.folder.model_card.read_text()
    assert "generated images" not in run.folder.model_card.read_text()
    config = replace(run.checkpoint.config, teacher_epochs=2, counter_examples=8000)
    card = model_card(run.folder, replace(run.checkpoint, config=config), run.evaluation)
    assert "and the same teacher file (`--teacher`), this gives the same weights" in card
    assert "8,000 generated images without a digit" in card


@pytest.mark.parametrize("source", BUILT_IN)
def test_the_card_says_whose_handwriting_a_model_has_seen_and_whose_not(run: Run, source: str) -> None:
    checkpoint = replace(run.checkpoint, identity=replace(run.checkpoint.identity, source=source))
    _, people = model_card(run.folder, checkpoint, run.evaluation).split("## Whose handwriting")
    assert people.index("has seen digits of") < people.index("has not seen") < people.index("## Figures")
    assert "children who learn to write" in people
    assert "written by a program" not in people
    assert "| source |" not in people


def test_the_card_of_a_folder_says_that_its_people_are_the_folders(run: Run) -> None:
    assert "those who wrote or drew the folder's images" in run.folder.model_card.read_text()


def test_the_card_has_the_accuracy_by_source_and_says_that_nobody_wrote_the_forms(toy: Dataset, tmp_path: Path) -> None:
    sources = np.array(["mnist", "unipen/ibm"])[np.arange(len(toy.test)) % 2]
    mixed = replace(toy, test=replace(toy.test, sources=sources), source="mnist")
    done = fit(mixed, FitConfig(hidden=(8,), epochs=1, device="cpu"), tmp_path / "mixed", progress=False)
    rows = re.findall(r"^\| (mnist|unipen/ibm) \| (\d+) \|", done.folder.model_card.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == ["mnist", "unipen/ibm"]
    assert sum(int(count) for _, count in rows) == len(toy.test)
    assert f"nobody: {len(FORMS)} forms" in whose_handwriting("mnist", DIGITS, True, {})


def test_every_built_in_data_set_has_people() -> None:
    assert set(BUILT_IN) <= set(SEEN)
    assert "folder" in whose_handwriting("mnist", ("a", "b"), False, {})


def test_the_card_says_which_epoch_was_kept(run: Run) -> None:
    assert f"by which epoch {run.checkpoint.kept.number} was selected" in run.folder.model_card.read_text()
    student = replace(run.checkpoint, teacher="a" * 64)
    assert f"after epoch {len(student.history)}, the last" in model_card(run.folder, student, run.evaluation)


def test_the_card_says_when_the_time_leaves_out_the_teachers(run: Run) -> None:
    assert "without the teacher's training" not in run.folder.model_card.read_text()
    checkpoint = replace(run.checkpoint, config=replace(run.checkpoint.config, teacher_epochs=2))
    assert "without the teacher's training" in model_card(run.folder, checkpoint, run.evaluation)


@pytest.mark.parametrize(("source", "meant"), [("digits", "digits"), ("/home/me/digits", "./digits")])
def test_the_command_on_the_card_tells_a_folder_from_a_data_set_of_its_name(run: Run, source: str, meant: str) -> None:
    identity = replace(run.checkpoint.identity, dataset="digits", source=source)
    assert f"--dataset {meant} " in fit_command(identity, run.checkpoint.config)


def test_matplotlib_and_scikit_learn_are_loaded_only_where_they_are_needed() -> None:
    code = (
        "import sys, vitrine.training; sys.exit(bool({'matplotlib', 'sklearn', 'vitrine.server'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
