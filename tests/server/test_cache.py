"""The cache of answers: the same images again need no run, and what is kept has its bounds."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from support.artifacts import random_pixels
from support.serving import comes, logged_server, open_log

from vitrine.client import Client
from vitrine.oip import inference_pb2 as oip
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.inference.batching import Activations, Batcher
from vitrine.server.inference.cache import CachedBatcher, RowCache
from vitrine.server.inference.config import BatchingConfig
from vitrine.server.models.snapshot import ServedModel

MIB = 1 << 20
Pixels = npt.NDArray[np.uint8]


class Counted:
    """A model behind a cache, whose runs are counted."""

    def __init__(self, model: ServedModel, cache: RowCache, threads: ThreadPoolExecutor) -> None:
        self.rows: list[int] = []
        self.looked: list[bool] = []
        self.model = model
        engine = model.engine

        def run(pixels: Pixels, layers: Sequence[str]) -> Activations:
            self.rows.append(len(pixels))
            return engine.run(pixels, layers)

        looked_up: Callable[[bool, float], None] = lambda hit, _: self.looked.append(hit)  # noqa: E731
        self._batcher = CachedBatcher(Batcher(run, threads, BatchingConfig()), cache, model, looked_up)

    def ask(self, pixels: Pixels, *layers: str) -> Activations:
        return asyncio.run(self._batcher.run(pixels, layers))


@pytest.fixture
def model(tiny_artifact: Path) -> ServedModel:
    return load_artifact(tiny_artifact, Device.CPU)


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def test_the_same_images_again_need_no_run(model: ServedModel, threads: ThreadPoolExecutor, pixels: Pixels) -> None:
    counted = Counted(model, cache := RowCache(MIB), threads)
    first = counted.ask(pixels, "relu_1", "softmax")
    second = counted.ask(pixels, "relu_1", "softmax")
    assert counted.rows == [16]
    assert counted.looked == [False, True]
    assert (cache.hits, cache.misses) == (16, 16)
    for layer in ("relu_1", "softmax"):
        assert np.array_equal(first[layer], second[layer])
        assert not np.shares_memory(first[layer], second[layer])


def test_only_images_that_are_missing_are_run_and_all_keep_their_order(
    model: ServedModel, threads: ThreadPoolExecutor, pixels: Pixels
) -> None:
    counted = Counted(model, RowCache(MIB), threads)
    counted.ask(pixels[::2], "softmax")
    together = counted.ask(pixels, "softmax")
    assert counted.rows == [8, 8]
    np.testing.assert_allclose(together["softmax"], model.engine.run(pixels, ["softmax"])["softmax"], atol=1e-6)


def test_layers_that_were_not_asked_for_are_run(
    model: ServedModel, threads: ThreadPoolExecutor, pixels: Pixels
) -> None:
    counted = Counted(model, RowCache(MIB), threads)
    counted.ask(pixels, "softmax")
    counted.ask(pixels, "relu_1")
    assert counted.rows == [16, 16]
    counted.ask(pixels, "relu_1", "softmax")  # both are known by now
    assert counted.rows == [16, 16]


def test_one_pixel_makes_another_image(model: ServedModel, threads: ThreadPoolExecutor, pixels: Pixels) -> None:
    counted = Counted(model, RowCache(MIB), threads)
    counted.ask(pixels, "softmax")
    changed = pixels.copy()
    changed[:, 3, 4] ^= 1
    counted.ask(changed, "softmax")
    assert counted.rows == [16, 16]


def test_a_kept_row_is_a_copy_and_holds_no_batch(
    model: ServedModel, threads: ThreadPoolExecutor, pixels: Pixels
) -> None:
    counted = Counted(model, RowCache(MIB), threads)
    first = counted.ask(pixels, "softmax")
    first["softmax"][:] = -1  # what a caller does with its answer
    again = counted.ask(pixels[:1], "softmax")
    again["softmax"][:] = -1
    assert counted.ask(pixels, "softmax")["softmax"].min() >= 0
    assert counted.rows == [16]


def test_models_share_a_cache_and_no_answers(tiny_artifact: Path, threads: ThreadPoolExecutor, pixels: Pixels) -> None:
    cache = RowCache(MIB)
    one, other = (Counted(load_artifact(tiny_artifact, Device.CPU), cache, threads) for _ in range(2))
    one.ask(pixels, "softmax")
    other.ask(pixels, "softmax")
    assert other.rows == [16]


def test_answers_go_with_their_model(tiny_artifact: Path, threads: ThreadPoolExecutor, pixels: Pixels) -> None:
    cache = RowCache(MIB)
    one, other = (Counted(load_artifact(tiny_artifact, Device.CPU), cache, threads) for _ in range(2))
    other.ask(pixels[:1], "softmax")
    kept = cache.bytes
    one.ask(pixels, "softmax")
    assert cache.bytes > 10 * kept
    threads.submit(bool).result()  # until its thread takes up another job, the last run keeps its model
    del one
    gc.collect()
    other.ask(pixels[:1], "softmax")
    assert cache.bytes == kept


def test_what_was_asked_for_longest_ago_goes_first(
    model: ServedModel, threads: ThreadPoolExecutor, pixels: Pixels
) -> None:
    counted = Counted(model, cache := RowCache(MIB), threads)
    counted.ask(pixels[:1], "softmax")
    cache = RowCache(3 * cache.bytes)  # three images
    counted = Counted(model, cache, threads)
    for index in (0, 1, 2, 0, 3):  # 3 pushes 1 out
        counted.ask(pixels[index : index + 1], "softmax")
    assert counted.rows == [1, 1, 1, 1]
    counted.ask(pixels[:1], "softmax")
    assert counted.rows == [1, 1, 1, 1]
    counted.ask(pixels[1:2], "softmax")
    assert counted.rows == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("layers", [("softmax",), ("linear_1", "relu_1", "linear_2", "softmax")])
def test_the_bound_is_that_of_real_memory(
    model: ServedModel, threads: ThreadPoolExecutor, layers: tuple[str, ...]
) -> None:
    counted = Counted(model, cache := RowCache(MIB), threads)
    counted.ask(random_pixels(1, seed=99), *layers)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for seed in range(20):
        counted.ask(random_pixels(256, seed=seed), *layers)
    threads.submit(bool).result()  # until its thread takes up another job, the last run keeps its rows
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.9 * MIB < cache.bytes <= MIB
    assert 0.7 * cache.bytes < taken < 1.05 * cache.bytes


def test_a_row_larger_than_the_cache_is_not_kept(
    model: ServedModel, threads: ThreadPoolExecutor, pixels: Pixels
) -> None:
    counted = Counted(model, cache := RowCache(500), threads)
    counted.ask(pixels, "softmax")
    assert (cache.bytes, len(counted.ask(pixels, "softmax")["softmax"])) == (0, 16)


def test_hits_are_in_the_metrics_and_in_the_statistics(tiny_artifact: Path, pixels: Pixels) -> None:
    settings = ("--cache-mb", "1", "--metrics-port", "0")
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *settings) as server:
        [port] = log.wait_for(r"metrics.*:(\d+)", 1)
        with Client(server.target) as client:
            first, second = (client.classify(pixels[0], preparation="none") for _ in range(2))
            for layer, values in first.activations.items():
                assert np.array_equal(second.activations[layer], values)

        def counted() -> set[str]:
            text = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
            return {line for line in text.splitlines() if line.startswith("vitrine_cache_images_total{")}

        expected = {f'vitrine_cache_images_total{{result="{result}"}} 1.0' for result in ("hit", "miss")}
        assert comes(counted, expected) == expected
        with grpc.insecure_channel(server.target) as channel:
            answer = GRPCInferenceServiceStub(channel).ModelStatistics(oip.ModelStatisticsRequest())
    [done] = answer.model_stats
    stats = done.inference_stats
    assert (stats.cache_hit.count, stats.cache_miss.count, stats.success.count) == (1, 1, 2)
    assert (done.inference_count, done.execution_count) == (2, 1)
    assert stats.cache_hit.ns > 0
