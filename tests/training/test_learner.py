"""The learner, once folded, is the plain MLP that is served; its first layer begins with local weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitrine.training import Dataset, FitConfig, fit
from vitrine.training.data import split
from vitrine.training.network.learner import SMALLEST_BATCH, Learner
from vitrine.training.network.mlp import scale

CONFIG = FitConfig(hidden=(16, 8), epochs=4, batch_size=16, learning_rate=1e-2, augment=0.0, device="cpu")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.training.run.completion._draw", lambda *_arguments: None)


def images(count: int) -> Tensor:
    return torch.randint(256, (count, 18, 18), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)


def begun(hidden: Sequence[int], seed: int = 0) -> Learner:
    return Learner(hidden, "softmax", torch.Generator().manual_seed(seed))


def experienced(hidden: Sequence[int]) -> Learner:
    """One whose statistics and parameters have all moved from where they began."""
    learner, generator = begun(hidden), torch.Generator().manual_seed(1)
    for _ in range(3):
        learner(images(64))
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return learner.eval()


@pytest.mark.parametrize("hidden", [(1,), (8,), (32, 16), (40, 30, 20, 10)])
def test_folded_it_gives_the_same_logits(hidden: tuple[int, ...]) -> None:
    learner, pixels = experienced(hidden), images(100)
    with torch.no_grad():
        torch.testing.assert_close(learner.folded()(pixels), learner(pixels), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(12, 20), (4, 4), (5, 40)], ids=str)
def test_any_shape_and_classes_fold_to_the_same_logits_and_begin_at_one_place(shape: tuple[int, int]) -> None:
    learner = Learner((64, 8), "softmax", torch.Generator().manual_seed(0), 4, shape)
    first = learner.linears[0].weight.detach().view(64, *shape)  # type: ignore[operator]
    strongest = first.abs().amax(dim=(1, 2))
    far = (first.abs() > 0.1 * strongest[:, None, None]).float().mean()
    assert far < 0.75
    pixels = torch.randint(256, (100, *shape), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
    learner(pixels)
    learner.eval()
    with torch.no_grad():
        torch.testing.assert_close(learner.folded()(pixels), learner(pixels), atol=1e-4, rtol=1e-4)
    assert learner.folded().layers[-1].width == 4


def test_folding_leaves_it_as_it_was_and_still_learning() -> None:
    learner = experienced((8, 4)).train()
    before = {name: values.clone() for name, values in learner.state_dict().items()}
    learner.folded()
    assert learner.training
    assert all(torch.equal(values, before[name]) for name, values in learner.state_dict().items())


def test_the_same_generator_gives_the_same_start_and_no_global_one_is_drawn_from() -> None:
    before = torch.get_rng_state()
    one, other = (begun((8, 4), seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(values, other[name]) for name, values in one.items())
    assert torch.equal(before, torch.get_rng_state())


def first_weights(count: int) -> Tensor:
    """The first weights of the first layer's units: (count, 18, 18)."""
    return torch.as_tensor(begun((count, 20)).linears[0].weight).detach().view(count, 18, 18)


def test_each_unit_of_the_first_layer_begins_at_a_place_and_together_they_see_all() -> None:
    energy = first_weights(600).square()
    shares = energy / energy.sum(dim=(1, 2), keepdim=True)  # (600, 18, 18)
    inside = shares.unfold(1, 7, 1).unfold(2, 7, 1).sum(dim=(-2, -1)).amax(dim=(1, 2))  # the best window of 7 × 7
    assert inside.median() > 0.9
    assert (shares.sum(dim=0) > 0.2).all()


