"""Batching: what waits is run together, and each caller gets its own rows, whatever the others do."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.artifacts import random_pixels

from vitrine.server.errors import StartupError
from vitrine.server.inference.batching import Activations, Batcher
from vitrine.server.inference.config import BatchingConfig
from vitrine.server.threads import started_threads

FIRST = 0
"""The pixels of the run that is held up while others queue."""

BAD = 255
"""Pixels that begin with it fail in the model that these tests run."""


class Model:
    """A model that gives back what it was given; batches that begin with certain pixels can be held up."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.wanted: list[list[str]] = []
        self.begun = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.held_up = threading.Semaphore(0)
        self.held: dict[int, threading.Event] = {}
        self.lost_rows = 0

    def hold(self, number: int) -> None:
        self.held[number] = threading.Event()

    def let_go(self, number: int = FIRST) -> None:
        self.held[number].set()

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> Activations:
        self.batches.append(len(pixels))
        self.wanted.append(list(layers))
        self.begun.release()
        if held := self.held.get(int(pixels[0, 0, 0])):
            self.held_up.release()
            held.wait()
        if (pixels[:, 0, 0] == BAD).any():
            raise ValueError("a bad image")
        self.done.release()
        given = pixels[: len(pixels) - self.lost_rows]
        return {layer: given.reshape(len(given), 324).astype(np.float32) for layer in layers}


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    for held in made.held.values():
        held.set()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
async def held_up(model: Model, threads: ThreadPoolExecutor) -> AsyncIterator[Batcher]:
    """A batcher whose only run is under way and held up, so that all that comes waits together."""
    batcher = Batcher(model.run, threads, BatchingConfig(max_rows=8))
    model.hold(FIRST)
    first = asyncio.ensure_future(batcher.run(numbered(FIRST), ["input"]))
    await asyncio.to_thread(model.begun.acquire)
    yield batcher
    model.let_go()
    await first


def numbered(number: int, rows: int = 1) -> npt.NDArray[np.uint8]:
    """Pixels that tell whose they are."""
    return np.full((rows, 18, 18), number, np.uint8)


async def queued(batcher: Batcher, *requests: npt.NDArray[np.uint8]) -> "list[asyncio.Task[Activations]]":
    """Callers that wait in the batcher's queue."""
    tasks = [asyncio.create_task(batcher.run(pixels, ["input"])) for pixels in requests]
    await asyncio.sleep(0)  # each runs until it waits
    return tasks


async def test_what_waits_is_run_together(held_up: Batcher, model: Model) -> None:
    tasks = await queued(held_up, *(numbered(number) for number in range(1, 7)))
    model.let_go()
    answers = await asyncio.gather(*tasks)
    assert model.batches == [1, 6]
    assert [answer["input"][0, 0] for answer in answers] == [1, 2, 3, 4, 5, 6]


async def test_a_batch_holds_no_more_rows_than_it_may(held_up: Batcher, model: Model) -> None:
    tasks = await queued(held_up, *(numbered(number, rows=3) for number in range(1, 6)))
    model.let_go()
    answers = await asyncio.gather(*tasks)
    assert model.batches == [1, 6, 6, 3]  # 8 would be the most
    for number, answer in enumerate(answers, start=1):
        assert (answer["input"] == number).all()
        assert len(answer["input"]) == 3


async def test_a_request_larger_than_the_maximum_is_split_not_refused(
    model: Model, threads: ThreadPoolExecutor
) -> None:
    batcher = Batcher(model.run, threads, BatchingConfig(max_rows=8, parallel=3))
    pixels = random_pixels(30)
    pixels[:, 0, 0] = 0
    answer = await batcher.run(pixels, ["relu_1", "input"])
    assert sorted(model.batches) == [6, 8, 8, 8]
    assert list(answer) == ["relu_1", "input"]
    np.testing.assert_array_equal(answer["input"], pixels.reshape(30, -1))


