"""All handwriting is one data set: MNIST and pen drawings with their sources, split by the writers of each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitrine.training import Dataset, FitConfig, fit, load_dataset
from vitrine.training.data import split, split_by_seed
from vitrine.training.data.pen_digits import DRAWINGS
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.run.checkpoint import RunIdentity
from vitrine.training.run.fit import _new_checkpoint, trainer_for

CONFIG = FitConfig(hidden=(8,), epochs=1, batch_size=16, device="cpu")


@pytest.fixture
def handwriting(mnist: Path, pen_data: Path) -> Dataset:
    return load_dataset("handwriting", mnist, pen_data, progress=False)


def test_sources_tell_which_is_which(handwriting: Dataset) -> None:
    counts = {name: len(members) for name, members in handwriting.train.members().items()}
    assert counts == {"mnist": 24, "unipen/abc": 18 * DRAWINGS}
    assert set(handwriting.test.members()) == {"mnist", "unipen/abc", "unipen/xyz"}


def test_no_two_sources_share_a_writer(handwriting: Dataset) -> None:
    train = handwriting.train
    assert train.writers is not None
    found = [set(train.writers[members].tolist()) for members in train.members().values()]
    assert len(set.union(*found)) == sum(map(len, found)) == 12 + 4


def test_mnists_part_is_split_as_mnist_alone(handwriting: Dataset, mnist: Path) -> None:
    alone = load_dataset("mnist", mnist, progress=False).train
    (_, held_out), (_, expected) = split(handwriting.train, 0.1, 0), split(alone, 0.1, 0)
    np.testing.assert_array_equal(held_out[held_out < len(alone)], expected)


def test_writers_of_each_contributor_are_held_out(handwriting: Dataset) -> None:
    kept, held_out = (handwriting.train[side] for side in split(handwriting.train, 0.1, 0))
    for examples in (kept, held_out):
        assert set(examples.members()) == {"mnist", "unipen/abc"}
    assert kept.writers is not None
    assert held_out.writers is not None
    assert not set(kept.writers) & set(held_out.writers)
    assert not split_by_seed(handwriting.train)


def test_without_mnists_writers_only_its_part_depends_on_the_seed(mnist: Path, pen_data: Path) -> None:
    (mnist / "writers.npz").unlink()
    train = load_dataset("handwriting", mnist, pen_data, progress=False).train
    assert split_by_seed(train)
    sides = [set(split(train, 0.2, seed)[1].tolist()) for seed in range(4)]
    of_pens = [{place for place in side if place >= 24} for side in sides]
    assert all(each == of_pens[0] for each in of_pens)
    assert any(side != sides[0] for side in sides)


def test_a_source_with_a_single_writer_is_learnt_from_whole(handwriting: Dataset) -> None:
    ones = handwriting.train.labels == 1
    writers = np.where(ones, 99, np.arange(len(ones)))
    train = replace(handwriting.train, sources=np.where(ones, "one", "others"), writers=writers)
    _, held_out = split(train, 0.2, 0)
    assert len(held_out)
    assert not ones[held_out].any()


@pytest.mark.parametrize("drawings", [1, 3])
def test_a_fit_learns_from_so_many_drawings_of_each_digit(handwriting: Dataset, tmp_path: Path, drawings: int) -> None:
    config = replace(CONFIG, drawings=drawings, forms=20)
    identity = RunIdentity("any", handwriting.name, handwriting.source, handwriting.digest())
    checkpoint = _new_checkpoint(identity, config, handwriting.test)
    _, trainer = trainer_for(checkpoint, handwriting.train, RunFolder(tmp_path / "run"), None, False)
    kept = handwriting.train[split(handwriting.train, config.validation, 0)[0]].members()
    assert trainer.examples == len(kept["mnist"]) + drawings * len(kept["unipen/abc"]) // DRAWINGS + 20


def test_a_run_of_all_handwriting_is_fitted_and_resumed(
    handwriting: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.training.run.completion._draw", lambda *_arguments: None)
    done = fit(handwriting, replace(CONFIG, drawings=2), tmp_path / "run", progress=False)
    assert done.checkpoint.identity.source == "handwriting"
    assert done.evaluation.count == len(handwriting.test)
    assert fit(handwriting, None, tmp_path / "run", resume=True, progress=False).finished
