"""Runs cases in an environment that has Ray: it needs fifty packages that nothing else here does."""

import os
import subprocess
from pathlib import Path

import pytest
from support.environments import Environment

HERE = Path(__file__).parent
IGNORED = ("ignore::DeprecationWarning", "ignore:Using extra keyword arguments", "ignore:unclosed:ResourceWarning")
"""Warnings of Ray's own code. It leaves sockets to the garbage collector."""

OPTIONS = ("-p", "no:cacheprovider", *(f"-W{ignored}" for ignored in IGNORED))
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_raylet_start_wait_time_s": "300"}
"""Ray reads its settings when it is imported. A busy machine may take long to start a node."""

PATIENCE_SECONDS = 600
"""Time limit for the cases of a file; never waited for when all is well."""


@pytest.fixture(scope="module")
def ray_environment() -> Environment:
    """Where Ray is installed, beside everything that is here."""
    environment = Environment("ray", shares=True)
    environment.make()
    return environment


@pytest.mark.parametrize("cases", ["ray_serve/cases.py", "bulk/ray_cases.py"])
def test_vitrine_works_on_ray(cases: str, ray_environment: Environment) -> None:
    command: list[str | Path] = [ray_environment.python, "-m", "pytest", "-q", *OPTIONS, HERE.parent / cases]
    variables = os.environ | RAY | {"PYTHONPATH": str(HERE.parent)}  # Ray's workers import what cases hand them
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
