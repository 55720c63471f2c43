"""Models that are served, by name and version, one of them the default. It knows neither requests nor gRPC nor files.

The set of models can change while requests are answered. `Snapshot` is the set at one moment and never changes;
`Models` holds the present one. A request takes its `ServedModel` once and holds it: that version then answers it,
whatever is published or taken away meanwhile.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vitrine.model import NOVELTY, ArtifactMetadata, Parameters
from vitrine.server.errors import NotFound, listed, quoted
from vitrine.server.observers import suppress_and_log


class Runner(Protocol):
    """Calculates a model's activations: `engine.Engine`, or a stand-in of a test."""

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider that runs the model."""

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Calculates activations: uint8 (N, height, width) to float32 (N, width) for each of `layers`, in their order.

        `NOVELTY` may stand among the layers where the model has it: float32 (N,).
        """


class IntervenedRunner(Protocol):
    """Calculates a model's activations with changes on the way: `engine.IntervenedEngine`, or a stand-in of a test."""

    def open(self) -> None:
        """Makes ready to run, which may take tenths of a second; does nothing where that is done."""

    def run(
        self, pixels: npt.NDArray[np.uint8], layers: Sequence[str], changes: Mapping[str, npt.NDArray[np.float32]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """As `Runner.run`, with values for some of the inputs `scale_input` and `shift_input` of the model's graph."""


@dataclass(frozen=True, slots=True)
class RunTime:
    """The time of a model's runs, in seconds, measured before it is served."""

    first: float = math.inf
    """A run of one image."""
    further: float = 0.0
    """Each further image of a run."""

    def images_within(self, seconds: float) -> int:
        """The number of images in a run that takes this long; 0 when one image takes longer."""
        if self.first > seconds:
            return 0
        return 1 + int((seconds - self.first) / max(self.further, 1e-9))


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ServedModel:
    """A model that is ready to answer. Names that each request needs are put together once, here."""

    name: str
    """The name that requests call it by."""
    version: str
    """The version of its weights: its folder's number, or the first digits of its file's SHA-256."""
    metadata: ArtifactMetadata
    """The metadata of its artifact."""
    parameters: Mapping[str, Parameters]
    """The parameters of each linear layer, by the layer's name."""
    engine: Runner
    """The engine that runs it."""
    digest: str = ""
    """The first digits of its file's SHA-256; empty for a model without a file."""
    run_time: RunTime = RunTime()
    """The time of its runs; endless where it wasn't measured."""
    intervened: IntervenedRunner | None = None
    """Runs it with interventions; None: nothing does."""
    label: str = field(init=False)
    """NAME@VERSION."""
    layer_names: tuple[str, ...] = field(init=False)
    """The names of its layers, in their order; the output layer is the last."""
    required_outputs: tuple[str, ...] = field(init=False)
    """Outputs that every image is judged by: the output layer and, where the model has a threshold, the novelty."""

    def __post_init__(self) -> None:
        names = tuple(layer.name for layer in self.metadata.layers)
        judging = () if self.metadata.novelty_threshold is None else (NOVELTY,)
        object.__setattr__(self, "label", f"{self.name}@{self.version}")
        object.__setattr__(self, "layer_names", names)
        object.__setattr__(self, "required_outputs", (names[-1], *judging))

    @property
    def outputs(self) -> list[str]:
        """All outputs of its engine: every layer and, where it has a threshold, the novelty."""
        return [*self.layer_names[:-1], *self.required_outputs]


class EntryState(Enum):
    """The state of a version of a model; the values are those of the metrics' label `state`."""

    AVAILABLE = "available"
    """It answers."""
    KEPT = "kept"
    """It answers as it was, although its files fail now or have gone."""
    FAILED = "failed"
    """It doesn't answer: its files fail."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A version of a model in the list of those that are served, or should be."""

    name: str
    """The model's name."""
    version: str
    """The version; empty where the model has none that could be looked at."""
    model: ServedModel | None
    """The model that answers; None: it has failed, and nothing does."""
    reason: str = ""
    """The reason why it has failed, or why the model that answers isn't the one on disk; empty when all is well."""
    state: EntryState = field(init=False)
    """Available, kept or failed; it follows from the two above."""

    def __post_init__(self) -> None:
        answering = EntryState.KEPT if self.reason else EntryState.AVAILABLE
        object.__setattr__(self, "state", answering if self.model else EntryState.FAILED)

    @classmethod
    def of(cls, model: ServedModel) -> "Entry":
        """The entry of a model that answers."""
        return cls(model.name, model.version, model)


class Snapshot:
    """The models that are served at one moment.

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
        """The model that answers requests that name none."""

    @property
    def models(self) -> list[ServedModel]:
        """Every version that answers, each model's newest first."""
        return [entry.model for entry in self.entries if entry.model]

    def versions(self, name: str) -> tuple[ServedModel, ...]:
        """The versions of one model that answer, newest first."""
        return tuple(self._served.get(name, {}).values())

    def get(self, name: str, version: str = "") -> ServedModel:
        """The model that `NAME` (its newest version) or `NAME@VERSION` asks for; the empty name is the default's.

        The version may also be given apart from the name.

        Raises:
            NotFound: there is none.
        """
        if version:
            name = f"{name or self.default.name}@{version}"
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
        snapshot: the models that are served at first.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._observers: list[Callable[[Snapshot], None]] = []

    @classmethod
    def of(cls, default: ServedModel, *others: ServedModel) -> "Models":
        """Models that don't change; the first is the default."""
        return cls(Snapshot(map(Entry.of, (default, *others)), default.name))

    @property
    def snapshot(self) -> Snapshot:
        """The models that are served at this moment. Two questions that belong together go to one snapshot."""
        return self._snapshot

    def replace(self, snapshot: Snapshot) -> None:
        """Serves other models from now on, all at once; any thread may call it."""
        self._snapshot = snapshot
        for observe in self._observers:
            observe(snapshot)

    def observe(self, observer: Callable[[Snapshot], None]) -> None:
        """Tells the observer which models are served, now and at each change, in the thread that changes them.

        An exception of the observer is logged, and the models are served all the same.
        """
        observer = suppress_and_log(observer, "an observer of models failed")
        self._observers.append(observer)
        observer(self._snapshot)

    def get(self, name: str) -> ServedModel:
        """The model of that name, as `Snapshot.get` has it."""
        return self._snapshot.get(name)
