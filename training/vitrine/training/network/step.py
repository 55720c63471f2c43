"""One training step: forward, backward and AdamW. On CUDA it is recorded once and replayed.

Launching the kernels of such small networks one by one takes longer than their calculation. A CUDA graph launches them
all at once. It knows neither data nor epochs.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 12
"""Steps before the recording. PyTorch allocates in the first ones, and batch normalisation's first ten each have a
weight of their own: see `Learner`."""


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    """A recorded step with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    loss: Tensor

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for place, values in zip(self.inputs, inputs, strict=True):
            place.copy_(values)
        self.graph.replay()
        return self.loss.clone()


class TrainingStep:
    """Steps of AdamW that lower a loss.

    Args:
        parameters: parameters to change, all on the same device.
        loss: calculates the loss, a scalar, from the inputs of a step.
        weight_decay: AdamW's weight decay.
        device: device of the parameters.
        generator: generator on the device that `loss` draws random numbers from; None if it draws none.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        loss: Callable[..., Tensor],
        weight_decay: float,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> None:
        self._loss, self._device, self._generator = loss, device, generator
        self._records = device.type == "cuda"
        self._optimizer = torch.optim.AdamW(
            parameters,
            lr=torch.zeros((), device=device) if self._records else 0.0,
            weight_decay=weight_decay,
            fused=True,
            capturable=self._records,
        )
        self._shapes: list[torch.Size] = []
        self._taken = 0
        self._recording: _Recording | None = None

    def __call__(self, learning_rate: float, *inputs: Tensor) -> Tensor:
        """Takes a step, and returns the loss before it: float32 (), on the device."""
        self._set_learning_rate(learning_rate)
        if not self._records:
            return self._step(*inputs)
        shapes = [values.shape for values in inputs]
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:  # the last batch of an epoch
            return self._step(*inputs)
        if self._recording is None and self._taken >= WARM_UP:
            self._recording = self._record(inputs)
        if self._recording is not None:
            return self._recording.replay(inputs)
        self._taken += 1
        with self._beside():
            return self._step(*inputs)

    def _set_learning_rate(self, learning_rate: float) -> None:
        for group in self._optimizer.param_groups:
            if self._records:
                group["lr"].fill_(learning_rate)  # the recording reads this memory
            else:
                group["lr"] = learning_rate

    def _step(self, *inputs: Tensor) -> Tensor:
        loss = self._loss(*inputs)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()

    def _record(self, inputs: tuple[Tensor, ...]) -> _Recording:
        graph = torch.cuda.CUDAGraph()
        if self._generator is not None:
            graph.register_generator_state(self._generator)
        places = tuple(values.clone() for values in inputs)
        self._optimizer.zero_grad()  # the recording has gradients of its own
        torch.cuda.synchronize(self._device)
        with torch.cuda.graph(graph):
            loss = self._step(*places)
        return _Recording(graph, places, loss)

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """A stream beside the current one, on which PyTorch wants the steps before a recording."""
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            yield
        torch.cuda.synchronize(self._device)

    def state(self) -> dict[str, Any]:
        """The optimizer's state, the same kind on every device; later steps change its tensors."""
        state = self._optimizer.state_dict()
        groups = [{**group, "lr": float(group["lr"]), "capturable": False} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues with the state of an earlier optimizer, whatever its device was; before the first step."""
        own = [(group["lr"], group["capturable"]) for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(copy.deepcopy(dict(state)))
        for group, (learning_rate, capturable) in zip(self._optimizer.param_groups, own, strict=True):
            group["lr"], group["capturable"] = learning_rate, capturable
