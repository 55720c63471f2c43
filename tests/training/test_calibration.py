"""The temperature is the likeliest one, the threshold keeps its share of digits, and the calibration error is exact."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from vitrine.model import OutputKind
from vitrine.training import MLP
from vitrine.training.network.calibration import (
    BINS,
    KEPT,
    SHARPEST,
    SOFTEST,
    calibrate,
    expected_calibration_error,
    fit_novelty_threshold,
    fit_temperature,
    reliability,
)
from vitrine.training.network.losses import loss_of
from vitrine.training.network.mlp import novelty_of

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

OUTPUTS: tuple[OutputKind, ...] = ("softmax", "sigmoid")


def examples(count: int = 400, seed: int = 0) -> tuple[Floats, Labels]:
    """Logits of a network that is right about nine times of ten, and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    logits = random.normal(0, 2, (count, 10)) + 6 * np.eye(10)[labels] - 2
    return logits.astype(np.float32), labels


def loss(logits: Floats, labels: Labels, output: OutputKind, temperature: float) -> float:
    """The loss of training, in float64."""
    return float(loss_of(output, torch.tensor(logits.astype(np.float64) / temperature), torch.tensor(labels)))


def faultless(count: int) -> tuple[Floats, Labels]:
    """Logits that are all right by a margin; those of wrong classes lie above and below 0."""
    labels = np.arange(count) % 10
    return (3 * np.eye(10)[labels] + np.linspace(-1, 1, 10)).astype(np.float32), labels


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("count", [60, 400])
@pytest.mark.parametrize("scale", [0.3, 1, 10])
def test_no_temperature_makes_the_labels_likelier(count: int, scale: float, output: OutputKind) -> None:
    logits, labels = examples(count)
    logits *= scale
    fitted = fit_temperature(logits, labels, output)
    grid = np.geomspace(SHARPEST, SOFTEST, 2001)
    best = grid[np.argmin([loss(logits, labels, output, temperature) for temperature in grid])]
    assert loss(logits, labels, output, fitted) <= loss(logits, labels, output, best)
    assert fitted == pytest.approx(best, rel=0.003)  # a step of the grid


@pytest.mark.parametrize("output", OUTPUTS)
def test_logits_three_times_as_large_have_a_temperature_three_times_as_high(output: OutputKind) -> None:
    logits, labels = examples()
    fitted = fit_temperature(logits, labels, output)
    assert fit_temperature(3 * logits.astype(np.float64), labels, output) == pytest.approx(3 * fitted, rel=1e-9)


def test_the_probabilities_of_an_overconfident_network_become_honest() -> None:
    random = np.random.default_rng(1)
    honest = random.normal(0, 2, (20_000, 10))
    probabilities = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = (random.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 9)
    found = calibrate((4 * honest).astype(np.float32), labels, "softmax")
    assert found.temperature == pytest.approx(4, rel=0.05)
    assert found.error_before > 0.2
    assert found.error < 0.02


def test_examples_without_a_mistake_say_nothing_of_the_temperature() -> None:
    """The likeliest temperature would be 0."""
    for scale in (0.1, 1, 10, 100):
        logits, labels = faultless(30)
        assert fit_temperature(logits * np.float32(scale), labels, "softmax") == 1
        apart = 3 * np.float32(scale) * (2 * np.eye(10)[labels] - 1)  # each class right for itself
        assert fit_temperature(apart, labels, "sigmoid") == 1


def test_a_network_that_hardly_says_anything_is_sharpened_no_further_than_the_range() -> None:
    """Such a network knows only the frequency of digits: small logits, many mistakes."""
    logits, labels = examples()
    fitted = fit_temperature(logits / np.float32(1000), labels, "softmax")
    assert fitted == pytest.approx(SHARPEST)


def test_one_example_is_enough() -> None:
    right, wrong = np.array([[2.0, 1.0]], np.float32), np.array([[1.0, 2.0]], np.float32)
    assert fit_temperature(right, np.array([0]), "softmax") == 1
    assert fit_temperature(wrong, np.array([0]), "softmax") == pytest.approx(SOFTEST)
    assert calibrate(wrong, np.array([0]), "softmax").error_before == pytest.approx(1 / (1 + np.exp(-1)))


def test_logits_that_are_worse_than_chance_are_bounded_by_the_range() -> None:
    logits, labels = examples()
    assert fit_temperature(-logits, labels, "softmax") == pytest.approx(SOFTEST)


def test_huge_logits_overflow_nowhere() -> None:
    logits, labels = examples()
    for output in OUTPUTS:
        found = calibrate(logits * np.float32(1e4), labels, output)
        assert found.temperature == pytest.approx(SOFTEST)
        assert np.isfinite(found.novelty_threshold)


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_same_logits_give_the_same_calibration_bit_for_bit(output: OutputKind) -> None:
    logits, labels = examples()
    assert calibrate(logits, labels, output) == calibrate(logits.copy(), labels.copy(), output)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.7, 20.0])
