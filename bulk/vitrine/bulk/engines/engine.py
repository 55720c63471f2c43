"""What a run needs of an engine."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from vitrine.bulk.chunks import Chunk, ModelInfo, Scores


class Engine(Protocol):
    """Classifies images with one version of one model."""

    @property
    def model(self) -> ModelInfo:
        """The model, which stays the same."""

    async def classify(self, chunk: Chunk, wanted: Sequence[str]) -> Scores:
        """Classifies images. One that can't be read has an error in its row.

        Args:
            chunk: the images.
            wanted: the layers whose activations are wanted.

        Raises:
            VitrineError: nothing can be classified any more.
        """


OpenEngine: TypeAlias = Callable[[], AbstractAsyncContextManager[Engine]]
"""Opens an engine on the event loop that runs. It can be pickled, so that other processes can open one, too."""
