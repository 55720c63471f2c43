"""Counts what came of bad input, and knows what may: refusals that tell a caller what is wrong, and nothing else."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

REFUSED = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"})
"""How messages may end: some are good after all; others are wrong, ask for what isn't there, or for too much."""

NEIGHBOURS = REFUSED | {"UNIMPLEMENTED"}
"""The same where the method may be missing."""

TURNED_OUT = frozenset({"GOAWAY", "closed", "reset", "got over it", "awaits more"})
"""How a connection of rubbish may end: turned out, or borne with; some of it is the beginning of something longer."""

FLOODED = TURNED_OUT - {"awaits more"}
"""The same for floods, which must be got over sooner or later."""

FAULTY = NEIGHBOURS | {"DEADLINE_EXCEEDED", "RST_STREAM", "GOAWAY", "closed", "no answer"}
"""How calls may end whose gRPC is wrong."""

LEFT = frozenset({"left"})
"""How it ends where the caller goes away."""

RESTARTED = "restarted"
"""How it ends that falls into a restart of gRPC's part of the server, whatever was expected."""

CORE_TEXTS = (
    "Error parsing '",
    "Compression bit set but no encoding",
    "Decompression failed",
    "Internal error from Core",  # from the client's own gRPC, when a stream ends while it is still being written to
)
"""What gRPC's core says with INTERNAL of faults in a caller's gRPC; with any other text, the fault is the server's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attack."""

    name: str
    """A status code's name, or what happened to the connection."""
    text: str = ""
    """What the server said to it."""
    messages: int = 1
    """How many messages were sent."""


@dataclass
class Tally:
    """What came of all attacks of one kind."""

    attacks: int = 0
    messages: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)

    def note(self, number: int, outcome: Outcome, expected: Collection[str]) -> None:
        """Counts an outcome."""
        self.attacks += 1
        self.messages += outcome.messages
        self.outcomes[outcome.name] += 1
        if outcome.name != RESTARTED and not expects(outcome, expected):
            self.unexpected.append(f"number {number} ended with {outcome.name}: {outcome.text[:200]}")

    def add(self, other: "Tally") -> None:
        """Counts what another one has counted."""
        self.attacks += other.attacks
        self.messages += other.messages
        self.outcomes += other.outcomes
        self.unexpected += other.unexpected


def expects(outcome: Outcome, expected: Collection[str]) -> bool:
    """Whether that may come of it; some faults are told by gRPC's core with INTERNAL."""
    return outcome.name in expected or (outcome.name == "INTERNAL" and outcome.text.startswith(CORE_TEXTS))
