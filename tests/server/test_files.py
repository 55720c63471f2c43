"""Files that an operator names: regular ones are read, and nothing else is waited for."""

import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from support.serving import refused_start

from vitrine.model import ArtifactError
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.errors import FileError
from vitrine.server.files import read_regular_file
from vitrine.server.security.certificates import TlsFiles, read_certificates
from vitrine.server.security.tokens import read_tokens
from vitrine.server.temporary_folder import SHARED_MEMORY, owned_folder

NOT_REGULAR = "only regular files are read"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A pipe with a name, which nobody writes to: whoever opens it to read waits."""
    path = tmp_path / "model.onnx"
    os.mkfifo(path)
    return path


def test_a_regular_file_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "link") == b"content"


def test_a_folder_a_device_and_a_socket_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IsADirectoryError):
        read_regular_file(tmp_path)
    with pytest.raises(OSError, match=NOT_REGULAR):
        read_regular_file(Path("/dev/zero"))
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(OSError, match=r"."):
            read_regular_file(Path("socket"))


def test_a_fifo_as_a_model_is_refused(fifo: Path) -> None:
    with pytest.raises(ArtifactError, match=NOT_REGULAR):
        read_artifact(fifo)


def test_a_fifo_as_tokens_or_certificates_is_refused(fifo: Path) -> None:
    with pytest.raises(FileError, match=NOT_REGULAR):
        read_tokens(fifo)
    with pytest.raises(FileError, match=NOT_REGULAR):
        read_certificates(TlsFiles(fifo, fifo))


def test_a_server_does_not_hang_at_a_fifo(fifo: Path, tiny_artifact: Path) -> None:
    assert NOT_REGULAR in refused_start(fifo)
    assert NOT_REGULAR in refused_start(tiny_artifact, "--tokens", fifo)


def no_place() -> str:
    raise FileNotFoundError("no usable temporary directory found")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no folder of shared memory")
def test_temporary_folders_are_in_shared_memory_where_nothing_else_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", no_place)
    with owned_folder("vitrine-test-") as folder:
        assert folder.parent == Path(SHARED_MEMORY)
    assert not folder.exists()
