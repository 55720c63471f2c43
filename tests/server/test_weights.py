"""Weights beside an ONNX file: the bytes that run are those that were checked, and workers share one copy."""

import hashlib
import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from support.artifacts import export_random
from support.serving import logged_server, open_log

from vitrine.client import Client
from vitrine.model import ArtifactError
from vitrine.server.engine import weights
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.engine.device import Device
from vitrine.server.engine.onnx_messages import ModelProto
from vitrine.server.engine.session import open_engine
from vitrine.server.engine.weights import open_weights, weights_register
from vitrine.server.process.port import can_be_shared

pytestmark = pytest.mark.skipif(not can_be_shared(), reason="this platform has no memory files")

CONTENT = bytes(range(256)) * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of weights."""
    path = tmp_path / "model.onnx.data"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A model whose weights lie beside its file: 324-256-32-10."""
    return export_random(tmp_path / "beside.onnx", [256, 32], inline_limit=1000)


def data_of(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + ".data")


def memory_files(process: int | str = "self") -> set[str]:
    """The memory files that a process has mapped, by their inodes."""
    return set(re.findall(r"(\d+) +/memfd:vitrine-weights", Path(f"/proc/{process}/maps").read_text()))


def test_what_runs_stays_what_was_checked_when_the_file_is_overwritten(
    beside: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    engine = open_engine(read_artifact(beside), Device.CPU)
    before = engine.run(pixels, ["linear_1", "softmax"])
    size = data_of(beside).stat().st_size
    with data_of(beside).open("r+b") as file:  # the same inode: a mapping of it would change, and then end
        file.write(bytes(size))
        file.truncate(1)
    after = engine.run(pixels, ["linear_1", "softmax"])
    assert all(np.array_equal(before[layer], after[layer]) for layer in before)


def test_onnx_runtime_is_given_no_metadata_to_keep(beside: Path) -> None:
    assert ModelProto.FromString(beside.read_bytes()).metadata_props
    assert not ModelProto.FromString(read_artifact(beside).data).metadata_props


def test_what_was_checked_runs_even_if_the_file_goes_before_it_is_opened(beside: Path) -> None:
    artifact = read_artifact(beside)
    data_of(beside).write_bytes(b"other")
    assert open_engine(artifact, Device.CPU).provider == "CPUExecutionProvider"
    data_of(beside).unlink()
    assert open_engine(artifact, Device.CPU).provider == "CPUExecutionProvider"


def test_parameters_are_read_from_the_mapping_and_not_copied(beside: Path) -> None:
    before = memory_files()
    artifact = read_artifact(beside)
    assert len(memory_files() - before) == 1
    for stored in artifact.parameters.values():
        assert not stored.weight.flags.owndata
        assert not stored.weight.flags.writeable
    del artifact, stored
    assert memory_files() == before


def open_memory_files() -> list[Path]:
    """This process's open memory files of weights, each twice: a mapping has an open file of its own."""
    return [link for link in Path("/proc/self/fd").iterdir() if "memfd:vitrine-weights" in str(link.resolve())]


def test_nobody_can_change_the_bytes(file: Path) -> None:
    view = open_weights(file, DIGEST)
    assert view.readonly
    for link in open_memory_files():
        with pytest.raises(PermissionError):
            os.truncate(link, 1)
        with pytest.raises(PermissionError), link.open("r+b", buffering=0) as writable:
            writable.write(b"x")
    assert bytes(view) == CONTENT


def test_the_memory_and_its_file_go_with_the_last_view(file: Path) -> None:
    view = open_weights(file, DIGEST)
    part = view[10:20]
    del view
    assert len(memory_files()) == 1
    assert len(open_memory_files()) == 2
    del part
    assert memory_files() == set()
    assert open_memory_files() == []


def test_an_empty_file_and_one_of_another_digest_are_refused(file: Path) -> None:
    with weights_register() as register:
        for content in (b"", b"other"):
            file.write_bytes(content)
            with pytest.raises(ArtifactError, match="isn't the file that it was exported with"):
                open_weights(file, DIGEST, register)
        assert Path(register).read_text() == ""


def hold(register: str, file: Path, line: "Connection[str, str]") -> None:
    """Another process, which has the weights until the line is closed."""
    view = open_weights(file, DIGEST, register)
    line.send(*memory_files())
    with line:
        try:
            line.recv()
        except EOFError:
            view.release()


@contextmanager
def another_process(register: str, file: Path) -> Iterator[str]:
    """The memory file of a process that shares weights."""
    line, its_end = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(register, file, its_end))
    process.start()
    its_end.close()
    with line:
        yield line.recv()
    process.join()


