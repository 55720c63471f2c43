"""Memory: what Linux says is free, and models that don't fit in it."""

import logging
from pathlib import Path

import pytest
from support.artifacts import export_random
from support.publishing import good_file, publish

from vitrine.model import ArtifactError
from vitrine.server.engine import artifact, memory
from vitrine.server.engine.artifact import LOADING_COPIES, read_artifact
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.engine.memory import free_memory
from vitrine.server.engine.weights import weights_register
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.models.repository import ServedRepository
from vitrine.server.models.snapshot import ServedModel

GIB = 1 << 30


def free_of(folder: Path, membership: str = "", files: dict[str, str] | None = None) -> int | None:
    """What is free on a machine with 8 GiB available, in a group with these files."""
    (folder / "meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    (folder / "membership").write_text(membership)
    for name, text in (files or {}).items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return free_memory(folder / "meminfo", folder / "membership", folder / "groups")


def test_what_the_machine_has_available_is_free(tmp_path: Path) -> None:
    assert free_of(tmp_path) == 8 * GIB


def test_a_containers_limit_counts_without_files_that_give_way(tmp_path: Path) -> None:
    files = {
        "memory.max": f"{2 * GIB}\n",
        "memory.current": f"{GIB}\n",
        "memory.stat": f"anon 5\ninactive_file {GIB >> 1}",
    }
    assert free_of(tmp_path, "0::/\n", files) == GIB + (GIB >> 1)


def test_a_container_without_a_limit_has_the_machines(tmp_path: Path) -> None:
    assert free_of(tmp_path, "0::/\n", {"memory.max": "max\n", "memory.current": f"{GIB}\n"}) == 8 * GIB


def test_version_1_counts(tmp_path: Path) -> None:
    files = {"memory/a/memory.limit_in_bytes": f"{3 * GIB}", "memory/a/memory.usage_in_bytes": f"{GIB}"}
    assert free_of(tmp_path, "5:cpu:/a\n4:memory:/a\n", files) == 2 * GIB


def test_a_full_container_has_nothing_free(tmp_path: Path) -> None:
    assert free_of(tmp_path, "0::/\n", {"memory.max": f"{GIB}", "memory.current": f"{2 * GIB}"}) == 0


def test_a_system_that_tells_nothing_is_believed_to_have_enough(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert free_memory(nowhere, nowhere, nowhere) is None


def sparse(path: Path, size: int) -> Path:
    """A file that declares a size, and has nothing on disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_file_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"it has 1,048,576 MiB, and loading it takes about .* MiB of memory"):
        read_artifact(sparse(tmp_path / "model.onnx", 1 << 40))


def test_weights_beside_a_file_count(tmp_path: Path) -> None:
    path = export_random(tmp_path / "model.onnx", [32], inline_limit=1000)
    sparse(tmp_path / "model.onnx.data", 1 << 40)
    with pytest.raises(ArtifactError, match=r"it has 1,048,576 MiB, and loading it takes about 1,048,576 MiB of mem"):
        read_artifact(path)


def test_weights_that_another_process_has_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = export_random(tmp_path / "model.onnx", [4096], inline_limit=1000)
    with weights_register() as register:
        first = read_artifact(path, register)
        monkeypatch.setattr(
            memory, "free_memory", lambda: LOADING_COPIES * path.stat().st_size
        )  # less than the weights
        assert read_artifact(path, register).sha256 == first.sha256
        with pytest.raises(ArtifactError, match="memory"):
            read_artifact(path)


def load(path: Path, name: str, version: str) -> ServedModel:
    return load_artifact(path, Device.CPU, name, version)


def test_the_good_version_is_served_while_a_newer_one_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    publish(tmp_path, "digits", 1)
    sparse(publish(tmp_path, "digits", 2) / "model.onnx", 1 << 40)
    repository = ServedRepository(RepositoryConfig(tmp_path), load)
    newest, served = repository.models.snapshot.entries
    assert (newest.model, served.version) == (None, "1")
    assert "memory" in newest.reason
    for _ in range(3):
        repository.refresh()
    assert caplog.text.count("digits@2: it has") == 1
    monkeypatch.setattr(memory, "free_memory", lambda: 1 << 50)  # memory was freed, and the file read
    monkeypatch.setattr(artifact, "read_regular_file", lambda _: good_file(2))
    repository.refresh()
    assert repository.models.snapshot.entries[0].version == "2"
    assert repository.models.snapshot.entries[0].model is not None
