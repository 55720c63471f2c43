"""Turns any image into the pixels that a model takes, of any height and width; training, server and client use this.

The steps, each with its constant:

1. grey: `read_grey` gives an upright grey matrix, transparency on paper.
2. ink: dark-on-light and light-on-dark come out alike, 0 = paper and 255 = ink.
   A small image with an even frame is plain, as data sets have them. The median of the frame is its paper, and
   whichever lies farther from it, the darkest or the lightest pixel, its ink. What differs from the paper by less than
   `NOISE_FLOOR` of that contrast counts as paper; below `MIN_CONTRAST` grey levels the image is an empty page, and all
   pixels are 0.
   In every other image, `photo` finds the digit, whatever light, paper and table there are.
3. box: the smallest rectangle that holds all ink. In what isn't plain, `pen` makes far too thin or thick strokes usual.
4. place: one resampling scales the box, its aspect kept, until the frame is `FRAME_SIZE` times as high or as
   wide, and puts the ink's centre of mass in the middle, as far as the box stays inside the frame.
5. stretch: the darkest pixel becomes 255, so that thin strokes, averaged over whole pixels, don't come out pale.
"""

import math
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitrine.model.digits import PIXELS_SHAPE
from vitrine.model.preparation.blobs import Blobs
from vitrine.model.preparation.crops import find_levels
from vitrine.model.preparation.enclosures import find_surrounding
from vitrine.model.preparation.image import Grey, ImageSource, read_grey
from vitrine.model.preparation.limits import MAX_IMAGE_PIXELS
from vitrine.model.preparation.paper import MIN_CONTRAST
from vitrine.model.preparation.pen import even_strokes
from vitrine.model.preparation.photo import Ink, find_ink_in_photo
from vitrine.model.preparation.surroundings import BAR_ASPECT, find_sheet

FRAME_INK = 0.1
"""Largest share of a plain image's frame that may be ink, where strokes reach it."""

FRAME_SIZE = 18 / 16
"""The frame's size as a multiple of the ink's box, in the direction that the box fills."""

NOISE_FLOOR = 0.1
"""The share of the contrast below which a pixel counts as paper: paper grain, JPEG noise."""

LINE_RANGE = 64
"""Grey levels within which the places of a drawn line lie; those of a written one differ by more."""

PLAIN_SIDE = 64
"""Longest side of a plain image, in pixels."""

Shape: TypeAlias = tuple[int, ...]
"""Height and width."""

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""One image as a model takes it: uint8 (height, width), 0 = white (paper), 255 = black (ink)."""


def prepare(image: ImageSource, max_pixels: int = MAX_IMAGE_PIXELS, shape: Shape = PIXELS_SHAPE) -> Pixels:
    """Turns an image into pixels.

    Args:
        image: a path, the bytes of an image file, an open binary file, a PIL image, or an array (H, W), (H, W, 3) or
            (H, W, 4), usually of uint8: see `read_grey`.
        max_pixels: the largest width × height that is decoded.
        shape: height and width of the pixels, each at least 1: the shape of the model's input.

    Returns:
        uint8 (height, width), 0 = white (paper), 255 = black (ink). An empty page gives zeros.

    Raises:
        ImageError: the image is missing, no image, truncated, too large, or of an unsupported kind.
    """
    return pixels_of(find_box(read_grey(image, max_pixels)), shape)


def pixels_of(box: Ink, shape: Shape = PIXELS_SHAPE) -> Pixels:
    """Steps 4 and 5: the pixels of a box of ink, uint8 (h, w) to uint8 (height, width)."""
    return stretch(place(box, shape))


def find_box(grey: Grey) -> Ink:
    """Steps 2 and 3: the digit's ink in its box, 0 = paper and 255 = ink; uint8 (H, W) to uint8 (h, w)."""
    paper = _plain_paper(grey)
    if paper is not None:
        box = crop(find_ink(grey, paper))
        if not _may_be_surrounded(box):
            return box
    sheet = find_sheet(grey)
    paper = _plain_paper(sheet)
    if paper is not None:
        return crop(_without_surrounding(crop(find_ink(sheet, paper))))
    levels = find_levels(sheet)
    if levels is not None:
        ink = _ink_of_level(*levels)[sheet]
        return crop(even_strokes(crop(ink)))
    return crop(even_strokes(crop(find_ink_in_photo(sheet))))


