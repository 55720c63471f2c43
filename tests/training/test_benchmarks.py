"""Benchmarks of training give consistent measurements on tiny data."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import handwriting, students, training_speed, variants
from vitrine.model import TrainingFacts
from vitrine.training import MLP, FitConfig, export, fit
from vitrine.training.data import load_dataset


def test_training_speed_accounts_for_the_whole_of_an_epoch() -> None:
    words = ("--recipe", "digits", "--runs", "1", "--epochs-timed", "2", "--json", "--hidden", "16", "--epochs", "2")
    found = json.loads(CliRunner().invoke(training_speed.main, words, catch_exceptions=False).stdout)
    assert found["config"]["hidden"] == [16]
    assert sum(found["epochs"]["shares"].values()) == pytest.approx(1)
    assert min(found["epochs"]["shares"].values()) > 0
    (run,) = found["runs"]
    assert run["training_seconds"] < run["command_seconds"]
    assert found["reached"] == (run["test_accuracy"] >= 0.99)
    assert found["preparation"]["cached"] < found["preparation"]["cold"]


def test_a_student_that_has_learnt_is_nearer_to_its_teacher_and_errs_less(tmp_path: Path) -> None:
    begun = FitConfig(
        hidden=(32,), epochs=1, batch_size=64, learning_rate=1e-4, teacher_epochs=2, versions=2, device="cpu"
    )
    learnt = replace(begun, epochs=30, learning_rate=4e-3)
    first = fit(load_dataset("digits", progress=False), begun, tmp_path / "first", progress=False)
    fit(
        load_dataset("digits", progress=False),
        learnt,
        tmp_path / "second",
        progress=False,
        teacher=first.folder.teacher,
    )
    words = (str(tmp_path / "first"), str(tmp_path / "second"), "--json")
    found = json.loads(CliRunner().invoke(students.main, words, catch_exceptions=False).stdout)["students"]
    assert found[1]["divergence"] < found[0]["divergence"]
    assert found[1]["bent_error"] < found[0]["bent_error"]
    assert found[0]["teacher_bent_error"] == found[1]["teacher_bent_error"]


def test_a_run_without_a_teacher_is_refused_in_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(students.main, [str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 2
    assert f"{tmp_path} has no teacher.pt" in result.stderr


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An artifact of an untrained network."""
    pixels = load_dataset("digits", progress=False).test.pixels[:64]
    facts = TrainingFacts("digits", 0, 0)
    export(MLP((64, 32)), tmp_path / "model.onnx", name="model", facts=facts, pixels=pixels, novelty_threshold=0.0)
    return tmp_path / "model.onnx"


def test_variants_are_smaller_and_their_layers_stay_what_they_are(model: Path) -> None:
    words = (str(model), "--dataset", "digits", "--rounds", "1", "--seconds", "0", "--json")
    found = json.loads(CliRunner().invoke(variants.main, words, catch_exceptions=False).stdout)["variants"]
    assert list(found) == ["float32", *variants.MAKERS]
    assert set(found["float32"]["deviations"].values()) == {0}
    for name in variants.MAKERS:
        assert found[name]["size"] < found["float32"]["size"]
        assert 0 < max(found[name]["deviations"].values()) < (0.01 if "float16" in name else 0.2), name


@pytest.mark.parametrize("part", ["validation", "test"])
def test_handwriting_is_measured_by_source_digit_and_form(
    model: Path, mnist: Path, pen_data: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setenv("VITRINE_DATA_DIR", str(mnist))
    monkeypatch.setattr(handwriting, "FORMS", 60)
    words = (str(model), "--part", part, "--json")
    found = json.loads(CliRunner().invoke(handwriting.main, words, catch_exceptions=False).stdout)["models"][str(model)]
    assert found.keys() == {"mnist", "mnist, bent", "unipen", "forms", "embedded"}
    contributors = {"unipen/abc"} if part == "validation" else {"unipen/abc", "unipen/xyz"}
    assert found["unipen"]["by_source"].keys() == contributors
    assert sum(each["count"] for each in found["forms"]["by_source"].values()) == 60
    for figures in found.values():
        assert sum(each["errors"] for each in figures["by_digit"].values()) == figures["errors"] <= figures["count"]
        assert 0 <= figures["calibration_error"] <= 1
