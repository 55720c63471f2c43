"""The IDX reader takes whole files and names the damaged ones."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from vitrine.training import DataError
from vitrine.training.data.idx import read_idx

VALUES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
WHOLE = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2, 3, 4) + VALUES.tobytes()


@pytest.mark.parametrize("content", [WHOLE, gzip.compress(WHOLE)], ids=["plain", "gzip"])
def test_a_whole_file_is_read_plain_or_zipped_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_idx(path, dimensions=3), VALUES)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(b"", "isn't an IDX file", id="empty"),
        pytest.param(b"\x89PNG" + WHOLE, "isn't an IDX file", id="another format"),
        pytest.param(bytes((0, 0, 13, 3)) + WHOLE[4:], "isn't an IDX file", id="floats"),
        pytest.param(bytes((0, 0, 8, 1)) + WHOLE[4:], "isn't an IDX file", id="labels for images"),
        pytest.param(WHOLE[:9], "ends inside its header", id="truncated header"),
        pytest.param(WHOLE[:-1], "has 23 of the 24 values", id="truncated values"),
        pytest.param(WHOLE + b"\0", "more than the 24 values", id="surplus bytes"),
        pytest.param(gzip.compress(WHOLE)[:-1], "truncated or damaged", id="truncated gzip"),
        pytest.param(gzip.compress(WHOLE)[:-8] + b"\0" * 8, "truncated or damaged", id="gzip checksum"),
        pytest.param(b"\x1f\x8b" + b"\xff" * 30, "truncated or damaged", id="no gzip after its magic"),
        pytest.param(gzip.compress(WHOLE)[:10] + b"\xff" * 30, "truncated or damaged", id="damaged deflate"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        read_idx(path, dimensions=3)
    assert str(path) in str(caught.value)


def test_a_declared_size_beyond_the_memory_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**20, 2**10, 2**10) + b"\0")
    with pytest.raises(DataError, match="has 1 of the"):
        read_idx(path, dimensions=3)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no-such-file"):
        read_idx(tmp_path / "no-such-file", dimensions=1)
