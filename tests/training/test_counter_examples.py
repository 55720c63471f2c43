"""Counter-examples: images without a digit and printed digits, which a fit may learn from."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitrine.model import DIGITS
from vitrine.training import Dataset, FitConfig, fit
from vitrine.training.examples.counter_examples import PRINTED_SHARE, counter_examples, drawing_code
from vitrine.training.network.mlp import novelty_of

COUNT = 90
NO_DIGIT = len(DIGITS)


def test_there_are_as_many_as_asked_for_and_printed_digits_beside_them() -> None:
    made = counter_examples(COUNT, progress=False)
    without = int((made.labels == NO_DIGIT).sum())
    assert abs(without - COUNT) < 7
    np.testing.assert_array_equal(np.unique(made.labels), np.arange(11))
    assert len(made) - without == round(PRINTED_SHARE * COUNT)
    assert made.originals is not None


def test_other_classes_get_images_of_their_shape_and_no_printed_digits() -> None:
    made = counter_examples(COUNT, ("down", "up"), (12, 20), progress=False)
    assert made.shape == (12, 20)
    assert set(made.labels.tolist()) == {2}
    assert abs(len(made) - COUNT) < 7


def test_they_are_the_same_every_time_and_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = counter_examples(COUNT, progress=False)
    monkeypatch.setattr(
        "vitrine.training.data.cache.prepare_each",
        lambda *_images, **_options: pytest.fail("prepared again"),
    )
    np.testing.assert_array_equal(first.pixels, counter_examples(COUNT, progress=False).pixels)


def test_whatever_draws_them_is_part_of_what_they_are_found_by() -> None:
    """All that the modules of the drawing import from this room is among them, but errors."""
    imported = set()
    for path in drawing_code():
        imported |= set(re.findall(r"^from vitrine\.training\.(\S+) import (\w+)", path.read_text(), re.MULTILINE))
    known = {".".join(path.with_suffix("").parts).rpartition("vitrine.training.")[2] for path in drawing_code()}
    for module, name in imported - {("errors", "ConfigError")}:
        assert module in known or f"{module}.{name}" in known or f"{module}.__init__" in known, (module, name)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_a_network_that_learns_from_them_finds_them_more_novel_than_digits(
    toy: Dataset, tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.training.run.completion._draw", lambda *_arguments: None)
    config = FitConfig(hidden=(64,), output=output, epochs=20, batch_size=16, augment=0.0, device="cpu")  # type: ignore[arg-type]
    done = fit(toy, replace(config, counter_examples=COUNT), tmp_path / "run", progress=False)
    made = counter_examples(COUNT, progress=False)
    mlp, without = done.checkpoint.kept_mlp(), made.pixels[made.labels == NO_DIGIT]
    with torch.inference_mode():
        digits, others = (novelty_of(mlp(torch.tensor(pixels))) for pixels in (toy.test.pixels, without))
    assert digits.median() < others.median()
    assert done.evaluation.accuracy > 0.9
