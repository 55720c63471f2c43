"""The UNIPEN 1.0 format: statements, components of pen movement, and the segments that make characters of them.

A statement is a keyword with a dot at a line's start, and all that follows up to the next one. The parts between pen
down and pen up that have points are components, numbered from 0; a `.SEGMENT` names the components of a character. All
other keywords are passed over. It knows no folders: files are read through a function that it is given.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.training.errors import DataError

Read: TypeAlias = Callable[[str], bytes]
"""Gives the content of a file by its name; raises FileNotFoundError where there is none."""

Points: TypeAlias = npt.NDArray[np.float32]
"""Places of the pen: float32 (n, 2), x to the right and y upwards, in the tablet's unit."""

MAX_INCLUDES = 1000
"""Files that a file may include, directly or not: a few files that include each other often could go on for years."""

_KEYWORD = re.compile(r"\s*\.([A-Za-z]\w*)")
_LINE_END = re.compile(r"\r\n|\r|\n")  # and no other: a name's accents may look like `str.splitlines`' ends
_SEGMENT = re.compile(
    r"""(?P<level>\S+) \s+
        (?P<delineation>\d[\d:,\-\s]*?) \s+
        (?:(?P<quality>[^\s"]+) \s+)?
        "(?P<label>(?:[^"\\]|\\.)*)" """,
    re.VERBOSE | re.DOTALL,
)
_RANGE = re.compile(r"(\d+)(?::(\d+))?(?:-(\d+)(?::(\d+))?)?")


class Character(NamedTuple):
    """A character of a file."""

    label: str
    writer: str
    """The name of who wrote it in the file, empty where the file names nobody."""
    strokes: tuple[Points, ...]


class _Statement(NamedTuple):
    keyword: str
    """Without its dot, in capitals."""
    lines: list[str]
    """The rest of the keyword's line, and the lines after it."""
    at: str
    """The file and the line, for errors."""


class _Component(NamedTuple):
    points: Points
    is_down: bool
    writer: str


@dataclass(slots=True)
class _State:
    """All that was read so far of a file and of the files that it includes."""

    read: Read
    included: str
    columns: tuple[int, int, int] | None = None
    """The place of x and of y in a line of coordinates, and how many there are."""
    writer: str = ""
    components: list[_Component] = field(default_factory=list)
    segments: list[_Statement] = field(default_factory=list)
    includes: int = 0


def read_characters(name: str, read: Read, included: str, labels: Collection[str]) -> list[Character]:
    """The characters of a file.

    Args:
        name: the name of the file.
        read: how files are read.
        included: the folder in front of the names in `.INCLUDE`.
        labels: the characters that are wanted.

    Raises:
        DataError: the file, or one that it includes, is missing or damaged; the text names it, and the line.
    """
    state = _State(read, included)
    _read_file(name, state, (name,))
    characters = (_character(segment, state.components, labels) for segment in state.segments)
    return [character for character in characters if character]


def _read_file(name: str, state: _State, path: tuple[str, ...]) -> None:
    """Reads a file into the state; `path` leads from the first file to this one."""
    for statement in _statements(_text(state.read(name)), name):
        match statement.keyword:
            case "INCLUDE":
                _include(statement, state, path)
            case "COORD":
                state.columns = _columns(statement)
            case "WRITER_ID":
                state.writer = " ".join(statement.lines).strip()
            case "PEN_DOWN" | "PEN_UP":
                points = _points(statement, state.columns)
                if len(points):
                    state.components.append(_Component(points, statement.keyword == "PEN_DOWN", state.writer))
            case "SEGMENT":
                state.segments.append(statement)  # components may follow later


