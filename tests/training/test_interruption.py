"""A real Ctrl-C, sent to a real `vitrine-train fit`, keeps the epochs so far."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrine.training import Checkpoint, RunFolder

DEADLINE = 60.0
"""Seconds after which something that should have happened counts as failed."""


def wait_for(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + DEADLINE
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.01)


HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""What runs in the background may have been told to ignore Ctrl-C, and so would the programs that it starts."""


def start(*words: str | Path) -> "subprocess.Popen[str]":
    code = f"{HEARING}from vitrine.training.cli import main; main(prog_name='vitrine-train')"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_ctrl_c_completes_the_run_folder_and_says_how_to_go_on(folder: RunFolder, bars: Path) -> None:
    endless = ("--epochs", "100000", "--hidden", "16", "--device", "cpu", "--counter-examples", "0", "--quiet")
    process = start("fit", "--dataset", bars, "--run", folder.path, *endless)
    try:
        wait_for(folder.checkpoint.exists, process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert output.startswith("test error ")
    assert "of 100000; continue with" in errors
    assert "Traceback" not in errors
    assert 1 <= len(Checkpoint.load(folder.checkpoint).history) < 100_000
    for file in (folder.model, folder.metrics, folder.learning_curve, folder.confusion_matrix, folder.model_card):
        assert file.exists()


def test_a_ctrl_c_that_falls_into_a_finalizer_ends_the_run_too(folder: RunFolder, bars: Path) -> None:
    """Python prints and drops exceptions in finalizers."""
    code = f"""
{HEARING}
from importlib import import_module

fit = import_module("vitrine.training.run.fit")

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

run_epoch = fit.Trainer.run_epoch

def interrupted(*arguments):
    Finalized()
    return run_epoch(*arguments)

fit.Trainer.run_epoch = interrupted
from vitrine.training.cli import main
main(prog_name="vitrine-train")
"""
    words = (
        "fit",
        "--dataset",
        str(bars),
        "--run",
        str(folder.path),
        "--epochs",
        "100000",
        "--hidden",
        "16",
        "--counter-examples",
        "0",
        "--quiet",
    )
    command = [sys.executable, "-c", code, *words]
    process = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert process.returncode == 130, process.stderr
    assert len(Checkpoint.load(folder.checkpoint).history) == 1