async def test_a_cancelled_request_never_wedges_the_queue_and_is_never_run(held_up: Batcher, model: Model) -> None:
    first, gone, last = await queued(held_up, numbered(1), numbered(2, rows=5), numbered(3))
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    model.let_go()
    answers = await asyncio.gather(first, last)
    assert [answer["input"][0, 0] for answer in answers] == [1, 3]
    assert model.batches == [1, 2]


async def test_a_queue_of_which_all_have_gone_takes_the_next(held_up: Batcher, model: Model) -> None:
    for task in await queued(held_up, numbered(1), numbered(2)):
        task.cancel()
    model.let_go()
    answer = await held_up.run(numbered(3), ["input"])
    assert answer["input"][0, 0] == 3
    assert model.batches == [1, 1]


async def test_a_caller_that_goes_while_its_batch_runs_harms_nobody(held_up: Batcher, model: Model) -> None:
    model.hold(1)
    first, gone, last = await queued(held_up, numbered(1), numbered(2), numbered(3))
    model.let_go()
    await asyncio.to_thread(model.begun.acquire)  # the three are in a run, which is held up
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    model.let_go(1)
    assert [(await task)["input"][0, 0] for task in (first, last)] == [1, 3]
    assert (await held_up.run(numbered(4), ["input"]))["input"][0, 0] == 4


async def test_a_caller_that_goes_while_its_batch_waits_for_a_thread_is_not_run(model: Model) -> None:
    with ThreadPoolExecutor(1) as one_thread:
        model.hold(FIRST)
        busy = Batcher(model.run, one_thread, BatchingConfig())
        other = Batcher(model.run, one_thread, BatchingConfig())
        first = asyncio.ensure_future(busy.run(numbered(FIRST), ["input"]))
        await asyncio.to_thread(model.begun.acquire)
        gone, stays = await queued(other, numbered(1), numbered(2))  # the first of them is in a run already
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        model.let_go()
        await first
        assert (await stays)["input"][0, 0] == 2
    assert model.batches == [1, 1]


async def test_parts_of_a_split_request_are_joined_in_their_order(model: Model, threads: ThreadPoolExecutor) -> None:
    batcher = Batcher(model.run, threads, BatchingConfig(max_rows=2, parallel=2))
    model.hold(1)
    (task,) = await queued(batcher, np.concatenate([numbered(1, rows=2), numbered(2, rows=2)]))
    await asyncio.to_thread(model.done.acquire)  # the second part is done
    model.let_go(1)
    assert (await task)["input"][:, 0].tolist() == [1, 1, 2, 2]


async def test_a_split_request_of_which_a_part_fails_fails_once_and_alone(held_up: Batcher, model: Model) -> None:
    pixels = np.concatenate([numbered(1, rows=8), numbered(BAD), numbered(1, rows=7)])
    split, neighbour = await queued(held_up, pixels, numbered(3, rows=5))
    model.let_go()
    with pytest.raises(ValueError, match="a bad image"):
        await split
    assert (await neighbour)["input"][:, 0].tolist() == [3] * 5


async def test_rows_that_a_model_loses_are_an_error_not_anothers(held_up: Batcher, model: Model) -> None:
    model.hold(1)
    tasks = await queued(held_up, numbered(1), numbered(2))
    model.let_go()
    await asyncio.to_thread(model.begun.acquire)
    model.lost_rows = 1
    model.let_go(1)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, RuntimeError)


async def test_one_bad_item_never_fails_its_neighbours(held_up: Batcher, model: Model) -> None:
    first, bad, last = await queued(held_up, numbered(1), numbered(BAD), numbered(3))
    model.let_go()
    with pytest.raises(ValueError, match="a bad image"):
        await bad
    assert [(await task)["input"][0, 0] for task in (first, last)] == [1, 3]
    assert (await held_up.run(numbered(4), ["input"]))["input"][0, 0] == 4


