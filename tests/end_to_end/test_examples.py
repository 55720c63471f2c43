"""The examples work as they stand, each in a process of its own, against a real server."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.serving import running_server

from examples.demo import next_steps

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MODULES = ROOT / ".venvs" / "node"


def said_by(*command: str | Path, folder: Path = ROOT) -> str:
    with running_server() as server:  # the bundled model, as `make serve` has it
        environment = os.environ | {"VITRINE_TARGET": server.target, "VITRINE_PROTOS": str(ROOT / "protos")}
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_demos_last_commands_can_be_pasted_where_names_have_spaces() -> None:
    run, image = Path("my demo/run"), Path("my demo/007_is_8.png")
    lines = next_steps(run, image, Path("layers.png")).splitlines()
    commands = [shlex.split(line[28:]) for line in lines]  # behind the column that says what for
    words = {word for command in commands for word in command}
    assert {str(run), str(image), f"{run}/model.onnx"} <= words


def test_a_client_without_stubs_finds_its_way_by_reflection() -> None:
    services, label = said_by(sys.executable, EXAMPLES / "by_reflection.py").splitlines()
    assert "vitrine.v1.ClassifierService" in services
    assert label == "label: 8"


@pytest.mark.skipif(not shutil.which("node") or not shutil.which("npm"), reason="there is no Node here")
def test_the_client_in_node_reads_a_prediction_and_a_layer() -> None:
    MODULES.mkdir(parents=True, exist_ok=True)
    for file in (EXAMPLES / "node").glob("*.*"):
        shutil.copy(file, MODULES)
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"], cwd=MODULES, capture_output=True, text=True
    )
    if installed.returncode != 0 and not os.environ.get("VITRINE_REQUIRE_CLIENTS"):
        pytest.skip(f"npm can't install gRPC for Node: {installed.stderr[-200:]}")
    assert installed.returncode == 0, installed.stderr
    prediction, layer = said_by("node", "classify.mjs", EXAMPLES / "eight.png", folder=MODULES).splitlines()
    assert re.fullmatch(r"8 (9\d|100)\.\d%", prediction)
    assert re.fullmatch(r"relu_1: 1000 units, [1-9]\d* of them active", layer)
