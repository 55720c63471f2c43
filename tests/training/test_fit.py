"""Fitting learns, repeats bit for bit, stops when asked, and resumes at the last epoch."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from vitrine.model import OutputKind
from vitrine.training import (
    Checkpoint,
    CheckpointError,
    ConfigError,
    DataError,
    Dataset,
    FitConfig,
    Run,
    RunFolder,
    TrainingError,
    fit,
)
from vitrine.training import fit as fit_function
from vitrine.training.data import split
from vitrine.training.examples.batches import AugmentedBatches, Batch
from vitrine.training.files.lock import locked
from vitrine.training.network.evaluate import calculate_logits
from vitrine.training.network.losses import loss_of
from vitrine.training.network.mlp import MLP
from vitrine.training.run.trainer import Trainer  # the one place where an interruption can be put

CONFIG = FitConfig(hidden=(16, 8), epochs=4, batch_size=16, learning_rate=1e-2, device="cpu")


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips figures, which take ten times as long as fitting the toy data."""
    monkeypatch.setattr("vitrine.training.run.completion._draw", lambda *_arguments: None)


def run(dataset: Dataset, folder: Path, config: FitConfig | None = CONFIG, **options: Any) -> Run:
    return fit_function(dataset, config, folder, progress=False, **options)


def assert_same(one: Run, other: Run) -> None:
    """Asserts equality of every weight, and so of every byte of the artifact."""
    for weights, others in (
        (one.checkpoint.weights, other.checkpoint.weights),
        (one.checkpoint.kept_weights, other.checkpoint.kept_weights),
    ):
        assert weights.keys() == others.keys()
        assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert torch.equal(one.checkpoint.validation_logits, other.checkpoint.validation_logits)
    assert one.folder.model.read_bytes() == other.folder.model.read_bytes()


@contextmanager
def interrupted_in_epoch(number: int) -> Iterator[None]:
    """Interrupts an epoch after its first step, as Ctrl-C does."""
    batches = AugmentedBatches.epoch

    def interrupting(self: AugmentedBatches, epoch: int, batch_size: int) -> Iterator[Batch]:
        for batch in batches(self, epoch, batch_size):
            yield batch
            if epoch == number:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AugmentedBatches, "epoch", interrupting)
        yield


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_a_fit_learns_and_completes_its_run_folder(toy: Dataset, tmp_path: Path, output: OutputKind) -> None:
    done = run(toy, tmp_path / "run", replace(CONFIG, output=output, epochs=30, augment=0.0))
    assert done.finished
    assert done.evaluation.accuracy > 0.9
    assert [entry.name for entry in onnx.load(done.folder.model).graph.output][-2:] == [output, "novelty"]
    assert sorted(path.name for path in done.folder.path.iterdir()) == [
        ".lock",
        "MODEL_CARD.md",
        "checkpoint.pt",
        "confusion_matrix.png",
        "learning_curve.png",
        "metrics.json",
        "model.onnx",
    ]


