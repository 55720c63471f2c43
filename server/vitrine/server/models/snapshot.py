"""What is served: models by name and version, one of them the default. It knows neither requests nor gRPC nor files.

What is served can change while requests are answered. `Snapshot` is what is served at one moment and never changes;
`Models` holds the present one. Whoever answers a request takes its `ServedModel` once and holds it: that request is
then answered by this version, whatever is published or taken away meanwhile.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vitrine.model import NOVELTY, ArtifactMetadata, Parameters
from vitrine.server.errors import NotFound, listed, quoted
from vitrine.server.observers import forgiving


class Runner(Protocol):
    """What calculates a model's activations: `engine.Engine`, or what a test puts in its place."""

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider that runs the model."""

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Calculates activations: uint8 (N, 18, 18) to float32 (N, width) for each of `layers`, in their order.

        `NOVELTY` may stand among the layers where the model has it: float32 (N,).
        """


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ServedModel:
    """A model that is ready to answer."""

    name: str
    """What requests call it."""
    version: str
    """Which weights it has: its folder's number, or the first digits of its file's SHA-256."""
    metadata: ArtifactMetadata
    """What its artifact says of itself."""
    parameters: Mapping[str, Parameters]
    """The parameters of each linear layer, by the layer's name."""
    engine: Runner
    """What runs it."""

    @property
    def label(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"

    @property
    def outputs(self) -> list[str]:
        """All that its engine can calculate: every layer and, where it has a threshold, the novelty."""
        return [*(layer.name for layer in self.metadata.layers[:-1]), *self.verdict]

    @property
    def verdict(self) -> list[str]:
        """What every image is judged by: the output layer and, where it has a threshold, the novelty."""
        output = self.metadata.layers[-1].name
        return [output] if self.metadata.novelty_threshold is None else [output, NOVELTY]


@dataclass(frozen=True, slots=True)
class Entry:
    """A version of a model in the list of what is served, or should be."""

    name: str
    """The model's name."""
    version: str
    """The version; empty where the model has none that could be looked at."""
    model: ServedModel | None
    """What answers; None: it has failed, and nothing does."""
    reason: str = ""
    """Why it has failed, or why what answers isn't what lies on disk; empty when all is well."""


class Snapshot:
    """What is served at one moment.

    Args:
        entries: every version, each model's newest first; the default has one that answers.
        default: the model that answers requests that name none.
    """

    def __init__(self, entries: Iterable[Entry], default: str) -> None:
        self.entries = tuple(entries)
        self._served: dict[str, dict[str, ServedModel]] = {}
        for entry in self.entries:
            versions = self._served.setdefault(entry.name, {}) if entry.model else {}
            if entry.version in versions:
                raise ValueError(f"{entry.name}@{entry.version} is served twice")
            if entry.model:
                versions[entry.version] = entry.model
        self.default = self._newest(default)
        """What answers requests that name no model."""

    def get(self, name: str) -> ServedModel:
        """The model that `NAME` (its newest version) or `NAME@VERSION` asks for; the empty name is the default's.

        Raises:
            NotFound: there is none.
        """
        if not name:
            return self.default
        if name in self._served:
            return self._newest(name)
        model, _, version = name.rpartition("@")
        if model not in self._served:
            unknown, names = quoted(model or name), listed(self._served)
            raise NotFound("MODEL_UNKNOWN", f"no model is called {unknown}; served: {names}", "model")
        if version not in self._served[model]:
            versions = listed(self._served[model])
            message = f"{quoted(model)} has no version {quoted(version)}; served: {versions}"
            raise NotFound("VERSION_UNKNOWN", message, "model")
        return self._served[model][version]

    def _newest(self, name: str) -> ServedModel:
        return next(iter(self._served[name].values()))


class Models:
    """The models that are served now.

    Args:
        default: what answers requests that name no model.
        others: further models.
    """

    def __init__(self, default: ServedModel, *others: ServedModel) -> None:
        entries = (Entry(model.name, model.version, model) for model in (default, *others))
        self._snapshot = Snapshot(entries, default.name)
        self._observers: list[Callable[[Snapshot], None]] = []

    @property
    def snapshot(self) -> Snapshot:
        """What is served at this moment; whoever asks two questions asks them of one snapshot."""
        return self._snapshot

    def replace(self, snapshot: Snapshot) -> None:
        """Serves something else from now on, all at once; any thread may say so."""
        self._snapshot = snapshot
        for observe in self._observers:
            observe(snapshot)

    def observe(self, observer: Callable[[Snapshot], None]) -> None:
        """Tells the observer what is served, now and whenever that is replaced, in the thread that says so.

        What it raises is logged: what is served is served all the same.
        """
        observer = forgiving(observer, "an observer of models failed")
        self._observers.append(observer)
        observer(self._snapshot)

    def get(self, name: str) -> ServedModel:
        """The model of that name, as `Snapshot.get` has it."""
        return self._snapshot.get(name)
