"""Types of options that click doesn't have: a number within a range, a port, a number of workers, a version policy."""

import logging
import math
from typing import Any

import click

from vitrine.server.engine.cpus import usable_cpus
from vitrine.server.models.version_policy import VersionPolicy
from vitrine.server.ranges import PORTS, RealRange, WholeRange
from vitrine.server.service_config import PROCESSES

logger = logging.getLogger(__name__)


class Whole(click.IntRange):
    """A whole number within a range, which the help shows.

    Args:
        within: the range of the setting.
        unit: the setting's own number in one of the option's: 1 << 20 for bytes given in MiB.
    """

    name = "integer"

    def __init__(self, within: WholeRange, unit: int = 1) -> None:
        super().__init__(-(-within.least // unit), within.most // unit)


class Number(click.FloatRange):
    """A finite number within a range, which the help shows."""

    name = "number"

    def __init__(self, within: RealRange) -> None:
        super().__init__(within.least, within.most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Reads the number; NaN, which is neither above nor below a range, is refused."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class Port(Whole):
    """A port number, 0 to 65535, that Kubernetes can't set by accident.

    For a Service called `vitrine`, Kubernetes puts VITRINE_PORT=tcp://… into every pod of its namespace.

    Args:
        usual: the port taken in place of such an address.
    """

    name = "port"

    def __init__(self, usual: int) -> None:
        super().__init__(PORTS)
        self._usual = usual

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads the port; the address of a Kubernetes Service stands for the usual one."""
        if isinstance(value, str) and value.startswith("tcp://"):
            name = f"VITRINE_{param.name.upper()}" if param and param.name else "a port"
            logger.warning("%s=%s is the address of a Kubernetes Service; using port %d", name, value, self._usual)
            return self._usual
        return int(super().convert(value, param, ctx))


class Workers(Whole):
    """A number of processes, or `auto`."""

    name = "number of workers"

    def __init__(self) -> None:
        super().__init__(PROCESSES)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads the number; `auto` stands for the number of usable CPUs."""
        return usable_cpus() if value == "auto" else int(super().convert(value, param, ctx))


class Policy(click.ParamType[VersionPolicy]):
    """A version policy: `latest:N`, `all`, or version numbers."""

    name = "policy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> VersionPolicy:
        """Reads the policy."""
        if isinstance(value, VersionPolicy):
            return value
        try:
            return VersionPolicy.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
