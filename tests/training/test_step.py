"""Training steps: on CUDA a recorded step does what single steps do."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrine.training.network.step import WARM_UP, TrainingStep

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def begun(device: torch.device) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Linear(6, 3).to(device)


def batches(count: int, device: torch.device, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(size, 6, generator=generator) for _ in range(count)]
    return [(values.to(device), values.argmax(dim=1).to(device) % 3) for values in inputs]


def stepping(network: nn.Linear, device: torch.device) -> TrainingStep:
    return TrainingStep(network.parameters(), lambda x, y: F.cross_entropy(network(x), y), 0.1, device)


def by_hand(network: nn.Linear, taken: list[tuple[Tensor, Tensor]]) -> list[float]:
    """The losses of PyTorch's own AdamW, one step at a time; the rate rises from step to step."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.1, fused=True)
    losses = []
    for number, (pixels, labels) in enumerate(taken, start=1):
        optimizer.param_groups[0]["lr"] = 1e-3 * number
        loss = F.cross_entropy(network(pixels), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=needs_cuda)], ids=str)
def test_steps_are_adamws(device: torch.device) -> None:
    """Some before the recording, some after it, and a short batch between them."""
    taken = [*batches(WARM_UP + 4, device), *batches(1, device, 3), *batches(4, device)]
    expected, network = begun(device), begun(device)
    step = stepping(network, device)
    losses = [float(step(1e-3 * number, *batch)) for number, batch in enumerate(taken, start=1)]
    torch.testing.assert_close(losses, by_hand(expected, taken), rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=needs_cuda)], ids=str)
def test_a_step_continues_with_the_state_of_another(device: torch.device) -> None:
    """The state is a CPU's, as a checkpoint has it."""
    taken = batches(40, device)
    whole, first = begun(device), begun(device)
    for number, batch in enumerate(taken, start=1):
        if number == 1:
            all_steps, before = stepping(whole, device), stepping(first, device)
        all_steps(1e-2, *batch)
        if number <= 20:
            before(1e-2, *batch)
    state = before.state()
    assert state["param_groups"][0]["lr"] == pytest.approx(1e-2)
    assert state["param_groups"][0]["capturable"] is False
    second = copy.deepcopy(first)
    after = stepping(second, device)
    after.load_state(_on_cpu(state))
    for batch in taken[20:]:
        after(1e-2, *batch)
    for ours, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def _on_cpu(state: dict) -> dict:  # type: ignore[type-arg]
    tensors = {key: {name: value.cpu() for name, value in each.items()} for key, each in state["state"].items()}
    return {**state, "state": tensors}


@needs_cuda
def test_a_recorded_step_draws_new_numbers_each_time() -> None:
    device = torch.device("cuda")
    network, generator = begun(device), torch.Generator(device).manual_seed(3)
    drawn: list[Tensor] = []

    def loss(pixels: Tensor, labels: Tensor) -> Tensor:
        noise = torch.rand(pixels.shape, generator=generator, device=device)
        drawn.append(noise)
        return F.cross_entropy(network(pixels + noise), labels)

    step = TrainingStep(network.parameters(), loss, 0.1, device, generator)
    ((pixels, labels),) = batches(1, device)
    seen = []
    for _ in range(WARM_UP + 5):
        step(0.0, pixels, labels)
        seen.append(drawn[-1].cpu().clone())
    assert len(drawn) == WARM_UP + 1  # the rest was replayed
    assert len({values.numpy().tobytes() for values in seen}) == len(seen)