async def test_only_the_union_of_the_wanted_layers_is_run_and_each_gets_its_own(held_up: Batcher, model: Model) -> None:
    one = asyncio.create_task(held_up.run(numbered(1), ["softmax"]))
    other = asyncio.create_task(held_up.run(numbered(2), ["relu_1", "softmax"]))
    await asyncio.sleep(0)
    model.let_go()
    assert list(await one) == ["softmax"]
    assert list(await other) == ["relu_1", "softmax"]
    assert sorted(model.wanted[-1]) == ["relu_1", "softmax"]


async def test_an_answer_is_a_view_of_the_batch_not_a_copy(held_up: Batcher, model: Model) -> None:
    tasks = await queued(held_up, numbered(1), numbered(2))
    model.let_go()
    one, other = await asyncio.gather(*tasks)
    assert one["input"].base is not None
    assert one["input"].base is other["input"].base


async def test_a_full_batch_waits_for_nobody(model: Model, threads: ThreadPoolExecutor) -> None:
    batcher = Batcher(model.run, threads, BatchingConfig(max_rows=4, max_delay=3600))
    answers = await asyncio.gather(*(batcher.run(numbered(number), ["input"]) for number in range(4)))
    assert model.batches == [4]
    assert [answer["input"][0, 0] for answer in answers] == [0, 1, 2, 3]


async def test_a_timer_never_fires_early(
    model: Model, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands in the test's hand, and the timer is woken before its time."""
    loop, now = asyncio.get_running_loop(), 100.0
    timers: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(loop, "call_later", lambda seconds, wake: timers.append((seconds, wake)))
    batcher = Batcher(model.run, threads, BatchingConfig(max_rows=4, max_delay=0.5))
    (waiting,) = await queued(batcher, numbered(1))
    assert [seconds for seconds, _ in timers] == [0.5]

    now = 100.499
    timers[-1][1]()
    assert model.batches == []
    assert timers[-1][0] == pytest.approx(0.001)

    now = 100.5
    timers[-1][1]()
    await waiting
    assert model.batches == [1]


async def test_a_lone_caller_is_run_when_its_time_is_up(model: Model, threads: ThreadPoolExecutor) -> None:
    batcher = Batcher(model.run, threads, BatchingConfig(max_rows=4, max_delay=0.01))
    assert (await batcher.run(numbered(7), ["input"]))["input"][0, 0] == 7


class Unwilling(ThreadPoolExecutor):
    """Threads that can't be started for a while: as Python's own, it raises, and may do the work all the same later."""

    def __init__(self, works_later: bool) -> None:
        super().__init__(2)
        self.works_later = works_later
        self.refusals = 0

    def submit(self, *work: Any, **options: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            if self.works_later:
                super().submit(*work, **options)
            raise RuntimeError("can't start new thread")
        return super().submit(*work, **options)


@pytest.mark.parametrize("works_later", [False, True])
async def test_no_run_is_lost_while_threads_cannot_be_started(model: Model, works_later: bool) -> None:
    with Unwilling(works_later) as threads:
        batcher = Batcher(model.run, threads, BatchingConfig(max_rows=1, parallel=1))
        threads.refusals = 5
        for number in range(5):
            with suppress(RuntimeError):  # unless the work was done before that was known
                await batcher.run(numbered(number), ["input"])
        assert threads.refusals == 0
        model.hold(FIRST)
        held = asyncio.ensure_future(batcher.run(numbered(FIRST), ["input"]))
        others = [asyncio.ensure_future(batcher.run(numbered(number), ["input"])) for number in (1, 2)]
        await asyncio.to_thread(model.held_up.acquire)
        assert batcher.waiting == 2  # one run at a time, as before
        model.let_go()
        await asyncio.gather(held, *others)


def test_a_pool_has_all_its_threads_from_the_beginning() -> None:
    before = threading.active_count()
    with started_threads(3, "test"):
        assert threading.active_count() == before + 3


def test_a_pool_whose_threads_cannot_be_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def start_two(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(StartupError, match="8 threads can't be started to prepare: can't start new thread"):
        started_threads(8, "prepare")
    for thread in started[:2]:
        thread.join()
