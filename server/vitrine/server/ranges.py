"""Ranges of settings: configs check their values with them, and the command shows them in its help.

It knows numbers, and no setting: each range stands beside the config that it is for.
"""

from dataclasses import dataclass
from numbers import Integral, Real

from vitrine.server.errors import ConfigError


@dataclass(frozen=True, slots=True)
class WholeRange:
    """The whole numbers from `least` to `most`."""

    least: int
    """The smallest number."""
    most: int
    """The largest number."""

    def check(self, setting: str, value: int) -> None:
        """Raises `ConfigError`, which names the setting, unless the value is one of these numbers."""
        if isinstance(value, bool) or not isinstance(value, Integral) or not self.least <= value <= self.most:
            raise ConfigError(f"{setting} is {value!r:.40}: take a whole number from {self.least:,} to {self.most:,}")


@dataclass(frozen=True, slots=True)
class RealRange:
    """The numbers from `least` to `most`, both finite. NaN isn't one."""

    least: float
    """The smallest number."""
    most: float
    """The largest number."""

    def check(self, setting: str, value: float) -> None:
        """Raises `ConfigError`, which names the setting, unless the value is one of these numbers."""
        if isinstance(value, bool) or not isinstance(value, Real) or not self.least <= value <= self.most:
            raise ConfigError(f"{setting} is {value!r:.40}: take a number from {self.least:,g} to {self.most:,g}")


PORTS = WholeRange(0, 65_535)
"""The ports; 0 takes a free one."""

SECONDS = RealRange(0, 86_400)
"""The seconds of a setting, up to a day."""
