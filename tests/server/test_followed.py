"""Files that an operator replaces: what they say counts, and what they last said well where they can't be used."""

import logging
import os
from pathlib import Path

import pytest

from vitrine.server.errors import FileError, FileUnavailable
from vitrine.server.security.watched_files import WatchedFiles, read_file


def test_what_could_not_be_read_for_a_moment_is_read_again_though_the_file_stays(tmp_path: Path) -> None:
    """A withdrawn token must not stay valid because its withdrawal was read at a bad moment."""
    file, out_of_order = tmp_path / "tokens", [False]
    file.write_text("old")

    def read() -> bytes:
        if out_of_order[0]:
            raise FileUnavailable("too many open files")
        return read_file(file)

    followed = WatchedFiles([file], read)
    file.write_text("newer")
    out_of_order[0] = True
    assert followed.current() == b"old"
    out_of_order[0] = False
    assert followed.current() == b"newer"


def test_a_file_that_can_not_be_used_is_complained_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "tokens"
    file.write_text("old")
    followed = WatchedFiles([file], lambda: read_file(file))
    file.unlink()
    with caplog.at_level(logging.ERROR):
        assert [followed.current() for _ in range(3)] == [b"old"] * 3
    assert caplog.text.count("can't be read") == 1


def test_a_damaged_file_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    """It may be large, and callers come by the thousand."""
    file, read = tmp_path / "tokens", []
    file.write_text("old")

    def read_good() -> bytes:
        read.append(read_file(file))
        if read[-1] == b"bad":
            raise FileError("it is bad")
        return read[-1]

    followed = WatchedFiles([file], read_good)
    file.write_text("bad")
    assert [followed.current() for _ in range(3)] == [b"old"] * 3
    file.write_text("newer")
    assert [followed.current() for _ in range(3)] == [b"newer"] * 3
    assert read == [b"old", b"bad", b"newer"]


def test_a_pipe_in_the_place_of_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokens")
    with pytest.raises(FileError, match="only regular files are read"):
        read_file(tmp_path / "tokens")
