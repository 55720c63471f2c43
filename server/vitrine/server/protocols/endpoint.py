"""A protocol's service as a front end registers it: its methods, and the limits of its messages."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from vitrine.server.security.access import Permission

Answer: TypeAlias = Callable[..., Any]
"""Makes an answer, a message or a `WrittenAnswer`, of a request and its `Call`: a coroutine. Where only the answers are
a stream: an asynchronous generator; where both are, it is called for each request in turn."""


class WrittenAnswer(Protocol):
    """An answer that writes its bytes itself, and is a message only where one is wanted."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages have it
        """The bytes of the message."""

    def behind(self, head: Callable[[int], bytes]) -> bytes:
        """The same behind a head, which is made of their number: a large answer is copied once."""

    def message(self) -> Message:
        """The message."""


Decode: TypeAlias = Callable[[bytes], Any]
"""Makes a request of its bytes: a message, or what a shortcut makes in its place."""

SMALL_MESSAGE = 64 << 10
"""The most bytes of a request that has names and numbers alone."""

NAME_BYTES = 4 << 10
"""The most bytes of a request that has a name alone."""

MAX_FIELDS = 4096
"""The largest number of fields in a request, unless an endpoint sets another."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A service of a protocol. Whatever carries its messages, these limits hold."""

    descriptor: ServiceDescriptor
    """The service's description in its .proto."""
    methods: Mapping[str, Answer]
    """The coroutine for each method, by the method's name."""
    permissions: Mapping[str, Permission] = field(default_factory=dict)
    """The permission that a method takes, by its name; the others take `predict`."""
    public: bool = False
    """Open to every caller, even without a token."""
    max_fields: Callable[[], int] = lambda: MAX_FIELDS
    """Gives the present limit on the fields of a request, including those of the messages inside it."""
    packed_bytes: int = 1
    """The bytes of a list of numbers that count as one field."""
    shortcuts: Mapping[str, Callable[[Decode], Decode]] = field(default_factory=dict)
    """Makes a faster decoder of the usual one, by the method's name. What it gives, the method understands."""
    large: Collection[str] = ()
    """The methods whose requests may be as large as a message can be. Others may have `max_bytes`."""
    busy: Collection[str] = ()
    """The methods that are called most: a front end may take up many of their calls at a time."""
    max_bytes: int = SMALL_MESSAGE
    """The most bytes of their requests."""

    @property
    def name(self) -> str:
        """The service's full name."""
        return str(self.descriptor.full_name)

    def message_limit(self, method: str, largest: int) -> int:
        """The most bytes of a method's request, where a message has `largest` at most."""
        return largest if method in self.large else min(self.max_bytes, largest)

    def path(self, method: str) -> str:
        """A method as calls name it: `/PACKAGE.SERVICE/METHOD`."""
        return f"/{self.name}/{method}"


def methods_of(*services: ServiceDescriptor) -> tuple[str, ...]:
    """Every method of these services, as calls name it."""
    return tuple(f"/{service.full_name}/{name}" for service in services for name in service.methods_by_name)
