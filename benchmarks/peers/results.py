"""What was measured, in a JSON file that grows with each round: an interrupted comparison goes on where it was."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.rounding import rounded
from benchmarks.harness.summary import Summary

Round = Mapping[str, Mapping[str, float]]
"""Values by load and name."""


@dataclass(slots=True)
class Measured:
    """One server's part."""

    title: str
    """Its name in tables."""
    version: str = ""
    note: str = ""
    ours: bool = False
    skipped: str = ""
    """Why it wasn't measured; empty: it was."""
    rounds: list[Round] = field(default_factory=list)

    def summary(self, load: str, value: str) -> Summary | None:
        """Median and range over its rounds; None where it has none of this."""
        found = [round_[load][value] for round_ in self.rounds if load in round_]
        return Summary.of(found) if found else None

    def ratio(self, other: "Measured", load: str, value: str) -> Summary | None:
        """The same of the quotients with another server's value in the same round."""
        pairs = zip(self.rounds, other.rounds, strict=False)
        found = [mine[load][value] / its[load][value] for mine, its in pairs if load in mine and load in its]
        return Summary.of(found) if found else None


@dataclass(slots=True)
class Results:
    """All of it.

    Args:
        machine: hardware and versions.
        seconds: the time of each load.
        servers: each server's part, by its name.
    """

    machine: dict[str, str | int]
    seconds: float
    servers: dict[str, Measured] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What a file has."""
        content: dict[str, Any] = json.loads(path.read_text())
        servers = {name: Measured(**of_it) for name, of_it in content["servers"].items()}
        return cls(content["machine"], content["seconds"], servers)

    def write(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        servers = {
            name: {slot: getattr(of_it, slot) for slot in Measured.__slots__} for name, of_it in self.servers.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        content = {"machine": self.machine, "seconds": self.seconds, "servers": rounded(servers)}
        beside.write_text(json.dumps(content, indent=1) + "\n")
        beside.replace(path)
