"""Fine-tuning: a run starts from the parameters of another run or of any artifact, and says so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from vitrine.model import ArtifactError
from vitrine.training import (
    Checkpoint,
    CheckpointError,
    ConfigError,
    DataError,
    Dataset,
    FitConfig,
    Run,
    RunFolder,
    evaluate,
    fit,
)
from vitrine.training.cli import main
from vitrine.training.run.fine_tuning import RATE, Start
from vitrine.training.run.recipes import recipe

CONFIG = FitConfig(hidden=(16, 8), epochs=8, batch_size=16, learning_rate=1e-2, augment=0.0, device="cpu")
SLOW = replace(CONFIG, epochs=1, learning_rate=1e-6)
BUNDLED = Path(__file__).parents[2] / "server" / "vitrine" / "server" / "bundled" / "digits.onnx"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.training.run.completion._draw", lambda *_arguments: None)


def run(dataset: Dataset, folder: Path, config: FitConfig | None, **options: Any) -> Run:
    return fit(dataset, config, folder, progress=False, **options)


def vitrine_train(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def learnt(toy: Dataset, tmp_path: Path) -> Run:
    return run(toy, tmp_path / "learnt", CONFIG, name="first")


@pytest.mark.parametrize("source", ["run", "artifact"])
def test_a_run_starts_where_another_ended(toy: Dataset, tmp_path: Path, learnt: Run, source: str) -> None:
    start = learnt.folder.path if source == "run" else learnt.folder.model
    tuned = run(toy, tmp_path / "tuned", SLOW, start_from=start)
    before, after = learnt.checkpoint.untempered_mlp(), tuned.checkpoint.untempered_mlp()
    with torch.no_grad():
        pixels = torch.tensor(toy.test.pixels)
        assert torch.equal(after(pixels).argmax(dim=1), before(pixels).argmax(dim=1))
    fresh = run(toy, tmp_path / "fresh", SLOW)
    assert tuned.evaluation.error < fresh.evaluation.error


def test_what_it_started_from_is_in_the_metrics_the_card_and_the_comparison(
    toy: Dataset, tmp_path: Path, learnt: Run
) -> None:
    tuned = run(toy, tmp_path / "tuned", SLOW, start_from=learnt.folder.model)
    origin = json.loads(tuned.folder.metrics.read_text())["started_from"]
    assert (origin["name"], origin["dataset"], len(origin["sha256"])) == ("first", "toy", 64)
    assert origin["test_error"] == evaluate(learnt.checkpoint.untempered_mlp(), toy.test).error
    card = tuned.folder.model_card.read_text()
    assert "It started from the parameters of the model first, trained on toy" in card
    assert origin["sha256"] in card
    assert "--from first.onnx" in card
    assert json.loads(learnt.folder.metrics.read_text())["started_from"] is None
    assert "--from" not in learnt.folder.model_card.read_text()
    compared = vitrine_train("compare", learnt.folder.path, tuned.folder.path).output
    assert any(line.split() == ["from", "none", "first"] for line in compared.splitlines())


def test_a_fine_tuned_run_is_resumed_without_its_source(toy: Dataset, tmp_path: Path, learnt: Run) -> None:
    run(toy, tmp_path / "tuned", SLOW, start_from=learnt.folder.model)
    learnt.folder.model.unlink()
    more = run(toy, tmp_path / "tuned", replace(SLOW, epochs=2), resume=True)
    assert more.checkpoint.origin == Checkpoint.load(more.folder.checkpoint).origin
    assert more.checkpoint.origin is not None
    with pytest.raises(ConfigError, match="a resumed run has parameters of its own"):
        run(toy, tmp_path / "tuned", SLOW, resume=True, start_from=learnt.folder.path)


def test_without_settings_it_has_the_layers_of_its_source_and_a_tenth_of_the_learning_rate(
    toy: Dataset, tmp_path: Path, learnt: Run
) -> None:
    start = Start.read(learnt.folder.path)
    base = recipe(toy.source, toy.classes)
    assert start.settings(base) == replace(base, hidden=(16, 8), learning_rate=RATE * base.learning_rate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": (16,)}, "first has hidden 16,8, not 16: leave --hidden out"),
        ({"output": "sigmoid"}, "first has output softmax, not sigmoid"),
    ],
)
def test_other_layers_are_refused(
    toy: Dataset, tmp_path: Path, learnt: Run, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(toy, tmp_path / "tuned", replace(CONFIG, **change), start_from=learnt.folder.path)
    assert not RunFolder(tmp_path / "tuned").checkpoint.exists()


def test_other_classes_and_sizes_are_refused(toy: Dataset, tmp_path: Path, learnt: Run) -> None:
    fewer = replace(toy, classes=tuple("012"))
    with pytest.raises(DataError, match="has the class '3', and toy has no images of it"):
        run(fewer, tmp_path / "tuned", CONFIG, start_from=learnt.folder.path)
    more = replace(toy, classes=(*toy.classes, "ten"))
    with pytest.raises(DataError, match="toy has the class 'ten'"):
        run(more, tmp_path / "tuned", CONFIG, start_from=learnt.folder.path)
    wide = replace(toy, train=_padded(toy.train), test=_padded(toy.test))
    with pytest.raises(DataError, match="first has pixels of 18x18, and toy of 18x20: use --size 18x18"):
        run(wide, tmp_path / "tuned", CONFIG, start_from=learnt.folder.path)


def _padded(examples: Any) -> Any:
    return replace(examples, pixels=np.pad(examples.pixels, ((0, 0), (0, 0), (1, 1))))


def test_classes_in_another_order_are_put_into_the_order_of_the_network(
    toy: Dataset, tmp_path: Path, learnt: Run
) -> None:
    turned = replace(toy, classes=tuple(reversed(toy.classes)))
    turned = replace(turned, train=_turned(turned.train), test=_turned(turned.test))
    tuned = run(turned, tmp_path / "tuned", SLOW, start_from=learnt.folder.path)
    assert tuned.checkpoint.identity.classes == toy.classes
    assert tuned.evaluation.error == learnt.evaluation.error
    assert run(turned, tmp_path / "tuned", None, resume=True).finished


def _turned(examples: Any) -> Any:
    return replace(examples, labels=9 - examples.labels)


def test_a_run_without_an_epoch_and_a_file_that_is_no_artifact_are_refused(
    toy: Dataset, tmp_path: Path, learnt: Run
) -> None:
    begun = RunFolder(tmp_path / "begun")
    begun.path.mkdir()
    replace(learnt.checkpoint, history=()).save(begun.checkpoint)
    with pytest.raises(CheckpointError, match="has no finished epoch to start from"):
        run(toy, tmp_path / "tuned", CONFIG, start_from=begun.path)
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(ArtifactError, match=r"no\.onnx"):
        run(toy, tmp_path / "tuned", CONFIG, start_from=tmp_path / "no.onnx")


def test_the_bundled_model_is_fine_tuned_on_the_command_line(tmp_path: Path) -> None:
    words = ("fit", "--from", BUNDLED, "--epochs", "1", "--run", tmp_path / "run", "--counter-examples", "0", "--quiet")
    result = vitrine_train(*words)
    assert result.exit_code == 0, result.output
    assert "% before fine-tuning" in result.stdout
    checkpoint = Checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert checkpoint.config.hidden == (1000, 640, 256)
    assert checkpoint.config.learning_rate == pytest.approx(RATE * recipe("digits").learning_rate)
    assert checkpoint.origin is not None
    assert checkpoint.origin.name == "digits"
    assert checkpoint.origin.test_error < 0.05
    assert checkpoint.kept.validation_error < 0.05
