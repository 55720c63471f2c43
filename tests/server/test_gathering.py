"""Runs on the event loop's own thread: what has arrived in one turn of the loop goes into one run, if that is short."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from vitrine.server.inference.batching import (
    LONG_SECONDS,
    MANY_ROWS,
    SHORT_SECONDS,
    TURN_SECONDS,
    Activations,
    Batcher,
    inline_rows,
)
from vitrine.server.inference.config import BatchingConfig
from vitrine.server.models.snapshot import RunTime
from vitrine.server.opening import open_service
from vitrine.server.service_config import ServiceConfig

INLINE_ROWS = 8


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Runs:
    """A model that notes its runs: the images in each, and the thread that it ran on."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool]] = []

    def __call__(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> Activations:
        self.seen.append((len(pixels), threading.current_thread() is threading.main_thread()))
        if (pixels == 255).any():
            raise RuntimeError("the model can't bear black")
        return {layer: pixels.reshape(len(pixels), -1)[:, :1].astype(np.float32) for layer in layers}


def images(count: int, value: int = 1) -> npt.NDArray[np.uint8]:
    return np.full((count, 2, 2), value, np.uint8)


def batcher(runs: Runs, threads: Executor, **config: float) -> Batcher:
    return Batcher(runs, threads, BatchingConfig(**config), inline_rows=INLINE_ROWS)  # type: ignore[arg-type]


async def test_requests_of_one_turn_share_a_run_on_the_loops_own_thread(threads: Executor) -> None:
    runs = Runs()
    shared = batcher(runs, threads)
    answers = await asyncio.gather(*(shared.run(images(1, value), ["a"]) for value in range(5)))
    assert runs.seen == [(5, True)]
    assert [int(answer["a"][0, 0]) for answer in answers] == [0, 1, 2, 3, 4]


async def test_a_run_that_would_hold_up_the_loop_has_a_thread(threads: Executor) -> None:
    runs = Runs()
    answer = await batcher(runs, threads).run(images(INLINE_ROWS + 1), ["a"])
    assert runs.seen == [(INLINE_ROWS + 1, False)]
    assert len(answer["a"]) == INLINE_ROWS + 1


async def test_more_than_a_batch_holds_goes_into_several_runs_of_one_turn(threads: Executor) -> None:
    runs = Runs()
    shared = batcher(runs, threads, max_rows=4)
    await asyncio.gather(*(shared.run(images(2), ["a"]) for _ in range(5)))
    assert runs.seen == [(4, True), (4, True), (2, True)]


async def test_a_request_that_fits_into_a_run_is_not_split(threads: Executor) -> None:
    runs = Runs()
    shared = batcher(runs, threads, max_rows=4)
    answers = await asyncio.gather(*(shared.run(images(3, value), ["a"]) for value in range(3)))
    assert runs.seen == [(3, True)] * 3
    assert [answer["a"][:, 0].tolist() for answer in answers] == [[value] * 3 for value in range(3)]


async def test_a_request_that_fits_into_no_run_is_split(threads: Executor) -> None:
    runs = Runs()
    answer = await batcher(runs, threads, max_rows=4).run(images(6), ["a"])
    assert runs.seen == [(4, True), (2, True)]
    assert len(answer["a"]) == 6


async def test_one_callers_failure_is_no_other_callers(threads: Executor) -> None:
    shared = batcher(Runs(), threads)
    good, bad = await asyncio.gather(
        shared.run(images(1), ["a"]), shared.run(images(1, 255), ["a"]), return_exceptions=True
    )
    assert isinstance(good, dict)
    assert isinstance(bad, RuntimeError)


async def test_a_caller_that_goes_before_the_run_is_not_calculated(threads: Executor) -> None:
    runs = Runs()
    shared = batcher(runs, threads)
    going, staying = (asyncio.ensure_future(shared.run(images(1), ["a"])) for _ in range(2))
    asyncio.get_running_loop().call_soon(going.cancel)
    await staying
    assert sum(count for count, _ in runs.seen) <= 2
    with pytest.raises(asyncio.CancelledError):
        await going


async def test_a_batch_still_waits_for_company_where_that_is_wanted(threads: Executor) -> None:
    runs = Runs()
    shared = batcher(runs, threads, max_rows=4, max_delay=3600)
    first = asyncio.ensure_future(shared.run(images(1), ["a"]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (runs.seen, shared.waiting) == ([], 1)
    await shared.run(images(3), ["a"])
    assert runs.seen == [(4, True)]
    await first


class Clock:
    """Time as the test has it pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_long_queue_leaves_the_event_loop_its_turns(threads: Executor) -> None:
    clock, seen = Clock(), list[str]()

    def run(pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> Activations:
        clock.now += 0.6 * TURN_SECONDS
        seen.append("run")
        return dict.fromkeys(layers, np.zeros((len(pixels), 1), np.float32))

    def take_turns() -> None:
        seen.append("turn")
        if seen.count("run") < 5:
            asyncio.get_running_loop().call_soon(take_turns)

    shared = Batcher(run, threads, BatchingConfig(max_rows=1), inline_rows=INLINE_ROWS, clock=clock)
    waiting = [asyncio.ensure_future(shared.run(images(1), ["a"])) for _ in range(5)]
    asyncio.get_running_loop().call_soon(take_turns)
    assert len(await asyncio.gather(*waiting)) == 5
    assert "".join(seen).replace("turn", "|").strip("|").split("|") == ["runrun", "runrun", "run"]


def test_the_largest_run_on_the_loops_thread_is_short_or_takes_many_images() -> None:
    one_core, several = BatchingConfig(inline=True), BatchingConfig(parallel=2, inline=True)
    quick = RunTime(first=20e-6, further=5e-6)
    assert inline_rows(quick, one_core) == quick.images_within(LONG_SECONDS) > MANY_ROWS
    assert inline_rows(quick, several) == quick.images_within(SHORT_SECONDS) > 0
    slow = RunTime(first=20e-6, further=20e-6)
    assert inline_rows(slow, one_core) == slow.images_within(SHORT_SECONDS) < slow.images_within(LONG_SECONDS)
    assert inline_rows(RunTime(first=900e-6), several) == 0
    assert inline_rows(RunTime(first=900e-6, further=800e-6), one_core) == 0
    assert inline_rows(quick, BatchingConfig()) == 0


def test_the_time_of_a_run_grows_with_its_images() -> None:
    assert RunTime(first=20e-6, further=4e-6).images_within(200e-6) == 1 + 45
    assert RunTime(first=201e-6, further=0.0).images_within(200e-6) == 0
    assert RunTime().images_within(3600) == 0


async def test_a_model_is_measured_before_it_is_served(tiny_artifact: Path) -> None:
    async with open_service(ServiceConfig(tiny_artifact)) as service:
        measured = service.models.snapshot.default.run_time
    assert 0 < measured.first < np.inf
    assert 0 <= measured.further < np.inf
