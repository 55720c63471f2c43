"""Errors that cross from one process to another: each arrives as it was sent."""

import copy
import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import grpc
import pytest

import vitrine.client
import vitrine.model
import vitrine.training
from vitrine.client import ServiceError
from vitrine.model import ImageError, VitrineError

PACKAGES = (vitrine.model, vitrine.client, vitrine.training)


def classes(root: type[VitrineError]) -> Iterator[type[VitrineError]]:
    yield root
    for below in root.__subclasses__():
        yield from classes(below)


def public_errors() -> set[type[VitrineError]]:
    """The errors of all modules of the three packages."""
    for package in PACKAGES:
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if module.name.endswith(".errors"):
                importlib.import_module(module.name)
    prefixes = tuple(package.__name__ for package in PACKAGES)
    return {error for error in classes(VitrineError) if error.__module__.startswith(prefixes)}


def raised(kind: type[VitrineError]) -> VitrineError:
    if issubclass(kind, ImageError):
        return kind("IMAGE_TOO_LARGE", "it is too large")
    if issubclass(kind, ServiceError):
        return kind("no", grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", "model", 1.5, "0123")
    return kind("it can't work")


@pytest.mark.parametrize("kind", sorted(public_errors(), key=lambda kind: kind.__name__))
def test_every_public_error_can_be_pickled_and_copied(kind: type[VitrineError]) -> None:
    error = raised(kind)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_no_public_error_is_forgotten() -> None:
    named = {kind.__name__ for kind in public_errors()}
    assert {"ImageError", "ArtifactError", "UsageError", "NotFoundError", "DataError", "CheckpointError"} <= named
