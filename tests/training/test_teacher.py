"""A teacher learns, is stored and found again, and teaches only runs with its data."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vitrine.training import (
    CheckpointError,
    ConfigError,
    Dataset,
    Examples,
    FitConfig,
    Run,
    RunFolder,
    TrainingError,
    fit,
)
from vitrine.training.examples.batches import AugmentedBatches, Batch
from vitrine.training.files.checksummed import write_checksummed
from vitrine.training.network.mlp import MLP
from vitrine.training.run import distillation
from vitrine.training.run.distillation import FoundTeacher
from vitrine.training.run.teacher import Teacher, fit_teacher, load_teacher, save_teacher
from vitrine.training.run.trainer import Trainer

CONFIG = FitConfig(hidden=(16,), epochs=3, batch_size=16, teacher_epochs=2, versions=2, augment=0.0, device="cpu")
CPU = torch.device("cpu")


def taught(toy: Dataset, epochs: int = 40, seed: int = 0) -> Teacher:
    batches = AugmentedBatches(toy.train, 0.0, seed, CPU)
    return fit_teacher(batches, 10, epochs, seed, progress=False)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.training.run.completion._draw", lambda *_arguments: None)


def test_a_teacher_learns_what_it_is_taught(toy: Dataset) -> None:
    teacher = taught(toy)
    with torch.inference_mode():
        answers = teacher(torch.tensor(toy.test.pixels)).argmax(dim=1)
    assert (answers == torch.tensor(toy.test.labels)).float().mean() > 0.9


def test_the_seed_decides_everything_and_the_global_generator_is_left_alone(toy: Dataset) -> None:
    before = torch.get_rng_state()
    first, again, other = (taught(toy, 1, seed).state_dict()["networks.1.last.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(4, 4), (5, 40), (12, 20), (36, 36)], ids=str)
def test_a_teacher_takes_any_shape(shape: tuple[int, int]) -> None:
    teacher, pixels = Teacher(3, shape).eval(), torch.randint(256, (5, *shape), dtype=torch.uint8)
    with torch.inference_mode():
        answers = teacher(pixels)
        torch.testing.assert_close(teacher.folded()(pixels), answers, atol=1e-4, rtol=1e-4)
    assert answers.shape == (5, 3)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_with_a_teacher_and_bends_goes_on_at_any_shape(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shapes, labels = random.integers(0, 256, (3, 12, 20)), np.arange(60) % 3
    noisy = (shapes[labels] + random.normal(0, 40, (60, 12, 20))).clip(0, 255).astype(np.uint8)
    examples = Examples(noisy, labels.astype(np.int64))
    dataset = Dataset("signs", examples[slice(0, 45)], examples[slice(45, 60)], ("left", "right", "stop"))
    config = replace(CONFIG, augment=0.5)
    first = fit(dataset, config, tmp_path / "run", progress=False)
    assert (
        fit(dataset, config, tmp_path / "run", resume=True, progress=False).checkpoint.teacher
        == first.checkpoint.teacher
    )
    other = fit(dataset, config, tmp_path / "other", teacher=RunFolder(tmp_path / "run").teacher, progress=False)
    assert other.checkpoint.teacher == first.checkpoint.teacher
    assert first.evaluation.confusion.shape == (3, 3)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """One for each network."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.usefixtures("two_threads")
def test_its_networks_learn_each_in_its_own_way_and_leave_pytorchs_threads_as_they_were(toy: Dataset) -> None:
    weights = taught(toy, 2).state_dict()
    assert not torch.equal(weights["networks.0.last.weight"], weights["networks.1.last.weight"])
    assert threads_of_a_new_thread() == 2


@pytest.mark.usefixtures("two_threads")
def test_side_by_side_its_networks_become_what_they_are_one_after_the_other(toy: Dataset) -> None:
    together = taught(toy, 2).state_dict()
    torch.set_num_threads(1)
    assert all(torch.equal(values, together[name]) for name, values in taught(toy, 2).state_dict().items())


