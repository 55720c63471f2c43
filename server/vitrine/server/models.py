"""What is served: models by name, one of them the default. It knows neither requests nor gRPC."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vitrine.model import ArtifactError, ArtifactMetadata
from vitrine.server.artifact import Parameters, read_artifact
from vitrine.server.engine import Device, Engine, open_engine
from vitrine.server.errors import NotFound, StartupError

VERSION_DIGITS = 12
"""How many hex digits of a file's SHA-256 make its version: enough to tell any two models apart."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A model that is ready to answer."""

    name: str
    """What requests call it."""
    version: str
    """Which weights it has: the first digits of its file's SHA-256."""
    metadata: ArtifactMetadata
    """What its artifact says of itself."""
    parameters: Mapping[str, Parameters]
    """The parameters of each linear layer, by the layer's name."""
    engine: Engine
    """What runs it."""


class Models:
    """The models that are served.

    Args:
        models: at least one, with names that differ; the first is the default.
    """

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._models = {model.name: model for model in models}
        self._default = next(iter(self._models.values()))

    def __iter__(self) -> Iterator[ServedModel]:  # the default comes first
        return iter(self._models.values())

    def get(self, name: str) -> ServedModel:
        """The model of that name; the empty name is the default's.

        Raises:
            NotFound: there is none.
        """
        if not name:
            return self._default
        if name not in self._models:
            served = ", ".join(self._models)
            raise NotFound("MODEL_UNKNOWN", f"no model is called {name!r}; served: {served}", "model")
        return self._models[name]


def load_model(path: Path, device: Device) -> ServedModel:
    """Loads and checks an artifact.

    Raises:
        StartupError: it fails a check, or the device isn't there.
    """
    try:
        artifact = read_artifact(path)
        engine = open_engine(artifact, device)
    except ArtifactError as error:
        raise StartupError(f"{path} is not served: {error}") from error
    return ServedModel(
        artifact.metadata.name, artifact.sha256[:VERSION_DIGITS], artifact.metadata, artifact.parameters, engine
    )


def bundled_model() -> Path:
    """The model that ships with the server."""
    return Path(str(files("vitrine.server") / "bundled" / "digits.onnx"))
