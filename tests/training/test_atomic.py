"""Files are there whole or not at all, on the disk too, and for readers only."""

import os
from pathlib import Path

import pytest

from vitrine.training.files.atomic import write_text


def test_the_disk_has_all_of_a_file_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "note.txt", []

    def sync(descriptor: int) -> None:
        assert not path.exists()
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", sync)
    write_text(path, "all of it")
    assert synced == [9]


@pytest.mark.parametrize(
    ("folder", "file"), [(0o777, 0o644), (0o1777, 0o644), (0o2775, 0o644), (0o750, 0o640), (0o700, 0o600)], ids=oct
)
def test_whoever_may_read_the_folder_may_read_the_file_and_only_its_owner_may_write(
    tmp_path: Path, folder: int, file: int
) -> None:
    tmp_path.chmod(folder)
    write_text(tmp_path / "note.txt", "")
    assert (tmp_path / "note.txt").stat().st_mode & 0o7777 == file
