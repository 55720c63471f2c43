"""Brings a large image to working size a strip of its rows at a time, so that no copy of the whole is made.

A camera's image takes 200 MB when it is decoded. Turning it and converting it as a whole would take as much again for
each step. It knows neither files nor ink.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

from PIL import Image

STRIP_PIXELS = 1 << 19
"""Pixels of a strip, roughly: few enough to stay in a CPU's cache."""

REDUCIBLE = ("L", "RGB", "RGBA")
"""Modes that can be averaged."""

FROM_THE_BOTTOM = (Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM)
"""Turns that take the upright image's first row from the stored image's last."""

FROM_THE_LEFT = (Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270)
"""Turns that take it from the first column."""

FROM_THE_RIGHT = (Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90)
"""Turns that take it from the last column."""

Step: TypeAlias = Callable[[Image.Image], Image.Image]
"""Changes each pixel by itself, and neither the image's size nor its place."""

Box: TypeAlias = tuple[int, int, int, int]
"""Left, upper, right and lower edge, the last two exclusive."""


@dataclass(frozen=True, slots=True)
class Strips:
    """A decoded image, the turn that puts it upright, and the steps that are still to be done to its pixels."""

    image: Image.Image
    """The image as it is stored."""
    turn: Image.Transpose | None = None
    """The turn; None: it is upright."""
    steps: tuple[Step, ...] = ()
    """The steps, in their order; their result is of one of `REDUCIBLE`."""

    def then(self, step: Step) -> Self:
        """The same image with one more step."""
        return replace(self, steps=(*self.steps, step))

    def cut(self, overlap: int = 0) -> Iterator[Image.Image]:
        """Strips of the stored image, not turned, with all steps done.

        Args:
            overlap: rows of the neighbours that each strip has too, at both sides.
        """
        width, height = self.image.size
        rows = max(1, STRIP_PIXELS // width)
        for top in range(0, height, rows):
            box = (0, max(top - overlap, 0), width, min(top + rows + overlap, height))
            yield self._finished(self.image.crop(box))

    def reduced(self, factor: int) -> Image.Image:
        """The upright image, each `factor` × `factor` pixels averaged into one: equal to `Image.reduce` of the whole.

        Args:
            factor: at least 1.
        """
        if self.turn is None and not self.steps:
            return self.image.reduce(factor)
        width, height = _upright_size(self.image.size, self.turn)
        rows = factor * max(1, STRIP_PIXELS // (width * factor))  # whole blocks, so that none is cut in two
        parts: list[Image.Image] = []
        for top in range(0, height, rows):
            box = _stored_box((0, top, width, min(top + rows, height)), self.image.size, self.turn)
            strip = self.image.crop(box)
            upright = strip if self.turn is None else strip.transpose(self.turn)
            parts.append(self._finished(upright).reduce(factor))
        small = Image.new(parts[0].mode, (parts[0].width, sum(part.height for part in parts)))
        for number, part in enumerate(parts):
            small.paste(part, (0, number * rows // factor))
        return small

    def _finished(self, strip: Image.Image) -> Image.Image:
        for step in self.steps:
            strip = step(strip)
        return strip


def _upright_size(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    width, height = size
    return (height, width) if turn in FROM_THE_LEFT + FROM_THE_RIGHT else (width, height)


def _stored_box(box: Box, size: tuple[int, int], turn: Image.Transpose | None) -> Box:
    """The place in the stored image of some whole rows of the upright one."""
    _, top, _, bottom = box
    width, height = size
    if turn in FROM_THE_LEFT:
        return (top, 0, bottom, height)
    if turn in FROM_THE_RIGHT:
        return (width - bottom, 0, width - top, height)
    if turn in FROM_THE_BOTTOM:
        return (0, height - bottom, width, height - top)
    return box
