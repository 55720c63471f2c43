"""A teacher learns, is kept and found again, and teaches only those it was made for."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vitrine.training import CheckpointError, ConfigError, Dataset, FitConfig, RunFolder, fit
from vitrine.training.lessons import Lessons
from vitrine.training.teacher import Teacher, fit_teacher, load_teacher, save_teacher

CONFIG = FitConfig(hidden=(16,), epochs=3, batch_size=16, teacher_epochs=2, versions=2, augment=0.0, device="cpu")
CPU = torch.device("cpu")


def taught(toy: Dataset, epochs: int = 40, seed: int = 0) -> Teacher:
    lessons = Lessons(toy.train, 0.0, seed, CPU)
    return fit_teacher(lessons, 10, epochs, seed, progress=False)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.training.completion._draw", lambda *_arguments: None)


def test_a_teacher_learns_what_it_is_taught(toy: Dataset) -> None:
    teacher = taught(toy)
    with torch.inference_mode():
        answers = teacher(torch.tensor(toy.test.pixels)).argmax(dim=1)
    assert (answers == torch.tensor(toy.test.labels)).float().mean() > 0.9


def test_the_seed_decides_everything_and_the_global_generator_is_left_alone(toy: Dataset) -> None:
    before = torch.get_rng_state()
    first, again, other = (taught(toy, 1, seed).state_dict()["last.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_a_teacher_is_kept_and_found_again(toy: Dataset, tmp_path: Path) -> None:
    teacher, pixels = taught(toy, 1), torch.tensor(toy.test.pixels)
    save_teacher(tmp_path / "teacher.pt", teacher, {"digest": "a"})
    found = load_teacher(tmp_path / "teacher.pt", {"digest": "a"})
    with torch.inference_mode():
        assert torch.equal(teacher(pixels), found(pixels))


def test_a_teacher_of_other_data_is_refused_by_name(toy: Dataset, tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher.pt", taught(toy, 1), {"digest": "a", "augment": 1.0})
    with pytest.raises(CheckpointError, match="another digest"):
        load_teacher(tmp_path / "teacher.pt", {"digest": "b", "augment": 1.0})


def test_a_file_that_is_no_teacher_is_refused(toy: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    path.write_bytes(b"anything")
    with pytest.raises(CheckpointError, match="damaged"):
        load_teacher(path, {})
    done = fit(toy, replace(CONFIG, teacher_epochs=0), tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match="isn't a teacher"):
        load_teacher(done.folder.checkpoint, {})


@pytest.mark.usefixtures("no_pictures")
def test_a_fit_makes_its_teacher_once_and_another_fit_may_borrow_it(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def making(*arguments: Any, **options: Any) -> Teacher:
        made.append(1)
        return fit_teacher(*arguments, **options)

    monkeypatch.setattr(sys.modules[fit.__module__], "fit_teacher", making)
    first = fit(toy, replace(CONFIG, epochs=1), tmp_path / "first", progress=False)
    fit(toy, replace(CONFIG, epochs=1), tmp_path / "first", progress=False)
    fit(toy, replace(CONFIG, seed=1), tmp_path / "second", teacher=first.folder.teacher, progress=False)
    assert len(made) == 1
    assert not RunFolder(tmp_path / "second").teacher.exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_pupil_resumed_equals_one_that_was_never_interrupted(toy: Dataset, tmp_path: Path) -> None:
    whole = fit(toy, replace(CONFIG, average=0.9), tmp_path / "whole", progress=False)
    config = replace(CONFIG, average=0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vitrine.training.checkpoint.Checkpoint.finished", property(lambda self: len(self.history) >= 2))
        fit(toy, config, tmp_path / "parts", progress=False)
    parts = fit(toy, None, tmp_path / "parts", resume=True, progress=False)
    for name, values in whole.checkpoint.average.items():
        assert torch.equal(values, parts.checkpoint.average[name])
    assert whole.folder.model.read_bytes() == parts.folder.model.read_bytes()


def test_a_sigmoid_has_no_teacher() -> None:
    with pytest.raises(ConfigError, match="teacher_epochs is 0 for a sigmoid"):
        replace(CONFIG, output="sigmoid")