def test_processes_share_one_copy_as_long_as_any_has_it(file: Path) -> None:
    with weights_register() as register:
        with another_process(register, file) as first:
            view = open_weights(file, DIGEST, register)
            assert memory_files() == {first}
        with another_process(register, file) as third:  # the one that made it has ended
            assert third == first
        del view
        with another_process(register, file) as fourth:  # nobody had it any more
            assert len(Path(register).read_text().splitlines()) == 1
            assert fourth != first


def test_a_copy_serves_a_process_although_the_file_has_been_replaced(file: Path) -> None:
    """The ONNX file says which bytes it needs: they are there."""
    with weights_register() as register, another_process(register, file) as first:
        file.write_bytes(b"next version")
        assert bytes(open_weights(file, DIGEST, register)) == CONTENT
        assert first


def test_what_has_another_files_number_by_now_is_not_taken(file: Path, tmp_path: Path) -> None:
    with weights_register() as register, (tmp_path / "open").open("wb") as other:
        other.write(b"not the weights")
        Path(register).write_text(f"{DIGEST} {os.getpid()} {other.fileno()}\n{DIGEST} {2**22 + 1} 3\n")
        view = open_weights(file, DIGEST, register)
        assert bytes(view) == CONTENT
        assert len(Path(register).read_text().splitlines()) == 1


def test_what_gets_another_files_number_while_it_is_opened_is_not_taken(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number is looked at, and then opened: its process may close it in between, and open a file under it."""
    monkeypatch.setattr(weights, "_is_sealed", lambda *_: True)
    with weights_register() as register, (tmp_path / "open").open("wb") as other:
        Path(register).write_text(f"{DIGEST} {os.getpid()} {other.fileno()}\n")
        before = len(list(Path("/proc/self/fd").iterdir()))
        view = open_weights(file, DIGEST, register)
        assert bytes(view) == CONTENT
        del view
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_weights_under_a_wrong_digest_are_not_taken(file: Path) -> None:
    """A process believes no other: it hashes what it is given."""
    with weights_register() as register:
        other = open_weights(file, DIGEST, register)
        Path(register).write_text(
            Path(register).read_text().replace(DIGEST, wanted := hashlib.sha256(b"x").hexdigest())
        )
        file.write_bytes(b"x")
        assert bytes(open_weights(file, wanted, register)) == b"x"
        assert bytes(other) == CONTENT


def test_weights_are_served_where_there_is_no_register(
    file: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert bytes(open_weights(file, DIGEST, str(tmp_path / "gone"))) == CONTENT
    assert "weights aren't shared between workers" in caplog.text


def test_workers_share_one_copy_and_so_does_one_that_is_replaced(beside: Path) -> None:
    with open_log() as (pipe, log), logged_server(pipe, beside, "--workers", "2") as server:
        first, second = map(int, log.wait_for(r"worker (\d+) is ready", 2))
        shared = memory_files(first)
        assert len(shared) == 1
        assert memory_files(second) == shared
        os.kill(first, signal.SIGKILL)
        third = int(log.wait_for(r"worker (\d+) is ready", 3)[-1])
        assert memory_files(third) == shared
        with Client(server.target) as client:
            assert client.parameters("linear_1").weight.shape == (256, 324)