@pytest.mark.parametrize("output", OUTPUTS)
def test_dividing_by_a_temperature_never_changes_a_predicted_digit(output: OutputKind, temperature: float) -> None:
    pixels = torch.randint(0, 256, (2000, 18, 18), generator=torch.Generator().manual_seed(1))
    mlp = MLP((32, 16), output, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = mlp(pixels)
        mlp.divide_logits(temperature)
        after = mlp.activations(pixels)
    digits = before.argmax(dim=1)
    torch.testing.assert_close(after["linear_3"], before / temperature)
    assert torch.equal(after["linear_3"].argmax(dim=1), digits)
    of_digits = after[output].gather(1, digits[:, None])[:, 0]
    assert torch.equal(of_digits, after[output].max(dim=1).values)


@pytest.mark.parametrize("count", [1, 50, 199, 1000, 5000])
def test_the_threshold_keeps_the_share_that_it_says(count: int) -> None:
    logits, labels = examples(count)
    right = logits.argmax(axis=1) == labels
    novelty = novelty_of(torch.tensor(logits.astype(np.float64))).numpy()[right]
    threshold = fit_novelty_threshold(logits.astype(np.float64), labels)
    kept = np.mean(novelty <= threshold + 1e-12)
    assert KEPT <= kept < KEPT + 2 / len(novelty)


def test_of_new_digits_like_those_before_the_threshold_keeps_the_share_too() -> None:
    kept = []
    for seed in range(200):
        logits, labels = examples(300, seed)
        threshold = fit_novelty_threshold(logits.astype(np.float64), labels)
        logits, labels = examples(300, seed + 1000)
        right = logits.argmax(axis=1) == labels
        kept.append(np.mean(novelty_of(torch.tensor(logits)).numpy()[right] <= threshold))
    assert KEPT - 0.001 < np.mean(kept) < KEPT + 0.003  # 54,000 digits: the mean's standard error is about 0.0004


def test_mistaken_digits_have_no_say_in_the_threshold_unless_there_are_no_others() -> None:
    logits, labels = np.diag([9.0, 8.0, 7.0]), np.array([0, 1, 0])
    assert fit_novelty_threshold(logits, labels) == pytest.approx(-np.log(np.exp(8) + 2))
    assert fit_novelty_threshold(logits, np.array([1, 2, 0])) == pytest.approx(-np.log(np.exp(7) + 2))


PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.31, 0.69], [0.5, 0.5]])
PROMISES = np.array([0, 0, 1, 1, 0])
"""Right but for the second."""


def test_the_calibration_error_is_that_of_the_hand_computed_example() -> None:
    """The bins are fifteenths: 0.69 and 0.7 share the eleventh, the others have one each."""
    gaps = [abs(1 - 0.9) * 1, abs(0 - 0.8) * 1, abs(1 - 0.695) * 2, abs(1 - 0.5) * 1]
    assert expected_calibration_error(PROBABILITIES, PROMISES) == pytest.approx(sum(gaps) / 5)


def test_reliability_has_count_confidence_and_accuracy_of_each_bin() -> None:
    bins = reliability(PROBABILITIES, PROMISES)
    assert bins.counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 1, 0, 1, 0]
    np.testing.assert_allclose(bins.confidence[bins.counts > 0], [0.5, 0.695, 0.8, 0.9])
    np.testing.assert_allclose(bins.accuracy[bins.counts > 0], [1, 1, 0, 1])
    assert np.isnan(bins.accuracy[bins.counts == 0]).all()
    assert np.isnan(bins.confidence[bins.counts == 0]).all()


def test_the_upper_end_of_a_bin_belongs_to_it_and_certainty_to_the_last() -> None:
    confidence = [*(np.arange(1, BINS + 1) / BINS), 0.0, 1 + 1e-7]
    bins = reliability(np.array(confidence)[:, None], np.zeros(BINS + 2, np.int64))
    assert bins.counts.tolist() == [2, *[1] * (BINS - 2), 2]


def test_certainty_that_is_right_has_no_calibration_error_and_certainty_that_is_wrong_all_of_it() -> None:
    certain = np.eye(10, dtype=np.float32)
    assert expected_calibration_error(certain, np.arange(10)) == 0
    assert expected_calibration_error(certain, (np.arange(10) + 1) % 10) == 1


def test_it_knows_neither_network_nor_file() -> None:
    source = Path(str(calibrate.__globals__["__file__"])).read_text()
    assert "import torch" not in source
    assert "vitrine.training" not in source