@pytest.mark.usefixtures("no_pictures")
def test_the_same_seed_gives_the_same_artifact_byte_for_byte(toy: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = run(toy, tmp_path / "one")
    torch.manual_seed(2)  # global state has no say
    assert_same(one, run(toy, tmp_path / "other"))


@pytest.mark.usefixtures("no_pictures")
def test_another_seed_gives_other_weights(toy: Dataset, tmp_path: Path) -> None:
    runs = (run(toy, tmp_path / str(seed), replace(CONFIG, seed=seed)) for seed in (0, 1))
    one, other = (done.checkpoint.kept_weights for done in runs)
    assert not any(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("no_pictures")
def test_global_random_state_is_left_alone(toy: Dataset, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run(toy, tmp_path / "run")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.usefixtures("no_pictures")
def test_the_number_of_threads_is_a_setting_and_put_back_afterwards(toy: Dataset, tmp_path: Path) -> None:
    seen, measured = set(), Trainer._validate

    def validate(trainer: Trainer, mlp: MLP) -> tuple[float, float, torch.Tensor]:
        seen.add(torch.get_num_threads())
        return measured(trainer, mlp)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_validate", validate)
        run(toy, tmp_path / "run", replace(CONFIG, threads=2))
    assert (seen, torch.get_num_threads()) == ({2}, 1)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("epoch", [2, 4])
def test_interrupted_and_resumed_equals_uninterrupted(toy: Dataset, tmp_path: Path, epoch: int) -> None:
    with interrupted_in_epoch(epoch):
        stopped = run(toy, tmp_path / "resumed")
    assert not stopped.finished
    assert_same(run(toy, tmp_path / "resumed", None, resume=True), run(toy, tmp_path / "uninterrupted"))


@pytest.mark.usefixtures("no_pictures")
def test_an_interrupted_run_is_completed_with_what_it_reached(toy: Dataset, tmp_path: Path) -> None:
    with interrupted_in_epoch(3):
        stopped = run(toy, tmp_path / "run")
    assert len(stopped.checkpoint.history) == 2
    assert json.loads(stopped.folder.metrics.read_text())["finished"] is False
    assert "interrupted" in stopped.folder.model_card.read_text()
    assert stopped.folder.model.exists()


@pytest.mark.usefixtures("no_pictures")
def test_an_interruption_before_the_first_epoch_has_nothing_to_keep(toy: Dataset, tmp_path: Path) -> None:
    with interrupted_in_epoch(1), pytest.raises(KeyboardInterrupt):
        run(toy, tmp_path / "run")
    assert not RunFolder(tmp_path / "run").checkpoint.exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_finished_run_can_be_completed_anew(toy: Dataset, tmp_path: Path) -> None:
    done = run(toy, tmp_path / "run")
    done.folder.model_card.unlink()
    assert_same(run(toy, tmp_path / "run", resume=True), done)
    assert done.folder.model_card.exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_resumed_run_keeps_its_name_unless_it_gets_a_new_one(toy: Dataset, tmp_path: Path) -> None:
    run(toy, tmp_path / "run", name="first")
    assert run(toy, tmp_path / "run", resume=True).checkpoint.identity.name == "first"
    assert run(toy, tmp_path / "run", resume=True, name="second").checkpoint.identity.name == "second"


@pytest.mark.usefixtures("no_pictures")
def test_a_run_can_not_be_resumed_with_other_settings_or_data(toy: Dataset, tmp_path: Path) -> None:
    run(toy, tmp_path / "run")
    with pytest.raises(CheckpointError, match="started with seed 0, not 1: resume it with the same settings"):
        run(toy, tmp_path / "run", replace(CONFIG, seed=1), resume=True)
    with pytest.raises(CheckpointError, match="started with other data"):
        run(replace(toy, train=toy.test), tmp_path / "run", resume=True)
    with pytest.raises(CheckpointError, match="fit first"):
        run(toy, tmp_path / "nothing", resume=True)


@pytest.mark.usefixtures("no_pictures")
def test_a_new_run_that_reaches_nothing_leaves_the_one_that_it_would_replace(toy: Dataset, tmp_path: Path) -> None:
    done = run(toy, tmp_path / "run")
    before = contents(done.folder)
    with interrupted_in_epoch(1), pytest.raises(KeyboardInterrupt):
        run(toy, tmp_path / "run", replace(CONFIG, seed=1))
    assert contents(done.folder) == before


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_is_killed_leaves_nothing_of_an_earlier_checkpoint(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    with interrupted_in_epoch(2):
        stopped = run(toy, tmp_path / "run")
    monkeypatch.setattr(sys.modules[fit.__module__], "complete", kill)
    with pytest.raises(Killed):
        run(toy, tmp_path / "run", resume=resume)
    assert contents(stopped.folder).keys() == {".lock", "checkpoint.pt"}
    assert len(Checkpoint.load(stopped.folder.checkpoint).history) == CONFIG.epochs


class Killed(BaseException):
    """Stands for the end of the process."""


def kill(*_arguments: object) -> None:
    raise Killed


def contents(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.iterdir()}


@pytest.mark.usefixtures("no_pictures")
def test_a_second_fit_into_the_same_folder_is_refused(toy: Dataset, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with locked(folder.lock), pytest.raises(TrainingError, match=f"another process is writing into {folder.path}"):
        run(toy, folder.path)
    assert run(toy, folder.path).finished


@pytest.mark.usefixtures("no_pictures")
def test_the_folder_is_held_while_it_is_completed(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completing(folder: RunFolder, *_arguments: object) -> None:
        with pytest.raises(TrainingError, match="another process"), locked(folder.lock, wait=False):
            pass
        raise Killed

    monkeypatch.setattr(sys.modules[fit.__module__], "complete", completing)
    with pytest.raises(Killed):
        run(toy, tmp_path / "run")


def test_examples_that_leave_none_to_validate_with_are_refused_at_the_start(tmp_path: Path, toy: Dataset) -> None:
    one_of_each = toy.train[slice(0, 3)]
    with pytest.raises(DataError, match="none is left for validation"):
        run(replace(toy, train=one_of_each + one_of_each), tmp_path / "run")


@pytest.mark.usefixtures("no_pictures")
def test_each_epoch_says_where_it_was_calculated(toy: Dataset, tmp_path: Path) -> None:
    assert [epoch.device for epoch in run(toy, tmp_path / "run").checkpoint.history] == ["cpu"] * 4


@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_can_not_begin_leaves_the_earlier_one_alone(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = run(toy, tmp_path / "run")
    with pytest.raises(ConfigError, match="cuda"):
        run(toy, tmp_path / "run", replace(CONFIG, device="cuda"))
    assert Checkpoint.load(done.folder.checkpoint).finished


@pytest.mark.usefixtures("no_pictures")
def test_kept_are_the_weights_of_the_epoch_with_the_fewest_errors_and_their_logits(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def destructive(step: int, steps: int, peak: float) -> float:
        return peak if step < steps / 2 else 100.0

    monkeypatch.setattr("vitrine.training.run.trainer.learning_rate_at", destructive)
    wild = replace(CONFIG, epochs=20, augment=0.0)
    checkpoint = run(toy, tmp_path / "run", wild).checkpoint
    _, held_out = split(toy.train, wild.validation, wild.seed)
    kept = MLP(wild.hidden)
    kept.load_state_dict(dict(checkpoint.kept_weights))
    expected = calculate_logits(kept, torch.tensor(toy.train.pixels[held_out]))
    errors = [epoch.validation_error for epoch in checkpoint.history]
    wrong = (expected.argmax(dim=1).numpy() != toy.train.labels[held_out]).mean()
    assert wrong == min(errors) < errors[-1]
    assert torch.equal(checkpoint.validation_logits, expected)
    assert torch.equal(checkpoint.validation_labels, torch.tensor(toy.train.labels[held_out]))


@pytest.mark.usefixtures("no_pictures")
def test_patience_stops_early(toy: Dataset, tmp_path: Path) -> None:
    stopped = run(toy, tmp_path / "run", replace(CONFIG, epochs=50, patience=2))
    assert stopped.finished
    assert len(stopped.checkpoint.history) == stopped.checkpoint.kept.number + 2 < 50


@pytest.mark.usefixtures("no_pictures")
def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_do(toy: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="after epoch 1: lower the learning rate"):
        run(toy, tmp_path / "run", replace(CONFIG, learning_rate=1e38))


@pytest.mark.usefixtures("no_pictures")
def test_metrics_hold_every_epoch_and_the_test_result(toy: Dataset, tmp_path: Path) -> None:
    done = run(toy, tmp_path / "run")
    metrics = json.loads(done.folder.metrics.read_text())
    assert [epoch["number"] for epoch in metrics["history"]] == [1, 2, 3, 4]
    assert metrics["test"]["accuracy"] == done.evaluation.accuracy
    assert metrics["config"] == done.checkpoint.config.to_dict()
    assert metrics["dataset"] == {
        "name": "toy",
        "training_examples": 90,
        "test_examples": 30,
        "sha256": toy.digest(),
    }


def test_the_loss_is_that_of_the_output_layer() -> None:
    logits, labels = torch.tensor([[2.0, -1.0], [0.5, 0.5]]), torch.tensor([0, 1])
    softmax, sigmoid = (function(logits).numpy() for function in (lambda x: torch.softmax(x, 1), torch.sigmoid))
    assert float(loss_of("softmax", logits, labels)) == pytest.approx(-np.log(softmax[[0, 1], [0, 1]]).mean())
    right = np.array([[True, False], [False, True]])
    expected = -np.log(np.where(right, sigmoid, 1 - sigmoid)).sum(axis=1).mean()
    assert float(loss_of("sigmoid", logits, labels)) == pytest.approx(expected)


def test_fit_is_what_the_package_offers() -> None:
    assert fit is fit_function


@pytest.mark.parametrize("name", ["a\nb", "\ud800"])
def test_a_name_that_no_server_would_load_is_refused_at_once(toy: Dataset, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="which no request can ask for; choose another with --name"):
        fit(toy, None, tmp_path / "run", name=name, progress=False)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
