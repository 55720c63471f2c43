"""The benchmarks of the training room measure what they say, on data that take no time."""

import json
from pathlib import Path

import pytest
import training_speed
import variants
from click.testing import CliRunner

from vitrine.model import TrainingFacts
from vitrine.training import MLP, export
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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An artifact that has learnt nothing."""
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
