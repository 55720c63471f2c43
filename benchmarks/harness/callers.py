"""Concurrent single-image calls from one client process, a program of its own: other checkouts' clients run it, too.

    PYTHON benchmarks/harness/callers.py TARGET {async,threads} CALLERS SECONDS [LAYER …]

Closed loop: each caller sends the next image once it has its answer. The program prints one JSON object: calls a
second, and this process's CPU time of a call in microseconds. It imports only the client and numpy.
"""

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vitrine.client import AsyncClient, Client

PIXELS = np.random.default_rng(0).integers(0, 256, (18, 18), dtype=np.uint8)


def from_one_loop(target: str, callers: int, seconds: float, layers: list[str]) -> int:
    """Number of calls of `callers` tasks that share an `AsyncClient`, in `seconds`."""

    async def call_until(client: AsyncClient, end: float) -> int:
        calls = 0
        while time.perf_counter() < end:
            await client.classify(PIXELS, activations=layers, preparation="none")
            calls += 1
        return calls

    async def call() -> int:
        async with AsyncClient(target) as client:
            await call_until(client, 0)
            await client.classify(PIXELS, preparation="none")
            end = time.perf_counter() + seconds
            return sum(await asyncio.gather(*(call_until(client, end) for _ in range(callers))))

    return asyncio.run(call())


def from_threads(target: str, callers: int, seconds: float, layers: list[str]) -> int:
    """Number of calls of `callers` threads that share a `Client`, in `seconds`."""
    with Client(target) as client, ThreadPoolExecutor(callers) as threads:
        client.classify(PIXELS, preparation="none")

        def call_until(end: float) -> int:
            calls = 0
            while time.perf_counter() < end:
                client.classify(PIXELS, activations=layers, preparation="none")
                calls += 1
            return calls

        return sum(threads.map(call_until, [time.perf_counter() + seconds] * callers))


def main(target: str, kind: str, callers: str, seconds: str, *layers: str) -> None:
    """Calls, and prints calls a second and the CPU time of a call."""
    call = {"async": from_one_loop, "threads": from_threads}[kind]
    call(target, int(callers), float(seconds) / 4, list(layers))
    spent, begin = time.process_time(), time.perf_counter()
    calls = call(target, int(callers), float(seconds), list(layers))
    found = {"calls_per_second": calls / (time.perf_counter() - begin)}
    print(json.dumps(found | {"cpu_us_per_call": (time.process_time() - spent) / calls * 1e6}))


if __name__ == "__main__":
    main(*sys.argv[1:])
