"""Scoring on a Ray cluster: workers take the parts of a source, each with an engine of its own.

A part is what a run goes on from, so it is what a worker gets: its file of results is there when it has ended. Parts of
a worker that dies are scored again. It knows no images; Ray knows no results.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from vitrine.bulk.chunks import ModelInfo
from vitrine.bulk.engines import Engine
from vitrine.bulk.run import Job, Progress, Summary, begin_run, results_of, score_part
from vitrine.bulk.sources import Part
from vitrine.model import VitrineError

RETRIES = 5
"""Number of times that a part is scored again whose worker died: images that kill every worker end the run."""


def score_on_ray(job: Job, workers: int, progress: Progress = lambda _: None) -> Summary:
    """Scores what hasn't been scored yet, as `score` does, on the cluster that Ray is connected to, or connects to now.

    Args:
        job: what is scored. Its source and its folder of results must be there on every node.
        workers: the number of workers, each of which has a CPU. One that finds none free joins when there is one.
        progress: told of images when their part is complete.

    Raises:
        VitrineError: as of `score`; or the engine of a worker has another model, or workers die again and again.
    """
    begin, summary = time.monotonic(), Summary()
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    model = asyncio.run(_model_of(job))
    results = results_of(job, model)
    with results.held():
        missing = begin_run(job, results, summary)
        options = {"num_cpus": 1, "max_concurrency": 1, "max_restarts": -1, "max_task_retries": RETRIES}
        started = [ray.remote(_Worker).options(**options).remote(job, model) for _ in range(min(workers, len(missing)))]
        try:
            for part, errors in _scored(started, missing):
                summary.images += part.images
                summary.errors += errors
                progress(part.images)
        finally:
            for worker in started:
                ray.kill(worker)
    summary.seconds = time.monotonic() - begin
    return summary


async def _model_of(job: Job) -> ModelInfo:
    async with job.open_engine() as engine:
        return engine.model


def _scored(workers: Sequence[Any], parts: Sequence[Part]) -> Iterator[tuple[Part, int]]:
    """Each part with the number of images in it that couldn't be read, as they are completed."""
    try:
        yield from _as_completed(workers, parts)
    except RayTaskError as error:  # its text is a traceback
        if isinstance(error.cause, VitrineError):
            raise error.cause from None
        raise
    except RayActorError as error:
        raise VitrineError(f"workers die, and parts were tried {RETRIES + 1} times: {error}") from error


def _as_completed(workers: Sequence[Any], parts: Sequence[Part]) -> Iterator[tuple[Part, int]]:
    """Gives a part to every worker that has answered: one that waits for a free CPU would keep its part for ever."""
    to_give, unfinished = iter(parts), len(parts)
    running = {worker.ready.remote(): worker for worker in workers}
    while unfinished:
        (ended, *_), _ = ray.wait(list(running))
        worker, scored = running.pop(ended), ray.get(ended)
        if (part := next(to_give, None)) is not None:
            running[worker.score.remote(part)] = worker
        else:  # its CPU may be what a worker that died with its part waits for
            ray.kill(worker)
        if scored is not None:
            unfinished -= 1
            yield scored


class _Worker:
    """Scores parts in a process of its own.

    Args:
        job: what is scored.
        model: the model that the results are of.
    """

    def __init__(self, job: Job, model: ModelInfo) -> None:
        self._job, self._model = job, model
        self._engine: Engine | None = None
        self._resources = AsyncExitStack()  # as long as the process

    async def ready(self) -> None:
        """Answers when the worker has a CPU."""

    async def score(self, part: Part) -> tuple[Part, int]:
        """Scores a part; gives it, and the number of images that couldn't be read."""
        engine = self._engine = self._engine or await self._opened()
        results = results_of(self._job, self._model)
        return part, await score_part(self._job.source, part, results, engine, lambda _: None)

    async def _opened(self) -> Engine:
        engine = await self._resources.enter_async_context(self._job.open_engine())
        if engine.model != self._model:
            raise VitrineError(f"a worker has {engine.model.label}, another model than {self._model.label} here")
        return engine
