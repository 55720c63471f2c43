"""Scores a source, part by part: reading, classifying and writing at the same time, in bounded memory."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from vitrine.bulk.chunks import Chunk, Files, ModelInfo, Pixels, Scores, ahead, ended
from vitrine.bulk.engines import Engine, OpenEngine
from vitrine.bulk.results import PartWriter, Results
from vitrine.bulk.sources import Part, Source
from vitrine.model import VitrineError

ALL = "all"
"""The choice of all layers."""

Progress: TypeAlias = Callable[[int], None]
"""Told of the number of images that were scored just now."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is scored, and to where."""

    source: Source
    """The images."""
    folder: Path
    """The folder of the results."""
    open_engine: OpenEngine
    """Opens what classifies."""
    activations: Sequence[str] = ()
    """The layers whose activations are kept; `ALL` alone: every layer."""


@dataclass(slots=True)
class Summary:
    """What a run has done."""

    images: int = 0
    """Images scored."""
    errors: int = 0
    """Images among them that couldn't be read."""
    images_before: int = 0
    """Images that a run before had scored already."""
    seconds: float = field(default=0.0)
    """Time that it took."""

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds if self.seconds else 0.0


async def score(job: Job, progress: Progress = lambda _: None) -> Summary:
    """Scores what hasn't been scored yet: after a kill, the same call goes on.

    Raises:
        VitrineError: the folder has other results, the source or the engine fails, or the disk is full. Parts that are
            complete stay.
    """
    begin, summary = time.monotonic(), Summary()
    async with job.open_engine() as engine:
        results = results_of(job, engine.model)
        with results.held():
            missing = begin_run(job, results, summary)
            for part in missing:
                errors = await score_part(job.source, part, results, engine, progress)
                summary.images += part.images
                summary.errors += errors
    summary.seconds = time.monotonic() - begin
    return summary


def results_of(job: Job, model: ModelInfo) -> Results:
    """The results that a job has with a model.

    Raises:
        VitrineError: the model lacks one of the wanted layers.
    """
    return Results(job.folder, model, wanted_layers(job, model))


def wanted_layers(job: Job, model: ModelInfo) -> tuple[str, ...]:
    """The wanted layers, in the order of the layers.

    Raises:
        VitrineError: the model lacks one of them.
    """
    if list(job.activations) == [ALL]:
        return tuple(model.layers)
    if unknown := [layer for layer in job.activations if layer not in model.layers]:
        layers = ", ".join(model.layers)
        raise VitrineError(f"model {model.label} has no layer {unknown[0]!r}; its layers: {layers}, or {ALL}")
    return tuple(layer for layer in model.layers if layer in job.activations)


def begin_run(job: Job, results: Results, summary: Summary) -> list[Part]:
    """Checks that the folder is for these results; gives the parts that are missing."""
    results.begin(job.source.fingerprint, len(job.source.parts))
    missing = [part for part in job.source.parts if not results.has(part)]
    summary.images_before = job.source.images - sum(part.images for part in missing)
    return missing


async def score_part(source: Source, part: Part, results: Results, engine: Engine, progress: Progress) -> int:
    """Scores a part; gives the number of images that couldn't be read."""
    with results.part(part) as writer:
        writing: asyncio.Future[None] | None = None
        try:
            async for read in ahead(source.read(part)):
                chunk = read if isinstance(read, Files) else read.shaped(engine.model.input_shape)
                scores = await engine.classify(chunk, results.wanted)
                if isinstance(chunk, Pixels):
                    scores = replace(scores, errors={**scores.errors, **chunk.errors})
                if writing is not None:
                    await ended(writing)
                writing = asyncio.ensure_future(asyncio.to_thread(_write, writer, chunk, scores, progress))
        finally:
            if writing is not None:
                await ended(writing)
        return writer.errors


def _write(writer: PartWriter, chunk: Chunk, scores: Scores, progress: Progress) -> None:
    writer.write(chunk.ids, scores)
    progress(len(chunk))
