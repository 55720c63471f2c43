"""The version policy of `--versions`. It knows numbers, and no files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """The newest few versions that load, all of them, or those of certain numbers."""

    most: int | None = 1
    """Versions of a model that are served at most, the newest first; None: unlimited."""
    named: frozenset[int] | None = None
    """The only versions that are served; None: any."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `latest:N`, `all`, or numbers with commas between them.

        Raises:
            ValueError: it is none of these.
        """
        if text == "all":
            return cls(most=None)
        if latest := re.fullmatch(r"latest:([1-9][0-9]*)", text, re.ASCII):
            return cls(most=int(latest[1]))
        if re.fullmatch(r"[1-9][0-9]*(,[1-9][0-9]*)*", text, re.ASCII):
            return cls(most=None, named=frozenset(map(int, text.split(","))))
        raise ValueError(f"{text!r} is neither latest:N, nor all, nor version numbers such as 3,5")

    def wanted(self, there: Iterable[int]) -> list[int]:
        """The versions to try, newest first, of those that are there; a named one is wanted where it isn't, too."""
        return sorted(there if self.named is None else self.named, reverse=True)
