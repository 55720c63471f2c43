"""Servers, through the SDK: images are prepared here, and sent as pixels."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from vitrine.bulk.chunks import Chunk, ModelInfo, Pixels, Row, Scores, stacked
from vitrine.client import AsyncClient, LimitError, Prediction, UnavailableError
from vitrine.model import VitrineError

PATIENCE_SECONDS = 60.0
"""Seconds for which servers may be away or overloaded, beyond the SDK's own retries."""

PAUSE_SECONDS = 1.0
"""Seconds between two tries, where a server doesn't say when."""


@asynccontextmanager
async def open_remote(connection: Mapping[str, Any], model: str = "") -> AsyncIterator["RemoteEngine"]:
    """Opens an engine on servers.

    Args:
        connection: the arguments of `AsyncClient`.
        model: `NAME` or `NAME@VERSION`; empty: the default model.

    Raises:
        ServiceError: the server can't be asked about the model.
    """
    async with AsyncClient(**connection) as client:
        described = await client.model(model)
        layers = {layer.name: layer.shape for layer in described.layers}
        has_novelty = described.novelty_threshold is not None
        info = ModelInfo(
            described.label, described.digest, described.input.shape, described.classes, layers, has_novelty
        )
        yield RemoteEngine(client, info)


class RemoteEngine:
    """Classifies with servers.

    Args:
        client: the connection.
        model: the model, which is asked for by its version, so that a new one doesn't take over in between.
    """

    def __init__(self, client: AsyncClient, model: ModelInfo) -> None:
        self._client, self._info = client, model

    @property
    def model(self) -> ModelInfo:
        """The model."""
        return self._info

    async def classify(self, chunk: Chunk, wanted: Sequence[str]) -> Scores:
        """Classifies images: see `Engine`."""
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await self._classify(chunk, wanted)
            except (UnavailableError, LimitError) as error:
                pause = getattr(error, "retry_after", None) or PAUSE_SECONDS
                is_for_ever = isinstance(error, LimitError) and error.retry_after is None
                if is_for_ever or time.monotonic() + pause > patient_until:
                    raise
                await asyncio.sleep(pause)

    async def _classify(self, chunk: Chunk, wanted: Sequence[str]) -> Scores:
        if isinstance(chunk, Pixels):
            outcomes = await self._ask(chunk.pixels, wanted, "none")
        else:
            readable = [content for content in chunk.files if isinstance(content, bytes)]
            answered = iter(await self._ask(readable, wanted, "local"))
            outcomes = [content if isinstance(content, str) else next(answered) for content in chunk.files]
        return stacked([_row(outcome) for outcome in outcomes], self._info, wanted)

    async def _ask(self, images: Any, wanted: Sequence[str], preparation: Any) -> list[Any]:
        if not len(images):
            return []
        predictions = self._client.classify_many(
            images,
            activations=list(wanted) or None,
            model=self._info.label,
            preparation=preparation,
            return_exceptions=True,
        )
        return [outcome async for outcome in predictions]


def _row(outcome: Prediction | VitrineError | str) -> Row | str:
    if not isinstance(outcome, Prediction):
        return outcome if isinstance(outcome, str) else getattr(outcome, "message", str(outcome))
    values = {layer: np.asarray(values) for layer, values in outcome.activations.items()}
    return Row(outcome.index, outcome.probabilities, values, outcome.novelty, outcome.is_digit)
