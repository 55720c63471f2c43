"""What the open protocol's tests share: other servers' clients, each in an environment of its own, and its stubs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from support.callers import bearer, line, secret
from support.environments import Environment
from support.publishing import publish
from support.serving import RunningServer, running_server

from vitrine.model import prepare
from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub

HERE = Path(__file__).parent
EIGHT = HERE.parents[1] / "examples" / "eight.png"


@dataclass(frozen=True)
class Report:
    """What another client said of its calls."""

    said: Mapping[str, Any]
    """All but tensors."""
    arrays: Mapping[str, npt.NDArray[Any]]
    """Tensors, by CALL/NAME."""

    def of(self, call: str) -> dict[str, npt.NDArray[Any]]:
        """The tensors of one call, by their names."""
        parts = (name.rpartition("/") for name in self.arrays)
        return {name: self.arrays[f"{from_call}/{name}"] for from_call, _, name in parts if from_call == call}


def report(environment: Environment, script: str, target: str, pixels: npt.NDArray[np.uint8], folder: Path) -> Report:
    """Runs a script that calls the server with these pixels, and with `eight.png`."""
    given, kept = folder / "given.npz", folder / "arrays.npz"
    np.savez(given, pixels=pixels, image=np.frombuffer(EIGHT.read_bytes(), np.uint8))
    said = environment.run(HERE / script, target, given, kept)
    with np.load(kept) as arrays:
        return Report(said, dict(arrays))


class Repository:
    """A repository that is looked at only when that is asked for, and the stub of the server that serves it."""

    def __init__(self, root: Path, stub: GRPCInferenceServiceStub) -> None:
        self.root = root
        self._stub = stub
        self._who: Any = bearer(secret("all"))

    def call(self, method: str, message: Any) -> Any:
        return getattr(self._stub, method)(message, metadata=self._who)

    def load(self, name: str, **fields: Any) -> Any:
        return self.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name, **fields))

    def index(self, *, ready: bool = False) -> list[tuple[str, str, str, str]]:
        models = self.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=ready)).models
        return [(model.name, model.version, model.state, model.reason) for model in models]


@pytest.fixture(scope="session")
def triton_environment() -> Environment:
    """Where Triton's client is installed."""
    environment = Environment("triton")
    environment.make()
    return environment


@pytest.fixture(scope="session")
def drawings() -> list[npt.NDArray[np.uint8]]:
    """Sixteen images, which Vitrine's client takes as they are."""
    numbers = np.random.default_rng(4)
    images = np.full((16, 60, 40), 250, np.uint8)
    images[:, 10:50, 12:28] = numbers.integers(0, 250, (16, 40, 16), np.uint8)
    return list(images)


@pytest.fixture(scope="session")
def pixels(drawings: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """The same images prepared, for clients that can't: uint8 (16, 18, 18)."""
    return np.stack([prepare(drawing) for drawing in drawings])


Reported: TypeAlias = Callable[[Environment, str], Report]
"""Gives what a client in an environment says of the server, by its script."""


@pytest.fixture(scope="session")
def reported(
    server: RunningServer, pixels: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> Reported:
    """What other clients say of the server."""

    def of(environment: Environment, script: str) -> Report:
        return report(environment, script, server.target, pixels, tmp_path_factory.mktemp("reported"))

    return of


@pytest.fixture(scope="session")
def triton(triton_environment: Environment, reported: Reported) -> Report:
    """What Triton's client says of the server."""
    return reported(triton_environment, "calls_triton.py")


@pytest.fixture(scope="session")
def kserve(kserve_environment: Environment, reported: Reported) -> Report:
    """What KServe's client says of the server."""
    return reported(kserve_environment, "calls_kserve.py")


@pytest.fixture(scope="session")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    """A plain channel to the server."""
    with grpc.insecure_channel(server.target) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> GRPCInferenceServiceStub:
    """The open protocol's stub."""
    return GRPCInferenceServiceStub(channel)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A repository of `digits@1`."""
    root, tokens = tmp_path / "models", tmp_path / "tokens"
    publish(root, "digits", 1)
    tokens.write_text(line("all", "predict,admin"))
    arguments = ("--model-repository", root, "--reload-seconds", "0", "--versions", "latest:2", "--tokens", tokens)
    with running_server(*arguments) as server, grpc.insecure_channel(server.target) as own:
        yield Repository(root, GRPCInferenceServiceStub(own))
