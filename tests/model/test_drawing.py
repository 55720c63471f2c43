"""matplotlib is loaded whatever `MPLBACKEND` says, and a notebook's own choice holds afterwards."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, sys
from vitrine.model.drawing import load_matplotlib
load_matplotlib()
load_matplotlib()
import matplotlib
backend = dict.__getitem__(matplotlib.rcParams, "backend")  # without resolving what is automatic
found = backend if isinstance(backend, str) else None
print(json.dumps([found, os.environ["MPLBACKEND"], "matplotlib.pyplot" in sys.modules]))
"""


@pytest.mark.parametrize(
    ("backend", "set_to"),
    [("svg", "svg"), ("tkagg", "tkagg"), ("nonsense", None), ("module://matplotlib_inline.backend_inline", None)],
)
def test_a_backend_that_isnt_there_is_passed_over(backend: str, set_to: str | None) -> None:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"MPLBACKEND": backend}
    )
    assert json.loads(ended.stdout) == [set_to, backend, False]
