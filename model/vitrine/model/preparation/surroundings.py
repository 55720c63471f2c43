"""Finds the sheet: the rectangle that the digit is written on, without what surrounds it.

A frame, a box of a form, the page around a canvas and the axes of a plot surround a sheet, often several of them, one
inside the other. They are peeled off from the outside, as long as one of three signs is found:

- a rectangle, all four sides of which differ from what lies around it, such as a box or a canvas;
- a margin of one grey and one width, such as a frame that strokes touch;
- straight lines from one end to the other that nothing touches, such as those of a table, or one side of a frame.

A sign counts only where something is left to read inside, so that the ring of a 0 and the bar of an 8 stay what they
are. It knows edges that are parallel to the image's; `enclosures` knows other shapes.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model.preparation.blobs import Blobs
from vitrine.model.preparation.image import Grey
from vitrine.model.preparation.paper import MIN_CONTRAST, Contrast
from vitrine.model.preparation.photo import COARSE_SIDE, Mask, highest, reduce, split

SMALL_SIDE = 64
"""Longest side of an image in which frames are searched for, even if it is none that a program drew."""

DRAWN, GRAIN = 0.8, 8
"""The share of neighbours along the border that have the same grey in what a program drew, of those that differ by less
than so many levels; a photo's grain leaves fewer alike."""

MOST_LAYERS = 12
"""The most that is peeled off: soft edges are layers of their own."""

LEAST_SIDE = 8
"""Shorter side of the smallest sheet, in pixels."""

EVEN = 0.6
"""The share of a border's pixels that have its level, from which on it is even."""

HALF = 0.45
"""The share of paper inside a frame that strokes touch, and along its border."""

THICK = 0.3
"""The share of paper inside a frame that thick strokes touch, if the border inside is even."""

WHOLE = 0.9
"""The share of a side that a rectangle's edge takes. Corners may be round: `CORNER` of it at either end don't count."""

CORNER = 0.15

ROUND = 0.25
"""The largest radius of round corners, as a share of the shorter side."""

LEAST_ROUND = 2
"""Corners are round where so many are."""

WITHIN = 0.85
"""The share of a blob that lies within its rectangle: the rest is ticks and texts."""

NEARLY = 0.85
"""The share that the outermost rows of a rectangle take, of the share of the longest: ticks and texts are shorter."""

SQUARED, SQUARED_LINES = 0.6, 2
"""Squared paper has more lines than this both ways, and less ink than this share of its box; a canvas has more."""

SOFT_EDGE = 2
"""Width of the softest edge, in pixels."""

THROUGH = 0.95
"""The share of a row or column that a line from one end to the other takes."""

MOST_LINES = 0.5
"""The share of an image's rows or columns from which on they are no lines."""

FEW = 0.05
"""The share of a row or column that may differ where it belongs to a margin."""

LARGEST = 3
"""Number of blobs of each threshold that may be rectangles, the largest ones."""

LEAST_RECTANGLE = 0.1
"""Sides of the smallest rectangle, as a share of what it lies in."""

WIDEST_FRAME = 0.2
"""Width of the widest frame that strokes touch, as a share of the shorter side."""

LEAST_CONTENT = 0.3
"""Length of the shortest content, as a share of its sheet's sides."""

BAR_ASPECT, BAR_WIDTH = 2.5, 0.25
"""An upright bar of one grey is a 1 where it is so many times as high as wide, and no wider than this share."""

RECTANGLES_SIDE = COARSE_SIDE // 2
"""Rectangles are searched for in an image that is at most so long."""

SAMPLES = 40
"""So many rows and columns tell where no rectangle can be."""

Rows: TypeAlias = npt.NDArray[np.bool_]
"""The rows, or columns, that have a property: bool (H,)."""


class Border(NamedTuple):
    """The outermost pixels of a rectangle."""

    level: int
    """Their median, 0 to 255."""
    share: float
    """The share of them that differ from it by less than `MIN_CONTRAST`, 0 to 1."""