def _plain_paper(grey: Grey) -> int | None:
    """The grey of a plain image's paper; None where it isn't plain."""
    if max(grey.shape) > PLAIN_SIDE:
        return None
    frame = np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))
    frame.sort()
    aside = int(FRAME_INK * len(frame))
    return int(frame[len(frame) // 2]) if int(frame[-1 - aside]) - int(frame[aside]) < MIN_CONTRAST else None


def _may_be_surrounded(box: Ink) -> bool:
    """Tells a box of ink that may be drawn: one side has the same ink at five places, or all have ink at three."""
    bottom, right = box.shape[0] - 1, box.shape[1] - 1
    if bottom > BAR_ASPECT * right:
        return False
    sides = (box[0], box[bottom], box[:, 0], box[:, right])
    for side in sides:
        if (start := side.item(0)) and (end := side.item(-1)):
            places = (start, end, *_middle(side))
            if min(places) > max(places) - LINE_RANGE:
                return min(places) > 0
    return all(all(_middle(side)) for side in sides)


def _middle(side: Ink) -> tuple[int, int, int]:
    """The ink at three places of a side, away from its ends; `item` is much faster than an array's own index."""
    quarter = len(side) // 4
    return side.item(quarter), side.item(len(side) // 2), side.item(-1 - quarter)


def _without_surrounding(ink: Ink) -> Ink:
    """The ink without the blobs that surround others."""
    blobs = Blobs.of(ink, 0)
    if len(blobs) < 2:
        return ink
    surrounding = np.flatnonzero(find_surrounding(blobs, np.arange(len(blobs))))
    return np.where(np.isin(blobs.labels, surrounding), np.uint8(0), ink) if surrounding.size else ink


def find_ink(grey: Grey, paper: int) -> Ink:
    """Step 2 of a plain image: `paper` to 0 and the grey farthest from it to 255; uint8 (H, W) to uint8 (H, W)."""
    darkest, lightest = int(grey.min()), int(grey.max())
    ink = darkest if paper - darkest >= lightest - paper else lightest
    if abs(ink - paper) < MIN_CONTRAST:
        return np.zeros_like(grey)
    return _ink_of_level(paper, ink)[grey]


@lru_cache(maxsize=1024)  # 256 bytes each, and a data set's images share few
def _ink_of_level(paper: int, ink: int) -> Ink:
    """The ink of each of the 256 grey levels: a table is faster than arithmetic on every pixel."""
    contrast = (np.arange(256) - paper) / (ink - paper)
    table: Ink = np.rint(255 * ((contrast - NOISE_FLOOR) / (1 - NOISE_FLOOR)).clip(0, 1)).astype(np.uint8)
    table.flags.writeable = False  # every image with these two levels is given this one
    return table


def crop(ink: Ink) -> Ink:
    """Step 3: the smallest rectangle that holds all ink; an empty page stays as it is."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if rows.size == 0:
        return ink
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def place(box: Ink, shape: Shape = PIXELS_SHAPE) -> Pixels:
    """Step 4: the box scaled to the frame and centred by mass, in one resampling; uint8 (h, w) to (height, width)."""
    frame = find_frame(box, shape)
    pad_top, pad_left = math.ceil(-frame.top), math.ceil(-frame.left)  # both starts are ≤ 0: the box lies in the frame
    rows, columns = math.ceil(frame.height) + 1, math.ceil(frame.width) + 1
    canvas = np.zeros((rows, columns), np.uint8)
    canvas[pad_top : pad_top + box.shape[0], pad_left : pad_left + box.shape[1]] = box
    x, y = frame.left + pad_left, frame.top + pad_top
    view = (x, y, min(x + frame.width, columns), min(y + frame.height, rows))
    height, width = shape
    return np.asarray(Image.fromarray(canvas).resize((width, height), Image.Resampling.HAMMING, view))


class Frame(NamedTuple):
    """The place of a model's pixels over a box of ink, measured in the box's own pixels."""

    top: float
    """Its upper edge; 0 or less, as the box lies inside."""
    left: float
    """Its left edge; 0 or less."""
    height: float
    """Its height."""
    width: float
    """Its width."""


def find_frame(box: Ink, shape: Shape = PIXELS_SHAPE) -> Frame:
    """The frame of `shape` pixels around a box, which fills it in one direction but for a margin."""
    (rows, columns), (height, width) = box.shape, shape
    if rows * width >= columns * height:  # the box is taller than the frame, in proportion
        extents = (rows * FRAME_SIZE, rows * FRAME_SIZE * width / height)
    else:
        extents = (columns * FRAME_SIZE * height / width, columns * FRAME_SIZE)
    top, left = (_window_start(box.sum(axis=1 - axis, dtype=np.int64), extents[axis]) for axis in (0, 1))
    return Frame(top, left, *extents)


def _window_start(profile: npt.NDArray[np.int64], window: float) -> float:
    """Start of a window centred on the mass of `profile`, moved as little as keeps all of `profile` inside."""
    total = int(profile.sum())
    centre = float(profile @ np.arange(len(profile))) / total + 0.5 if total else len(profile) / 2
    return min(max(centre - window / 2, len(profile) - window), 0.0)


def stretch(pixels: Pixels) -> Pixels:
    """Step 5: the darkest pixel to 255, the others in proportion; zeros stay zeros."""
    darkest = int(pixels.max())
    if darkest in (0, 255):
        return pixels
    stretched: Pixels = np.rint(pixels * (255 / darkest)).astype(np.uint8)
    return stretched
