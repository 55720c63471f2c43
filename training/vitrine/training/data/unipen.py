"""UNIPEN's isolated characters: pen trajectories of many writers, each as the strokes that were written.

Reads category 1a of the distribution train_r01_v07 (I. Guyon et al. 1994), as a folder or as an archive. It knows where
the distribution lies and what its folders mean; `unipen_format` knows what is in a file.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import DIGITS
from vitrine.training.data.unipen_files import ARCHIVES, CATEGORY, INCLUDED, Distribution, is_unpacked, opened
from vitrine.training.data.unipen_format import Character, read_characters
from vitrine.training.errors import DataError

NAME = "train_r01_v07"
"""The name of the distribution, which its folder and its archive begin with."""

SOURCE = "Zenodo record 1195803 (https://zenodo.org/records/1195803)"
"""The source of the distribution. Its licence is CC BY 4.0."""

Stroke: TypeAlias = npt.NDArray[np.float32]
"""The places of a pen from touching the paper to leaving it: float32 (n, 2), x to the right and y downwards."""


@dataclass(frozen=True, slots=True, eq=False)
class WrittenCharacter:
    """A character as somebody wrote it."""

    label: str
    """The character itself, such as `5`."""
    contributor: str
    """The institution that collected it, by its three letters."""
    writer: str
    """The person who wrote it; no two writers of the distribution share a name."""
    strokes: tuple[Stroke, ...]
    """At least one stroke, in the order of writing; the unit is the tablet's own, and differs between contributors."""


def load_unipen(data_dir: Path | None = None, labels: str = "".join(DIGITS)) -> list[WrittenCharacter]:
    """The isolated characters of UNIPEN, in the order of their files.

    Args:
        data_dir: a folder that has the distribution, or has it in its folder `unipen`, or the distribution itself,
            unpacked or as an archive; None takes the folder in `VITRINE_DATA_DIR`.
        labels: the characters to read; all others are left out.

    Raises:
        DataError: the distribution is missing, ambiguous or damaged; the text names the file, and the line in it.
    """
    place = find_unipen(data_dir)
    with opened(place) as distribution:
        characters = list(_characters(distribution, frozenset(labels)))
    if not characters:
        raise DataError(f"{place} has no character of {labels!r} in {CATEGORY}")
    return characters


def without_repeats(characters: Iterable[WrittenCharacter]) -> list[WrittenCharacter]:
    """The characters without repeated drawings: the first of each is kept, and none of a drawing with several labels.

    Two contributors list the same drawings under several writers. Without this, a drawing of a held-out writer could
    also be in the training part.
    """
    found: dict[bytes, list[WrittenCharacter]] = {}
    for character in characters:
        drawing = b"|".join(stroke.tobytes() for stroke in character.strokes)
        found.setdefault(drawing, []).append(character)
    return [same[0] for same in found.values() if len({character.label for character in same}) == 1]


def is_part(character: WrittenCharacter) -> bool:
    """Tells whether a drawing may be one stroke of a digit of several: the slash of a 0, the foot of a 1, half a 4.

    One contributor, ibm, has 396 drawings that begin in the corner of their own box, at (0, 0), where all others keep
    the tablet's coordinates. In these, each stroke is a character of its own with the whole digit's label, so no
    drawing of this kind is known to be complete. The rule looks at the trajectory only.
    """
    points = np.concatenate(character.strokes)
    return bool(points[:, 0].min() == 0 and points[:, 1].max() == 0)


def find_unipen(data_dir: Path | None = None) -> Path:
    """The path of the distribution: a folder with `data/1a` and `include`, or an archive of it.

    Raises:
        DataError: there is none, or more than one archive; the text says which file to put where.
    """
    chosen = data_dir or os.environ.get("VITRINE_DATA_DIR")
    if not chosen:
        raise DataError(f"no folder is named for UNIPEN, which isn't downloaded: {_advice('a folder')}")
    root = Path(chosen)
    if root.is_file():
        return root
    for folder in (root, root / "unipen"):
        if unpacked := next((each for each in (folder, folder / NAME) if is_unpacked(each)), None):
            return unpacked
        archives = sorted(file for file in folder.glob(f"{NAME}*") if file.name.endswith(ARCHIVES))
        if len(archives) > 1:
            raise DataError(
                f"{folder} has several archives of UNIPEN ({', '.join(f.name for f in archives)}): keep one"
            )
        if archives:
            return archives[0]
    raise DataError(f"{root} has no UNIPEN: {_advice(str(root))}")


def _advice(folder: str) -> str:
    return (
        f"get {NAME} from {SOURCE}, put its archive or its unpacked folder {NAME} into {folder}, itself or in its "
        "folder unipen, and name the folder with --data-dir or VITRINE_DATA_DIR"
    )


def _characters(distribution: Distribution, labels: frozenset[str]) -> Iterator[WrittenCharacter]:
    for name in distribution.data_files():
        contributor = PurePosixPath(name).relative_to(CATEGORY).parts[0]
        for character in read_characters(name, distribution.read, INCLUDED, labels):
            writer = character.writer or PurePosixPath(name).stem  # a file of a contributor who names no writers
            yield WrittenCharacter(character.label, contributor, f"{contributor}/{writer}", _downwards(character))


def _downwards(character: Character) -> tuple[Stroke, ...]:
    """The strokes with y growing downwards, as images have it: a tablet's y grows upwards."""
    return tuple(stroke * np.array([1, -1], np.float32) for stroke in character.strokes)