def find_sheet(grey: Grey) -> Grey:
    """The part of an image that the digit is written on: uint8 (H, W) to a view (h, w), or the image itself."""
    if max(grey.shape) > SMALL_SIDE and not is_drawn(grey):
        return grey
    small = reduce(grey)
    sheet = small
    for _ in range(MOST_LAYERS):
        inner = next((inner for inner in _insides(sheet) if has_content(inner)), None)
        if inner is None:
            break
        sheet = inner
    if sheet is small:
        return grey
    cell = -(-grey.shape[0] // small.shape[0])
    top, left = (cell * place for place in divmod(sheet.ctypes.data - small.ctypes.data, small.strides[0]))
    return _without_corners(grey[top : top + cell * sheet.shape[0], left : left + cell * sheet.shape[1]])


def is_drawn(grey: Grey) -> bool:
    """Tells a drawing, a screenshot or a plot from a photo: along its border, most neighbours are exactly alike."""
    steps = np.concatenate([np.diff(side.astype(np.int16)) for side in (grey[0], grey[-1], grey[:, 0], grey[:, -1])])
    on_paper = np.abs(steps) < GRAIN
    return bool(np.count_nonzero(steps == 0) >= DRAWN * np.count_nonzero(on_paper))


def has_content(sheet: Grey) -> bool:
    """Tells whether anything is written on a sheet, however many frames lie around it."""
    while True:
        sheet = _without_corners(sheet)
        border = measure_border(sheet)
        inner = _without_margin(sheet, border.level)
        if inner is None or max(np.divide(inner.shape, sheet.shape)) < LEAST_CONTENT:
            return False
        inside = measure_border(inner)
        if abs(inside.level - border.level) < MIN_CONTRAST or inside.share < EVEN:
            return True
        if _without_margin(inner, inside.level) is None:  # of one grey: a bar, or the hole in a ring
            height, width = inner.shape
            return bool(height >= BAR_ASPECT * width and width <= BAR_WIDTH * sheet.shape[1])
        sheet = inner


def measure_border(sheet: Grey) -> Border:
    """The level of a rectangle's border, and how even it is."""
    border = np.concatenate((sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]))
    level = int(np.median(border))
    return Border(level, float(_near(border, level).mean()))


def _insides(sheet: Grey) -> Iterator[Grey]:
    """What may be the sheet inside of this one."""
    if min(sheet.shape) < LEAST_SIDE:
        return
    border = measure_border(sheet)
    if border.share >= THROUGH:
        yield from _inside_frame(sheet, border.level, EVEN / 2)
    elif border.share >= EVEN and _are_corners_round(sheet, border.level):
        yield from _inside_frame(sheet, border.level, 2 * ROUND)
    if border.share >= EVEN:
        yield from _rectangles(sheet, border.level)
    for paper in _papers(sheet):
        yield from _between_lines(sheet, paper)