def test_what_it_begins_with_is_smooth_and_as_strong_as_a_usual_start() -> None:
    weights = first_weights(600)
    neighbours = (weights[:, :, 1:] * weights[:, :, :-1]).sum() / weights.square().sum()
    assert neighbours > 0.3  # the share that a neighbour has in common; white noise has about none
    expected = torch.full((600,), 2**0.5)  # of 324 weights whose variance is 2 / 324
    torch.testing.assert_close(weights.flatten(1).norm(dim=1), expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("count", [1, SMALLEST_BATCH - 1])
def test_few_examples_are_normalised_by_what_was_seen_before(count: int) -> None:
    learner, pixels = experienced((8,)), images(count)
    expected = learner(pixels)
    before = learner.norms[0].state_dict()["running_mean"].clone()
    torch.testing.assert_close(learner.train()(pixels), expected)
    assert torch.equal(learner.norms[0].state_dict()["running_mean"], before)


@pytest.mark.parametrize("count", [SMALLEST_BATCH, 64])
def test_a_batch_is_normalised_by_itself(count: int) -> None:
    learner = experienced((8,)).train()
    seen: list[Tensor] = []
    learner.norms[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        for parameter, value in ((learner.norms[0].weight, 1.0), (learner.norms[0].bias, 0.0)):
            torch.as_tensor(parameter).fill_(value)
        learner(images(count))
    torch.testing.assert_close(seen[0].mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[0].var(dim=0, correction=0), torch.ones(8), atol=0.01, rtol=0)


def test_the_statistics_are_those_of_what_was_seen_from_the_first_batch_on() -> None:
    learner = begun((8,))
    batches = torch.split(images(192), 64)
    with torch.no_grad():
        values = [learner.linears[0](scale(batch)) for batch in batches]
        for batch in batches:
            learner(batch)
    learnt = learner.norms[0].state_dict()
    torch.testing.assert_close(learnt["running_mean"], torch.cat(values).mean(dim=0))
    torch.testing.assert_close(learnt["running_var"], torch.stack([batch.var(dim=0) for batch in values]).mean(dim=0))


def test_in_the_long_run_a_batch_moves_the_statistics_by_a_tenth() -> None:
    learner, pixels = begun((8,)), images(64)
    for _ in range(200):
        learner(pixels)
    before = learner.norms[0].state_dict()["running_mean"].clone()
    with torch.no_grad():
        white = learner.linears[0](torch.zeros(64, 324)).mean(dim=0)
    learner(torch.zeros_like(pixels))
    torch.testing.assert_close(learner.norms[0].state_dict()["running_mean"], 0.9 * before + 0.1 * white)


def test_a_fit_goes_through_it(toy: Dataset, tmp_path: Path) -> None:
    run = fit(toy, CONFIG, tmp_path / "run", progress=False)
    learnt, _ = split(toy.train, CONFIG.validation, CONFIG.seed)
    sizes = [len(batch) for batch in torch.split(torch.arange(len(learnt)), CONFIG.batch_size)]
    normalised = CONFIG.epochs * sum(size >= SMALLEST_BATCH for size in sizes)
    assert int(run.checkpoint.weights["norms.0.num_batches_tracked"]) == normalised > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_learns_on_cuda_in_mixed_precision(toy: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=30, device="cuda")
    assert fit(toy, config, tmp_path / "run", progress=False).evaluation.accuracy > 0.9


@pytest.mark.parametrize(("batch_size", "learning_rate"), [(1, 3e-3), (3, 3e-3), (1000, 3e-2)])
def test_it_learns_in_batches_of_any_size(toy: Dataset, tmp_path: Path, batch_size: int, learning_rate: float) -> None:
    config = replace(CONFIG, batch_size=batch_size, epochs=30, learning_rate=learning_rate)
    assert fit(toy, config, tmp_path / "run", progress=False).evaluation.accuracy > 0.9


def test_a_learner_that_takes_over_an_mlp_calculates_what_it_does() -> None:
    source, pixels = experienced((16, 8)).folded(), images(64)
    learner = begun((16, 8), seed=5)
    learner.take_over(source, pixels)
    with torch.no_grad():
        expected = source(pixels)
        torch.testing.assert_close(learner.eval().folded()(pixels), expected)
        torch.testing.assert_close(learner.train()(pixels), expected)  # normalised by the batch: the same images


def test_a_unit_that_never_changes_is_taken_over_too() -> None:
    source, pixels = experienced((16, 8)).folded(), images(64)
    with torch.no_grad():
        next(source.parameters())[3] = 0
    learner = begun((16, 8))
    learner.take_over(source, pixels)
    with torch.no_grad():
        torch.testing.assert_close(learner.eval().folded()(pixels), source(pixels))
