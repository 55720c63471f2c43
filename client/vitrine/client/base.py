"""What `Client` and `AsyncClient` share: how they are built, and the deadline of each call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from google.protobuf.message import Message

from vitrine.client import wire
from vitrine.client.chunks import Chunker, capacity_for
from vitrine.client.connection import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_RETRIES,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    TLS,
    CallOptions,
    Connection,
    call_options,
    channel_credentials,
    check_timeout,
)
from vitrine.client.errors import UsageError
from vitrine.client.tracing import CallSpan, begin_span
from vitrine.client.types import Model
from vitrine.client.wire import Preparation
from vitrine.v1 import classifier_pb2 as pb

Progress: TypeAlias = Callable[[int], object]
"""Called with the number of images that are classified so far, after each request's answer."""

IN_FLIGHT = 3
"""How many requests of `classify_many` are under way at once: one is calculated, one travels, one is prepared."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `classify_many` was asked to do with each image."""

    selection: pb.LayerSelection | None
    """The layers that are wanted."""
    model: str
    """The model's name; empty: the default one."""
    preparation: Preparation
    """Where images become pixels."""
    timeout: float
    """The deadline of each request in seconds."""
    progress: Progress | None
    """Who wants to hear how far it is."""

    def chunker(self, model: Model, max_answer_bytes: int) -> Chunker:
        """What makes requests of images, within the limits of `model` and of the client."""
        build = partial(wire.build_request, selection=self.selection, model=self.model, preparation=self.preparation)
        return Chunker(capacity_for(model, self.selection, max_answer_bytes), build)

    def report(self, done: int) -> None:
        """Tells how many images are classified."""
        if self.progress is not None:
            self.progress(done)


class BaseClient:
    """The configuration that both clients take.

    Args:
        target: HOST:PORT, or any other name that gRPC resolves (`dns:///…`, `unix:…`).
        timeout: the deadline of each call in seconds, unless the call gives its own; `math.inf`: none.
        retries: how often a call is sent again when nobody answers, 0 to 4.
        tls: how the connection is encrypted; None: it isn't.
        token: a bearer token that every call carries. It is sent over TLS, or to this machine; nowhere else.
        max_message_bytes: the largest answer that is accepted.

    Raises:
        UsageError: these choices can't work, or would send the token where others can read it.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        tls: TLS | None = None,
        token: str | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        self._connection = Connection(target, timeout, retries, tls, token, max_message_bytes)
        self._credentials = channel_credentials(tls)
        self._closed = False
        self._open()

    def _open(self) -> None:
        """Where a client makes its channel, if it can do so at once."""

    @property
    def target(self) -> str:
        """Where the server is."""
        return self._connection.target

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r}{', closed' if self._closed else ''})"

    def _seconds(self, timeout: float | None) -> float:
        """The deadline of one call: its own, or the client's."""
        if timeout is None:
            return self._connection.timeout
        check_timeout(timeout)
        return timeout

    def _options(self, timeout: float | None, span: CallSpan) -> CallOptions:
        """What every call is sent with."""
        return call_options(self._connection, self._seconds(timeout), span.metadata)

    def _span(self, request: Message) -> CallSpan:
        """The span of the call that carries a request."""
        return begin_span(request, self.target)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this client is closed: make another one")
