"""What settings take: numbers within their ranges, from the command's options and from programs."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support.serving import SERVER

from vitrine.model.distribution import EXTRAS
from vitrine.server.cli import main
from vitrine.server.cli.types import Whole
from vitrine.server.errors import ConfigError
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.config import BatchingConfig, Limits
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.process.config import FrontendKind, ProcessConfig, ServerConfig
from vitrine.server.ranges import WholeRange
from vitrine.server.service_config import ServiceConfig
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.tracing_config import TracingConfig

RANGED = (click.IntRange, click.FloatRange)
NUMBERS = [option for option in main.params if isinstance(option, click.Option) and isinstance(option.type, RANGED)]


def test_every_number_of_the_command_has_two_ends() -> None:
    assert len(NUMBERS) >= 14
    for option in main.params:
        assert option.type not in (click.INT, click.FLOAT), option.name
    for option in NUMBERS:
        assert isinstance(option.type, click.IntRange | click.FloatRange)
        assert option.type.min is not None, option.name
        assert option.type.max is not None, option.name
        assert math.isfinite(option.type.max), option.name


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.name)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "9" * 30, "-1", "abc"])
def test_a_number_that_is_out_of_its_range_is_one_sentence_and_status_2(option: click.Option, value: str) -> None:
    result = CliRunner(env={f"VITRINE_{option.name}".upper(): value}).invoke(main)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"Error: Invalid value for '{option.opts[0]}'")
    assert " range." not in result.stderr


def test_a_port_that_is_no_number_is_not_a_valid_port() -> None:
    result = CliRunner(env={"VITRINE_PORT": "abc"}).invoke(main)
    assert result.stderr.endswith("Invalid value for '--port': 'abc' is not a valid port.\n")


def test_a_range_in_another_unit_stays_within_the_settings() -> None:
    mebibytes = Whole(WholeRange(1, (5 << 20) - 1), 1 << 20)
    assert (mebibytes.min, mebibytes.max) == (1, 4)


FIELDS: list[tuple[Callable[..., object], str, list[object]]] = [
    (ServiceConfig, "threads", [0, 1 << 30, 2.5, True, "4"]),
    (ServiceConfig, "processes", [0, 1 << 30]),
    (ProcessConfig, "workers", [0, 1 << 30]),
    (ProcessConfig, "propagation_seconds", [-1, math.nan, math.inf]),
    (ProcessConfig, "drain_seconds", [-1, math.nan, math.inf, "30"]),
    (GrpcConfig, "port", [-1, 65_536]),
    (partial(MetricsConfig, host="localhost"), "port", [-1, 65_536]),
    (partial(TracingConfig, "http://localhost:4317"), "ratio", [-0.1, 1.1, math.nan]),
    (partial(RepositoryConfig, Path("models")), "reload_seconds", [-1, math.nan, math.inf]),
    (Limits, "max_images", [0, 10**23]),
    (Limits, "max_message_bytes", [0, 1 << 31]),
    (Limits, "max_image_pixels", [0, 10**9]),
    (Limits, "caller_rate", [-1, math.nan, math.inf]),
    (BatchingConfig, "max_rows", [0, 10**23]),
    (BatchingConfig, "max_delay", [-1, math.nan, math.inf]),
    (BatchingConfig, "parallel", [0, 10**23]),
    (AdmissionConfig, "max_images", [0, 10**23]),
    (AdmissionConfig, "max_bytes", [0, 10**23]),
]


@pytest.mark.parametrize(
    ("config", "field", "value"), [(config, field, value) for config, field, values in FIELDS for value in values]
)
def test_a_config_refuses_a_number_out_of_its_range(config: Callable[..., object], field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{field} is .*: take a (whole )?number from "):
        config(**{field: value})


@pytest.mark.parametrize(("frontend", "shared"), [(FrontendKind.ENVOY, True), (FrontendKind.GRPC, False)])
def test_one_port_for_both_is_one_that_envoy_has_anyway(frontend: FrontendKind, shared: bool) -> None:
    config = ServerConfig(grpc=GrpcConfig(port=4711), http_port=4711, frontend=frontend)
    assert (config.http is None) is shared
    assert replace(config, http_port=8080).http == GrpcConfig(port=8080)


@pytest.mark.parametrize(("flags", "said"), [(["--capture-ratio", "0.5"], True), ([], False)])
def test_settings_of_a_capture_without_a_folder_are_said_to_do_nothing(flags: list[str], said: bool) -> None:
    words = [str(SERVER), *flags, "--frontend", "envoy", "--print-envoy-config"]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    warning = "nothing is captured, and --capture-ratio does nothing: name a folder with --capture"
    assert (warning in ended.stderr) is said


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_for_http_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match="http_port"):
        ServerConfig(http_port=port)


@pytest.mark.parametrize(("flags", "extra"), [(["--frontend", "envoy"], "envoy"), (["--http-port", "0"], "http")])
def test_a_flag_whose_extra_is_missing_says_so(flags: list[str], extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, extra, ("not_installed",))
    monkeypatch.setattr(sys, "platform", "linux")
    result = CliRunner().invoke(main, flags)
    assert result.exit_code == 1
    assert f"pip install 'vitrine-serving[{extra}]'" in result.output
