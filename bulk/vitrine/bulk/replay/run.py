"""Replays captured images, part by part: reading, classifying and comparing, in bounded memory."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from vitrine.bulk.chunks import ModelInfo, ahead
from vitrine.bulk.engines import Engine, OpenEngine
from vitrine.bulk.replay.captures import CapturedPart, Captures, DamagedPartError
from vitrine.bulk.replay.comparison import Change, Comparison
from vitrine.bulk.run import Progress
from vitrine.model import VitrineError


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """What is replayed, and with what."""

    captures: Captures
    """The captured images."""
    open_engine: OpenEngine
    """Opens what classifies."""
    told: Callable[[Change], None] = lambda _: None
    """Told of every changed image, in the order of the images."""


async def replay(job: ReplayJob, progress: Progress = lambda _: None) -> Comparison:
    """Classifies all captured images again, and compares the answers. A damaged part is noted and passed over.

    Raises:
        VitrineError: the engine fails, or its model takes images of another shape.
    """
    begin = time.monotonic()
    async with job.open_engine() as engine:
        comparison = Comparison(engine.model, job.told, damaged=dict(job.captures.damaged))
        for part in job.captures.parts:
            _check_shape(part, engine.model)
        for part in job.captures.parts:
            try:
                await _replay_part(part, engine, comparison, progress)
            except FileNotFoundError:  # deleted by the server, since newer parts need its room
                continue
            except DamagedPartError as error:
                comparison.damaged[part.path.name] = str(error)
    comparison.seconds = time.monotonic() - begin
    return comparison


async def _replay_part(part: CapturedPart, engine: Engine, comparison: Comparison, progress: Progress) -> None:
    wanted = comparison.wanted_layers(part.layers)
    async for captured in ahead(part.read()):
        scores = await engine.classify(captured.to_classify(), wanted)
        await asyncio.to_thread(comparison.add, captured, scores)
        progress(len(captured))


def _check_shape(part: CapturedPart, model: ModelInfo) -> None:
    if part.input_shape != model.input_shape:
        had, takes = (" × ".join(map(str, shape)) for shape in (part.input_shape, model.input_shape))
        raise VitrineError(
            f"the images that {part.model} answered have {had} pixels, and {model.label} takes {takes}: choose images "
            "of one model with --captured"
        )
