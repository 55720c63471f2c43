"""The names of all variables, and which mistyped ones are noticed."""

import os

import pytest

from vitrine.client.cli import main as client
from vitrine.model.variables import PREFIX, VARIABLES, find_mistyped
from vitrine.server.cli import main as server
from vitrine.training.cli import main as training


def test_every_variable_of_every_command_is_known() -> None:
    serving = {PREFIX + str(option.name).upper() for option in server.params}
    asked = {str(option.envvar) for command in client.commands.values() for option in command.params if option.envvar}
    assert not any(option.envvar for command in training.commands.values() for option in command.params)
    trained = {"VITRINE_DATA_DIR", "VITRINE_CACHE_DIR"}  # read where they are needed
    assert serving
    assert asked
    assert serving | asked | trained == VARIABLES


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VITRINE_TIMOUT", "VITRINE_TIMEOUT"),
        ("VITRINE_TARGTE", "VITRINE_TARGET"),
        ("VITRINE_METRIC_PORT", "VITRINE_METRICS_PORT"),
        ("VITRINE_CLIENT_TLS_SERVERNAME", "VITRINE_CLIENT_TLS_SERVER_NAME"),
        ("VITRINE_DATADIR", "VITRINE_DATA_DIR"),
    ],
)
def test_a_mistyped_name_is_noticed(name: str, meant: str) -> None:
    assert find_mistyped([name, "PATH"]) == [f"no command reads {name}: {meant} is meant, perhaps"]


def test_names_of_orchestrators_and_of_all_commands_are_left_alone() -> None:
    kubernetes = ("SERVICE_HOST", "SERVICE_PORT", "PORT_50051_TCP", "PORT_50051_TCP_ADDR", "PORT_50051_TCP_PROTO")
    assert find_mistyped([*VARIABLES, *(PREFIX + name for name in kubernetes), *os.environ]) == []
