"""Settings: ranges, conversion to plain data and back, and the device."""

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from vitrine.training import RECIPES, ConfigError, FitConfig, recipe
from vitrine.training.data import BUILT_IN
from vitrine.training.network.schedule import FLOOR, learning_rate_at
from vitrine.training.run.config import find_device
from vitrine.training.run.recipes import DATA_SETS, for_classes


@pytest.mark.parametrize(
    "setting",
    [
        {"hidden": ()},
        {"hidden": (8, 0)},
        {"output": "relu"},
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -0.1},
        {"seed": -1},
        {"device": "tpu"},
        {"threads": 0},
        {"validation": 0.0},
        {"validation": 0.6},
        {"patience": 0},
        {"augment": -1.0},
        {"augment": float("inf")},
        {"drawings": 0},
        {"drawings": 9},
        {"forms": -1},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_by_its_name(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        FitConfig(**setting)


@pytest.mark.parametrize("config", [*RECIPES.values(), FitConfig(patience=3, output="sigmoid")])
def test_settings_come_back_from_plain_data(config: FitConfig) -> None:
    assert FitConfig.from_dict(config.to_dict()) == config
    assert asdict(config).keys() == config.to_dict().keys()


def test_a_folder_gets_the_same_settings_whatever_its_name() -> None:
    assert recipe("digits") == RECIPES["digits"]
    assert recipe("/home/me/mnist") == recipe("shapes") == FitConfig(counter_examples=500)


def test_each_recipe_has_a_data_set_and_each_data_set_a_recipe_of_minutes() -> None:
    assert DATA_SETS.keys() == RECIPES.keys()
    assert DATA_SETS["reference"] == "handwriting"
    assert DATA_SETS["mnist"] == "mnist"
    for dataset in BUILT_IN:
        assert not recipe(dataset).teacher_epochs


def test_the_recipes_of_mnist_alone_and_of_all_handwriting_fit_the_same_network() -> None:
    mnist, reference = RECIPES["mnist"], RECIPES["reference"]
    assert (mnist.hidden, mnist.output, mnist.forms) == (reference.hidden, reference.output, 0)
    assert reference.forms
    assert reference.drawings > 1


def test_other_classes_than_digits_get_neither_forms_nor_counter_examples() -> None:
    settings = for_classes(RECIPES["reference"], ("up", "down"))
    assert (settings.forms, settings.counter_examples) == (0, 0)


@pytest.mark.parametrize("config", [*RECIPES.values(), recipe("shapes")])
def test_every_recipe_learns_what_no_digit_is(config: FitConfig) -> None:
    assert config.counter_examples > 0


def test_cuda_without_cuda_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no CUDA device: install"):
        find_device("cuda")
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")


def test_auto_takes_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == find_device("cuda") == torch.device("cuda")
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_the_learning_rate_rises_to_its_peak_and_falls(steps: int) -> None:
    rates = [learning_rate_at(step, steps, 0.1) for step in range(steps)]
    top = rates.index(max(rates))
    assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)
    assert 0.1 * FLOOR <= min(rates) <= max(rates) <= 0.1


def test_the_learning_rate_spans_from_peak_to_floor() -> None:
    rates = [learning_rate_at(step, 1000, 0.1) for step in range(1000)]
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    assert rates[-1] == pytest.approx(0.1 * FLOOR, rel=0.01)


def test_a_changed_setting_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="epochs"):
        replace(FitConfig(), epochs=0)
