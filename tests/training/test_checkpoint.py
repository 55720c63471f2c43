"""A checkpoint comes back as it was, and can't be a Trojan horse."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from vitrine.training import Checkpoint, CheckpointError, Dataset, FitConfig, RunFolder, fit


@pytest.fixture
def saved(toy: Dataset, tmp_path: Path) -> tuple[Checkpoint, Path]:
    config = FitConfig(hidden=(8,), epochs=2, batch_size=32, device="cpu")
    run = fit(toy, config, tmp_path / "run", progress=False)
    return run.checkpoint, RunFolder(tmp_path / "run").checkpoint


def test_it_comes_back_as_it_was(saved: tuple[Checkpoint, Path]) -> None:
    before, path = saved
    after = Checkpoint.load(path)
    assert (after.identity, after.config, after.history) == (before.identity, before.config, before.history)
    assert all(torch.equal(after.weights[name], before.weights[name]) for name in before.weights)
    assert torch.equal(after.samples, before.samples)


class Trojan:
    """Runs code where it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.evidence,))


@pytest.mark.parametrize("write", [torch.save, lambda payload, path: path.write_bytes(pickle.dumps(payload))])
def test_one_that_would_execute_code_is_refused_and_executes_none(tmp_path: Path, write: Any) -> None:
    path, evidence = tmp_path / "checkpoint.pt", tmp_path / "evidence"
    write({"format_version": 1, "weights": Trojan(evidence)}, path)
    with pytest.raises(CheckpointError, match="more than tensors and plain data"):
        Checkpoint.load(path)
    assert not evidence.exists()


def test_a_damaged_one_is_an_error_that_names_it(saved: tuple[Checkpoint, Path]) -> None:
    _, path = saved
    content = path.read_bytes()
    for damaged in (b"", b"no checkpoint", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=str(path)):
            Checkpoint.load(path)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"format_version": 2}, "isn't a checkpoint of this Vitrine's"),
        ([1, 2], "isn't a checkpoint of this Vitrine's"),
        ({"format_version": 1}, "is damaged: KeyError"),
    ],
)
def test_something_else_is_an_error(tmp_path: Path, document: Any, complaint: str) -> None:
    torch.save(document, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=complaint):
        Checkpoint.load(tmp_path / "checkpoint.pt")


def test_a_failed_save_keeps_what_was_there(saved: tuple[Checkpoint, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, path = saved
    before = path.read_bytes()

    def fails(document: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="full"):
        checkpoint.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_it_is_a_plain_archive(saved: tuple[Checkpoint, Path]) -> None:
    assert zipfile.is_zipfile(saved[1])