def _rectangles(sheet: Grey, level: int) -> Iterator[Grey]:
    """The rectangles that differ from the margin around them, at two thresholds: the least, and one beyond shadows."""
    if not _may_hold_rectangle(sheet, level):
        return
    contrast = _distance(sheet, level)
    cell = -(-max(sheet.shape) // RECTANGLES_SIDE)
    peaks = highest(contrast, cell)
    strong = peaks[peaks >= MIN_CONTRAST]
    if strong.size == 0:
        return
    for threshold in (MIN_CONTRAST - 1, split(strong)):
        blobs = Blobs.of(peaks, threshold)
        boxes = (blobs.bottom - blobs.top) * (blobs.right - blobs.left)
        for blob in np.argsort(boxes)[: -LARGEST - 1 : -1]:
            found = _rectangle(blobs, int(blob))
            if found is None or _is_small(found, peaks.shape):
                continue
            top, bottom, left, right = (cell * place for place in found)
            inner = _without_margin(sheet[top:bottom, left:right], level)
            if inner is None or inner.size == sheet.size or inner.shape[0] >= BAR_ASPECT * inner.shape[1]:
                continue
            even = _without_soft_edge(inner)
            if even is not None:
                yield even


def _may_hold_rectangle(sheet: Grey, level: int) -> bool:
    """Tells fast, by a few rows and columns, where no rectangle can be: its sides are the longest runs."""
    step = max(min(sheet.shape) // SAMPLES, 1)
    down, across = _distance(sheet[:, ::step], level), _distance(sheet[::step].T, level)
    strong = down[down >= MIN_CONTRAST]
    if strong.size == 0:
        return False
    for threshold in (MIN_CONTRAST - 1, split(strong)):
        width, rows = _longest_runs(down > threshold)
        height, columns = _longest_runs(across > threshold)
        if (
            rows >= step * (EVEN * height - 2)
            and columns >= step * (EVEN * width - 2)
            and width * step >= LEAST_RECTANGLE * sheet.shape[1] - 2 * step
            and height * step >= LEAST_RECTANGLE * sheet.shape[0] - 2 * step
        ):
            return True
    return False


def _longest_runs(lines: Mask) -> tuple[int, int]:
    """The length of the longest run in a line, and how far apart the first and last line are with one so long."""
    places = np.arange(1, lines.shape[1] + 1, dtype=np.int16)
    runs = (places - np.maximum.accumulate(np.where(lines, np.int16(0), places), axis=1)).max(axis=1)
    longest = int(runs.max())
    return longest, int(np.ptp(np.flatnonzero(runs >= NEARLY * longest - 2)))


def _without_soft_edge(rectangle: Grey) -> Grey | None:
    """The rectangle without the pixels that an image's reduction mixed at its edges; None: its border isn't even."""
    for width in range(SOFT_EDGE + 1):
        inner = rectangle[width : rectangle.shape[0] - width, width : rectangle.shape[1] - width]
        if min(inner.shape) >= LEAST_SIDE and measure_border(inner).share >= EVEN:
            return inner
    return None


def _rectangle(blobs: Blobs, blob: int) -> tuple[int, int, int, int] | None:
    """Top, bottom, left and right of the rectangle whose four sides a blob takes whole."""
    top, left = int(blobs.top[blob]), int(blobs.left[blob])
    own = blobs.labels[top : blobs.bottom[blob], left : blobs.right[blob]] == blob
    if min(len(_runs(_longest(own, axis))) for axis in (1, 0)) > SQUARED_LINES and own.mean() < SQUARED:
        return None
    for rows, columns in _extents(own):
        height, width = rows[1] - rows[0], columns[1] - columns[0]
        if height - 1 < EVEN * (len(own) - 1) or width - 1 < EVEN * (own.shape[1] - 1):
            continue
        inside = own[slice(*rows), slice(*columns)]
        is_round = inside.sum() < WITHIN * own.sum()
        sides = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
        if not is_round and all(_middle(side).mean() >= WHOLE for side in sides):
            return top + rows[0], top + rows[1], left + columns[0], left + columns[1]
    return None


def _extents(own: Mask) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The rows and columns that a rectangle may take of a blob, together with what hangs at one of its sides, or not.

    A button below a canvas makes the columns above it longer than the others, and one beside it the rows.
    """
    rows, columns = _extent(_longest(own, 1)), _extent(_longest(own, 0))
    yield rows, columns
    yield rows, _extent(_longest(own[slice(*rows)], 0))
    yield _extent(_longest(own[:, slice(*columns)], 1)), columns


def _longest(own: Mask, axis: int) -> Rows:
    """The rows (axis 1) or columns (axis 0) of which a blob takes about as much as of any."""
    share = own.mean(axis=axis)
    longest: Rows = share >= NEARLY * share.max()
    return longest


def _extent(rows: Rows) -> tuple[int, int]:
    """The first of some rows, and the row after the last."""
    places = np.flatnonzero(rows)
    return int(places[0]), int(places[-1]) + 1


def _is_small(rectangle: tuple[int, int, int, int], shape: tuple[int, ...]) -> bool:
    top, bottom, left, right = rectangle
    return min((bottom - top) / shape[0], (right - left) / shape[1]) < LEAST_RECTANGLE


def _middle(side: Rows) -> Rows:
    corner = int(CORNER * len(side))
    return side[corner : len(side) - corner]


def _are_corners_round(sheet: Grey, level: int) -> bool:
    """Tells whether all of the border has one level but for its corners."""
    corner = int(ROUND * min(sheet.shape))
    down, across = sheet[corner:-corner], sheet[:, corner:-corner]
    sides = np.concatenate((down[:, 0], down[:, -1], across[0], across[-1]))
    return bool(_near(sides, level).mean() >= THROUGH)


def _inside_frame(sheet: Grey, level: int, few: float) -> Iterator[Grey]:
    """The inside of a margin that has the same width everywhere, where most is of another grey."""
    inner = _without_margin(sheet, level, few)
    if inner is None:
        return
    inside = measure_border(inner)
    paper = _near(inner, inside.level).mean()
    is_paper = min(inside.share, paper) >= HALF or (inside.share >= EVEN and paper >= THICK)
    if abs(inside.level - level) < MIN_CONTRAST or not is_paper:
        return
    (height, width), (rows, columns) = sheet.shape, inner.shape
    if abs((height - rows) - (width - columns)) <= 2 and height - rows <= 2 * WIDEST_FRAME * min(sheet.shape):
        yield inner


def _without_corners(sheet: Grey) -> Grey:
    """A sheet without what is left of its surroundings in the corners, where those are round."""
    level = measure_border(sheet).level
    leftovers = [_leftovers(_is_far(corner, level)) for corner in _corners(sheet)]
    if sum(bool(found.any()) for found in leftovers) < LEAST_ROUND:
        return sheet
    cleared = sheet.copy()
    for corner, found in zip(_corners(cleared), leftovers, strict=True):
        corner[found] = level
    return cleared


def _corners(sheet: Grey) -> list[Grey]:
    """Views of the sheet's corners, each turned so that it is an upper left one."""
    side = int(ROUND * min(sheet.shape)) + 1
    return [sheet[::down, ::across][:side, :side] for down in (1, -1) for across in (1, -1)]


def _leftovers(corner: Mask) -> Mask:
    """What lies in the upper left corner from one side to the other, and goes on neither down nor to the right."""
    if not (corner[0].any() and corner[:, 0].any()):
        return np.zeros_like(corner)
    blobs = Blobs.of(corner.astype(np.uint8), 0)
    from_side_to_side = (blobs.top == 0) & (blobs.left == 0)
    inside = (blobs.bottom < corner.shape[0]) & (blobs.right < corner.shape[1])
    return np.isin(blobs.labels, np.flatnonzero(from_side_to_side & inside))


def _papers(sheet: Grey) -> Iterator[int]:
    """The grey that most pixels have, and the one that most of the others have."""
    few = sheet[::4, ::4].ravel()
    for _ in range(2):
        if few.size == 0:
            return
        paper = int(np.bincount(few).argmax())
        yield paper
        few = few[~_near(few, paper)]


def _between_lines(sheet: Grey, paper: int) -> Iterator[Grey]:
    """The part with most on it between lines that go from one end to the other, if nothing touches any of them."""
    rows, columns = _through(sheet, paper), _through(sheet.T, paper)
    if not (rows.any() or columns.any()):
        return
    far = _is_far(sheet, paper)
    if far[_beside(rows)][:, ~columns].any() or far[:, _beside(columns)][~rows].any():
        return
    parts = [(slice(*row), slice(*column)) for row in _runs(~rows) for column in _runs(~columns)]
    yield sheet[max(parts, key=lambda part: int(far[part].sum()))]


def _through(sheet: Grey, paper: int) -> Rows:
    """The rows that a line takes from one end to the other; a few of their pixels tell most of the others."""
    rows: Rows = _is_far(sheet[:, :: max(sheet.shape[1] // 20, 1)], paper).mean(axis=1) >= WHOLE
    likely = np.flatnonzero(rows)
    if len(likely) > MOST_LINES * len(rows):
        return np.zeros_like(rows)
    if likely.size:
        rows[likely] = _is_far(sheet[likely], paper).mean(axis=1) >= THROUGH
    return rows


def _beside(lines: Rows) -> Rows:
    """The rows next to lines."""
    framed = np.pad(lines, 1)
    return (framed[:-2] | framed[2:]) & ~lines


def _runs(rows: Rows) -> list[tuple[int, int]]:
    """Start and end of each run."""
    steps = np.diff(rows.astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def _without_margin(sheet: Grey, level: int, few: float = FEW) -> Grey | None:
    """The sheet without the rows and columns around it that have its margin's level; None: nothing differs."""
    far = _is_far(sheet, level)
    rows, columns = (np.flatnonzero(far.mean(axis=axis) > few) for axis in (1, 0))
    if len(rows) == 0 or len(columns) == 0:
        return None
    return sheet[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _near(values: Grey, level: int) -> npt.NDArray[np.bool_]:
    return ~_is_far(values, level)


def _is_far(values: Grey, level: int) -> npt.NDArray[np.bool_]:
    """The pixels that differ from a level by `MIN_CONTRAST` or more."""
    far: npt.NDArray[np.bool_] = values >= level + MIN_CONTRAST
    far |= values <= level - MIN_CONTRAST
    return far


def _distance(values: Grey, level: int) -> Contrast:
    """The distance of each pixel from a level."""
    distances: Contrast = np.abs(np.arange(256) - level).astype(np.uint8).take(values, mode="clip")
    return distances
