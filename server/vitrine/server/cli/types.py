"""Types of options that click doesn't have: a port, a number of workers, a version policy."""

import logging
from typing import Any

import click

from vitrine.server.engine.cpus import usable_cpus
from vitrine.server.models.version_policy import VersionPolicy

logger = logging.getLogger(__name__)


class Port(click.IntRange):
    """A port number, 0 to 65535, that Kubernetes can't set by accident.

    For a Service called `vitrine`, Kubernetes puts VITRINE_PORT=tcp://… into every pod of its namespace.

    Args:
        usual: the port taken in place of such an address.
    """

    def __init__(self, usual: int) -> None:
        super().__init__(0, 65535)
        self._usual = usual

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads the port; the address of a Kubernetes Service stands for the usual one."""
        if isinstance(value, str) and value.startswith("tcp://"):
            name = f"VITRINE_{param.name.upper()}" if param and param.name else "a port"
            logger.warning("%s=%s is the address of a Kubernetes Service; using port %d", name, value, self._usual)
            return self._usual
        return int(super().convert(value, param, ctx))


class Workers(click.IntRange):
    """A number of processes, at least 1, or `auto`."""

    def __init__(self) -> None:
        super().__init__(1)

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
