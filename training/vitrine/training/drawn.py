"""Images that are drawn when they are needed, so that several processes can share the work. It knows no image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Image = TypeVar("Image")


@dataclass(frozen=True, slots=True)
class Drawn(Generic[Image]):
    """Images by their positions, each drawn when it is asked for."""

    count: int
    """Number of images."""
    draw: Callable[[int], Image]
    """Draws the image at a position, 0 to `count` - 1; the same image every time."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int, /) -> Image:
        return self.draw(position)

    def __iter__(self) -> Iterator[Image]:
        return map(self.draw, range(self.count))