@pytest.mark.usefixtures("two_threads")
def test_what_stops_one_of_its_networks_stops_the_other(toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C waits for one step instead of the remaining minutes."""
    bends: list[int] = []

    def failing(batches: AugmentedBatches, number: int, *arguments: Any) -> Iterator[Batch]:
        bends.append(number)
        if number == 10_002:  # the second epoch of the second network
            raise KeyboardInterrupt
        return whole(batches, number, *arguments)

    whole = AugmentedBatches.epoch
    monkeypatch.setattr(AugmentedBatches, "epoch", failing)
    with pytest.raises(KeyboardInterrupt):
        taught(toy, 10_000)
    assert 10_002 in bends
    assert len(bends) < 1000
    assert threads_of_a_new_thread() == 2


def test_folded_it_says_the_same(toy: Dataset) -> None:
    teacher, pixels = taught(toy, 2), torch.tensor(toy.test.pixels)
    before = {name: values.clone() for name, values in teacher.state_dict().items()}
    folded = teacher.folded()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(pixels), teacher(pixels), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(values, before[name]) for name, values in teacher.state_dict().items())


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


def test_a_teacher_of_an_older_version_has_learnt_from_neither_drawings_nor_forms(toy: Dataset, tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher.pt", taught(toy, 1), {"digest": "a"})
    load_teacher(tmp_path / "teacher.pt", {"digest": "a", "drawings": 1, "forms": 0})
    with pytest.raises(CheckpointError, match="another forms"):
        load_teacher(tmp_path / "teacher.pt", {"digest": "a", "drawings": 1, "forms": 100})


def test_a_file_that_is_no_teacher_is_refused(toy: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    path.write_bytes(b"anything")
    with pytest.raises(CheckpointError, match="damaged"):
        load_teacher(path, {})
    write_checksummed(path, {"teacher_version": 1, "facts": {}, "weights": {}})
    with pytest.raises(CheckpointError, match="remove it, or name another"):
        load_teacher(path, {})
    done = fit(toy, replace(CONFIG, teacher_epochs=0), tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match="is not a teacher"):
        load_teacher(done.folder.checkpoint, {})


@pytest.fixture
def written(toy: Dataset) -> Dataset:
    """The toy data with writers, so that every seed holds out the same examples."""
    return replace(toy, train=replace(toy.train, writers=np.arange(len(toy.train)) // 3))


def run(dataset: Dataset, folder: Path, config: FitConfig | None = CONFIG, **options: Any) -> Run:
    return fit(dataset, config, folder, progress=False, **options)


def stopped(dataset: Dataset, folder: Path, config: FitConfig = CONFIG, **options: Any) -> Run:
    """A run that ended after two epochs of three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "vitrine.training.run.checkpoint.Checkpoint.finished", property(lambda self: len(self.history) >= 2)
        )
        return run(dataset, folder, config, **options)