def _text(content: bytes) -> str:
    """The text of a file: UTF-8 or, as any byte has a meaning in it, Latin-1."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _statements(text: str, name: str) -> Iterator[_Statement]:
    """The statements of a text; what comes before the first belongs to none, and is passed over."""
    statement = None
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if found := _KEYWORD.match(line):
            if statement:
                yield statement
            statement = _Statement(found[1].upper(), [line[found.end() :]], f"{name}, line {number}")
        elif statement:
            statement.lines.append(line)
    if statement:
        yield statement


def _include(statement: _Statement, state: _State, path: tuple[str, ...]) -> None:
    wanted = " ".join(statement.lines).strip().replace("\\", "/")
    if not wanted or wanted.startswith("/") or ".." in PurePosixPath(wanted).parts:
        raise DataError(f"{statement.at}: {wanted!r} isn't a name below {state.included}")
    name = f"{state.included}/{PurePosixPath(wanted)}"
    state.includes += 1
    if name in path:
        raise DataError(f"{statement.at}: {name} includes itself: {' > '.join((*path, name))}")
    if state.includes > MAX_INCLUDES:
        raise DataError(f"{statement.at}: {path[0]} includes more than {MAX_INCLUDES:,} files")
    try:
        _read_file(name, state, (*path, name))
    except FileNotFoundError as error:
        raise DataError(f"{statement.at}: there is no {name} to include") from error


def _columns(statement: _Statement) -> tuple[int, int, int]:
    names = " ".join(statement.lines).upper().split()
    if "X" not in names or "Y" not in names:
        raise DataError(f"{statement.at}: the coordinates {' '.join(names)!r} have no X and Y")
    return names.index("X"), names.index("Y"), len(names)


def _points(statement: _Statement, columns: tuple[int, int, int] | None) -> Points:
    """The points of a pen statement; its keyword's line may have the first."""
    rows = [values for line in statement.lines if (values := line.split())]
    if not rows:
        return np.empty((0, 2), np.float32)
    if columns is None:
        raise DataError(f"{statement.at}: points come before .COORD says what they are")
    x, y, width = columns
    try:
        table = np.array(rows, np.float64)  # (n, width)
    except ValueError:
        table = np.empty((0, 0))
    if table.ndim != 2 or table.shape[1] != width or not np.isfinite(table).all():
        raise DataError(f"{_at_bad_row(statement, width)}: a point isn't {width} numbers")
    points: Points = table[:, (x, y)].astype(np.float32)
    return points


def _at_bad_row(statement: _Statement, width: int) -> str:
    name, _, line = statement.at.rpartition(" ")
    for offset, text in enumerate(statement.lines):
        values = text.split()
        if values and not (len(values) == width and all(_is_finite(value) for value in values)):
            return f"{name} {int(line) + offset}"
    return statement.at


def _is_finite(value: str) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except ValueError:
        return False


def _character(segment: _Statement, components: list[_Component], labels: Collection[str]) -> Character | None:
    """The character of a segment; None for a word or a text, or a character that isn't wanted."""
    found = _SEGMENT.match(" ".join(segment.lines).strip() + " ")
    if found is None or found["level"].upper() != "CHARACTER":
        return None
    label = re.sub(r"\\(.)", r"\1", found["label"])
    if label not in labels:
        return None
    parts = [part for each in found["delineation"].split(",") for part in _parts(each, components, segment.at)]
    strokes = tuple(part.points for part in parts if part.is_down and len(part.points))
    if not strokes:
        raise DataError(f"{segment.at}: the pen is nowhere down in {found['delineation']}")
    return Character(label, parts[0].writer, strokes)


def _parts(delineation: str, components: list[_Component], at: str) -> Iterator[_Component]:
    """The components that a delineation names, cut to its first and last point.

    `3` is component 3; `3-5` is components 3, 4 and 5. `3:14-5:20` begins at point 14 of component 3 and ends at
    point 20 of component 5. `3:14` is one point. Points count from 0 in each component.
    """
    found = _RANGE.fullmatch("".join(delineation.split()))
    if found is None:
        raise DataError(f"{at}: {delineation.strip()!r} names no components")
    first, last = int(found[1]), int(found[3] or found[1])
    begin, end = int(found[2] or 0), found[4] if found[3] else found[2]
    if not first <= last < len(components):
        raise DataError(f"{at}: {delineation.strip()} goes beyond the {len(components):,} components")
    for number in range(first, last + 1):
        start = begin if number == first else 0
        stop = int(end) + 1 if number == last and end else None
        component = components[number]
        if start >= len(component.points) or (stop or 0) > len(component.points):
            raise DataError(f"{at}: component {number} has only {len(component.points):,} points")
        yield component._replace(points=component.points[start:stop])
