"""Counting errors, by class and against each other."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vitrine.training import MLP, Dataset, Evaluation, evaluate
from vitrine.training.network.evaluate import evaluate_by_source, percent

CONFUSION = np.pad([[3, 1], [0, 4]], (0, 8))
EVALUATION = Evaluation(CONFUSION)
NONE = {digit: float("nan") for digit in "23456789"}


def test_error_and_accuracy_are_shares_of_all_examples() -> None:
    assert (EVALUATION.count, EVALUATION.errors) == (8, 1)
    assert (EVALUATION.error, EVALUATION.accuracy) == (0.125, 0.875)


def test_recall_is_by_row_and_precision_by_column() -> None:
    assert EVALUATION.recall == pytest.approx({"0": 0.75, "1": 1.0} | NONE, nan_ok=True)
    assert EVALUATION.precision == pytest.approx({"0": 1.0, "1": 0.8} | NONE, nan_ok=True)


def test_as_plain_data_it_is_valid_json_without_nan() -> None:
    document = json.loads(json.dumps(EVALUATION.to_dict(), allow_nan=False))
    assert document["classes"]["2"] == {"count": 0, "recall": None, "precision": None}
    assert document["confusion"] == CONFUSION.tolist()


def test_examples_are_counted_where_the_largest_output_is(toy: Dataset) -> None:
    mlp = MLP([8], generator=torch.Generator().manual_seed(0)).eval()
    evaluation = evaluate(mlp, toy.test)
    outputs = mlp.activations(torch.tensor(toy.test.pixels))["softmax"].argmax(dim=1).numpy()
    assert evaluation.errors == int((outputs != toy.test.labels).sum())
    np.testing.assert_array_equal(evaluation.confusion.sum(axis=1), np.bincount(toy.test.labels, minlength=10))


def test_a_share_that_is_not_defined_is_a_dash() -> None:
    assert [percent(share) for share in (0.98765, float("nan"))] == ["98.77%", "–"]


def test_a_large_confusion_matrix_is_written_by_its_counts() -> None:
    """So that 1,000 classes don't fill megabytes with zeros."""
    confusion = np.eye(65, dtype=np.int64)
    confusion[3, 5] = 2
    document = Evaluation(confusion, tuple(f"c{number}" for number in range(65))).to_dict()
    assert "confusion" not in document
    assert document["confusion_by_label"]["c3"] == {"c3": 1, "c5": 2}
    assert document["confusion_by_label"].keys() == document["classes"].keys()
    assert "confusion" in Evaluation(confusion[:64, :64], tuple(f"c{number}" for number in range(64))).to_dict()


def test_predictions_are_counted_by_source(toy: Dataset) -> None:
    sources = np.array(["here", "there"])[np.arange(len(toy.test)) % 2]
    taken_for = np.where(sources == "here", toy.test.labels, 9)
    assert evaluate_by_source(taken_for, toy.test) == {}
    found = evaluate_by_source(taken_for, replace(toy.test, sources=sources))
    assert {name: (each.count, each.errors) for name, each in found.items()} == {"here": (15, 0), "there": (15, 15)}
