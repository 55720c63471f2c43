"""The log of epochs for TensorBoard, and the sentence of a machine without it."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from vitrine.training import ConfigError, Dataset, FitConfig, fit

CONFIG = FitConfig(hidden=(8,), epochs=3, batch_size=16, learning_rate=1e-2, device="cpu")


class RecordingWriter:
    """Stands for the writer of event files, which belongs to an extra: it takes what PyTorch's writer takes."""

    begun: ClassVar[list["RecordingWriter"]] = []

    def __init__(self, log_dir: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.closed = Path(log_dir), purge_step, False
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"events.{len(self.begun)}").touch()
        self.scalars: list[tuple[str, float, int]] = []
        self.begun.append(self)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.append((tag, value, step))

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.training.run.completion._draw", lambda *_arguments: None)


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[RecordingWriter]:
    """The writers that were opened, in place of PyTorch's."""
    monkeypatch.setattr(RecordingWriter, "begun", [])
    module = ModuleType("torch.utils.tensorboard")
    module.__dict__["SummaryWriter"] = RecordingWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    _pretend(monkeypatch, installed=True)
    return RecordingWriter.begun


def _pretend(monkeypatch: pytest.MonkeyPatch, *, installed: bool) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        if name == "tensorboard":
            return SimpleNamespace() if installed else None
        return found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_each_epoch_is_logged_with_losses_error_and_learning_rate(
    toy: Dataset, tmp_path: Path, writers: list[RecordingWriter]
) -> None:
    run = fit(toy, CONFIG, tmp_path / "run", tensorboard=True, progress=False)
    (writer,) = writers
    assert (writer.folder, writer.closed) == (run.folder.tensorboard, True)
    for tag, field in (
        ("loss/training", "training_loss"),
        ("loss/validation", "validation_loss"),
        ("error/validation", "validation_error"),
    ):
        logged = [(value, step) for name, value, step in writer.scalars if name == tag]
        assert logged == [(getattr(epoch, field), epoch.number) for epoch in run.checkpoint.history]
    rates = [value for name, value, _ in writer.scalars if name == "learning_rate"]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < rates[0] <= CONFIG.learning_rate


def test_a_resumed_run_goes_on_with_its_log_and_a_new_one_begins_its_own(
    toy: Dataset, tmp_path: Path, writers: list[RecordingWriter]
) -> None:
    run = fit(toy, CONFIG, tmp_path / "run", tensorboard=True, progress=False)
    fit(toy, replace(CONFIG, epochs=4), tmp_path / "run", resume=True, tensorboard=True, progress=False)
    assert [writer.purge_step for writer in writers] == [1, 4]
    assert {step for _, _, step in writers[1].scalars} == {4}
    assert len(list(run.folder.tensorboard.iterdir())) == 2
    fit(toy, CONFIG, tmp_path / "run", progress=False)
    assert not run.folder.tensorboard.exists()  # it told of the run that was replaced


def test_without_tensorboard_it_says_what_to_install_before_anything_is_learnt(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, installed=False)
    with pytest.raises(
        ConfigError, match=r"--tensorboard needs the extra `tensorboard`: pip install '.*\[tensorboard\]'"
    ):
        fit(toy, CONFIG, tmp_path / "run", tensorboard=True, progress=False)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_fit_that_writes_no_log_does_not_load_it(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, installed=False)
    assert fit(toy, CONFIG, tmp_path / "run", progress=False).finished
