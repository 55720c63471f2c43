"""Outcomes of bad input: which are allowed, and how often each came. It knows no attacks.

Allowed are refusals that tell a caller what is wrong, and answers to input that is valid after all.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

REFUSED = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"})
"""Mutated messages: some stay valid, others are wrong, name something that doesn't exist, or ask for too much."""

REFUSED_OR_UNKNOWN = REFUSED | {"UNIMPLEMENTED"}
"""The same for calls of methods that may not exist."""

CLOSED = frozenset({"GOAWAY", "closed", "reset"})
"""The server ended the connection."""

SURVIVED = CLOSED | {"PING answered"}
"""Floods: the connection is ended, or answers again after the flood."""

SURVIVED_OR_WAITING = SURVIVED | {"waiting"}
"""Malformed HTTP/2: the server may also wait for more, since some of it is a valid beginning."""

NO_CALL = frozenset({"HTTP 400", "HTTP 403", "HTTP 404", "HTTP 405", "HTTP 415"})
"""Requests that are no call of gRPC, refused in HTTP's own way: Envoy speaks more than gRPC."""

MALFORMED_CALL = REFUSED_OR_UNKNOWN | NO_CALL | {"DEADLINE_EXCEEDED", "RST_STREAM", "GOAWAY", "closed", "no answer"}
"""Calls that break gRPC's protocol."""

WEB_CALL = REFUSED_OR_UNKNOWN | NO_CALL | {"DEADLINE_EXCEEDED", "PERMISSION_DENIED", "closed"}
"""Calls of gRPC-Web and Connect: what concerns pages of other sites, and paths with escaped characters, is denied.

HTTP/1.1 can lose a refusal that comes before the whole request was read: its connection is closed, and TCP resets it.
"""

HTTP_ITSELF = (408, 411, 413, 414, 417, 426, 431, 501, 505)
"""Statuses by which a host refuses a request that it can't read, or doesn't take."""

REFUSED_HTTP = CLOSED | NO_CALL | {"waiting", "HTTP 200", *(f"HTTP {status}" for status in HTTP_ITSELF)}
"""Malformed HTTP/1.1: some of it is a valid request after all."""

LEFT = frozenset({"left"})
"""The client left."""

CORE_TEXTS = (
    "Error parsing '",
    "Compression bit set but no encoding",
    "Decompression failed",
    "Internal error from Core",  # grpc.aio's client, which forgets the server's status if its next write fails
)
"""Texts with which gRPC's core reports a caller's fault as INTERNAL; with other texts the fault is the server's.

A stream that is refused while its caller writes has its status, then RST_STREAM. https://github.com/grpc/grpc/issues/36066
tells how grpc.aio's client loses that status. Its clients with threads, and plain HTTP/2, have it.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one attack."""

    name: str
    """A status code's name, or what happened to the connection."""
    text: str = ""
    """The server's message, or a hint at the attack."""
    messages: int = 1
    """Messages sent."""


@dataclass
class Tally:
    """Outcomes of all attacks of one kind."""

    attacks: int = 0
    messages: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    """A line for each outcome that isn't allowed."""

    def note(self, number: int, outcome: Outcome, allowed: Collection[str]) -> None:
        """Counts the outcome of attack `number`."""
        self.attacks += 1
        self.messages += outcome.messages
        self.outcomes[outcome.name] += 1
        if not is_allowed(outcome, allowed):
            self.unexpected.append(f"number {number} ended with {outcome.name}: {outcome.text[:200]}")

    def add(self, other: "Tally") -> None:
        """Adds the counts of another tally."""
        self.attacks += other.attacks
        self.messages += other.messages
        self.outcomes += other.outcomes
        self.unexpected += other.unexpected


def is_allowed(outcome: Outcome, allowed: Collection[str]) -> bool:
    """Tests an outcome; INTERNAL is allowed where gRPC's core reports the caller's fault with it."""
    return outcome.name in allowed or (outcome.name == "INTERNAL" and outcome.text.startswith(CORE_TEXTS))
