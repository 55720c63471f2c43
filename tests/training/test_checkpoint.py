"""A checkpoint loads as it was saved, and can't run code."""

import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vitrine.training import Checkpoint, CheckpointError, Dataset, FitConfig, RunFolder, fit
from vitrine.training.files.checksummed import read_checksummed, write_checksummed
from vitrine.training.run.checkpoint import FORMAT_VERSION, READABLE_VERSIONS, Epoch


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
    assert torch.equal(after.validation_logits, before.validation_logits)
    assert torch.equal(after.validation_labels, before.validation_labels)
    assert after.calibration() == before.calibration()


def test_its_network_is_the_kept_weights_with_the_logits_divided_by_the_temperature(
    saved: tuple[Checkpoint, Path], toy: Dataset
) -> None:
    checkpoint, _ = saved
    labels = checkpoint.validation_labels.clone()
    labels[0] += 1  # a mistake, without which there is no temperature
    checkpoint = replace(checkpoint, validation_labels=labels)
    plain, pixels = checkpoint.kept_mlp(), torch.tensor(toy.test.pixels)
    plain.load_state_dict(dict(checkpoint.kept_weights))
    temperature = checkpoint.calibration().temperature
    with torch.no_grad():
        before, after = plain.activations(pixels), checkpoint.kept_mlp().activations(pixels)
    assert temperature != 1
    assert all(torch.equal(after[name], before[name]) for name in ("input", "linear_1", "relu_1"))
    torch.testing.assert_close(after["linear_2"], before["linear_2"] / temperature)


def test_without_a_teacher_the_epoch_with_the_fewest_errors_is_kept_and_with_one_the_last(
    saved: tuple[Checkpoint, Path],
) -> None:
    checkpoint, _ = saved
    history = tuple(Epoch(n, 0.1, 0.1, error, 1.0, "cpu") for n, error in enumerate((0.2, 0.0, 0.1), start=1))
    assert replace(checkpoint, history=history, teacher="").kept.number == 2
    assert replace(checkpoint, history=history, teacher="a" * 64).kept.number == 3


class Trojan:
    """Runs code when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.evidence,))


def by_torch(document: Any) -> bytes:
    file = io.BytesIO()
    torch.save(document, file)
    return file.getvalue()


def write_with_digest(path: Path, payload: bytes) -> None:
    """Writes a checkpoint with a valid digest and any content."""
    path.write_bytes(payload + hashlib.sha256(payload).digest())


@pytest.mark.parametrize("to_bytes", [by_torch, pickle.dumps])
def test_one_that_would_execute_code_is_refused_and_executes_none(
    tmp_path: Path, to_bytes: Callable[[Any], bytes]
) -> None:
    path, evidence = tmp_path / "checkpoint.pt", tmp_path / "evidence"
    write_with_digest(path, to_bytes({"format_version": FORMAT_VERSION, "weights": Trojan(evidence)}))
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


def test_one_flipped_bit_is_an_error_that_names_it(saved: tuple[Checkpoint, Path]) -> None:
    checkpoint, path = saved
    content = path.read_bytes()
    position = content.index(checkpoint.weights["linears.0.weight"].numpy().tobytes())
    path.write_bytes(content[:position] + bytes((content[position] ^ 1,)) + content[position + 1 :])
    with pytest.raises(CheckpointError, match=f"{path} is damaged"):
        Checkpoint.load(path)


def test_a_checkpoint_from_before_shapes_and_classes_were_kept_is_of_digits(saved: tuple[Checkpoint, Path]) -> None:
    _, path = saved
    document = read_checksummed(path)
    for name in ("classes", "shape"):
        del document["identity"][name]
    write_checksummed(path, {**document, "format_version": 6})
    identity = Checkpoint.load(path).identity
    assert (identity.classes, identity.shape) == (tuple("0123456789"), (18, 18))


def test_a_checkpoint_from_before_drawings_and_forms_learnt_from_neither(saved: tuple[Checkpoint, Path]) -> None:
    _, path = saved
    document = read_checksummed(path)
    for name in ("drawings", "forms"):
        del document["config"][name]
    write_checksummed(path, {**document, "format_version": 7})
    config = Checkpoint.load(path).config
    assert (config.drawings, config.forms) == (1, 0)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"format_version": READABLE_VERSIONS[0] - 1}, "of this version of Vitrine: fit again without --resume"),
        ([1, 2], "is not a checkpoint of this version"),
        ({"format_version": FORMAT_VERSION}, "is damaged: KeyError"),
    ],
)
def test_something_else_is_an_error(tmp_path: Path, document: Any, complaint: str) -> None:
    write_with_digest(tmp_path / "checkpoint.pt", by_torch(document))
    with pytest.raises(CheckpointError, match=complaint):
        Checkpoint.load(tmp_path / "checkpoint.pt")


def test_a_failed_save_keeps_what_was_there(saved: tuple[Checkpoint, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, path = saved
    before = path.read_bytes()

    def fails(_descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="full"):
        checkpoint.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == [".lock"]


def test_pytorch_writes_into_memory_only(saved: tuple[Checkpoint, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while its C++ calls a Python file's `write` ends in another exception, or ends the process."""
    checkpoint, path = saved
    written: list[type] = []
    save = torch.save

    def recording(document: Any, file: Any) -> None:
        written.append(type(file))
        save(document, file)

    monkeypatch.setattr(torch, "save", recording)
    checkpoint.save(path)
    assert written == [io.BytesIO]


def test_it_is_a_plain_archive(saved: tuple[Checkpoint, Path]) -> None:
    assert zipfile.is_zipfile(saved[1])
