"""The engine in this process: the server's own service, without a server around it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from vitrine.bulk.chunks import CHUNK_IMAGES, Chunk, ModelInfo, Pixels, Row, Scores, stacked
from vitrine.server.engine.device import Device
from vitrine.server.errors import Overloaded, RequestError
from vitrine.server.inference.call import Call
from vitrine.server.inference.config import BatchingConfig
from vitrine.server.inference.requests import Classification, ClassifyRequest, LayerSelection
from vitrine.server.inference.service import Service
from vitrine.server.opening import open_service
from vitrine.server.security.access import ANYONE
from vitrine.server.service_config import ServiceConfig

TRIES = 5
"""Number of times that an image is sent which the service had no room for."""

FILES_AT_ONCE = 64
"""Image files that are prepared or wait for it; the service takes turns between them by itself."""


@asynccontextmanager
async def open_local(model: Path | None, device: str = "auto") -> AsyncIterator["LocalEngine"]:
    """Opens an engine on this machine.

    Args:
        model: the artifact; None: the bundled model.
        device: "auto", "cpu" or "cuda".

    Raises:
        StartupError: the artifact fails a check, or the device isn't there.
    """
    config = ServiceConfig(model=model, device=Device(device), batching=BatchingConfig(max_rows=CHUNK_IMAGES))
    async with open_service(config) as service:
        yield LocalEngine(service)


class LocalEngine:
    """Classifies with a service.

    Args:
        service: the service, with one model.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._served = service.models.get("")
        metadata = self._served.metadata
        self._info = ModelInfo(
            self._served.label,
            self._served.digest,
            metadata.input.shape,
            tuple(metadata.classes),
            {layer.name: layer.shape for layer in metadata.layers},
            metadata.novelty_threshold is not None,
        )

    @property
    def model(self) -> ModelInfo:
        """The model."""
        return self._info

    async def classify(self, chunk: Chunk, wanted: Sequence[str]) -> Scores:
        """Classifies images: see `Engine`."""
        request = ClassifyRequest(self._served, activations=LayerSelection(names=tuple(wanted)))
        if isinstance(chunk, Pixels):
            return _scores(await self._answer(replace(request, pixels=chunk.pixels)))
        places = asyncio.Semaphore(FILES_AT_ONCE)
        rows = [self._row(content, request, places) for content in chunk.files]
        return stacked(await asyncio.gather(*rows), self._info, wanted)

    async def _row(self, content: bytes | str, request: ClassifyRequest, places: asyncio.Semaphore) -> Row | str:
        if isinstance(content, str):
            return content
        async with places:
            try:
                answer = await self._answer_patiently(replace(request, files=[content]))
            except RequestError as error:
                return str(error)
        novelty, is_digit = answer.novelty, answer.is_digit
        return Row(
            int(answer.digits[0]),
            answer.probabilities[0],
            {layer: values[0] for layer, values in answer.activations.items()},
            None if novelty is None else float(novelty[0]),
            None if is_digit is None else bool(is_digit[0]),
        )

    async def _answer_patiently(self, request: ClassifyRequest) -> Classification:
        """The answer, also if a process that prepares images hung or died: that is no fault of the image's."""
        for _ in range(TRIES - 1):
            try:
                return await self._answer(request)
            except Overloaded as error:
                await asyncio.sleep(error.retry_after)
        return await self._answer(request)

    async def _answer(self, request: ClassifyRequest) -> Classification:
        call = Call("bulk", ANYONE)
        try:
            return await self._service.classify(request, call)
        finally:
            call.close()


def _scores(answer: Classification) -> Scores:
    return Scores(answer.digits, answer.probabilities, answer.activations, answer.novelty, answer.is_digit, errors={})