@pytest.mark.usefixtures("no_pictures")
def test_a_fit_makes_its_teacher_once_and_another_fit_may_borrow_it(
    written: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def making(*arguments: Any, **options: Any) -> Teacher:
        made.append(1)
        return fit_teacher(*arguments, **options)

    monkeypatch.setattr("vitrine.training.run.distillation.fit_teacher", making)
    first = run(written, tmp_path / "first", replace(CONFIG, epochs=1))
    run(written, tmp_path / "first", replace(CONFIG, epochs=1))
    second = run(written, tmp_path / "second", replace(CONFIG, seed=1), teacher=first.folder.teacher)
    assert len(made) == 1
    assert second.folder.teacher.read_bytes() == first.folder.teacher.read_bytes()


@pytest.mark.usefixtures("no_pictures")
def test_a_teacher_that_has_learnt_what_a_run_is_validated_with_is_refused(toy: Dataset, tmp_path: Path) -> None:
    """Without known writers each seed holds out other examples, which another run's teacher may have seen."""
    first = run(toy, tmp_path / "first", replace(CONFIG, epochs=1))
    with pytest.raises(CheckpointError, match="trained with another seed"):
        run(toy, tmp_path / "second", replace(CONFIG, seed=1), teacher=first.folder.teacher)


@pytest.mark.usefixtures("no_pictures")
def test_a_new_run_does_not_take_the_teacher_that_another_seed_has_left_in_its_folder(
    written: Dataset, tmp_path: Path
) -> None:
    run(written, tmp_path / "run", replace(CONFIG, epochs=1))
    with pytest.raises(CheckpointError, match="trained with another seed: remove it"):
        run(written, tmp_path / "run", replace(CONFIG, seed=1))


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("borrowed", [False, True])
def test_a_student_resumed_equals_one_that_was_never_interrupted(
    written: Dataset, tmp_path: Path, borrowed: bool
) -> None:
    other = run(written, tmp_path / "other", replace(CONFIG, seed=7, epochs=1)) if borrowed else None
    teacher = other and other.folder.teacher
    whole = run(written, tmp_path / "whole", CONFIG, teacher=teacher)
    stopped(written, tmp_path / "parts", CONFIG, teacher=teacher)
    parts = run(written, tmp_path / "parts", None, resume=True)
    for name, values in whole.checkpoint.weights.items():
        assert torch.equal(values, parts.checkpoint.weights[name])
    assert whole.folder.model.read_bytes() == parts.folder.model.read_bytes()


@pytest.mark.usefixtures("no_pictures")
def test_what_is_kept_of_a_student_is_its_last_epoch(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch with the smallest validation error is a matter of chance."""
    errors, validate = iter((0.0, 0.1, 0.2)), Trainer._validate

    def worse_each_time(trainer: Trainer, mlp: MLP) -> tuple[float, float, torch.Tensor]:
        loss, _, logits = validate(trainer, mlp)
        return loss, next(errors), logits

    monkeypatch.setattr(Trainer, "_validate", worse_each_time)
    checkpoint = run(toy, tmp_path / "run", CONFIG).checkpoint
    assert checkpoint.kept.number == 3
    expected = checkpoint.learner().folded().state_dict()
    assert all(torch.equal(values, expected[name]) for name, values in checkpoint.kept_weights.items())


@pytest.mark.usefixtures("no_pictures")
def test_patience_stops_a_student_that_gets_no_better(toy: Dataset, tmp_path: Path) -> None:
    done = run(toy, tmp_path / "run", replace(CONFIG, epochs=200, patience=2))
    assert done.finished
    assert done.checkpoint.kept.number == len(done.checkpoint.history) < 200


@pytest.mark.usefixtures("no_pictures")
def test_a_resumed_run_does_not_change_its_teacher(written: Dataset, tmp_path: Path) -> None:
    begun, other = stopped(written, tmp_path / "run"), run(written, tmp_path / "other", replace(CONFIG, seed=1))
    with pytest.raises(CheckpointError, match="started with another teacher"):
        run(written, tmp_path / "run", None, resume=True, teacher=other.folder.teacher)
    begun.folder.teacher.unlink()
    with pytest.raises(CheckpointError, match="which is missing"):
        run(written, tmp_path / "run", None, resume=True)


def test_a_teacher_that_is_not_there_is_an_error_and_none_is_made_in_its_place(toy: Dataset, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        run(toy, tmp_path / "run", teacher=tmp_path / "teacher.pt")
    assert not (tmp_path / "teacher.pt").exists()


def test_a_teacher_is_refused_where_labels_alone_teach(toy: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a teacher is named, but teacher_epochs is 0"):
        run(toy, tmp_path / "run", replace(CONFIG, teacher_epochs=0), teacher=tmp_path / "teacher.pt")


def test_a_teacher_of_no_use_is_an_error(toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.training.run.teacher.LEARNING_RATE", float("inf"))
    with pytest.raises(TrainingError, match="not finite"):
        taught(toy, 1)


def test_logits_from_cuda_are_not_cached_for_the_cpu() -> None:
    """CUDA rounds in another way: the CPU's weights would no longer be the same, bit for bit."""
    folders = [FoundTeacher(Teacher(10), "a" * 64).cache_folder(torch.device(kind)) for kind in ("cpu", "cuda")]
    assert folders[0] != folders[1]


def test_versions_that_other_code_augmented_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, cpu = FoundTeacher(Teacher(10), "a" * 64), torch.device("cpu")
    before = teacher.cache_folder(cpu)
    assert teacher.cache_folder(cpu) == before
    changed = tmp_path / "augmentation.py"
    changed.write_bytes(distillation.BATCHES_CODE[0].read_bytes() + b"# another")
    monkeypatch.setattr(distillation, "BATCHES_CODE", (changed, *distillation.BATCHES_CODE[1:]))
    assert teacher.cache_folder(cpu) != before


def test_a_sigmoid_has_no_teacher() -> None:
    with pytest.raises(ConfigError, match="teacher_epochs is 0 for a sigmoid"):
        replace(CONFIG, output="sigmoid")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("no_pictures")
def test_a_run_with_a_teacher_learns_on_cuda_and_goes_on_on_the_cpu(toy: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=60, teacher_epochs=60, learning_rate=1e-2, device="cuda")
    done = stopped(toy, tmp_path / "run", config)
    assert len(done.checkpoint.history) == 2
    assert run(toy, tmp_path / "run", None, resume=True).evaluation.accuracy > 0.9
    on_cpu = run(toy, tmp_path / "run", replace(config, device="cpu"), resume=True)
    assert on_cpu.evaluation.accuracy > 0.9
