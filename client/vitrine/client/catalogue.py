"""The descriptions of models that a client has learnt, so that it asks for each only once.

It remembers what the clients give it. It knows neither channels nor messages, and never asks a server itself.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from vitrine.client.errors import AnswerError, InvalidRequestError, LimitError, ServiceError
from vitrine.client.types import Model, ModelIdentity
from vitrine.model import Layer

CAPACITY = 256
"""Number of descriptions that are remembered; the oldest goes first. A repository that is published to often would
otherwise fill the memory of a long-lived client."""

WRONG_SHAPE = "WRONG_SHAPE"
"""The server's reason for refusing pixels of another shape than the model's."""

OUTDATED_REASONS = (WRONG_SHAPE, "TOO_MANY_IMAGES")
"""The server's reasons for refusing a request that was made from an outdated description."""


@dataclass(frozen=True, slots=True)
class Description:
    """A model's description, ready for reading answers."""

    model: Model
    """The model; layers of kinds that this version doesn't know are missing."""
    layers: Mapping[str, Layer]
    """The same layers by name."""
    unknown: tuple[str, ...] = ()
    """Names of the missing layers."""
    digest: str = ""
    """Digest of the model's file; empty from an older server."""

    def is_of(self, identity: ModelIdentity, digest: str) -> bool:
        """True if it describes the version, and the file, that gave an answer."""
        is_same_file = self.digest == digest or not self.digest or not digest
        return is_same_file and (self.model.name, self.model.version) == (identity.name, identity.version)

    @property
    def key(self) -> str:
        """The name under which it is remembered as the description of its file."""
        return file_key(self.model, self.digest)

    @property
    def complete_model(self) -> Model:
        """The model with all its layers.

        Raises:
            AnswerError: layers are missing.
        """
        if self.unknown:
            name = self.unknown[0]
            raise AnswerError(f"layer {name!r} is of a kind that this client doesn't know: install a newer vitrine")
        return self.model


class Catalogue:
    """Descriptions by the name that requests use: empty, `NAME` or `NAME@VERSION`. Threads may share it."""

    def __init__(self) -> None:
        self._descriptions: dict[str, Description] = {}
        self._lock = threading.Lock()

    def find(self, name: str) -> Description | None:
        """The description under a name; None: unknown."""
        return self._descriptions.get(name)

    def find_version(self, identity: ModelIdentity, digest: str, name: str) -> Description | None:
        """The description of a version's file, preferably the one under the name that was asked for; None: unknown."""
        candidates = map(self.find, (name, identity.label, file_key(identity, digest)))
        return next((known for known in candidates if known is not None and known.is_of(identity, digest)), None)

    def keep(self, name: str, description: Description) -> Description:
        """Remembers a description under a name, in place of an older one; returns it."""
        with self._lock:
            self._descriptions.pop(name, None)
            self._descriptions[name] = description
            while len(self._descriptions) > CAPACITY:
                del self._descriptions[next(iter(self._descriptions))]
        return description

    def forget(self, name: str, outdated: Model) -> None:
        """Drops the description under a name, so that the next call asks for it again.

        Only if it is still this one: several calls may learn at once that it is outdated, and one has asked again.
        """
        with self._lock:
            known = self._descriptions.get(name)
            if known is not None and known.model is outdated:
                del self._descriptions[name]


def file_key(identity: ModelIdentity, digest: str) -> str:
    """NAME@VERSION#DIGEST: replicas may serve different files as the same version while a new one is rolled out."""
    return f"{identity.label}#{digest}"


def is_outdated(error: ServiceError) -> bool:
    """True if the server may have refused a request because its description is outdated.

    A model of another shape, or a server with smaller limits, may have taken its place since.
    """
    if isinstance(error, LimitError):
        return error.retry_after is None
    return isinstance(error, InvalidRequestError) and error.reason in OUTDATED_REASONS


def undescribed(identity: ModelIdentity, target: str) -> AnswerError:
    """The error for an answer of a version whose description can't be had any more."""
    return AnswerError(f"{identity.label} answered, and {target} doesn't serve it any more: classify again")


def is_outdated_shape(error: ServiceError) -> bool:
    """True if the server refused the shape of the pixels."""
    return isinstance(error, InvalidRequestError) and error.reason == WRONG_SHAPE
